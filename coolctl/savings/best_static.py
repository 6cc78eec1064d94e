"""B3: the rule sequence with the constants that a search finds best on the very days it is then judged on.

Nobody can commission a plant like this, because the days are not known beforehand. That is its use: who saves against
B3 did not save because the rules were badly tuned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coolctl.control.guideline36 import Tuning
from coolctl.savings.ledger import Account, heat_left_charge_kwh, service_faults
from coolctl.site import Site

GRID: dict[str, tuple[float, ...]] = {
    "cw_flow_min_ratio": (0.5, 0.65, 0.8),
    "airflow_ratio": (1.04, 1.07, 1.10, 1.15),
    "lift_ratio": (0.7, 0.85, 1.0, 1.15),
    "chwst_max_c": (14.0, 16.0, 18.0, 20.0),
    "sat_max_c": (22.0, 23.0, 24.0),
    "stage_ratio": (0.8, 1.0, 1.2),
}
PASSES = 2

Judge = Callable[[Sequence[Tuning]], Sequence[Account]]


def search(site: Site, judge: Judge) -> tuple[Tuning, Account]:
    """Best constants and their run; `judge` runs the sequence with each of some constants.

    One constant after the other over its grid, twice over; a choice must give the service that the default gives.
    """
    best = Tuning()
    (standard,) = judge([best])
    best_run = standard
    for _ in range(PASSES):
        before = best
        for name, values in GRID.items():
            trials = [best._replace(**{name: v}) for v in values if v != getattr(best, name)]
            for trial, run in zip(trials, judge(trials), strict=True):
                if _cost_kwh(run, standard) < _cost_kwh(best_run, standard) and not service_faults(site, run, standard):
                    best, best_run = trial, run
        if best == before:
            break
    return best, best_run


def _cost_kwh(run: Account, standard: Account) -> float:
    mine, base = run.entry(), standard.entry()
    return float(mine["energy_kwh"]["cooling_total"]) + heat_left_charge_kwh(mine, base)
