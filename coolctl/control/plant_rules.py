"""Setpoints that the plant keeps for itself: what they are now, and what they would be with other machines.

`[plant] accepts` names what may be set from outside; `[plant.rules]` says how the plant handles the rest. Where it is
measured, the measurement counts for the present; the rule says what the model should expect of another candidate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coolctl.points import U_CELLS, U_CHILLERS, U_ECONOMIZER
from coolctl.thermal.plant import W_OAWB, PlantParams, condenser_units

if TYPE_CHECKING:
    from coolctl.site import Site

F64 = NDArray[np.float64]


class PlantRules:
    """The plant's own rules of one site, per entry of the setpoint vector. `owned` = not accepted from outside."""

    def __init__(self, site: Site, p: PlantParams):
        self._p = p
        self.owned = ~site.accepted
        self._rule = [site.file.plant.rule_for(name.split(".")[-1]) for name in site.u_names]
        self._fixed = np.full(len(self.owned), np.nan)
        for k, rule in enumerate(self._rule):
            if self.owned[k] and rule is not None and rule.rule == "fixed" and rule.value is not None:
                self._fixed[k] = rule.value
        if site.economizer is None:
            self._fixed[U_ECONOMIZER] = 0.0

        self._some, self._free = bool(self.owned.any()), np.full(len(self.owned), np.nan)  # nobody writes into it

    @property
    def keeps_chillers(self) -> bool:
        """Whether the plant stages its chillers by itself."""
        return bool(self.owned[U_CHILLERS])

    @property
    def keeps_economizer(self) -> bool:
        """Whether the plant switches its economizer by itself (also when it has none)."""
        return bool(self.owned[U_ECONOMIZER])

    def expected(self, now_u: F64, w: F64, chillers: float, economizer: float) -> F64:
        """Values of the owned setpoints with these machines under conditions `w`; NaN where coolctl sets them.

        `now_u` is the plant as it is: rules that follow the plant's own state (demand, load ratio) stay there.
        """
        if not self._some:
            return self._free
        held = self._free.copy()
        for k in np.flatnonzero(self.owned):
            held[k] = now_u[k] if self._fixed[k] != self._fixed[k] else self._fixed[k]
            rule = self._rule[k]
            if rule is not None and rule.rule == "per_chiller":
                units = max(condenser_units(chillers, economizer, self._p), 1.0)
                held[k] = min(units, self._p.cells) if k == U_CELLS else 1.0
            elif rule is not None and rule.rule == "approach" and rule.value is not None:
                held[k] = w[W_OAWB] + rule.value
        machines = [U_CHILLERS, U_ECONOMIZER]
        held[machines] = np.where(self.owned[machines], [chillers, economizer], np.nan)
        return held

    def present(self, measured_u: F64, now_u: F64, w: F64) -> F64:
        """Values of the owned setpoints now: as measured, else by their rule, else as last known (`now_u`)."""
        if not self._some:
            return self._free
        expected = self.expected(now_u, w, now_u[U_CHILLERS], now_u[U_ECONOMIZER])
        expected = np.where(np.isnan(self._fixed), expected, self._fixed)
        return np.where(self.owned, np.where(np.isnan(measured_u), expected, measured_u), np.nan)
