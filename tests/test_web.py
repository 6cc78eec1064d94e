"""What the live page keeps in memory: trends without a lost peak, changes with their reasons, alarms as Prometheus has them."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT
from page_feed import decision, telemetry, tell
from virtual import Client, VirtualStack

from coolctl.control.decision import Decision
from coolctl.controller import Controller
from coolctl.daemon_state import Hold
from coolctl.decision_json import encode_decision
from coolctl.edge.mqtt import MqttSettings
from coolctl.site import Site, load_site
from coolctl.strict_json import Rejected
from coolctl.web import trends as t
from coolctl.web.alarms import CALM_S, RULES, Alarms, View, causes
from coolctl.web.changes import KEPT, Changes
from coolctl.web.heard import NUMBER_MAX, read_decision
from coolctl.web.listener import FRESH_S, Listener

NOTHING = np.full(len(t.SERIES), np.nan)


def with_inlet(value_c: float) -> np.ndarray:
    values = NOTHING.copy()
    values[t.INLET] = value_c
    return values


def drawn(trends: t.Trends, span: str, now_s: float) -> dict[str, Any]:
    found = json.loads(trends.json(span, now_s, {}))
    return found | {s["key"]: s for s in found["series"]}


@pytest.mark.parametrize("span", t.SPANS)
def test_one_second_above_the_limit_is_still_there_when_thinned(span: str) -> None:
    trends = t.Trends()
    for k in range(3000):
        trends.add(float(k), with_inlet(31.0 if k == 1234 else 20.0 if k == 1300 else 24.0), "auto")
    inlet = drawn(trends, span, 2999.0)["inlet"]
    assert max(v for v in inlet["high"] if v is not None) == 31.0
    assert min(v for v in inlet["low"] if v is not None) == 20.0
    assert max(v for v in inlet["mean"] if v is not None) < 25.0  # the mean alone would have hidden it
    assert len(inlet["high"]) == math.ceil(3000 / t.SPANS[span].step_s)


def test_silence_is_a_gap_and_grows_to_now() -> None:
    trends = t.Trends()
    for k in [*range(100), *range(160, 200)]:
        trends.add(float(k), with_inlet(24.0), "auto")
    found = drawn(trends, "hour", 245.0)
    assert found["inlet"]["mean"] == [24.0] * 10 + [None] * 6 + [24.0] * 4 + [None] * 5
    assert found["modes"] == [[0, 10, "auto"], [16, 20, "auto"]] and found["start_s"] == 0.0
    assert all(v is None for v in found["pue"]["mean"])  # what nobody knew stays unknown


def test_ring_forgets_what_is_older_than_its_span_and_stays_small() -> None:
    ring = t.Ring(t.Span(10.0, 6), 1)
    for k in range(500):
        ring.add(float(k), np.array([float(k)]), 0)
    start_s, low, _mean, high, mode = ring.rows(499.0)
    assert start_s == 440.0 and low[:, 0].tolist() == [440.0, 450.0, 460.0, 470.0, 480.0, 490.0]
    assert high[-1, 0] == 499.0 and len(mode) == 6
    ring.add(100.0, np.array([9e9]), 7)  # older than the ring: left out
    assert ring.rows(499.0)[3].max() == 499.0 and ring.rows(499.0)[4].max() == 0
    assert ring.rows(485.0)[3].max() == 499.0  # asked with a time from just before: the newest is there all the same
    ring.add(10_000.0, np.array([1.0]), 0)  # after a long silence nothing of the old turn is left
    assert np.nan_to_num(ring.rows(10_000.0)[1][:, 0]).tolist() == [1.0]


def test_bucket_keeps_the_mode_that_asks_for_most_attention() -> None:
    trends = t.Trends()
    for k, mode in enumerate(["auto", "emergency", "auto"] + ["auto"] * 17):
        trends.add(float(k), with_inlet(24.0), mode)
    assert drawn(trends, "hour", 19.0)["modes"] == [[0, 1, "emergency"], [1, 2, "auto"]]


def test_json_is_made_once_a_second_whoever_asks() -> None:
    trends = t.Trends()
    trends.add(5.0, with_inlet(24.0), "auto")
    first = trends.json("hour", 5.0, {})
    trends.add(5.5, with_inlet(29.0), "auto")
    assert trends.json("hour", 5.9, {}) is first and b"29" in trends.json("hour", 6.0, {})
    trends.clear()
    assert json.loads(trends.json("hour", 6.5, {}))["series"][0]["mean"] == []


def listed(changes: Changes) -> list[dict[str, Any]]:
    """Its entries, oldest first."""
    found: list[dict[str, Any]] = json.loads(changes.json())
    return found[::-1]


def follow(changes: Changes, steps: dict[int, dict[str, Any]], until: int) -> list[dict[str, Any]]:
    """The entries after `until` seconds, the decision changed at the seconds of `steps`."""
    now: dict[str, Any] = {}
    for k in range(until):
        now |= steps.get(k, {})
        changes.take(read_decision(json.dumps(decision(float(k), **now)).encode()), float(k))
        now.pop("events", None)
    return [e for e in listed(changes) if e["kind"] not in ("mode", "limits")]


def test_move_of_many_minutes_is_one_entry_with_its_reason_and_price() -> None:
    steps = {100 + 10 * k: {"setpoints": {"chwst_sp": 18.0 + 0.1 * k}} for k in range(31)}
    (entry,) = follow(Changes(), steps, 600)
    assert (entry["what"], entry["from"], entry["to"], entry["unit"]) == ("chwst_sp", 18.0, pytest.approx(21.0), "degC")
    assert entry["t_s"] == 150.0 and entry["until_s"] == 460.0 and entry["why"] == "policy, refined"
    assert entry["stands_on"] == [{"limit": "rack_inlet", "w": 5200.0, "per": "K"}]
    (moving,) = follow(Changes(), steps, 300)
    assert moving["until_s"] is None and moving["to"] == pytest.approx(19.9) and moving["t_s"] == entry["t_s"]


def test_wobble_and_a_move_there_and_back_are_no_entries() -> None:
    wobble = {k: {"setpoints": {"chwst_sp": 18.0 + 0.4 * (k % 2)}} for k in range(100)}
    there = {200: {"setpoints": {"chwst_sp": 19.0}}, 220: {"setpoints": {"chwst_sp": 18.0}}}
    assert follow(Changes(), wobble | there, 500) == []


def test_machine_a_person_and_a_finding_are_told_apart() -> None:
    held = {"events": [{"t_s": 1, "text": "hall1.sat_sp: held at 22 for 600 s, service"}]}
    found = {"events": [{"t_s": 1, "text": "towers hunts: its gain is too high"}, "no event", {"text": 7}]}
    entries = follow(Changes(), {10: {"setpoints": {"chillers_on_sp": 2.0}}, 20: held, 30: found}, 60)
    assert [(e["kind"], e["what"]) for e in entries] == [
        ("machines", "chillers_on_sp"),
        ("person", "hall1.sat_sp"),
        ("finding", "towers hunts"),
    ]
    assert entries[0]["until_s"] == 10.0 and "service" in entries[1]["why"]


def test_mode_is_said_once_and_limits_only_when_they_last() -> None:
    changes = Changes()
    gone = {"mode": "fallback", "mode_reason": "late loop", "events": [{"t_s": 9, "text": "fallback: late loop"}]}
    flicker = {k: {"plan_binding": ["airflow"] if k % 100 < 50 else ["rack_inlet"]} for k in range(400, 1000, 50)}
    follow(changes, {50: gone, **flicker, 1000: {"plan_binding": ["airflow"]}}, 1400)
    entries = [(e["kind"], e["from"], e["to"]) for e in listed(changes)]
    assert entries == [
        ("mode", None, "auto"), ("mode", "auto", "fallback"), ("limits", "none", "rack_inlet"), ("limits", "rack_inlet", "airflow"),
    ]  # fmt: skip


def test_history_is_bounded() -> None:
    changes = Changes()
    follow(changes, {k: {"setpoints": {"chillers_on_sp": float(k % 2)}} for k in range(3 * KEPT)}, 3 * KEPT)
    assert len(listed(changes)) == KEPT


QUIET = View(None, True, 0.0, 0.0, 0.0, 32.0, 25.0, 0.0)


def seen(**other: Any) -> View:
    return QUIET._replace(decision=read_decision(json.dumps(decision(1.0, **other)).encode()))


@pytest.mark.parametrize(
    ("name", "view", "said"),
    [
        ("CoolctlBrokerLost", QUIET._replace(connected=False), "connection"),
        ("CoolctlDeaf", QUIET._replace(telemetry_silent_s=61.0), "61 s"),
        ("CoolctlDown", QUIET._replace(decision_silent_s=None), "heard yet"),
        ("CoolctlInletAboveAllowable", QUIET._replace(hottest_c=32.5), "32.5"),
        ("CoolctlSensorsStale", QUIET._replace(unusable_ratio=0.2), "20 %"),
        ("CoolctlModelDrift", QUIET._replace(model_off_ratio=-0.25), "-25 %"),
        ("CoolctlEmergency", seen(mode="emergency", mode_reason="rack inlet above alarm"), "above alarm"),
        ("CoolctlFallbackActive", seen(mode="fallback", mode_reason="late loop"), "late loop"),
        ("CoolctlReleased", seen(mode="release", mode_reason="in hand"), "in hand"),
        ("CoolctlGatewaySilent", seen(terms={"gateway_age_s": 40.0}), "40 s"),
        ("CoolctlInletAboveLimit", seen(rack_inlet={"max_c": 26.6, "limit_c": 26.0}), "26.6"),
        ("CoolctlRideThroughShort", seen(ride_through_s=100.0), "100 s"),
        ("CoolctlNoRedundancy", seen(weakest={"machine": "tower_cell", "ratio": 0.9}), "tower cell: 90 %"),
        ("CoolctlSetpointNotFollowed", seen(lease={"applied": {"chwst_sp": 14.0}}), "14 instead of 18"),
        ("CoolctlLoopSick", seen(sick_loops={"towers": "hunts"}), "towers hunts"),
        ("CoolctlPointsDoubted", seen(doubted={f"r{k}": "jumps" for k in range(9)}), "and 5 more"),
        ("CoolctlHallSuspect", seen(suspect={"hall": "hall1", "text": "weak coil"}), "weak coil"),
        ("CoolctlHeldSetpoints", seen(overridden={"chwst_sp": 17.0}), "17"),
    ],
)
def test_condition_is_an_alarm_after_its_time_and_not_before(name: str, view: View, said: str) -> None:
    rule = next(r for r in RULES if r.name == name)
    assert causes(QUIET) == {} and set(causes(seen())) == set() and list(causes(view)) == [name]
    alarms, clock = Alarms(), lambda s: (0.0, s) if rule.on_link else (s, 0.0)
    alarms.step(causes(view), *clock(0.0))
    alarms.step(causes(view), *clock(rule.after_s - 0.5))
    assert (rule.after_s == 0.0) == bool(alarms.active)
    alarms.step(causes(view), *clock(rule.after_s))
    (shown,) = alarms.listed()
    assert shown["name"] == name and said in shown["cause"] and shown["do"] and shown["severity"] == rule.severity


def test_every_condition_of_the_page_is_tried() -> None:
    names = re.findall(r'^        \("(Coolctl\w+)",', Path(__file__).read_text(), re.MULTILINE)
    assert set(names) == {r.name for r in RULES}


def test_alarm_ends_when_its_cause_has_been_gone_for_a_while() -> None:
    alarms, hot = Alarms(), {"CoolctlEmergency": "hot"}
    for now_s, found in ((0.0, hot), (1.0, {}), (2.0, hot), (3.0, {}), (4.0, {})):
        alarms.step(found, now_s, 0.0)
    assert [a["since_s"] for a in alarms.listed()] == [0.0] and not alarms.past  # one alarm, not two
    version = alarms.version
    alarms.step({}, 3.0 + CALM_S, 0.0)
    assert not alarms.active and alarms.past[0]["until_s"] == 13.0 and alarms.version > version
    alarms.step(hot, 60.0, 0.0)
    assert alarms.listed()[0]["since_s"] == 60.0


def test_graver_alarms_stand_first() -> None:
    alarms = Alarms()
    for now_s in (0.0, 1e6):
        alarms.step({"CoolctlHeldSetpoints": "x", "CoolctlInletAboveLimit": "y", "CoolctlEmergency": "z"}, now_s, now_s)
    assert [a["severity"] for a in alarms.listed()] == ["critical", "warning", "info"]


def test_alarms_are_those_of_prometheus_and_lead_to_their_runbook() -> None:
    groups = yaml.safe_load((ROOT / "config/prometheus/alerts.yml").read_text())["groups"]
    alerts = {r["alert"]: r for g in groups for r in g["rules"]}
    book = (ROOT / "coolctl/edge/page/runbooks.html").read_text()
    seconds = {"s": 1.0, "m": 60.0, "h": 3600.0}
    for rule in RULES:
        alert, wait = alerts[rule.name], alerts[rule.name].get("for", "0s")
        assert alert["labels"]["severity"] == rule.severity, rule.name
        assert float(wait[:-1]) * seconds[wait[-1]] == rule.after_s, rule.name
        assert f'id="{rule.name.lower()}"' in book, rule.name


HOSTILE = [
    b"[1]", b"{", b"{}", b'{"t_s":"x","power":{}}', b'{"t_s":1,"power":[]}', b'{"t_s":true,"power":{}}', b'{"t_s":1e99,"power":{}}',
    b'{"t_s":1,"t_s":2,"power":{}}', b'{"t_s":NaN,"power":{}}',
]  # fmt: skip


@pytest.mark.parametrize("raw", HOSTILE)
def test_what_is_no_decision_is_refused(raw: bytes) -> None:
    with pytest.raises(Rejected):
        read_decision(raw)


@pytest.mark.parametrize("wrong", [None, 7, True, "x" * 9999, [], [1, "x", None], {}, {"a": 1, "b": [], "c": {"d": None}}, 1e300])
def test_any_field_of_any_type_leaves_the_page_standing(site: Site, wrong: object) -> None:
    listener = Listener(site, "127.0.0.1:1")
    for key in decision(0.0):
        if key != "t_s":
            tell(listener, decision(1.0) | {key: wrong})
    for key in ("setpoints", "held", "limit_prices", "events", "weakest", "suspect"):
        tell(listener, decision(2.0) | {key: {"a": wrong} if key in ("setpoints", "held", "weakest", "suspect") else [wrong]})
    tell(listener, decision(3.0, power={"measured_w": NUMBER_MAX, "baseline_w": NUMBER_MAX, "model_w": 1e-300}))
    state = json.loads(json.dumps(listener.state(), allow_nan=False))
    assert state["decision"]["power"]["measured_w"] == NUMBER_MAX, "the last one, which is sound, is what the page shows"
    assert all(isinstance(json.loads(document()), dict) for document in listener.documents().values())


def test_real_decision_arrives_whole_with_who_holds_what(site: Site) -> None:
    controller = Controller(site, None, "fallback")
    controller.override(np.where(np.array(site.u_names) == "hall1.sat_sp", 22.0, np.nan))
    made: Decision = controller.tick_snapshot(controller.store.snapshot(0.0))
    hold = {"hall1.sat_sp": Hold(22.0, "filter change", 1767225600.0)}
    heard = read_decision(encode_decision(made, [{"t_s": 0.0, "text": "fallback: start"}], {"applied": {"chwst_sp": 12.0}}, hold))
    assert heard["mode"] == made.mode and set(heard["setpoints"]) == {p.id for p in site.table.points if p.writable}
    assert heard["held"] == {"hall1.sat_sp": {"value": 22.0, "reason": "filter change", "until_s": 1767225600.0}}
    assert heard["overridden"] == {"hall1.sat_sp": 22.0} and heard["setpoints"]["hall1.sat_sp"]["reason"].startswith(
        "held by a person"
    )
    assert heard["events"] == ["fallback: start"] and heard["applied"] == {"chwst_sp": 12.0}


@pytest.fixture
def real_site(edited_site: Callable[..., Path]) -> Site:
    return load_site(edited_site(("simulated = true", "simulated = false")))


def test_trends_go_on_with_telemetry_when_the_controller_is_silent(real_site: Site) -> None:
    listener = Listener(real_site, "127.0.0.1:1")
    racks = {p.id: 24.0 for p in real_site.table.points if p.role == "rack_inlet"}
    meters = {p.id: 10.0 for p in real_site.table.points if p.role.endswith("_power")}
    tell(listener, decision(5.0), 1000.0)
    telemetry(listener, racks | meters, 1000.0 + FRESH_S)
    values = listener.look(1000.0 + FRESH_S + 1.0)
    found = dict(zip((s.key for s in t.SERIES), values, strict=True))
    assert found["inlet"] == 24.0 and found["cooling"] == pytest.approx(50.0) and math.isnan(found["saving"])
    hour = drawn(listener.trends, "hour", 1004.0)
    assert hour["modes"] == [[0, 1, "auto"]] and hour["inlet"]["high"] == [25.0]  # the controller's word, while it spoke
    tell(listener, decision(1.0), 1010.0)  # started anew, its clock too: the page's own time goes on
    assert len(drawn(listener.trends, "hour", 1011.0)["inlet"]["mean"]) == 2
    assert "wall_s" in listener.state()["clock"]


def test_new_run_of_a_simulated_plant_begins_with_a_clean_page(site: Site) -> None:
    listener = Listener(site, "127.0.0.1:1")
    for k in range(100):
        tell(listener, decision(3000.0 + k, mode="emergency"))
    before = listener.state()
    assert [a["name"] for a in before["alarms"]] == ["CoolctlEmergency"] and before["clock"] == {}
    tell(listener, decision(1.0))
    after = listener.state()
    assert not after["alarms"] and after["history"] > before["history"] and after["now_s"] == 1.0
    hour = json.loads(listener.documents()["/trends/hour.json"]())
    assert hour["start_s"] == 0.0 and hour["modes"] == [[0, 1, "auto"]]
    assert len(json.loads(listener.documents()["/history.json"]())["changes"]) == 1


def test_state_stream_does_not_carry_the_history(site: Site) -> None:
    listener = Listener(site, "127.0.0.1:1")
    for k in range(600):
        tell(listener, decision(float(k), setpoints={"chillers_on_sp": float(k // 20 % 2)}))
    assert len(json.dumps(listener.state())) < 8_000


def test_daemon_says_who_holds_what_and_until_when(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = VirtualStack(monkeypatch, site, tmp_path)
    ear = Client(MqttSettings("", 0, "coolctl-web-1"), [site.topic("decision")])
    stack.run(20)
    command = {"v": 1, "hold": {"hall1.sat_sp": 22.5}, "reason": "filter change, J. Li", "for_s": 600.0}
    stack.bus.publish("ops", site.topic("cmd"), json.dumps(command).encode())
    stack.run(20)
    listener = Listener(site, "127.0.0.1:1")
    for message in ear.inbox:
        listener.take(message)
    held = listener.state()["decision"]["held"]["hall1.sat_sp"]
    assert held["value"] == 22.5 and held["reason"] == "filter change, J. Li"
    assert 500.0 < held["until_s"] - time.time() <= 600.0
    persons = [e for e in listed(listener.changes) if e["kind"] == "person"]
    assert [e["what"] for e in persons] == ["hall1.sat_sp"] and "filter change" in persons[0]["why"]
    cooling = drawn(listener.trends, "hour", 40.0)["cooling"]["mean"]
    assert len(cooling) == 5 and cooling[2] > 10.0
