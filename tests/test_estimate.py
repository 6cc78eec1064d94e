"""What the controller believes: measured where measured, a stated substitute where not, none of it invented."""

from __future__ import annotations

import numpy as np
import pytest

from coolctl.control.estimate import LATEST_ROLES, POWER_HOLD_S, WEATHER_HOLD_S, Estimate, Estimator, measured_setpoints
from coolctl.points import U_CHW_DP, U_CHWST, U_CW_FLOW, U_HALL, Snapshot
from coolctl.psychro import dew_point_from_wet_bulb_c, saturation_pressure_pa, wet_bulb_c
from coolctl.site import Site
from coolctl.thermal.params import hall_array
from coolctl.thermal.plant import W_OADB, W_OAWB
from coolctl.warmup import READINGS

NAN, INF = np.nan, np.inf


class Feed:
    """A site's estimator and values that can be changed by point or role."""

    def __init__(self, site: Site):
        self.site, self.estimator = site, Estimator(site, hall_array(site))
        self.value = np.array([READINGS.get(p.role, NAN) for p in site.table.points])

    def set(self, role: str, value: float | list[float] | np.ndarray) -> Feed:
        self.value[self.site.table.by_role(role)] = value
        return self

    def at(self, now_s: float) -> Estimate:
        n = len(self.value)
        return self.estimator.assess(Snapshot(now_s, self.value.copy(), np.zeros(n), np.ones(n, dtype=np.int8)))


@pytest.fixture
def feed(site: Site) -> Feed:
    return Feed(site)


def test_every_figure_is_that_of_the_known_values(two_halls: Site) -> None:
    feed, rng, table = Feed(two_halls), np.random.default_rng(4), two_halls.table
    for k in range(300):
        feed.value = rng.uniform(5.0, 40.0, len(table))
        feed.value[rng.random(len(table)) < 0.1 * (k % 4)] = rng.choice([NAN, INF, -INF])
        est, clean = feed.at(float(k)), np.where(np.isfinite(feed.value), feed.value, NAN)
        for h, hall in enumerate(two_halls.halls):
            racks = clean[table.by_role("rack_inlet", hall)]
            known = racks[racks == racks]
            assert est.inlet_mean_c[h] == known.mean() and est.inlet_max_c[h] == known.max()  # to the last bit
            metered_w = clean[table.by_role("it_power", hall)].sum()
            assert est.it_w[h] == metered_w or np.isnan(metered_w)
            for seen, role in ((est.sat_c, "sat"), (est.fan_speed, "crah_fan_speed"), (est.valve, "valve")):
                assert np.array_equal(seen[h], clean[table.one(role, hall)], equal_nan=True)
        expected = [clean[table.one(role)] if table.one(role) >= 0 else NAN for role in LATEST_ROLES]
        assert np.array_equal(list(est.plant.values()), expected, equal_nan=True) and tuple(est.plant) == LATEST_ROLES
        assert est.hottest_c == est.inlet_max_c.max()


def test_racks_that_are_all_silent_are_not_known_and_make_no_quorum(feed: Feed) -> None:
    est = feed.set("rack_inlet", NAN).at(0.0)
    assert np.isnan([est.hottest_c, *est.inlet_max_c, *est.inlet_mean_c]).all() and not est.quorum


def test_quorum_wants_the_share_of_racks_that_the_site_names(feed: Feed, site: Site) -> None:
    racks = len(site.table.by_role("rack_inlet"))
    needed = max(2, int(np.ceil(site.file.control.quorum_ratio * racks)))
    for known in (needed - 1, needed):
        est = feed.set("rack_inlet", [23.0] * known + [NAN] * (racks - known)).at(0.0)
        assert est.quorum == (known == needed)


def test_a_silent_it_meter_holds_then_counts_as_the_design_load_and_is_named(feed: Feed, site: Site) -> None:
    assert feed.at(0.0).it_w[0] == READINGS["it_power"] and not feed.at(0.0).substituted
    for silent in (NAN, 0.0):  # a hall at work draws something
        feed.set("it_power", READINGS["it_power"]).at(100.0)
        feed.set("it_power", silent)
        held, gone = feed.at(100.0 + POWER_HOLD_S), feed.at(101.0 + POWER_HOLD_S)
        assert held.it_w[0] == READINGS["it_power"] and held.substituted == ()
        assert gone.it_w[0] == site.file.halls[0].it_power_nom_w and gone.substituted == ("it_power[0]",)
    assert feed.set("it_power", 3e5).at(300.0).substituted == ()


def test_silent_weather_is_held_for_an_hour_then_the_design_day_is_assumed(feed: Feed, site: Site) -> None:
    feed.at(0.0)
    feed.set("oadb", NAN).set("oawb", NAN)
    held, gone = feed.at(WEATHER_HOLD_S), feed.at(WEATHER_HOLD_S + 1.0)
    assert held.w[[W_OADB, W_OAWB]].tolist() == [READINGS["oadb"], READINGS["oawb"]] and held.substituted == ()
    design_c = site.file.weather.wetbulb_design_c
    assert gone.w[[W_OADB, W_OAWB]].tolist() == [design_c + 8.0, design_c] and gone.substituted == ("oadb", "oawb")


def test_a_dry_bulb_alone_is_assumed_over_the_wet_bulb_that_is_known(feed: Feed) -> None:
    feed.at(0.0)
    feed.set("oadb", NAN)
    est = feed.at(WEATHER_HOLD_S + 1.0)
    assert est.w[[W_OADB, W_OAWB]].tolist() == [READINGS["oawb"] + 8.0, READINGS["oawb"]] and est.substituted == ("oadb",)


def test_a_wet_bulb_alone_is_that_of_the_last_known_moisture_and_some_more(feed: Feed, site: Site) -> None:
    """Moisture hardly changes over a day that gets 8 K warmer; the longer nobody measures it, the more of it is assumed."""
    feed.set("oadb", 12.0).set("oawb", 10.0).at(0.0)
    feed.set("oawb", NAN)
    assert feed.at(WEATHER_HOLD_S).w[W_OAWB] == 10.0
    vapour_pa = saturation_pressure_pa(dew_point_from_wet_bulb_c(12.0, 10.0, site.pressure_pa))
    for oadb_c, silent_h, more in ((12.0, 1.001, 1.06), (20.0, 2.0, 1.07), (20.0, 15.0, 1.2)):
        est = feed.set("oadb", oadb_c).at(3600.0 * silent_h)
        rh = more * vapour_pa / saturation_pressure_pa(oadb_c)
        assert est.w[W_OAWB] == pytest.approx(wet_bulb_c(oadb_c, rh, site.pressure_pa), abs=0.01) and est.substituted == ("oawb",)
        assert est.w[W_OADB] == oadb_c
    assert feed.set("oadb", 8.0).at(16.0 * 3600.0).w[W_OAWB] == pytest.approx(8.0, abs=0.01)  # fog, and no more than that
    assert feed.set("oadb", 39.0).at(900.0 * 3600.0).w[W_OAWB] == site.file.weather.wetbulb_design_c
    assert feed.set("oawb", 9.0).at(901.0 * 3600.0).w[W_OAWB] == 9.0


def test_a_wet_bulb_whose_moisture_was_never_known_is_the_design_days(feed: Feed, site: Site) -> None:
    est = feed.set("oadb", 35.0).set("oawb", NAN).at(WEATHER_HOLD_S + 1.0)
    assert est.w[[W_OADB, W_OAWB]].tolist() == [35.0, site.file.weather.wetbulb_design_c]


def test_wet_bulb_never_stands_above_dry_bulb(feed: Feed) -> None:
    est = feed.set("oadb", 12.0).at(0.0)
    assert READINGS["oawb"] > 12.0 and est.w[[W_OADB, W_OAWB]].tolist() == [12.0, 12.0]


def test_measured_setpoints_stay_unknown_where_the_plant_is_silent_and_off_their_floors_where_not() -> None:
    u = np.zeros(U_HALL + 4)
    measured_setpoints(NAN, 0.0, 1.0, 20.0, 2.0, 0.0, np.array([22.0, NAN]), np.array([0.0, NAN]), u)
    assert np.isnan(u[[U_CHWST, U_CW_FLOW, U_HALL + 2, U_HALL + 3]]).all()
    assert u[U_CHW_DP] == 1e3 and u[U_HALL : U_HALL + 2].tolist() == [22.0, 0.05]
    measured_setpoints(14.0, NAN, 1.0, 20.0, 2.0, 0.0, np.array([22.0, 23.0]), np.array([0.7, 0.6]), u)
    assert u[U_CHWST] == 14.0 and np.isnan(u[U_CHW_DP]) and u[U_HALL:].tolist() == [22.0, 0.7, 23.0, 0.6]
