"""What becomes of the racks in the next half hour if a machine stops now: for the people on site, not for the control.

Each failure is rolled out on the plant as it is measured, under 32 plants that it might as well be. Fans follow the
servers' air, water and supply air answer a hall that gets warm, and a chiller that stands by is started, as controller and
local control both do; nobody else acts, and plates that do not run are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate, Estimator, as_setpoints
from coolctl.control.fixed_rules import B1
from coolctl.control.foresight import OWN_AIRFLOW, OWN_FAN_MIN
from coolctl.control.plausible import scores
from coolctl.control.tick import NOTICED_S
from coolctl.points import U_CHILLERS, U_CHW_DP, U_CHWST, U_CWST, U_ECONOMIZER, U_HALL, Snapshot
from coolctl.psychro import CP_WATER_JKGK
from coolctl.site import Site
from coolctl.thermal import rollout as r
from coolctl.thermal.air import airflow_speed
from coolctl.thermal.chiller import capacity_w
from coolctl.thermal.economizer import conductance_wk
from coolctl.thermal.lanes import LANES
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import W_HALL, W_OAWB, W_PRESSURE, PlantParams, condenser_units, plate_water_kgs
from coolctl.thermal.room import HallParams

F64 = NDArray[np.float64]

STEP_S, STEPS = 10.0, 180
HORIZON_S = STEP_S * STEPS
# One standard deviation of what nobody has measured: coils, chillers, plates, air moved, masses.
DOUBT_SD = np.array([0.08, 0.06, 0.09, 0.03, 0.12])
CRAHS, IT_NOM = (HallParams._fields.index(name) for name in ("crahs", "it_power_nom_w"))
KG_PER_M3, OFF_TAU_S, APPROACH_K = 998.0, 300.0, 4.0
FAILURES = {
    "none": "nothing stops",
    "controller": "controller lost, the plant's own rules follow",
    "crah": "one CRAH in each hall",
    "chiller": "one chiller",
    "chillers": "all chillers",
    "plates": "plate heat exchanger",
    "chw_pump": "one chilled water pump",
    "chw_pumps": "all chilled water pumps",
    "load": "all load comes at once",
}
AT = {name: k for k, name in enumerate(FAILURES)}


class Prospect(NamedTuple):
    """What a failure comes to: hottest rack inlet of the horizon [°C] and seconds until one is over the site's limit and over
    the servers' own; the middle of the plausible plants, and the worst of them. Seconds are infinite where no rack gets there
    within `HORIZON_S`."""

    failure: str
    hottest_c: float
    hottest_worst_c: float
    limit_s: float
    limit_worst_s: float
    allowable_s: float
    allowable_worst_s: float


class Candidates:
    """Rows of every failure's candidates by name: views to read and to write."""

    def __init__(self, halls: int):
        count = len(FAILURES)
        self._halls = np.zeros((count, halls, len(r.HALL_ROWS), LANES))
        self._plant = np.zeros((count, len(r.PLANT_ROWS), LANES))
        self.lanes = self._halls.reshape(count, halls, -1), self._plant.reshape(count, -1)

    def hall(self, name: str, failure: str = "") -> F64:
        """Row `name` of one failure's candidates (halls, LANES), or of all."""
        rows = self._halls[:, :, r.HALL_ROWS.index(name)]
        return rows[AT[failure]] if failure else rows

    def plant(self, name: str, failure: str = "") -> F64:
        """Row `name` of one failure's candidates (LANES,), or of all."""
        rows = self._plant[:, r.PLANT_ROWS.index(name)]
        return rows[AT[failure]] if failure else rows


class Now(NamedTuple):
    """The plant's water and machines as measured, else as set."""

    supply_c: float
    return_c: float
    cwst_c: float
    dp_pa: float
    chillers: float
    plates: float
    available: float

    @property
    def rise_jkg(self) -> float:
        """Heat that a kilogram of chilled water brings back [J/kg]."""
        return CP_WATER_JKGK * max(self.return_c - self.supply_c, r.RISE_MIN_K)


class Outlook:
    """Rolls out one site's failures; arrays are made once."""

    def __init__(self, site: Site):
        self.site, self._p, self._halls = site, plant_params(site), hall_array(site)
        self._estimator = Estimator(site, self._halls)
        self._rows = Candidates(len(self._halls))
        shape = (len(FAILURES), LANES)
        self._found = np.zeros((len(FAILURES), len(r.RESULTS) * LANES))
        self._heat_w = np.zeros(shape)
        doubts = np.exp(scores(LANES)[:, : len(DOUBT_SD)] * DOUBT_SD)
        self._coil, self._capacity, self._plates, self._air, self._mass = np.tile(doubts, (shape[0], 1)).T.copy()
        self._off_k = np.full((len(self._halls), LANES), np.nan)
        self._looked_s = np.nan

    def look(self, snap: Snapshot, u: F64, doubted: Sequence[int] = ()) -> list[Prospect]:
        """Every failure's prospect from this moment on; empty while too little is known.

        `u` are the setpoints in force, NaN where there is none: there the plant's own are what is measured. `doubted` are
        the points that the controller does not believe.
        """
        value = snap.value.copy()
        value[list(doubted)] = np.nan
        est = self._estimator.assess(snap._replace(value=value))
        u = np.where(np.isfinite(u), u, as_setpoints(est))
        now, lim = _now(est, u, self._p), self.site.file.limits
        if not (est.quorum and np.isfinite(now).all() and np.isfinite(est.w).all() and np.isfinite(u[U_HALL:]).all()):
            return []
        pressure_pa = float(est.w[W_PRESSURE])
        self._as_it_is(est, now, u)
        r.stand(
            *self._rows.lanes, est.inlet_max_c, self._off_k, self._air, self._coil, self._mass, pressure_pa, self._halls,
            self._heat_w.ravel(),
        )  # fmt: skip
        self._remember(est.now_s)
        possible = self._break(now, self._machines(now))
        r.roll_out(
            *self._rows.lanes, 0, len(FAILURES), STEPS, STEP_S, pressure_pa, self._halls, lim.rack_inlet_limit_c,
            lim.rack_inlet_allowable_c, self._found,
        )  # fmt: skip
        found = self._found.reshape(len(FAILURES), len(r.RESULTS), LANES)
        return [_prospect(name, found[k]) for name, k in AT.items() if possible.get(name, True)]

    def _as_it_is(self, est: Estimate, now: Now, u: F64) -> None:
        """All candidates as the plant is: measured where measured, else as set."""
        rows = self._rows
        sat_c = np.where(np.isfinite(est.sat_c), est.sat_c, u[U_HALL::2])
        fan = np.where(np.isfinite(est.fan_speed), est.fan_speed, u[U_HALL + 1 :: 2])
        for name, values in {
            "sat_c": sat_c, "fan": fan, "it_w": est.w[W_HALL:], "sat_sp_c": u[U_HALL::2], "fan_sp": u[U_HALL + 1 :: 2],
            "fan_own": self._own_fans(est),
        }.items():  # fmt: skip
            rows.hall(name)[:] = values[:, None]
        lim, static_pa = self.site.file.limits, self._p.chw_pump.head_static_pa
        rows.hall("crah_share")[:], rows.hall("sat_own_c")[:], rows.hall("sat_min_c")[:] = 1.0, B1.SAT_C, lim.sat_sp_min_c
        half_jk = 0.5 * self._p.loop_volume_m3 * KG_PER_M3 * CP_WATER_JKGK
        for name, value in {
            "supply_c": now.supply_c, "return_c": max(now.return_c, now.supply_c + 0.1), "cwst_c": now.cwst_c,
            "open": math.sqrt(max(now.dp_pa, 1e3) / static_pa),
            "open_max": math.sqrt(max(now.dp_pa, lim.chw_dp_sp_max_pa) / static_pa),
            "chwst_sp_c": u[U_CHWST] if u[U_CHWST] == u[U_CHWST] else now.supply_c, "chwst_own_c": B1.CHWST_C,
            "later_s": math.inf, "lost_s": math.inf,
            "supply_jk": half_jk + self._p.buffer_m3 * KG_PER_M3 * CP_WATER_JKGK, "return_jk": half_jk,
        }.items():  # fmt: skip
            rows.plant(name)[:] = value

    def _own_fans(self, est: Estimate) -> F64:
        """Fan speeds that the plant's own control would ask for."""
        wanted = [
            OWN_AIRFLOW * airflow_speed(w, B1.SAT_C, B1.SAT_C + 0.5, 1.0, est.w[W_PRESSURE], HallParams(*row))
            for w, row in zip(est.w[W_HALL:].tolist(), self._halls.tolist(), strict=True)
        ]
        return np.clip(wanted, OWN_FAN_MIN, 1.0)

    def _remember(self, now_s: float) -> None:
        """What each hall's hottest rack stood above the model lately: racks are behind a load that has just come."""
        off_k = self._rows.hall("off_k", "none")
        since_s = now_s - self._looked_s if now_s > self._looked_s else 0.0
        share = 1.0 - math.exp(-since_s / OFF_TAU_S)
        self._off_k = np.where(np.isfinite(self._off_k), self._off_k + share * (off_k - self._off_k), off_k)
        self._looked_s = now_s

    def _machines(self, now: Now) -> F64:
        """Fill in what chillers and plates can carry; one chiller's capacity [W] of each candidate."""
        p, plates_wk = self._p, np.zeros_like(self._heat_w)
        if now.plates > 0.5 and p.economizer.present > 0.5:
            cw_kgs = condenser_units(now.chillers, 1.0, p) * p.cw_pump.flow_nom_kgs
            water_kgs = plate_water_kgs(now.chillers, cw_kgs, p)
            wk = [conductance_wk(w / now.rise_jkg, water_kgs, p.economizer) for w in self._heat_w.ravel().tolist()]
            plates_wk = np.reshape(wk, plates_wk.shape) * self._plates.reshape(plates_wk.shape)
        machine_w = capacity_w(now.supply_c, now.cwst_c, p.chiller) * self._capacity.reshape(plates_wk.shape)
        able_w = now.chillers * machine_w + plates_wk * max(now.return_c - now.cwst_c, 0.0)
        # What carries its load now can carry it, whatever the records say.
        carried = np.maximum(self._heat_w / np.maximum(able_w, 1.0), 1.0) if now.chillers + now.plates > 0.5 else 1.0
        self._rows.plant("plates_wk")[:] = carried * plates_wk
        self._rows.plant("able_w")[:] = now.chillers * carried * machine_w
        return np.asarray(carried * machine_w)

    def _break(self, now: Now, machine_w: F64) -> dict[str, bool]:
        """Let each failure happen to its own candidates; False for one that cannot happen now."""
        rows, p, on = self._rows, self._p, now.chillers
        crahs = self._halls[:, CRAHS]
        left = np.where(crahs > 1.5, (crahs - 1.0) / crahs, 1.0)[:, None]
        rows.hall("crah_share", "crah")[:] *= left
        _fans_follow(rows, "crah", 1.0 / left)
        rows.plant("able_w", "chiller")[:] = max(on - 1.0, 0.0) * machine_w[0]
        rows.plant("able_later_w", "chiller")[:] = min(on, now.available - 1.0) * machine_w[0]
        rows.plant("able_w", "chillers")[:] = 0.0
        rows.plant("plates_wk", "plates")[:] = 0.0
        # One pump that stops is replaced at once where one stands by: what is left is what all others move together.
        most = (p.chw_pumps - 1.0) * p.chw_pump.flow_nom_kgs / p.chw_flow_nom_kgs
        for name in ("open", "open_max"):
            rows.plant(name, "chw_pump")[:] = np.minimum(rows.plant(name, "chw_pump"), most)
            rows.plant(name, "chw_pumps")[:] = 0.0
        more = np.maximum(self._halls[:, IT_NOM, None] / np.maximum(rows.hall("it_w", "load"), 1.0), 1.0)
        rows.hall("it_w", "load")[:] *= more
        _fans_follow(rows, "load", more)
        for name, heat_w in (("plates", self._heat_w[0]), ("load", self._heat_w[0] * more.max())):
            needed = np.minimum(np.ceil(heat_w / machine_w[0]), now.available)
            rows.plant("able_later_w", name)[:] = np.maximum(needed, on) * machine_w[0]
        for name in ("chiller", "plates", "load"):
            rows.plant("later_s", name)[:] = self.site.chiller.restart_s
        rows.plant("lost_s", "controller")[:] = self.site.file.gateway.ttl_s + NOTICED_S
        return {"crah": bool((crahs > 1.5).any()), "chiller": on > 0.5, "chillers": on > 0.5, "plates": now.plates > 0.5}


def _fans_follow(rows: Candidates, failure: str, more: F64) -> None:
    """Fans of a failure's candidates go where their hall's air is needed: `more` than they move now, as fast as they can."""
    fan_sp = rows.hall("fan_sp", failure)
    fan_sp[:] = np.minimum(fan_sp * more, 1.0)


def _now(est: Estimate, u: F64, p: PlantParams) -> Now:
    """What is measured of the plant, else what is set, else what the design says; NaN where the water is not known."""

    def known(name: str, *otherwise: float) -> float:
        return next((float(v) for v in (est.plant[name], *otherwise) if v == v), math.nan)

    supply_c, chillers = known("chwst", u[U_CHWST]), known("chillers_on", u[U_CHILLERS], p.chillers - p.chillers_redundant)
    return Now(
        supply_c, known("chwrt", supply_c + r.RISE_MIN_K), known("cwst", u[U_CWST], est.w[W_OAWB] + APPROACH_K),
        known("chw_dp", u[U_CHW_DP], p.chw_pump.head_static_pa), chillers, known("economizer_on", u[U_ECONOMIZER], 0.0),
        max(known("chillers_available", chillers), chillers),
    )  # fmt: skip


def _prospect(name: str, found: F64) -> Prospect:
    hottest_c, *seconds = found
    first_s, second_s = ((_within(float(np.median(s))), _within(float(s.min()))) for s in seconds)
    return Prospect(name, float(np.median(hottest_c)), float(hottest_c.max()), *first_s, *second_s)


def _within(seconds: float) -> float:
    return seconds if seconds < HORIZON_S else math.inf
