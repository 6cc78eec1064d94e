"""The safety invariants as one pure function over a tick's record, independent of the controller's code.

Run in every test, on recordings and live. A field that is None or NaN was not observed, and what it would prove is
not claimed. `Watch` keeps the little history that rolling invariants need.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

EPS = 1e-6
WARM_SIGN = {"chwst_sp": 1, "chw_dp_sp": -1, "chillers_on_sp": -1, "sat_sp": 1, "fan_speed_sp": -1}
POLICY_MODES = ("bounded", "auto")
SILENT_MODES = ("monitor", "shadow", "advise", "release")
PROGRAM_EDGES = {
    ("fallback", "bounded"), ("fallback", "auto"), ("bounded", "fallback"), ("auto", "fallback"),
    ("bounded", "emergency"), ("auto", "emergency"), ("fallback", "emergency"), ("emergency", "fallback"),
    ("bounded", "release"), ("auto", "release"), ("fallback", "release"), ("emergency", "release"),
    ("release", "fallback"), ("release", "emergency"),
}  # fmt: skip
SUPPLY_FLOOR_C, CHWST_FLOOR_C = 15.0, 5.0
DEWPOINT_MARGIN_K = 2.0
BUMP_TEMPERATURE_K, BUMP_FAN_RATIO = 0.2, 0.02
CLEAN_S = 300.0
INLET_MAX_C = 32.0
WARMING_15MIN_K, WARMING_HOUR_K = 5.0, 20.0
EXPLAINED_K = 3.0
ENERGY_RATIO, LATENESS_MAX_S, COMPUTE_MAX_S, LATE_IN_A_ROW = 0.02, 0.25, 0.5, 3


class Violation(NamedTuple):
    """A broken invariant."""

    id: str
    text: str


@dataclass(frozen=True)
class TickRecord:
    """What one tick saw and did. Setpoints by name (`chwst_sp`, `hall1.sat_sp`) in internal units."""

    now_s: float
    dt_s: float
    seq: int
    mode: str
    granted: str
    published: Mapping[str, float]
    gateway_limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    rates_per_s: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    baseline: Mapping[str, float] = field(default_factory=dict)
    authority: Mapping[str, float] = field(default_factory=dict)
    airflow_forced: frozenset[str] = frozenset()
    operator_command: bool = False
    clean_s: float = math.nan
    hand: bool = False
    quorum: bool | None = None
    confirmed: bool | None = None
    hottest_c: float = math.nan
    hottest_believed_c: float = math.nan
    warm_limit_c: float = math.nan
    dewpoint_c: float = math.nan
    fan_min_ratio: float = math.nan
    dwell_on_s: float = math.nan
    between_starts_s: float = math.nan
    carries_without: bool | None = None
    ride_through_s: float = math.nan
    ride_through_needed_s: float = math.nan
    stale_used: int = 0
    model_admitted: bool | None = None
    policy_used: bool = False
    changed_by_shield: bool | None = None
    intervention_flag: bool | None = None
    lateness_s: float = math.nan
    compute_s: float = math.nan
    signatures: int | None = None
    true_inlet_c: float = math.nan
    plant_fault: bool = False
    total_w: float = math.nan
    parts_w: tuple[float, ...] = ()


class History(NamedTuple):
    """What came before, as far as the invariants look back."""

    last: TickRecord | None
    last_chiller_change_s: float
    last_chiller_start_s: float
    inlet_min_15min_c: float
    inlet_min_hour_c: float
    late_before: int


Check = Callable[[TickRecord, History], str]


def _role(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _finite(r: TickRecord, h: History) -> str:
    bad = [n for n, v in r.published.items() if not math.isfinite(v)]
    return f"{bad} not finite" if bad else ""


def _limits(r: TickRecord, h: History) -> str:
    for name, value in r.published.items():
        low, high = r.gateway_limits.get(name, (-math.inf, math.inf))
        if not low - EPS <= value <= high + EPS:
            return f"{name} = {value} outside {low} … {high}"
    return ""


def _rates(r: TickRecord, h: History) -> str:
    if h.last is None or not h.last.published or r.dt_s <= 0.0:
        return ""
    for name, value in r.published.items():
        before = h.last.published.get(name)
        if before is None or name not in r.rates_per_s:
            continue
        down, up = r.rates_per_s[name]
        if (
            not before - down * r.dt_s - EPS * max(1.0, abs(before))
            <= value
            <= before + up * r.dt_s + EPS * max(1.0, abs(before))
        ):
            return f"{name} moved from {before} to {value} in {r.dt_s} s"
    return ""


def _authority(r: TickRecord, h: History) -> str:
    if r.mode != "bounded":
        return ""
    for name, band in r.authority.items():
        # A move that the slew still holds back may lie outside while it travels towards the band.
        before = h.last.published.get(name) if h.last else None
        value, centre = r.published.get(name), r.baseline.get(name)
        if value is None or centre is None or before is None:
            continue
        if abs(value - centre) > band + EPS and abs(value - centre) > abs(before - centre) + EPS and abs(before - centre) <= band:
            return f"{name} left its band of ±{band}"
    return ""


def _order(r: TickRecord, h: History) -> str:
    return f"seq {r.seq} after {h.last.seq}" if h.last is not None and r.seq <= h.last.seq else ""


def _warm_moves(r: TickRecord, h: History) -> str:
    if h.last is None or not h.last.published or r.quorum is None:
        return ""
    allowed = r.quorum and r.confirmed is not False and r.hottest_c <= r.warm_limit_c + EPS
    if allowed:
        return ""
    for name, value in r.published.items():
        sign, before = WARM_SIGN.get(_role(name), 0), h.last.published.get(name)
        if sign and before is not None and sign * (value - before) > EPS * max(1.0, abs(before)):
            return f"{name} moved warm from {before} to {value} without evidence"
    return ""


def _moisture(r: TickRecord, h: History) -> str:
    for name, value in r.published.items():
        if _role(name) == "sat_sp":
            floor = max(SUPPLY_FLOOR_C, r.dewpoint_c + DEWPOINT_MARGIN_K if r.dewpoint_c == r.dewpoint_c else SUPPLY_FLOOR_C)
            before = h.last.published.get(name, math.inf) if h.last else math.inf
            # Moist air that arrives faster than the setpoint may rise is no fault as long as it is rising.
            if value < floor - EPS and value < before - EPS:
                return f"{name} = {value} below {floor}"
        if _role(name) == "chwst_sp" and value < CHWST_FLOOR_C - EPS:
            return f"{name} = {value} below {CHWST_FLOOR_C}"
    return ""


def _minimum_air(r: TickRecord, h: History) -> str:
    low = [n for n, v in r.published.items() if _role(n) == "fan_speed_sp" and v < r.fan_min_ratio - EPS]
    return f"{low} below {r.fan_min_ratio}" if low else ""


def _stops(r: TickRecord, h: History) -> str:
    names = ("chillers_on_sp", "economizer_on_sp")
    before = {n: h.last.published[n] for n in names if h.last and n in h.last.published}
    stopped = [n for n, was in before.items() if r.published.get(n, was) < was]
    if not stopped or r.carries_without is None:
        return ""
    if not r.carries_without:
        return f"{stopped[0]} fell although what is left running does not carry 105 %"
    if r.ride_through_s < r.ride_through_needed_s:
        return f"{stopped[0]} fell at {r.ride_through_s:.0f} s of ride-through"
    return ""


def _dwell(r: TickRecord, h: History) -> str:
    before = h.last.published.get("chillers_on_sp") if h.last else None
    now = r.published.get("chillers_on_sp")
    if before is None or now is None or now == before:
        return ""
    if now < before and r.now_s - h.last_chiller_start_s < r.dwell_on_s - EPS:
        return f"a chiller was stopped {r.now_s - h.last_chiller_start_s:.0f} s after a start"
    if now > before and r.mode != "emergency" and r.now_s - h.last_chiller_start_s < r.between_starts_s - EPS:
        return f"two starts within {r.now_s - h.last_chiller_start_s:.0f} s"
    return ""


def _mode_graph(r: TickRecord, h: History) -> str:
    if h.last is None or r.mode == h.last.mode or r.operator_command:
        return ""
    return "" if (h.last.mode, r.mode) in PROGRAM_EDGES else f"{h.last.mode} → {r.mode} without an operator"


def _bump(r: TickRecord, h: History) -> str:
    if h.last is None or r.mode == h.last.mode or r.mode == "emergency" or not h.last.published:
        return ""
    for name, value in r.published.items():
        before, role = h.last.published.get(name), _role(name)
        most = BUMP_FAN_RATIO if role == "fan_speed_sp" else BUMP_TEMPERATURE_K if role in ("sat_sp", "chwst_sp") else math.inf
        if before is not None and name not in r.airflow_forced and abs(value - before) > most + EPS:
            return f"{name} jumped by {value - before:.3f} at {h.last.mode} → {r.mode}"
    return ""


def _earned(r: TickRecord, h: History) -> str:
    entered = r.mode in POLICY_MODES and (h.last is None or h.last.mode not in POLICY_MODES)
    return f"{r.mode} entered after {r.clean_s:.0f} s" if entered and not r.clean_s >= CLEAN_S - EPS else ""


def _silence(r: TickRecord, h: History) -> str:
    return f"{r.mode} published setpoints" if r.mode in SILENT_MODES and r.published else ""


def _hand(r: TickRecord, h: History) -> str:
    return "setpoints published while the plant is in hand" if r.hand and r.published else ""


def _stale(r: TickRecord, h: History) -> str:
    return f"{r.stale_used} stale values were used" if r.stale_used else ""


def _model(r: TickRecord, h: History) -> str:
    return "a policy that was not admitted was used" if r.policy_used and r.model_admitted is False else ""


def _flag(r: TickRecord, h: History) -> str:
    differ = r.changed_by_shield is not None and r.intervention_flag is not None
    return "intervention flag is wrong" if differ and r.changed_by_shield != r.intervention_flag else ""


def _late(r: TickRecord, h: History) -> str:
    late = r.lateness_s > LATENESS_MAX_S or r.compute_s > COMPUTE_MAX_S
    too_many = late and h.late_before + 1 > LATE_IN_A_ROW
    return "the policy stayed in charge of a loop that overran" if too_many and r.mode in POLICY_MODES else ""


def _compiled(r: TickRecord, h: History) -> str:
    grew = h.last is not None and h.last.signatures is not None and r.signatures is not None
    return "a kernel was compiled inside the loop" if grew and r.signatures != h.last.signatures else ""  # type: ignore[union-attr]


def _hot(r: TickRecord, h: History) -> str:
    return f"a rack inlet at {r.true_inlet_c:.1f} °C" if not r.plant_fault and r.true_inlet_c > INLET_MAX_C else ""


def _warming(r: TickRecord, h: History) -> str:
    if r.plant_fault:
        return ""
    quick, slow = r.true_inlet_c - h.inlet_min_15min_c, r.true_inlet_c - h.inlet_min_hour_c
    if quick > WARMING_15MIN_K + EPS:
        return f"inlet rose {quick:.1f} K within 15 min"
    return f"inlet rose {slow:.1f} K within an hour" if slow > WARMING_HOUR_K + EPS else ""


def _energy(r: TickRecord, h: History) -> str:
    if not r.parts_w or r.total_w != r.total_w:
        return ""
    off_w = abs(r.total_w - sum(r.parts_w))
    return f"power books differ by {off_w:.0f} W" if off_w > ENERGY_RATIO * max(abs(r.total_w), 1.0) else ""


def _explained(r: TickRecord, h: History) -> str:
    off_k = r.hottest_c - r.hottest_believed_c
    return f"worked with {off_k:+.1f} K against the hottest believed rack" if abs(off_k) > EXPLAINED_K + EPS else ""


CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("I-01", "every published number is finite", _finite),
    ("I-02", "every setpoint lies inside the gateway's own limits", _limits),
    ("I-03", "no setpoint moves faster than its rate", _rates),
    ("I-04", "in bounded, setpoints stay within the band around the baseline", _authority),
    ("I-05", "sequence numbers rise", _order),
    ("I-07", "warm moves only with quorum, inlets below their limit and a confirming plant", _warm_moves),
    ("I-08", "supply air above dew point + 2 K and 15 °C, chilled water above 5 °C", _moisture),
    ("I-09", "fans never below the site's minimum", _minimum_air),
    ("I-10", "no machine stops unless the rest carries 105 % and ride-through holds", _stops),
    ("I-11", "minimum run time and time between starts are kept", _dwell),
    ("I-12", "modes change along the declared graph only", _mode_graph),
    ("I-13", "a change of mode moves setpoints by at most 0.2 K or 2 % fan speed", _bump),
    ("I-14", "the policy takes charge only after 300 s of clean evidence", _earned),
    ("I-15", "a silent mode publishes nothing", _silence),
    ("I-16", "nothing is published while the plant is in hand", _hand),
    ("I-17", "no stale value is used", _stale),
    ("I-19", "no setpoint comes from a policy that was not admitted", _model),
    ("I-20", "the intervention flag says whether the shield changed something", _flag),
    ("I-21", "a loop that overruns three times does not keep the policy in charge", _late),
    ("I-22", "no kernel is compiled inside the loop", _compiled),
    ("I-29", "no rack inlet above 32 °C by software", _hot),
    ("I-30", "inlets warm by at most 5 K in 15 min and 20 K in an hour", _warming),
    ("I-31", "power books close within 2 %", _energy),
    ("I-32", "the hottest inlet that a tick works with is within 3 K of the hottest sensor that it believes", _explained),
)

NOT_PER_TICK = {
    "I-06": "the gateway refuses leases older than five ticks: tests/test_wire.py",
    "I-18": "a point in doubt is out of the snapshot before the estimate: tests/test_health.py",
    "I-23": "threads and file descriptors stand still over a day: tests/hil/test_day.py, alert CoolctlProcessGrows",
    "I-24": "memory stands still over a day, below 300 MB: tests/hil/test_day.py, MemoryMax, alert CoolctlProcessGrows",
    "I-25": "the client sends at once or not at all: tests/hil/test_loop.py",
    "I-26": "one publisher an epoch: tests/test_wire.py",
    "I-27": "write rates: one lease a tick by construction; machine-level writes are the plant's",
    "I-28": "events of a recording: tests/test_recording.py",
    "I-33": "bit-identical replay: tests/test_recording.py",
    "I-34": "each change of mode is said once, in its own tick, with its cause: tests/test_journal.py, tests/test_alerts.py",
    "I-35": "no secrets in journal or metrics: check-config redacts, tests/test_cli.py",
    "I-36": "liveness while ready: tests/hil/test_loop.py",
}


def check(record: TickRecord, history: History) -> list[Violation]:
    """Every invariant that `record` breaks. Pure; never raises for any numbers."""
    found = []
    for identity, _statement, test in CHECKS:
        text = test(record, history)
        if text:
            found.append(Violation(identity, text))
    return found


class Watch:
    """Checks record after record of one run."""

    def __init__(self) -> None:
        self._last: TickRecord | None = None
        self._change_s = self._start_s = -math.inf
        self._short: deque[tuple[float, float]] = deque()
        self._long: deque[tuple[float, float]] = deque()
        self._late = 0

    def look(self, r: TickRecord) -> list[Violation]:
        """Violations of this tick, given all before it."""
        short = _rolling_min(self._short, 900.0, r.now_s, r.true_inlet_c)
        long = _rolling_min(self._long, 3600.0, r.now_s, r.true_inlet_c)
        history = History(self._last, self._change_s, self._start_s, short, long, self._late)
        found = check(r, history)
        before = self._last.published.get("chillers_on_sp") if self._last else None
        now = r.published.get("chillers_on_sp")
        if before is not None and now is not None and now != before:
            self._change_s = r.now_s
            self._start_s = r.now_s if now > before else self._start_s
        late = r.lateness_s > LATENESS_MAX_S or r.compute_s > COMPUTE_MAX_S
        self._late = self._late + 1 if late else 0
        self._last = r
        return found


def _rolling_min(rising: deque[tuple[float, float]], window_s: float, now_s: float, value: float) -> float:
    if value == value:
        while rising and rising[-1][1] >= value:
            rising.pop()
        rising.append((now_s, value))
    while rising and now_s - rising[0][0] > window_s:
        rising.popleft()
    return rising[0][1] if rising else math.nan
