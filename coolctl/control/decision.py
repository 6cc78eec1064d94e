"""What a tick decided, and everything that led to it: one row of floats for the recording, names for the operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coolctl.control.health import Doubt
from coolctl.control.loops import KINDS as SICK_KINDS
from coolctl.control.loops import Sickness
from coolctl.control.mode import MODES, PUBLISHING
from coolctl.control.prices import PLAN_LIMITS, binding_names
from coolctl.control.screening import KINDS as WEAKEST_KINDS
from coolctl.control.shield import LIMITS
from coolctl.control.zones import KINDS, Finding

if TYPE_CHECKING:
    from coolctl.site import Site

F64 = NDArray[np.float64]

TERMS = (
    "it_w", "hottest_c", "oawb_c", "dewpoint_c", "measured_w", "model_w", "baseline_w", "plan_w", "policy_w",
    "ride_through_s", "chwst_cap_c", "inlet_bias_k", "trim_k", "plr", "clean_s", "policy_used", "quorum",
    "substituted", "gateway_age_s", "confirmed", "suspect_hall", "suspect_kind",
    "suspect_size", "sick_loops", "doubted", "plan_binding", "weakest", "weakest_ratio",
    "then_fallback_c",
    *(f"price_{limit.name}_w" for limit in PLAN_LIMITS),
)  # fmt: skip
SUSPECT = TERMS.index("suspect_hall")
WEAKEST = TERMS.index("weakest")
FIRST_PRICE = TERMS.index(f"price_{PLAN_LIMITS[0].name}_w")


@dataclass(frozen=True, slots=True)
class Decision:
    """One tick's result. `u*` are setpoint vectors in internal units; NaN where there is none."""

    site: Site
    now_s: float
    seq: int
    mode: str
    granted: str
    mode_reason: str
    u: F64
    u_wish: F64
    u_policy: F64
    u_baseline: F64
    bits: NDArray[np.int64]
    term_values: F64
    plan_source: str
    alarm: str
    doubts: tuple[Doubt, ...] = ()
    sick: tuple[Sickness, ...] = ()
    u_override: F64 | None = None  # what an operator holds at a value of their own; NaN where nobody does
    no_effect: tuple[int, ...] = ()

    @property
    def published(self) -> bool:
        """Whether this mode leases setpoints to the plant."""
        return self.mode in PUBLISHING

    @property
    def setpoints(self) -> dict[str, float]:
        """`{point id: value in the site file's unit}` of the accepted setpoints; empty when nothing is published."""
        return self.wire(self.u) if self.published else {}

    @property
    def weakest(self) -> tuple[str, float] | None:
        """The kind of machine whose single failure leaves least, and that over what is needed; None where not known."""
        kind, ratio = self.term_values[WEAKEST], self.term_values[WEAKEST + 1]
        return (WEAKEST_KINDS[int(kind)], float(ratio)) if ratio == ratio else None

    @property
    def overridden(self) -> dict[str, float]:
        """`{point id: value in the site file's unit}` that operators hold; the shield may still make it safer."""
        if self.u_override is None or not np.isfinite(self.u_override).any():
            return {}
        held = np.isfinite(self.u_override)
        names = [self.site.table.points[i].id for k, i in enumerate(self.site.u_point) if i >= 0 and held[k]]
        wire = self.wire(self.u_override)
        return {name: wire[name] for name in names if name in wire}

    def wire(self, u: F64) -> dict[str, float]:
        """A setpoint vector by point id, in the site file's units; unknown entries left out."""
        points, site = self.site.table.points, self.site
        values = {}
        for k, i in enumerate(site.u_point):
            if site.accepted[k] and u[k] == u[k]:
                values[points[i].id] = round(points[i].encode(float(u[k])), 4)
        return values

    @property
    def reasons(self) -> dict[str, str]:
        """Why each accepted setpoint is what it is, by point id."""
        origin = self.plan_source if self.policy_used else f"rule baseline ({self.mode})"
        if self.policy_used and self.plan_binding:
            origin += "; the plan stands on " + ", ".join(name.replace("_", " ") for name in self.plan_binding)
        points, site = self.site.table.points, self.site
        return {
            points[i].id: ", ".join(names) if (names := self.binding(k)) else origin
            for k, i in enumerate(site.u_point)
            if site.accepted[k]
        }

    def binding(self, k: int) -> list[str]:
        """Names of the limits that changed entry `k`."""
        bits = int(self.bits[k])
        return [name.replace("_", " ") + " limit" for j, name in enumerate(LIMITS) if bits >> j & 1]

    @property
    def policy_used(self) -> bool:
        return bool(self.term_values[TERMS.index("policy_used")] > 0.5)

    @property
    def suspect(self) -> Finding | None:
        """The hall that stands out, if one does."""
        hall, kind, size = self.term_values[SUSPECT : SUSPECT + 3].tolist()
        return Finding(int(hall), list(KINDS)[int(kind)], size) if hall == hall else None

    @property
    def sick_loops(self) -> dict[str, str]:
        """The plant's own loops that do not work as they should, by name, and what is wrong with each."""
        names = [*(f"{hall}.valve" for hall in self.site.halls), "towers"]
        return {names[s.loop]: SICK_KINDS[s.kind] for s in self.sick}

    @property
    def doubted(self) -> dict[str, str]:
        """Points that are not believed now, and why."""
        points = self.site.table.points
        return {points[d.i].id: d.reason for d in self.doubts}

    @property
    def without_effect(self) -> list[str]:
        """Setpoints that the plant says it follows and does not."""
        return [self.site.u_names[k] for k in self.no_effect]

    @property
    def plan_binding(self) -> list[str]:
        """Limits that the plan behind this decision stands on."""
        bits = self.term_values[TERMS.index("plan_binding")]
        return binding_names(int(bits)) if bits == bits else []

    @property
    def limit_prices(self) -> dict[str, tuple[float, str]]:
        """What each limit of the plan costs: `{limit: (W, the unit that they are for)}`; only what has been priced."""
        prices = self.term_values[FIRST_PRICE:].tolist()
        return {limit.name: (w, limit.per) for limit, w in zip(PLAN_LIMITS, prices, strict=True) if w == w}

    @property
    def terms(self) -> Mapping[str, float]:
        """Every intermediate term by name."""
        return dict(zip(TERMS, self.term_values.tolist(), strict=True))

    def row(self) -> F64:
        """The decision as floats: what replay compares bit for bit (see `row_columns`)."""
        head = (float(self.seq), float(MODES.index(self.mode)), float(MODES.index(self.granted)))
        return np.concatenate([head, self.u, self.u_wish, self.u_policy, self.u_baseline, self.bits, self.term_values])


def row_columns(site: Site) -> list[str]:
    """Names of `Decision.row`'s entries."""
    columns = ["seq", "mode", "granted"]
    for kind in ("sp", "wish", "policy", "baseline", "limits"):
        columns += [f"{kind}:{name}" for name in site.u_names]
    return columns + [f"term:{name}" for name in TERMS]
