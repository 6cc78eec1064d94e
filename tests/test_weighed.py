"""The judgement of IT power meters against a second writing of it, and at its edges; without a plant, so in any writing of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TWO_HALLS
from test_shield import estimate
from weighed import Weighed

from coolctl.control.estimate import Estimate
from coolctl.control.heat import HeatWitness, follow_heat, weigh_heat
from coolctl.points import Snapshot
from coolctl.site import Site, load_site
from coolctl.thermal.params import hall_array


class Meters:
    """What a hall's meter, thermometers and fans say, as it may be: it drifts, lies for a while, falls silent, comes back."""

    def __init__(self, site: Site, seed: int):
        self.site, self.rng, self.halls = site, np.random.default_rng(seed), hall_array(site)
        self.count = len(self.halls)
        self.load, self.lie, self.silent, self.back_c = 0.6, np.ones(self.count), "", 0.0

    def say(self, now_s: float) -> tuple[Estimate, Snapshot, np.ndarray, np.ndarray]:
        """The estimate and the snapshot, and in them the meters [W] and the return air [°C]."""
        rng, nom_w = self.rng, self.halls[:, 0]
        if rng.random() < 0.1:
            self.load, self.lie = rng.uniform(0.05, 1.3), rng.choice([1.0, 0.7, 0.55, 0.3, 0.05], self.count)
            self.silent, self.back_c = (
                str(rng.choice(["", "", "", "rat", "meter", "water", "fan", "sat"])),
                rng.choice([0.0, 3.0]),
            )
        true_w = self.load * nom_w * rng.uniform(0.97, 1.03, self.count)
        sat_c, fan = 22.0 + rng.normal(0.0, 0.1, self.count) + self.back_c, np.full(self.count, rng.uniform(0.3, 1.0))
        rat_c = sat_c + true_w / (fan * self.halls[:, 2] * 1006.0)
        metered_w = true_w * self.lie
        for name, values in (("rat", rat_c), ("meter", metered_w), ("fan", fan), ("sat", sat_c)):
            if self.silent == name:
                values[rng.integers(self.count)] = np.nan
        water_k = 6.0
        flow_kgs = np.nan if self.silent == "water" else float(true_w.sum()) * rng.choice([1.0, 0.6]) / (4186.0 * water_k)
        est = estimate(
            now_s, plant={"chw_flow": flow_kgs, "chwst": 12.0, "chwrt": 12.0 + water_k}, sat_c=sat_c, fan_speed=fan,
            inlet_mean_c=np.where(rng.random(self.count) < 0.1, np.nan, 23.0),
            w=np.concatenate([[18.0, 12.0, 88e3], metered_w]),
        )._replace(it_w=metered_w.copy())  # fmt: skip
        table = self.site.table
        value = np.full(len(table.points), np.nan)
        for h, hall in enumerate(self.site.halls):
            value[table.by_role("it_power", hall)] = metered_w[h] / len(table.by_role("it_power", hall))
            value[table.one("rat", hall)] = rat_c[h]
        return est, Snapshot(now_s, value, np.zeros(len(value)), np.zeros(len(value), dtype=np.int8)), metered_w, rat_c


def with_return_air(edited_site: Callable[..., Path]) -> Site:
    """The site of two halls, with thermometers in the return air; one of them is its very first point."""
    sat, first = '[[points]]\nrole = "sat"\nmachine = "south"\nunit = "degF"\n', "[[points]]\n"
    south, north = sat.replace('"sat"', '"rat"'), sat.replace('"sat"', '"rat"').replace("south", "north")
    return load_site(edited_site((first, north + first), (sat, sat + south), source=TWO_HALLS))


@pytest.mark.parametrize(("two", "seed"), [(False, 1), (False, 2), (True, 3)])
def test_the_judgement_is_the_one_that_is_described(site: Site, edited_site: Callable[..., Path], two: bool, seed: int) -> None:
    """Against a second writing of it: the same heat counts, the same meters are doubted, tick for tick."""
    meters = Meters(with_return_air(edited_site) if two else site, seed)
    ours, theirs = HeatWitness(meters.site.table, meters.site.halls, meters.halls), Weighed(meters.halls)
    points = [meters.site.table.by_role("it_power", hall) for hall in meters.site.halls]
    assert ours.accused() == [] and (not two or meters.site.table.one("rat", "north") == 0)
    now_s, seen = 0.0, set()
    for _ in range(700):
        est, snap, metered_w, rat_c = meters.say(now_s)
        ours.hear(snap)
        believed = np.where(np.isin(np.arange(len(snap.value)), np.concatenate(points)), np.nan, snap.value)  # as if none were
        judged, told = ours.judge(est, snap._replace(value=believed)), theirs.judge(est, metered_w, rat_c)
        assert judged.it_w == pytest.approx([it_w for it_w, _ in told], rel=1e-9, nan_ok=True)
        assert judged.w[3:] == pytest.approx([w for _, w in told], rel=1e-9, nan_ok=True)
        assert ours.air_w == pytest.approx([hall.air_w for hall in theirs.halls], rel=1e-9, abs=1e-3, nan_ok=True)
        assert ours.doubted.tolist() == [hall.doubted for hall in theirs.halls]
        assert [at.tolist() for at in ours.accused()] == [
            p.tolist() for p, h in zip(points, theirs.halls, strict=True) if h.doubted
        ]
        seen |= {(hall.over, hall.doubted) for hall in theirs.halls}
        now_s += float(meters.rng.choice([1.0, 5.0, 5.0, 30.0, 90.0, -3.0]))
    assert len(seen) == 4, "not everything was met"


# -- weigh_heat at its edges: one hall of 1 MW, 100 kW said; 3 % of the design load are slack

NOM_W, SAID_W, SLACK_W = 1e6, 1e5, 3e4


class Scales:
    """One hall's judgement, weighing by weighing, with what is held from one to the next."""

    def __init__(self, halls: int = 1):
        self.slow_sat_c, self.over_s, self.well_s = np.full(halls, 22.0), np.full(halls, np.nan), np.zeros(halls)
        self.over, self.doubted = np.zeros(halls, dtype=np.bool_), np.zeros(halls, dtype=np.bool_)
        self.found = False

    def weigh(
        self, air_w: float | list[float], dt_s: float = 5.0, water_w: float = np.nan, sat_c: float = 22.0, said_w: Any = SAID_W
    ) -> tuple[bool, bool]:
        """Whether the first hall's meter is over now, and doubted."""
        count = len(self.over)
        air, said = (np.broadcast_to(np.array(v, dtype=float), count).copy() for v in (air_w, said_w))
        nom, sat = np.full(count, NOM_W), np.full(count, sat_c)
        held = (self.slow_sat_c, self.over_s, self.well_s, self.over, self.doubted)
        self.found = bool(weigh_heat(air, said, nom, sat, water_w, dt_s, *held))
        return bool(self.over[0]), bool(self.doubted[0])


def above(x: float) -> float:
    return float(np.nextafter(x, np.inf))


def below(x: float) -> float:
    return float(np.nextafter(x, -np.inf))


def test_a_meter_is_over_from_just_above_the_ratio_that_holds() -> None:
    """2.5 times what was said whatever the water says; 1.6 times where it agrees."""
    plain_w, with_water_w = 2.5 * SAID_W + SLACK_W, 1.6 * SAID_W + SLACK_W
    assert not Scales().weigh(plain_w, water_w=0.0)[0] and Scales().weigh(above(plain_w), water_w=0.0)[0]
    assert not Scales().weigh(with_water_w)[0] and Scales().weigh(above(with_water_w))[0]
    assert not Scales().weigh(above(with_water_w), water_w=0.0)[0]


def test_water_agrees_from_half_of_what_is_missing_on() -> None:
    """In all halls together what was said, and half of the largest gap."""
    air_w, needed_w = 2e5, SAID_W + 0.5 * (2e5 - SAID_W)
    assert Scales().weigh(air_w, water_w=needed_w)[0] and not Scales().weigh(air_w, water_w=below(needed_w))[0]
    three, said_w = [2e5, 2.2e5, np.nan], [SAID_W, 1.5e5, np.nan]
    needed_w = SAID_W + 1.5e5 + 0.5 * (2e5 - SAID_W)
    assert Scales(3).weigh(three, water_w=needed_w, said_w=said_w)[0]
    assert not Scales(3).weigh(three, water_w=below(needed_w), said_w=said_w)[0]


def test_a_hall_whose_supply_air_is_falling_is_not_judged() -> None:
    """Colder by more than 1.5 K than it was over the last minute; a minute is 60 s."""
    for off_k, judged in ((-1.4, True), (-1.6, False)):
        s = Scales()
        s.slow_sat_c[0] = 22.0
        assert s.weigh(5e5, dt_s=1e-9, sat_c=22.0 + off_k)[0] is judged
    edge = Scales()
    edge.slow_sat_c[0] = 22.0
    assert edge.weigh(5e5, dt_s=0.0, sat_c=20.5)[0], "by 1.5 K to the bit it is"
    slow = Scales()
    slow.weigh(5e5, dt_s=60.0, sat_c=18.0)
    assert slow.slow_sat_c[0] == pytest.approx(18.0 + 4.0 * np.exp(-1.0), rel=1e-12) and slow.over[0]


@pytest.mark.parametrize(("air_w", "needed_s"), [(2e5, 30.0), (4e5, 10.0)])
def test_doubt_needs_its_time_from_the_first_look_that_is_over(air_w: float, needed_s: float) -> None:
    s = Scales()
    assert s.weigh(air_w, dt_s=7.0) == (True, False)  # the time before it is not counted
    assert s.weigh(air_w, dt_s=below(needed_s)) == (True, False)
    s = Scales()
    s.weigh(air_w, dt_s=7.0)
    assert s.weigh(air_w, dt_s=needed_s) == (True, True) and s.found
    s = Scales()
    s.weigh(air_w)
    s.weigh(air_w, dt_s=below(needed_s))
    s.weigh(SAID_W)
    assert s.weigh(air_w, dt_s=needed_s) == (True, False)  # it began anew


def test_doubt_ends_after_ten_minutes_in_which_both_agree() -> None:
    clear_w = 1.25 * SAID_W + SLACK_W
    for air_w, ends in ((below(clear_w), True), (clear_w, False)):
        s = Scales()
        s.weigh(2e5)
        s.weigh(2e5, dt_s=30.0)
        assert s.weigh(air_w, dt_s=below(600.0)) == (False, True) and s.found
        assert s.weigh(air_w, dt_s=1e-9) == (False, not ends) and s.found is not ends
    s = Scales()
    s.weigh(2e5)
    s.weigh(2e5, dt_s=30.0)
    s.weigh(SAID_W, dt_s=599.0)
    s.weigh(clear_w, dt_s=5.0)  # once not so clear: the ten minutes begin anew, with nothing
    assert s.weigh(SAID_W, dt_s=599.5)[1] and not s.weigh(SAID_W, dt_s=0.5)[1]


def test_nothing_is_found_in_a_sound_hall_and_something_where_any_hall_is_over() -> None:
    s = Scales(2)
    s.weigh([SAID_W, SAID_W])
    assert s.found is False
    s.weigh([5e5, SAID_W])
    assert s.found and s.over.tolist() == [True, False]
    s.weigh([SAID_W, 5e5])
    assert s.found and s.over.tolist() == [False, True]


def test_what_a_meter_said_is_forgotten_over_45_seconds_and_what_it_says_more_counts_at_once(site: Site) -> None:
    """A load that falls by nine tenths: a third of the fall is still counted 45 s later."""
    halls = hall_array(site)
    said_w, one = np.array([np.nan]), [np.full(1, np.nan) for _ in range(3)]
    mass_c, slow_c, air_w = one
    for metered_w, dt_s, expected_w in (
        (1e6, 1.0, 1e6),
        (1e5, 45.0, 1e5 + 9e5 * np.exp(-1.0)),
        (2e6, 1.0, 2e6),
        (np.nan, 60.0, 2e6),
    ):
        seen = [np.array([x]) for x in (metered_w, 22.0, 34.0, 0.6)]
        follow_heat(*seen, 88e3, halls, dt_s, mass_c, slow_c, said_w, air_w)
        assert said_w[0] == pytest.approx(expected_w, rel=1e-12)
