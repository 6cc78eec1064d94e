"""What becomes of the racks if a machine stops: the roll-out against the simulated plant, C and the scalar model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coolctl import cli
from coolctl.bench import native
from coolctl.bench import rollout as bench
from coolctl.bench.model import difference
from coolctl.cli_outlook import look
from coolctl.control import foresight
from coolctl.control.tick import IN_PROCESS
from coolctl.controller import Controller
from coolctl.edge.recorder import Recorder
from coolctl.outlook import AT, FAILURES, HORIZON_S, Outlook, Prospect
from coolctl.points import U_HALL, SampleStore, Snapshot, u_size
from coolctl.site import Site
from coolctl.thermal import lanes
from coolctl.thermal import rollout as r
from coolctl.thermal.dynamics import ride_through_s
from coolctl.thermal.params import hall_array, plant_params
from coolctl.trace import Unpacker, columns, header, open_recording, pack
from sim_plant.faults import parse
from sim_plant.load import Load, constant
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

BREAKS_S, STEP_S, AFTER_S = 1500.0, 5.0, 600.0
MACHINES = {
    "none": (), "crah": ("off:hall1.crahs:0.1",), "chw_pumps": ("off:chw_pumps",), "load": (),
    "chillers": tuple(f"off:chiller{k}" for k in (1, 2, 3)),
}  # fmt: skip


def test_arithmetic_alone_is_the_c_librarys() -> None:
    x = np.linspace(0.0, 80.0, 4001)
    assert max(abs(lanes.exp_minus(v) - math.exp(-v)) for v in x) < 1e-9
    assert max(abs(lanes.log_one_plus(v) - math.log1p(v)) for v in np.linspace(0.0, 1.0, 1001)) < 1e-7
    assert max(abs(lanes.power_minus_08(v) / v**-0.8 - 1.0) for v in np.geomspace(0.005, 2.0, 1001)) < 1e-9
    assert lanes.soft_corner(-40.0, 0.5) < 1e-9 and lanes.soft_corner(7.0, 0.5) == pytest.approx(7.0, abs=1e-6)
    assert lanes.soft_corner(0.0, 0.5) == pytest.approx(0.5 * math.log(2.0), abs=1e-7)


@pytest.mark.parametrize("width", bench.SIDE_BY_SIDE)
def test_c_comes_to_the_same(width: int) -> None:
    if not native.compilers():
        pytest.skip("no C compiler")
    sc = bench.scene(2)
    mine, found = bench.product(sc)
    flags = (*native.STRICT, f"-DLANES={width}")
    run, theirs = bench.in_c(native.twin(native.compilers()[0], flags, "rollout.c"), sc, width)
    mine()
    run()
    ours = bench.by_candidate(found, r.LANES)
    assert difference(ours, bench.by_candidate(theirs, width)) < 1e-9
    assert len(np.unique(ours[1])) > 10 and (ours[2] < bench.STEPS * bench.STEP_S).any(), "candidates that differ"


@pytest.fixture(scope="module")
def seen(site: Site, policy: Any) -> dict[tuple[str, float], tuple[list[Prospect], np.ndarray]]:
    """By failure and load: what was said, and the hottest rack of every step after it."""
    return {
        (name, load): broken(site, policy, name, load)
        for name, load in (("none", 0.5), ("crah", 0.8), ("chw_pumps", 0.5), ("chillers", 0.85), ("load", 0.6))
    }


def broken(site: Site, policy: Any, name: str, load_ratio: float) -> tuple[list[Prospect], np.ndarray]:
    later = 1.0 if name == "load" else load_ratio
    load = Load("step", np.array([0.0, BREAKS_S, 1e7]), np.array([load_ratio, later, later]))
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T12"), load, coarse=True)
    controller, readings, outlook, store = (
        Controller(site, policy, "auto"),
        plant.reset(1),
        Outlook(site),
        SampleStore(site.table),
    )
    said: list[Prospect] = []
    hottest_c = []
    for k in range(round((BREAKS_S + AFTER_S) / STEP_S)):
        now_s = k * STEP_S
        decision = controller.tick(readings, now_s)
        if now_s in (BREAKS_S - 60.0, BREAKS_S - STEP_S):
            store.put_readings(readings, now_s)
            said = outlook.look(store.snapshot(now_s), decision.u, [d.i for d in decision.doubts])
        if now_s == BREAKS_S:
            for text in MACHINES[name]:
                plant.faults.add(parse(text))
        readings = plant.step(decision.setpoints, STEP_S)  # type: ignore[assignment]
        if now_s >= BREAKS_S:
            hottest_c.append(float(plant.truth.rack_inlet_c.max()))
    return said, np.array(hottest_c)


def after_s(hottest_c: np.ndarray, limit_c: float) -> float:
    return float(np.argmax(hottest_c > limit_c) + 1) * STEP_S if (hottest_c > limit_c).any() else math.inf


def test_what_is_said_of_a_failure_is_what_comes_or_worse(site: Site, seen: Any) -> None:
    """The worst of the plausible plants is never too late, and says half a kelvin too little at most."""
    lim = site.file.limits
    for (name, _load), (said, hottest_c) in seen.items():
        p = said[AT[name]]
        assert p.failure == name
        assert p.hottest_worst_c > hottest_c.max() - 0.5, name
        for worst_s, limit_c in ((p.limit_worst_s, lim.rack_inlet_limit_c), (p.allowable_worst_s, lim.rack_inlet_allowable_c)):
            came_s = after_s(hottest_c, limit_c)
            assert worst_s <= came_s or came_s > AFTER_S, name


def test_what_is_said_is_near_what_comes(site: Site, seen: Any) -> None:
    """Nothing stops: half a kelvin. All water stands: within a minute of the servers' limit."""
    said, hottest_c = seen["none", 0.5]
    assert abs(said[0].hottest_c - hottest_c.max()) < 0.5 and said[0].limit_s == math.inf
    said, hottest_c = seen["crah", 0.8]
    assert abs(said[AT["crah"]].hottest_c - hottest_c.max()) < 1.0
    said, hottest_c = seen["chw_pumps", 0.5]
    came_s = after_s(hottest_c, site.file.limits.rack_inlet_allowable_c)
    assert 20.0 < came_s < 300.0 and abs(said[AT["chw_pumps"]].allowable_s - came_s) < 75.0


@pytest.fixture(scope="module")
def snapshot(site: Site) -> Snapshot:
    """A plant under its own control after a while, with chillers in use."""
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T12"), constant(0.8), coarse=True)
    readings = plant.reset(1)
    for _ in range(60):
        readings = plant.step(None, 10.0)  # type: ignore[assignment]
    store = SampleStore(site.table)
    store.put_readings(readings, 600.0)
    return store.snapshot(600.0)


def test_without_setpoints_the_plants_own_count(site: Site, snapshot: Snapshot) -> None:
    said = Outlook(site).look(snapshot, np.full(u_size(1), np.nan))
    assert [p.failure for p in said] == [
        n for n in FAILURES if n != "plates" or snapshot.value[site.table.one("economizer_on")] > 0.5
    ]
    worst = {p.failure: p.hottest_worst_c for p in said}
    assert worst["none"] <= worst["chiller"] <= worst["chillers"] + 1e-9 and worst["none"] < worst["chw_pumps"]
    assert all(p.hottest_worst_c >= p.hottest_c and p.limit_worst_s <= p.limit_s <= p.allowable_s for p in said)


def test_all_chillers_are_the_ride_through(site: Site, snapshot: Snapshot) -> None:
    """Of one model in two forms; the roll-out raises the water's pressure and sets the air colder, which buys time."""
    table, halls, p = site.table, hall_array(site), plant_params(site)
    outlook = Outlook(site)
    said = {one.failure: one for one in outlook.look(snapshot, np.full(u_size(1), np.nan))}
    value = {role: float(snapshot.value[table.one(role)]) for role in ("chwst", "chwrt", "chw_dp")}
    u = np.zeros(u_size(1))
    u[1], u[U_HALL] = value["chw_dp"], snapshot.value[table.one("sat", "hall1")]
    u[U_HALL + 1] = snapshot.value[table.one("crah_fan_speed", "hall1")]
    w = np.array([25.0, 20.0, site.pressure_pa, snapshot.value[table.by_role("it_power")].sum()])
    limit_c = site.file.limits.rack_inlet_limit_c
    scalar_s = ride_through_s(u, w, value["chwst"], value["chwrt"], limit_c, HORIZON_S, halls, p.row, np.zeros(2))
    rolled_s = min(said["chillers"].limit_s, HORIZON_S)
    assert 0.5 * scalar_s < rolled_s < 3.0 * scalar_s + 300.0 and rolled_s < HORIZON_S
    assert said["chillers"].hottest_worst_c > said["none"].hottest_worst_c + 1.0


def test_each_failure_takes_what_it_is_named_after_and_nothing_else(site: Site, snapshot: Snapshot) -> None:
    """What the candidates of each begin with, beside those of a plant in which nothing stops."""
    value, table = snapshot.value.copy(), site.table
    for role, count in (
        ("chillers_on", 2.0),
        ("chillers_available", 3.0),
        ("economizer_on", 1.0),
        ("cwst", 14.0),
        ("chwrt", 19.0),
    ):
        value[table.one(role)] = count
    outlook = Outlook(site)
    outlook._p = outlook._p._replace(chw_pumps=2.0)  # the site's own two of three move all that its coils take
    assert len(outlook.look(snapshot._replace(value=value), np.full(u_size(1), np.nan))) == len(FAILURES)
    differ = {
        name: {
            row for row in r.PLANT_ROWS if not np.array_equal(outlook._rows.plant(row, name), outlook._rows.plant(row, "none"))
        }
        | {row for row in r.HALL_ROWS if not np.array_equal(outlook._rows.hall(row, name), outlook._rows.hall(row, "none"))}
        for name in FAILURES
    }
    restart = {"able_later_w", "later_s"}
    assert differ == {
        "none": set(), "controller": {"lost_s"}, "crah": {"crah_share", "fan_sp"}, "chiller": {"able_w", *restart},
        "chillers": {"able_w"}, "plates": {"plates_wk", *restart}, "chw_pump": {"open", "open_max"}, "chw_pumps": {"open", "open_max"},
        "load": {"it_w", "fan_sp", *restart},
    }  # fmt: skip
    able_w = {name: outlook._rows.plant("able_w", name) for name in FAILURES}
    assert (able_w["chillers"] == 0.0).all() and able_w["chiller"] == pytest.approx(0.5 * able_w["none"])
    assert outlook._rows.plant("able_later_w", "chiller") == pytest.approx(able_w["none"])  # the third takes its place
    assert (outlook._rows.plant("open", "chw_pumps") == 0.0).all() and (outlook._rows.plant("plates_wk", "plates") == 0.0).all()
    assert outlook._rows.hall("it_w", "load") == pytest.approx(site.file.halls[0].it_power_nom_w)
    left = 1.0 - 1.0 / site.file.halls[0].crahs
    assert outlook._rows.hall("crah_share", "crah") == pytest.approx(left * outlook._rows.hall("crah_share", "none"))


def test_a_plant_without_plates_or_meters_of_its_water_has_a_prospect(two_halls: Site) -> None:
    readings = {k: v for k, v in SimPlant(two_halls, load=constant(0.7)).reset(1).items() if k not in ("chw_dp", "cwst", "chwrt")}
    store = SampleStore(two_halls.table)
    store.put_readings(readings, 0.0)
    said = Outlook(two_halls).look(store.snapshot(0.0), np.full(u_size(2), np.nan))
    assert {p.failure for p in said} == set(FAILURES) - {"plates"} and all(math.isfinite(p.hottest_worst_c) for p in said)


@pytest.mark.parametrize("role", ["it_power", "rack_inlet"])
def test_too_little_known_says_nothing(site: Site, snapshot: Snapshot, role: str) -> None:
    value, outlook = snapshot.value.copy(), Outlook(site)
    doubted = site.table.by_role(role).tolist() + site.table.by_role("crah_fan_speed").tolist()
    said = outlook.look(snapshot._replace(value=value), np.full(u_size(1), np.nan), doubted)
    assert said == [] and np.array_equal(value, snapshot.value, equal_nan=True), "what it is given stays as it is"


def test_a_load_that_has_just_come_does_not_hide_in_cold_racks(site: Site, snapshot: Snapshot) -> None:
    """Racks are behind it: what they stood above the model before is not forgotten at once."""
    outlook, none = Outlook(site), np.full(u_size(1), np.nan)
    outlook.look(snapshot, none)
    value = snapshot.value.copy()
    value[site.table.by_role("it_power")] *= 1.4
    later = snapshot._replace(now_s=snapshot.now_s + 5.0, value=value)
    assert outlook.look(later, none)[0].hottest_c > Outlook(site).look(later, none)[0].hottest_c + 0.3


def test_json_has_no_infinity(site: Site, snapshot: Snapshot) -> None:
    from coolctl.web.listener import _foreseen

    rows = [_foreseen(p) for p in Outlook(site).look(snapshot, np.full(u_size(1), np.nan))]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows and any(row["allowable_s"] is None for row in rows)


@pytest.fixture(scope="module")
def recorded(site: Site, policy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour under the policy."""
    folder = tmp_path_factory.mktemp("outlook")
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T12"), constant(0.8), coarse=True)
    controller, readings, store = Controller(site, policy, "auto"), plant.reset(1), SampleStore(site.table)
    recorder = Recorder(folder, site.name, columns(site), header(site, policy.model_hash, "default", "auto"))
    for k in range(180):
        store.put_readings(readings, 10.0 * k)
        snap = store.snapshot(10.0 * k)
        decision = controller.tick_snapshot(snap)
        recorder.append(pack(snap, IN_PROCESS, "", decision))
        readings = plant.step(decision.setpoints, 10.0)  # type: ignore[assignment]
    recorder.close()
    return folder


def test_recording_tells_what_would_have_become(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["outlook", str(recorded), "--every", "300", "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    found = {f["failure"]: f for f in said["failures"]}
    assert said["moments"] == 6 and found["none"]["moments"] == 6 and found["none"]["over_allowable_ratio"] == 0.0
    assert found["none"]["allowable_s"] is None and 10.0 <= found["chw_pumps"]["allowable_s"] < 120.0
    assert cli.main(["outlook", str(recorded), "--every", "300"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("6 moments") and any("all chilled water pumps" in line and "100 %" in line for line in lines)


def test_recorded_setpoints_are_those_in_force(site: Site, recorded: Path) -> None:
    """Beside `look` with what the recorded decision says."""
    recording, original, _site = open_recording(str(recorded))
    found = list(look(recording, original, site, 600.0))
    assert [t_s for t_s, _said in found] == [0.0, 600.0, 1200.0] and all(len(said) >= 7 for _t, said in found)
    without = Outlook(site).look(Unpacker(original).inputs(next(recording.rows())[0])[0], np.full(u_size(1), np.nan))
    assert without != found[0][1], "the setpoints count"


def test_plant_takes_itself_back_as_the_shield_foresees_it() -> None:
    names = ("SUPPLY_UP_TAU_S", "SUPPLY_DOWN_TAU_S", "OWN_K_PER_S", "FAN_UP_PER_S")
    assert [getattr(r, n) for n in names] == [getattr(foresight, n) for n in names]
