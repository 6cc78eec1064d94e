"""What a recording says of plant and model: conditions, the plant as it was driven, meters, and the model fitted to them.

Every row is judged as the live tick judges it (age, quality, sensors in doubt), one in ten seconds; the gains of the power
model are followed over the whole stretch, and its error is what is left between model and meters afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.calibrate import Calibrator
from coolctl.control.estimate import Estimate, Estimator
from coolctl.control.health import Health
from coolctl.control.plant_rules import PlantRules
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL, Snapshot
from coolctl.recording import Recording
from coolctl.savings.measurement.gather import GAP_S, METERS
from coolctl.site import Site
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import (
    O_CHILLER,
    O_CHW_PUMP,
    O_CRAH_FAN,
    O_CW_PUMP,
    O_SERVER_FAN,
    O_TOWER,
    OUTPUTS,
    W_HALL,
    W_OAWB,
    PlantParams,
    condenser_units,
    evaluate_plant,
    hottest_inlets_c,
)
from coolctl.thermal.room import DEWPOINT_DRY_C, HallParams
from coolctl.trace import Unpacker

F64 = NDArray[np.float64]

SAMPLE_S = 10.0
MACHINES = tuple(name.removesuffix("_power") for name in METERS)
MACHINE_OUTPUTS = np.array([O_CHILLER, O_TOWER, O_CHW_PUMP, O_CW_PUMP, O_CRAH_FAN])  # in the order of METERS
HOT_SPOT_OFFSET, DEWPOINT = (HallParams._fields.index(n) for n in ("hot_spot_offset_k", "dewpoint_c"))
INLET_BIAS_MAX_K = 6.0


class Stretch(NamedTuple):
    """Samples of a recording, one row each; NaN = not known.

    `dt_s` [s] that a sample stands for, `clock_s` [s] of the run, conditions `w`, setpoint vectors `u` (the plant as it was)
    and `wish` (what the controller decided), `meters_w` [W] in the order of `METERS`, each hall's hottest inlet [°C], IT power
    [W], dew point [°C], mode (code), tower fans' speed [ratio], bits of the limits that bound.
    """

    clock_s: F64
    dt_s: F64
    w: F64
    u: F64
    wish: F64
    meters_w: F64
    hottest_c: F64
    it_w: F64
    dewpoint_c: F64
    mode: F64
    tower_speed: F64
    bits: NDArray[np.int64]

    @property
    def size(self) -> int:
        return len(self.clock_s)


class Look(NamedTuple):
    """A row: as recorded, without what is doubted, as believed, what was decided, the plant as it was, seconds it stands for."""

    raw: Snapshot
    snap: Snapshot
    est: Estimate
    wish: F64
    u: F64
    dt_s: float


class Model:
    """The plant model with a recording's gains: power of each machine [W] and each hall's hottest inlet [°C].

    `scale` brings each machine to its meter. Towers do it by `tower_k` [K], an approach that much wider: scaled in power they
    would draw more than their fans can.
    """

    def __init__(self, halls: F64, p: PlantParams, scale: F64, inlet_bias_k: F64, tower_k: float = 0.0):
        self.halls, self.p, self.scale, self.tower_k = halls.copy(), p, scale, tower_k
        self.halls[:, HOT_SPOT_OFFSET] += inlet_bias_k
        self.out, self.inlets_c = np.zeros(len(OUTPUTS)), np.zeros(len(halls))

    def look(self, u: F64, w: F64, dewpoint_c: float) -> F64:
        """Powers of the machines at `u` under `w`; `out` and `inlets_c` hold the rest. NaN in, NaN out."""
        self.halls[:, DEWPOINT] = dewpoint_c if dewpoint_c == dewpoint_c else DEWPOINT_DRY_C
        felt = w.copy()
        felt[W_OAWB] += self.tower_k
        evaluate_plant(u, felt, self.halls, self.p.row, self.out)
        hottest_inlets_c(u, w, self.halls, self.inlets_c)
        return self.out[MACHINE_OUTPUTS] * self.scale  # type: ignore[no-any-return]


class Reader:
    """Rows of a recording as samples, and the calibrator that has seen them all."""

    def __init__(self, site: Site, recording: Recording):
        self.site, self._unpack = site, Unpacker(site)
        self.halls, self.p = hall_array(site), plant_params(site)
        self._health, self._estimator = Health(site.table, site.halls, self.halls), Estimator(site, self.halls)
        self.calibrator, self._rules = Calibrator(site, self.halls, self.p), PlantRules(site, self.p)
        self._meters = [site.table.by_role(role) for role in METERS]
        at = {name: k for k, name in enumerate(recording.columns)}
        self._sp = [at.get(f"sp:{name}", -1) for name in site.u_names]
        self._bits = [at.get(f"limits:{name}", -1) for name in site.u_names]
        self._mode = at.get("mode", -1)
        self._last_s, self._offset_s = np.nan, 0.0
        self._rows: list[tuple[object, ...]] = []
        self.filled: dict[str, float] = {}

    def read(self, recording: Recording, moved: Callable[[int], None] = lambda _rows: None, *, offset_s: float = 0.0) -> Stretch:
        """Every row; `moved` is told how many have been read. Samples without what the model needs are left out.

        May be called for one recording after the other: the stretch then holds them all, each with its clock moved by `offset_s`.
        """
        self._offset_s = offset_s
        count = 0
        for block in recording.rows():
            for row in block:
                if self.due(row):
                    self._take(row)
            count += len(block)
            moved(count)
        halls, size = len(self.halls), U_HALL + 2 * len(self.halls)
        widths = (0, 0, W_HALL + halls, size, size, len(METERS), halls, 0, 0, 0, 0, size)
        columns = list(zip(*self._rows, strict=True)) if self._rows else [()] * len(widths)
        *arrays, bits = (np.array(c, dtype=float).reshape((-1, n) if n else -1) for c, n in zip(columns, widths, strict=True))
        return Stretch._make([*arrays, bits.astype(np.int64)])

    def due(self, row: F64) -> bool:
        """Whether enough time has passed since the sample before."""
        return not 0.0 <= row[0] - self._last_s < SAMPLE_S

    def look(self, row: F64) -> Look:
        """A row as the live tick would judge it. A first row, and one after a gap, stand for no time."""
        raw = self._unpack.inputs(row)[0]
        since_s = raw.now_s - self._last_s
        dt_s = since_s if 0.0 < since_s <= GAP_S else 0.0
        self._last_s = raw.now_s
        snap = self._health.assess(raw)
        est = self._health.warned(self._estimator.assess(snap), snap)
        wish = np.array([row[k] if k >= 0 else np.nan for k in self._sp])
        return Look(raw, snap, est, wish, self.actual_u(est, wish, dt_s), dt_s)

    def _take(self, row: F64) -> None:
        _raw, snap, est, wish, u, dt_s = self.look(row)
        if dt_s > 0.0:
            self.calibrator.observe(est, snap.value, dt_s)
        meters_w = np.array([float(snap.value[i].sum()) if len(i) else np.nan for i in self._meters])
        bits = [int(row[k]) if k >= 0 else 0 for k in self._bits]
        mode = row[self._mode] if self._mode >= 0 else np.nan
        if dt_s > 0.0 and np.isfinite(u).all() and not est.substituted:
            self._rows.append(
                (
                    self._offset_s + snap.now_s,
                    dt_s,
                    est.w,
                    u,
                    wish,
                    meters_w,
                    est.inlet_max_c,
                    est.it_w.sum(),
                    est.dewpoint_c,
                    mode,
                    est.plant["tower_speed"],
                    bits,
                )
            )

    def actual_u(self, est: Estimate, wish: F64, dt_s: float) -> F64:
        """The setpoint vector that describes the plant as it is: measured, else as decided, else as designed."""
        plant, p, u = est.plant, self.p, np.full(len(wish), np.nan)
        u[U_CHWST], u[U_CHILLERS], u[U_CWST] = plant["chwst"], plant["chillers_on"], plant["cwst"]
        u[U_CELLS], u[U_ECONOMIZER], u[U_CHW_DP] = plant["tower_cells_on"], plant["economizer_on"], plant["chw_dp"]
        units = float(condenser_units(plant["chillers_on"], plant["economizer_on"], p))
        if units >= 1.0 and plant["cw_flow"] > 0.0:
            u[U_CW_FLOW] = plant["cw_flow"] / (units * p.chiller.condenser_flow_nom_kgs)
        u[U_HALL::2], u[U_HALL + 1 :: 2] = est.sat_c, est.fan_speed
        own = self._rules.present(u, wish, est.w)
        designed = np.full(len(u), np.nan)
        designed[[U_CHW_DP, U_CELLS, U_CW_FLOW, U_ECONOMIZER]] = p.chw_pump.head_static_pa, p.cells, 1.0, 0.0
        for source in (own, wish, designed):
            lacking = np.isnan(u)
            if not lacking.any():
                break
            u[lacking] = source[lacking]
            if source is designed:
                for k in np.flatnonzero(lacking & np.isfinite(source)):
                    name = self.site.u_names[k]
                    self.filled[name] = self.filled.get(name, 0.0) + dt_s
        u[U_CHW_DP] = np.maximum(u[U_CHW_DP], 1e3)
        u[U_HALL + 1 :: 2] = np.maximum(u[U_HALL + 1 :: 2], 0.05)
        return u


class Powers(NamedTuple):
    """Of a way of driving: each machine's power [samples × machines, W], each hall's hottest inlet [samples × halls, °C], and
    the power that server fans draw beyond idle [samples, W]."""

    watts: F64
    inlets_c: F64
    server_fan_w: F64


def powers_at(model: Model, s: Stretch, u: F64) -> Powers:
    """Of the setpoint vectors `u` [samples × setpoints] under the stretch's conditions."""
    found = Powers(np.empty_like(s.meters_w), np.empty_like(s.hottest_c), np.empty(s.size))
    for k in range(s.size):
        found.watts[k] = model.look(u[k], s.w[k], s.dewpoint_c[k])
        found.inlets_c[k], found.server_fan_w[k] = model.inlets_c, model.out[O_SERVER_FAN]
    return found
