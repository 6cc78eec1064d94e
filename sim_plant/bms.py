"""The plant's own building management system: its setpoints, staging and take-over, always running.

Own setpoints are those of the good-practice baseline: fixed temperatures, fans with demand, staging on load, a
non-integrated economizer; where the site's `[plant.rules]` say something else, that. A lease from outside moves the
setpoints that the plant accepts; when it ends the BMS ramps back to its own from where the plant is, raising cooling
first, and never drops a running machine at the moment of take-over.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.points import (
    U_CELLS,
    U_CHILLERS,
    U_CHW_DP,
    U_CHWST,
    U_CW_FLOW,
    U_CWST,
    U_ECONOMIZER,
    U_HALL,
    u_size,
)
from coolctl.site import Site

F64 = NDArray[np.float64]

OWN_SAT_C, OWN_CHWST_C, OWN_CWST_C, OWN_DP_PA = 22.0, 12.0, 22.0, 140e3
OWN_AIRFLOW_RATIO, FAN_MIN_RATIO = 1.15, 0.35
STAGE_UP_PLR, STAGE_DOWN_PLR, STAGE_S = 0.90, 0.80, 900.0
ECONOMIZER_APPROACH_K, ECONOMIZER_ON_S, ECONOMIZER_OFF_S = 6.0, 1200.0, 600.0
CHANGEOVER_S = 900.0  # chillers and plates together at most this long: the economizer is not integrated
ECONOMIZER_RETRY_S = 3600.0  # after it could not hold the setpoint
FAILSAFE_OVER_K, FAILSAFE_HOLDS_K, FAILSAFE_S = 3.0, 0.5, 900.0
TAKEOVER_HOLD_S = 900.0
ECHO_MAX_S = 5.0
# How fast the effective setpoints may move when the BMS ramps to its own: per second.
RAMP_TEMPERATURE_K, RAMP_DP_PA, RAMP_CW = 2.0 / 60.0, 1000.0, 0.01


class PlantView(NamedTuple):
    """What the BMS sees of its plant."""

    t_s: float
    chwst_c: float
    chwrt_c: float
    plr: float
    running: float
    available: float
    oawb_c: float
    fan_for_own: F64
    economizer_holds: bool


class Bms:
    """Holds the effective setpoints; `step` moves them and says whether a lease is being followed."""

    def __init__(self, site: Site):
        f, halls = site.file, len(site.halls)
        self.halls, self.chillers, self.cells = halls, f.chillers.count, f.towers.cells
        self.has_economizer = site.economizer is not None
        self._rules = [f.plant.rule_for(name.split(".")[-1]) for name in site.u_names]
        self._duty = f.chillers.count - f.chillers.redundant
        self._stages, self._switches = not site.accepted[U_CHILLERS], not site.accepted[U_ECONOMIZER]
        chillers, cells = self.chillers, self.cells
        self.u = np.zeros(u_size(halls))
        self.own = np.zeros(u_size(halls))
        self.own[U_CHWST], self.own[U_CHW_DP], self.own[U_CWST] = OWN_CHWST_C, OWN_DP_PA, OWN_CWST_C
        self.own[U_CHILLERS], self.own[U_CELLS], self.own[U_CW_FLOW] = min(2, chillers), min(2, cells), 1.0
        self.own[U_HALL::2] = OWN_SAT_C
        self.own[U_HALL + 1 :: 2] = 0.8
        for k, rule in enumerate(self._rules):
            if rule is not None and rule.rule == "fixed" and rule.value is not None:
                self.own[k] = rule.value
        self.u[:] = self.own
        # How fast the BMS moves what it takes back, per second; counts at once.
        self._ramps = np.full(u_size(halls), np.inf)
        self._ramps[[U_CHWST, U_CWST]], self._ramps[U_CHW_DP], self._ramps[U_CW_FLOW] = RAMP_TEMPERATURE_K, RAMP_DP_PA, RAMP_CW
        self._ramps[U_HALL::2] = RAMP_TEMPERATURE_K
        self.local = True
        self.local_since_s = -np.inf
        self._up_s = self._down_s = self._econ_on_s = self._econ_off_s = self._failsafe_s = self._holding_s = 0.0
        self._changeover_s = self._retry_s = 0.0
        self.failsafe_extra = 0

    def copy(self) -> Bms:
        """Another of the same plant in the same state."""
        twin = copy.copy(self)
        twin.u, twin.own = self.u.copy(), self.own.copy()
        return twin

    def step(self, leased: F64 | None, view: PlantView, dt_s: float) -> F64:
        """Effective setpoints for the next step. `leased` has NaN where a setpoint stays with the BMS."""
        if leased is None and not self.local:
            self.local_since_s = view.t_s
            # Staging is held at take-over and may only raise cooling until the hall has settled.
            self.own[U_CHILLERS] = max(self.own[U_CHILLERS], self.u[U_CHILLERS])
            self.own[U_ECONOMIZER] = self.u[U_ECONOMIZER]
        self.local = leased is None
        self._stage(view, dt_s)
        self._follow_rules(view)
        self._failsafe(view, dt_s)
        target = self.own if leased is None else np.where(np.isnan(leased), self.own, leased)
        if leased is None:
            self._ramp(target, dt_s)
        else:
            self.u[:] = target
            self.u[U_CHILLERS] = min(self.u[U_CHILLERS] + self.failsafe_extra, self.chillers)
        np.maximum(self.u[U_HALL + 1 :: 2], 0.3, out=self.u[U_HALL + 1 :: 2])
        return self.u

    def _ramp(self, target: F64, dt_s: float) -> None:
        limits = self._ramps * dt_s
        self.u += np.minimum(np.maximum(target - self.u, -limits), limits)

    def _thresholds(self) -> tuple[float, float, float]:
        """Part-load ratios for one chiller more and one less, and how long they must hold [s]."""
        rule = self._rules[U_CHILLERS]
        if rule is None or rule.up is None or rule.down is None:
            return STAGE_UP_PLR, STAGE_DOWN_PLR, STAGE_S
        return rule.up, rule.down, STAGE_S if rule.dwell_s is None else rule.dwell_s

    def _follow_rules(self, view: PlantView) -> None:
        """Own setpoints where the site file names another rule than the good practice above."""
        own, units = self.own, self.u[U_CHILLERS]
        if self.u[U_ECONOMIZER] > 0.5:
            units = max(units, self._duty)
        for k, rule in enumerate(self._rules):
            if rule is None:
                continue
            value = np.nan if rule.value is None else rule.value  # the site check wants it where it is needed
            if rule.rule == "fixed":
                own[k] = value
            elif rule.rule == "approach":
                own[k] = view.oawb_c + value
            elif rule.rule == "per_chiller":
                own[k] = min(max(units, 1.0), self.cells) if k == U_CELLS else 1.0

    def _stage(self, view: PlantView, dt_s: float) -> None:
        """The BMS's own counts, by its own timers; kept up to date under a lease, so that take-over is smooth."""
        own, at_work = self.own, self.local or self._stages
        up, down, stage_s = self._thresholds()
        own[U_HALL + 1 :: 2] = np.clip(view.fan_for_own, FAN_MIN_RATIO, 1.0)
        settled = view.t_s - self.local_since_s > TAKEOVER_HOLD_S
        n = own[U_CHILLERS]
        self._up_s = self._up_s + dt_s if view.plr > up and at_work else 0.0
        smaller = view.plr * n / (n - 1.0) if n > 1 else np.inf
        self._down_s = self._down_s + dt_s if smaller < down and at_work and settled else 0.0
        if own[U_ECONOMIZER] < 0.5:
            if n < 1:
                own[U_CHILLERS] = 1.0
            elif self._up_s >= stage_s:
                own[U_CHILLERS], self._up_s = min(n + 1.0, self.chillers), 0.0
            elif self._down_s >= stage_s:
                own[U_CHILLERS], self._down_s = n - 1.0, 0.0
        self._economizer(view, dt_s)
        own[U_CELLS] = min(max(2.0, own[U_CHILLERS]), self.cells)
        # The tower makes colder water while the economizer carries the load alone.
        own[U_CWST] = OWN_CHWST_C - 3.0 if own[U_ECONOMIZER] > 0.5 else OWN_CWST_C

    def _economizer(self, view: PlantView, dt_s: float) -> None:
        rule = self._rules[U_ECONOMIZER]
        if rule is not None and rule.rule == "integrated":
            self._integrated(view, dt_s)
        elif rule is None or rule.rule == "non_integrated":
            self._non_integrated(view, dt_s)

    def _integrated(self, view: PlantView, dt_s: float) -> None:
        """The plates help whenever the tower makes water colder than what comes back."""
        own = self.own
        useful = view.oawb_c + ECONOMIZER_APPROACH_K < view.chwrt_c
        self._econ_on_s = self._econ_on_s + dt_s if useful and self.has_economizer else 0.0
        self._econ_off_s = self._econ_off_s + dt_s if not useful else 0.0
        if self._econ_on_s >= ECONOMIZER_ON_S:
            own[U_ECONOMIZER] = 1.0
        elif self._econ_off_s >= ECONOMIZER_OFF_S:
            own[U_ECONOMIZER] = 0.0

    def _non_integrated(self, view: PlantView, dt_s: float) -> None:
        """The plates carry the load alone or not at all."""
        own = self.own
        if self._switches and not self.local:
            own[U_CHILLERS] = self.u[U_CHILLERS]
        at_work = self.local or self._switches
        self._retry_s = max(self._retry_s - dt_s, 0.0)
        cold = view.oawb_c <= own[U_CHWST] - ECONOMIZER_APPROACH_K and self._retry_s <= 0.0
        self._econ_on_s = self._econ_on_s + dt_s if cold and self.has_economizer else 0.0
        on = own[U_ECONOMIZER] > 0.5
        lost = on and at_work and own[U_CHILLERS] < 0.5 and view.chwst_c > own[U_CHWST] + 1.0
        self._econ_off_s = self._econ_off_s + dt_s if lost else 0.0
        both = on and at_work and own[U_CHILLERS] > 0.5
        self._changeover_s = self._changeover_s + dt_s if both else 0.0
        if not on and self._econ_on_s >= ECONOMIZER_ON_S and at_work:
            own[U_ECONOMIZER], self._econ_on_s = 1.0, 0.0
        elif both and (view.economizer_holds or self._changeover_s >= CHANGEOVER_S):
            own[U_CHILLERS] = 0.0
        elif self._econ_off_s >= ECONOMIZER_OFF_S:
            own[U_ECONOMIZER], own[U_CHILLERS] = 0.0, max(own[U_CHILLERS], 1.0)
            self._econ_off_s, self._retry_s = 0.0, ECONOMIZER_RETRY_S

    def _failsafe(self, view: PlantView, dt_s: float) -> None:
        """Under a lease the plant still adds a machine while its water stays far above the setpoint, and takes it away
        once the water has held for as long again."""
        warm = not self.local and view.chwst_c > self.u[U_CHWST] + FAILSAFE_OVER_K
        holds = view.chwst_c < self.u[U_CHWST] + FAILSAFE_HOLDS_K
        self._failsafe_s = self._failsafe_s + dt_s if warm else 0.0
        self._holding_s = self._holding_s + dt_s if holds and self.failsafe_extra else 0.0
        if self._failsafe_s >= FAILSAFE_S:
            self.failsafe_extra, self._failsafe_s = min(self.failsafe_extra + 1, self.chillers), 0.0
        if self._holding_s >= FAILSAFE_S:
            self.failsafe_extra, self._holding_s = self.failsafe_extra - 1, 0.0
        if self.local:
            self.failsafe_extra = 0


class LeaseReceiver:
    """The BMS's end of the gateway's lease: newest wins, on the BMS's own clock, silence ends it.

    With a `clock_nonce` of its own the BMS says its clock and follows only leases that echo a word of this very start not
    older than five seconds: what was held up on the way is refused however fresh it looks. Without one it cannot tell.
    """

    def __init__(self, clock_nonce: str = "") -> None:
        self.clock_nonce = clock_nonce
        self.nonce = ""
        self.seq = -1
        self.received_s = -np.inf
        self.ttl_s = 0.0
        self.values: dict[str, float] = {}
        self.rejects: dict[str, int] = {}

    def offer(self, message: dict[str, Any], retained: bool, now_s: float) -> bool:
        """Take a decoded lease message; False (and counted) when it may not be used."""
        reason = self._refusal(message, retained, now_s)
        if reason:
            self.rejects[reason] = self.rejects.get(reason, 0) + 1
            return False
        self.nonce, self.seq = str(message["nonce"]), int(message["seq"])
        self.ttl_s = min(float(message["ttl_s"]), 60.0)
        self.values = dict(message["sp"])
        self.received_s = now_s
        return True

    def _refusal(self, message: dict[str, Any], retained: bool, now_s: float) -> str:
        if retained:
            return "retained"
        try:
            nonce, seq = str(message["nonce"]), int(message["seq"])
            ttl_s, values = float(message["ttl_s"]), message["sp"]
        except (KeyError, TypeError, ValueError):
            return "malformed"
        if not ttl_s > 0.0 or not isinstance(values, dict):
            return "malformed"
        if nonce == self.nonce and seq <= self.seq:
            return "old"
        echoed = message.get("echo_nonce") == self.clock_nonce
        if self.clock_nonce and not (echoed and 0.0 <= now_s - float(message["echo_s"]) <= ECHO_MAX_S):
            return "stale"
        return ""

    def setpoints(self, now_s: float) -> dict[str, float] | None:
        """The leased values, or None once the lease has run out (or the clock has gone backwards)."""
        age_s = now_s - self.received_s
        if not 0.0 <= age_s <= self.ttl_s or not self.values:
            return None
        return self.values
