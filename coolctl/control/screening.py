"""N-1: what would be left of each kind of machine after its worst single failure, over what the hall needs now.

Below one, the failure could not be carried. One CRAH fewer also caps the chilled water's temperature (planner.py): the
others must make up for it with the water that is there, because colder water takes a quarter of an hour to come.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.control.estimate import Estimate
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CWST, U_ECONOMIZER, U_HALL
from coolctl.site_schema import LimitsTable
from coolctl.thermal.plant import (
    O_CHW_FLOW,
    O_HEAT,
    O_PLR,
    O_UNMET,
    OUTPUTS,
    PlantParams,
    air_side,
    evaluate_plant,
)
from coolctl.thermal.room import HallParams

F64 = NDArray[np.float64]

KINDS = ("crah", "chiller", "chw_pump", "tower_cell")
ENOUGH = 10.0  # nothing of the kind is needed, or nothing is spared by design


class Weakest(NamedTuple):
    """The kind of machine whose single failure leaves least, and what it leaves over what is needed [ratio]."""

    kind: int
    ratio: float


def one_crah_fewer(halls: F64) -> F64:
    """The halls with one CRAH less each; a hall with one only stays as it is: there it is no single failure to carry."""
    fewer = halls.copy()
    crahs = fewer[:, HallParams._fields.index("crahs")]
    left = np.where(crahs > 1.5, (crahs - 1.0) / np.maximum(crahs, 1.0), 1.0)
    for name in ("air_flow_nom_kgs", "coil_ua_nom_wk", "coil_water_flow_nom_kgs"):
        fewer[:, HallParams._fields.index(name)] *= left
    return fewer


class Screening:
    """Screens one site's machines; `look` is cheap enough for every few ticks."""

    def __init__(self, halls: F64, p: PlantParams, lim: LimitsTable):
        self._halls, self._p, self._lim = halls, p, lim
        self._fewer = one_crah_fewer(halls)
        crahs = halls[:, HallParams._fields.index("crahs")]
        self._more_speed = np.where(crahs > 1.5, crahs / np.maximum(crahs - 1.0, 1.0), 1.0)
        self._out = np.zeros(len(OUTPUTS))

    def look(self, u: F64, est: Estimate, demand_speed: F64, available: float) -> Weakest:
        """The weakest kind at the setpoints `u` and the present conditions; NaN ratio where too little is known."""
        if not (np.isfinite(est.w).all() and np.isfinite(u).all() and np.isfinite(demand_speed).all()):
            return Weakest(0, float("nan"))
        ratios = [
            self._crah(u, est, demand_speed),
            self._chiller(u, est, available),
            self._pump(u, est),
            self._tower(u, est, available),
        ]
        return Weakest(int(np.argmin(ratios)), float(min(ratios)))

    def _crah(self, u: F64, est: Estimate, demand_speed: F64) -> float:
        trial = u.copy()
        wanted = demand_speed * self._more_speed
        trial[U_HALL + 1 :: 2] = np.clip(wanted, 0.1, 1.0)
        trial[U_CHW_DP] = self._lim.chw_dp_sp_max_pa
        there_c = est.plant["chwst"]
        trial[U_CHWST] = there_c if there_c == there_c else u[U_CHWST]
        air_side(trial, est.w, self._fewer, self._p, self._out)
        carried = 1.0 - self._out[O_UNMET] / max(self._out[O_HEAT], 1.0)
        return min(float(carried) if carried < 1.0 else ENOUGH, 1.0 / max(float(wanted.max()), 1e-3))

    def _at_work(self, u: F64, w: F64, chillers: float, cells: float) -> float:
        """Capability over need with these machines working as hard as they can."""
        if chillers < 0.5 and u[U_ECONOMIZER] < 0.5:
            return 0.0
        trial = u.copy()
        trial[U_CHILLERS], trial[U_CELLS] = chillers, cells
        trial[U_CWST], trial[U_CHW_DP] = self._lim.cwst_sp_min_c, self._lim.chw_dp_sp_max_pa
        evaluate_plant(trial, w, self._halls, self._p.row, self._out)
        carried = 1.0 - self._out[O_UNMET] / max(self._out[O_HEAT], 1.0)
        plr = self._out[O_PLR]
        spare = 1.0 / plr if chillers > 0.5 and plr > 1e-3 else ENOUGH
        return float(min(carried, spare) if carried < 1.0 else spare)

    def _chiller(self, u: F64, est: Estimate, available: float) -> float:
        """One chiller fewer of those that could run; a site without a spare one has decided that before us."""
        if self._p.chillers_redundant < 0.5:
            return ENOUGH
        return self._at_work(u, est.w, max(available - 1.0, 0.0), self._p.cells)

    def _tower(self, u: F64, est: Estimate, available: float) -> float:
        if self._p.cells < 1.5:
            return ENOUGH
        return self._at_work(u, est.w, available, self._p.cells - 1.0)

    def _pump(self, u: F64, est: Estimate) -> float:
        if self._p.chw_pumps < 1.5:
            return ENOUGH
        flow_kgs = est.plant["chw_flow"]
        if flow_kgs != flow_kgs:
            air_side(u, est.w, self._halls, self._p, self._out)
            flow_kgs = self._out[O_CHW_FLOW]
        return float((self._p.chw_pumps - 1.0) * self._p.chw_pump.flow_nom_kgs / max(flow_kgs, 0.1))
