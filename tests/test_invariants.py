"""Every invariant passes on a good tick and is broken by the one thing that it is about, and by nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Loop

from coolctl.control.decision import TERMS
from coolctl.control.health import Doubt
from coolctl.invariants import CHECKS, NOT_PER_TICK, History, TickRecord, Watch, check
from coolctl.site import Site

SETPOINTS = {
    "chwst_sp": 16.0, "chw_dp_sp": 60e3, "chillers_on_sp": 2.0, "cwst_sp": 20.0, "economizer_on_sp": 1.0, "hall1.sat_sp": 23.0,
    "hall1.fan_speed_sp": 0.6,
}  # fmt: skip
GOOD = TickRecord(
    now_s=1000.0, dt_s=1.0, seq=8, mode="auto", granted="auto", published=SETPOINTS,
    gateway_limits={"chwst_sp": (5.0, 21.0), "hall1.sat_sp": (10.0, 27.0), "hall1.fan_speed_sp": (0.3, 1.0)},
    rates_per_s={"cwst_sp": (0.1, 0.1)}, baseline=SETPOINTS, authority={"chwst_sp": 3.0}, clean_s=400.0, quorum=True,
    confirmed=True, hottest_c=24.0, warm_limit_c=25.7, dewpoint_c=12.0, fan_min_ratio=0.35, dwell_on_s=1800.0,
    between_starts_s=600.0, carries_without=True, ride_through_s=700.0, ride_through_needed_s=480.0, model_admitted=True,
    policy_used=True, changed_by_shield=True, intervention_flag=True, lateness_s=0.01, compute_s=0.002, signatures=30,
    true_inlet_c=24.1, total_w=1e5, parts_w=(6e4, 4e4),
)  # fmt: skip
LAST = replace(GOOD, now_s=999.0, seq=7)
CALM = History(LAST, -math.inf, -math.inf, 23.0, 22.0, 0)


def sp(**changes: float) -> dict[str, float]:
    return SETPOINTS | {name.replace("hall1_", "hall1."): value for name, value in changes.items()}


def after(**changes: object) -> History:
    return CALM._replace(last=replace(LAST, **changes))  # type: ignore[arg-type]


# id: what is changed in the good tick, and in what came before
BROKEN: dict[str, tuple[dict[str, object], History]] = {
    "I-01": ({"published": sp(cwst_sp=math.nan)}, CALM),
    "I-02": ({"published": sp(chwst_sp=21.5)}, after(published=sp(chwst_sp=21.5))),
    "I-03": ({"published": sp(cwst_sp=20.2)}, CALM),
    "I-04": ({"mode": "bounded", "published": sp(chwst_sp=19.5)}, after(mode="bounded")),
    "I-05": ({"seq": 7}, CALM),
    "I-07": ({"quorum": False, "published": sp(chwst_sp=16.01)}, CALM),
    "I-08": ({"dewpoint_c": 21.5, "published": sp(hall1_sat_sp=22.9)}, CALM),
    "I-09": ({"published": sp(hall1_fan_speed_sp=0.34)}, CALM),
    "I-10": ({"published": sp(economizer_on_sp=0.0), "carries_without": False}, CALM),
    "I-11": ({"published": sp(chillers_on_sp=1.0)}, CALM._replace(last_chiller_start_s=100.0)),
    "I-12": ({"mode": "fallback", "policy_used": False}, after(mode="monitor", published={})),
    "I-13": ({"mode": "fallback", "published": sp(hall1_sat_sp=22.7)}, CALM),
    "I-14": ({"clean_s": 200.0}, after(mode="fallback")),
    "I-15": ({"mode": "release"}, after(mode="release", published={})),
    "I-16": ({"hand": True}, CALM),
    "I-17": ({"stale_used": 1}, CALM),
    "I-19": ({"model_admitted": False}, CALM),
    "I-20": ({"intervention_flag": False}, CALM),
    "I-21": ({"compute_s": 0.7}, CALM._replace(late_before=3)),
    "I-22": ({"signatures": 31}, CALM),
    "I-29": ({"true_inlet_c": 32.5}, CALM._replace(inlet_min_15min_c=31.0, inlet_min_hour_c=30.0)),
    "I-30": ({"true_inlet_c": 28.5}, CALM),
    "I-31": ({"parts_w": (6e4, 3e4)}, CALM),
    "I-32": ({"hottest_believed_c": 27.6}, CALM),
}


def test_good_tick_breaks_nothing() -> None:
    assert check(GOOD, CALM) == []
    assert check(replace(GOOD, published={}, mode="monitor"), after(published={}, mode="monitor")) == []


@pytest.mark.parametrize("identity", [i for i, _, _ in CHECKS])
def test_invariant_is_broken_by_what_it_is_about_and_nothing_else(identity: str) -> None:
    changes, history = BROKEN[identity]
    found = check(replace(GOOD, **changes), history)  # type: ignore[arg-type]
    also = ["I-02", "I-03"] if identity == "I-01" else []  # no number is inside no limits either
    assert [v.id for v in found] == [identity, *also] and found[0].text


MORE: tuple[tuple[str, dict[str, object], History], ...] = (
    ("I-07", {"confirmed": False, "published": sp(hall1_fan_speed_sp=0.59)}, CALM),
    ("I-07", {"hottest_c": 25.9, "published": sp(hall1_sat_sp=23.01)}, CALM),
    ("I-08", {"published": sp(chwst_sp=4.9), "gateway_limits": {}}, CALM),
    ("I-10", {"published": sp(chillers_on_sp=1.0), "ride_through_s": 300.0}, CALM),
    ("I-11", {"published": sp(chillers_on_sp=3.0)}, CALM._replace(last_chiller_start_s=700.0)),
    ("I-13", {"mode": "fallback", "published": sp(hall1_fan_speed_sp=0.63)}, CALM),
    ("I-30", {"true_inlet_c": 29.0}, CALM._replace(inlet_min_15min_c=28.5, inlet_min_hour_c=8.5)),
    ("I-32", {"hottest_believed_c": 20.9}, CALM),
)


@pytest.mark.parametrize(("identity", "changes", "history"), MORE)
def test_second_half_of_an_invariant(identity: str, changes: dict[str, object], history: History) -> None:
    assert [v.id for v in check(replace(GOOD, **changes), history)] == [identity]  # type: ignore[arg-type]


ALLOWED: tuple[tuple[dict[str, object], History], ...] = (
    ({"quorum": False, "published": sp(chwst_sp=15.9, hall1_fan_speed_sp=0.62)}, CALM),  # cooling needs no evidence
    ({"published": sp(chillers_on_sp=1.0)}, CALM),
    ({"mode": "emergency", "published": sp(hall1_fan_speed_sp=1.0, chillers_on_sp=3.0)}, CALM),
    ({"true_inlet_c": 40.0, "plant_fault": True}, CALM),
    ({"mode": "monitor", "published": {}, "operator_command": True}, CALM),
    ({"compute_s": 0.7}, CALM),  # once is no habit
)


@pytest.mark.parametrize(("changes", "history"), ALLOWED)
def test_what_looks_alike_and_is_allowed(changes: dict[str, object], history: History) -> None:
    assert check(replace(GOOD, **changes), history) == []  # type: ignore[arg-type]


def test_watch_remembers_starts_lateness_and_the_coolest_inlet() -> None:
    watch, found = Watch(), []
    for k in range(4000):
        staged = 2.0 if k < 100 else 3.0 if k < 1500 else 2.0
        inlet = 24.0 if k < 500 else 24.0 + 0.01 * (k - 500)  # 5 K within 15 min once it has risen for 501 s
        late = 0.4 if 3000 <= k < 3005 else 0.01
        record = replace(
            GOOD, now_s=float(k), seq=k, published=sp(chillers_on_sp=staged), true_inlet_c=min(inlet, 29.5), lateness_s=late
        )
        found += [(k, v.id) for v in watch.look(record)]
    assert [k for k, i in found if i == "I-11"] == [1500]
    assert next(k for k, i in found if i == "I-30") == 1001
    assert [k for k, i in found if i == "I-21"] == [3003, 3004]
    assert {i for _, i in found} == {"I-11", "I-21", "I-30"}


def test_every_invariant_of_the_contract_is_somewhere() -> None:
    per_tick = {i for i, _, _ in CHECKS}
    assert len(per_tick) == len(CHECKS) and not per_tick & set(NOT_PER_TICK)
    assert per_tick | set(NOT_PER_TICK) == {f"I-{k:02d}" for k in range(1, 37)}
    root = Path(__file__).resolve().parent.parent
    for identity, where in NOT_PER_TICK.items():
        for word in where.replace(",", " ").split():
            assert not word.startswith("tests/") or (root / word).is_file(), identity


def test_audit_compares_with_the_racks_that_are_believed(site: Site) -> None:
    """The tick works with what its sensors say; were it handed other racks than it decided on, that would be seen."""
    loop = Loop(site, None, mode="fallback").run(5)
    assert loop.decision is not None and not loop.audit.violations
    snap = loop.controller.store.snapshot(4.0)
    rack, value = int(site.table.by_role("rack_inlet")[3]), snap.value.copy()
    value[rack] = loop.decision.term_values[TERMS.index("hottest_c")] + 3.5
    (found,) = loop.audit.look(replace(loop.decision, seq=99), snap._replace(value=value))
    assert found.id == "I-32"
    doubted = replace(loop.decision, seq=100, doubts=(Doubt(rack, "jumps"),))
    assert not loop.audit.look(doubted, snap._replace(value=value))
