"""Sensors that may not be believed: found in time, taken out of what the controller sees, and believed again when well."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from coolctl.control.estimate import Estimator
from coolctl.control.health import (
    ELSEWHERE,
    FROZEN_S,
    KNOWN_S,
    LOW,
    LOW_S,
    NOT,
    REASONS,
    WELL_S,
    Health,
    compare_hall,
)
from coolctl.controller import Controller
from coolctl.points import Snapshot
from coolctl.site import Site
from coolctl.thermal.params import hall_array
from sim_plant.faults import parse
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

HOUR = 3600
RACK = "hall1.rack05.rack_inlet"
Change = Callable[[float, np.ndarray], None]


class Feed:
    """Steady readings with a thermometer's noise, and the health that looks at them."""

    def __init__(self, site: Site):
        plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("05-10T06"), synthetic(), noise=False)
        self.table = site.table
        readings = plant.reset(1)
        self.base = np.array([p.decode(readings.get(p.id, np.nan)) for p in site.table.points])
        self.health, self.rng, self.t = Health(site.table, site.halls), np.random.default_rng(2), 0.0
        self.ever: set[tuple[str, str]] = set()
        self.snap: Snapshot | None = None

    def run(self, seconds: float, change: Change | None = None, dt_s: float = 1.0) -> set[tuple[str, str]]:
        """What is doubted at the end, after `seconds` of noisy readings that `change(t, value)` may alter."""
        n = len(self.base)
        for _ in range(round(seconds / dt_s)):
            value = np.round(self.base + self.rng.normal(0.0, 0.05, n) * (np.abs(self.base) < 100), 2)
            if change:
                change(self.t, value)
            self.snap = self.health.assess(Snapshot(self.t, value, np.zeros(n), np.ones(n, dtype=np.int8)))
            self.t += dt_s
            self.ever |= self.named()
        return self.named()

    def named(self) -> set[tuple[str, str]]:
        return {(self.table.points[d.i].id, d.reason) for d in self.health.doubts()}

    def at(self, name: str, how: Callable[[float, float], float]) -> Change:
        i = self.table.index[name]
        return lambda t, value: value.__setitem__(i, how(t, value[i]))


@pytest.fixture
def feed(site: Site) -> Feed:
    return Feed(site)


def test_a_spike_is_not_seen_and_a_step_that_holds_is(feed: Feed) -> None:
    assert feed.run(600) == set()
    assert feed.run(1, feed.at(RACK, lambda t, v: v + 20.0)) == {(RACK, "jumps")}
    assert feed.snap is not None and np.isnan(feed.snap.value[feed.table.index[RACK]])
    assert feed.run(1) == set()
    up = feed.at(RACK, lambda t, v: v + 6.0)
    assert feed.run(2, up) == {(RACK, "jumps")}
    assert feed.run(1, up) == set(), "three samples that agree"


def test_another_unit_is_not_believed_however_long_it_holds(feed: Feed) -> None:
    feed.run(60)
    fahrenheit = feed.at("chwst", lambda t, v: 1.8 * v + 32.0)
    assert feed.run(HOUR, fahrenheit) == {("chwst", REASONS[ELSEWHERE])}
    assert feed.run(1) == set()


def test_after_a_silence_a_new_level_is_a_beginning(feed: Feed) -> None:
    feed.run(60)
    feed.run(1200, feed.at("oadb", lambda t, v: np.nan))
    assert feed.run(1, feed.at("oadb", lambda t, v: v + 15.0)) == set()


def test_a_rack_that_has_become_hot_is_believed_whatever_the_step_and_one_that_fell_as_far_is_not(feed: Feed) -> None:
    feed.run(60)
    assert feed.run(3, feed.at(RACK, lambda t, v: v + 16.0)) == set()
    feed.run(3)
    assert feed.run(60, feed.at(RACK, lambda t, v: v - 16.0)) == {(RACK, REASONS[ELSEWHERE])}


def test_after_minutes_of_silence_hot_racks_are_seen_at_once(feed: Feed) -> None:
    """A link that was cut while the cooling failed: nothing may be kept from the controller."""
    racks = feed.table.by_role("rack_inlet")
    feed.run(60)
    feed.run(120, lambda t, v: v.__setitem__(racks, np.nan))
    assert feed.run(1, lambda t, v: v.__setitem__(racks, v[racks] + 18.0)) == set()


def test_what_was_found_stands_while_too_few_neighbours_are_left_to_judge(feed: Feed) -> None:
    feed.run(HOUR)
    racks = feed.table.by_role("rack_inlet")
    i = feed.table.index[RACK]

    def low(t: float, value: np.ndarray) -> None:
        value[i] -= 4.0

    def alone(t: float, value: np.ndarray) -> None:
        low(t, value)
        value[racks[racks != i][3:]] = np.nan

    assert feed.run(300, low) == {(RACK, REASONS[3])}
    assert feed.run(60, alone) == {(RACK, REASONS[3])}


def test_a_frozen_rack_that_is_not_known_yet_counts_as_its_neighbours_do(feed: Feed) -> None:
    feed.run(120)
    assert feed.run(1, feed.at(RACK, lambda t, v: v - 20.0)) == {(RACK, "jumps")}
    others = np.delete(feed.base[feed.table.by_role("rack_inlet")], 4)
    assert feed.health.virtual_c[0] >= np.median(others) - 0.3


def test_noise_of_ten_kelvin_is_mostly_kept_out(feed: Feed) -> None:
    feed.run(600)
    seen = []
    wild = feed.at(RACK, lambda t, v: v + float(feed.rng.normal(0.0, 10.0)))
    for _ in range(600):
        feed.run(1, wild)
        assert feed.snap is not None
        seen.append(feed.snap.value[feed.table.index[RACK]])
    assert np.mean(np.isnan(seen)) > 0.6


@pytest.mark.parametrize("name", [RACK, "chwst", "oawb", "hall1.it_power"])
def test_what_has_frozen_is_found_within_its_time_and_believed_when_it_moves(feed: Feed, name: str) -> None:
    feed.base[feed.table.index["hall1.it_power"]] = 50.0  # so that the feed's noise moves it
    feed.run(1200)
    held = feed.base[feed.table.index[name]]
    stuck = feed.at(name, lambda t, v: held)
    assert feed.run(FROZEN_S - 60, stuck) == set()
    assert feed.run(120, stuck) == {(name, "has frozen")}
    assert feed.run(5) == set()


def test_a_coarse_sensor_that_seldom_moves_has_not_frozen(feed: Feed) -> None:
    coarse = feed.at("oawb", lambda t, v: np.round(15.0 + 3.0 * np.sin(t / 2000.0), 0))
    feed.run(20 * HOUR, coarse, dt_s=10.0)
    assert not {name for name, _ in feed.ever} & {"oawb"}


def test_a_rack_that_reads_too_cold_is_found_and_its_neighbours_speak_for_it(feed: Feed) -> None:
    i = feed.table.index[RACK]
    feed.base[i] += 1.5  # a warm rack, as it usually is
    feed.run(HOUR)
    low = feed.at(RACK, lambda t, v: v - 4.0)
    assert feed.run(600, low) == {(RACK, "reads colder than its neighbours say")}
    assert feed.health.virtual_c[0] == pytest.approx(feed.base[i], abs=0.3)
    assert feed.run(900) == set() and np.isnan(feed.health.virtual_c[0])


def test_a_slow_drift_to_the_cold_is_found_before_three_kelvin(feed: Feed) -> None:
    feed.run(4 * HOUR, dt_s=10.0)
    begun = feed.t
    found = feed.run(5.8 * HOUR, feed.at(RACK, lambda t, v: v - 0.5 * (t - begun) / HOUR), dt_s=10.0)
    assert found == {(RACK, REASONS[3])}


def test_a_warm_rack_is_believed_and_a_hall_that_cools_down_accuses_nobody(feed: Feed) -> None:
    feed.run(HOUR)
    assert feed.run(HOUR, feed.at(RACK, lambda t, v: v + 4.0)) == set()
    racks = feed.table.by_role("rack_inlet")
    begun = feed.t
    assert feed.run(HOUR, lambda t, v: v.__setitem__(racks, v[racks] - min((t - begun) / 300.0, 4.0))) == set()


def test_sound_sensors_under_a_restless_load_are_believed(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T06"), synthetic())
    controller, readings, doubted = Controller(site, policy), plant.reset(1), set()
    for k in range(3 * HOUR // 2):
        decision = controller.tick(readings, float(k))
        doubted |= decision.doubted.keys()
        readings = plant.step(decision.setpoints, 1.0)
    assert doubted == set()


def test_the_hottest_rack_may_lie_and_the_hall_stays_within_its_limit(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T06"), synthetic())
    controller, readings, hottest_c, found_s = Controller(site, policy), plant.reset(1), 0.0, -1
    for k in range(2 * HOUR):
        if k == HOUR:
            worst = int(np.argmax(plant.truth.rack_inlet_c)) + 1
            lie = plant.faults.add(parse(f"wrong:hall1.rack{worst:02d}.rack_inlet:-4"))
        decision = controller.tick(readings, float(k))
        if k > HOUR and found_s < 0 and decision.doubted:
            found_s = k - HOUR
        readings = plant.step(decision.setpoints, 1.0)
        hottest_c = max(hottest_c, float(plant.truth.rack_inlet_c.max()))
    assert lie.felt > 3000 and 0 < found_s <= 600
    assert decision.doubted == {lie.target: REASONS[3]}
    assert hottest_c <= site.file.limits.rack_inlet_limit_c + 0.4


def test_a_rack_in_doubt_counts_as_hot_as_its_neighbours_make_it(feed: Feed, site: Site) -> None:
    feed.run(10)
    assert feed.snap is not None
    est = Estimator(site, hall_array(site)).assess(feed.snap)
    for virtual_c, hottest_c in (
        (est.hottest_c + 3.0, est.hottest_c + 3.0),
        (est.hottest_c - 3.0, est.hottest_c),
        (np.nan, est.hottest_c),
    ):
        feed.health.virtual_c[0] = virtual_c
        warned = feed.health.warned(est, feed.snap)
        assert warned.hottest_c == pytest.approx(hottest_c) and warned.inlet_max_c[0] == pytest.approx(hottest_c)


class Beside:
    """Eight racks of one hall that are known well; each `look` is ten seconds later."""

    def __init__(self) -> None:
        self.doubt, self.usual_k, self.known_s = np.zeros(8, dtype=np.int8), np.zeros(8), np.full(8, KNOWN_S)
        self.low_s, self.well_s = np.zeros(8), np.zeros(8)

    def look(self, inlet_c: list[float], seconds: float = 10.0) -> float:
        """The hottest that stands in, after as many looks as make the time up."""
        for _ in range(round(seconds / 10.0)):
            self.doubt[:] = NOT
            found_c = compare_hall(np.array(inlet_c), self.doubt, self.usual_k, self.known_s, self.low_s, self.well_s, 10.0)
        return float(found_c)

    @property
    def low(self) -> list[int]:
        return np.flatnonzero(self.doubt == LOW).tolist()


WELL_C = [24.0] * 8
ONE_LOW_C = [20.0, *WELL_C[1:]]


def test_a_low_rack_is_doubted_after_its_time_and_believed_only_after_it_was_well_for_long() -> None:
    racks = Beside()
    assert np.isnan(racks.look(ONE_LOW_C, LOW_S - 10.0)) and racks.low == []
    assert racks.look(ONE_LOW_C) == 24.0 and racks.low == [0]
    assert racks.look(WELL_C, WELL_S - 10.0) == 24.0 and racks.low == [0]
    assert np.isnan(racks.look(WELL_C)) and racks.low == [] and not racks.low_s.any()


def test_what_is_low_is_not_learnt_as_usual() -> None:
    racks = Beside()
    racks.look(ONE_LOW_C, 60.0)
    assert racks.usual_k[0] == 0.0 and racks.known_s.tolist() == [KNOWN_S] + [KNOWN_S + 60.0] * 7


def test_where_all_racks_have_moved_apart_none_stands_out() -> None:
    racks = Beside()
    racks.look([20.0, 20.1, 20.2, 20.3, 26.0, 26.1, 26.2, 26.3])
    assert not racks.low_s.any() and (racks.usual_k[:4] < 0.0).all()  # learnt instead


def test_with_too_few_racks_what_was_found_stands_and_nothing_new_is_found() -> None:
    racks, few = Beside(), [np.nan] * 3
    racks.look(ONE_LOW_C, LOW_S)
    before = racks.low_s.copy()
    assert np.isnan(racks.look([*WELL_C[:4], 20.0, *few], LOW_S)) and racks.low == [0]
    assert np.array_equal(racks.low_s, before)


@pytest.mark.parametrize("usual_k", [[0.2, 0.5], [0.5, 0.2]])
def test_the_warmest_of_those_in_doubt_stands_in(usual_k: list[float]) -> None:
    racks = Beside()
    racks.usual_k[:2] = usual_k
    assert racks.look([20.0, 20.0, *WELL_C[2:]], LOW_S) == 24.5 and racks.low == [0, 1]
