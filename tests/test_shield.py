"""The shield limit by limit: numbers in, numbers out, each limit named by the setpoint that it changed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from coolctl.control.context import Context
from coolctl.control.estimate import LATEST_ROLES, Estimate
from coolctl.control.ranges import limit_vectors, rate_vectors
from coolctl.control.shield import BIT, LIMITS, Shield, running
from coolctl.control.tick import Tick
from coolctl.points import U_CELLS, U_CHILLERS, U_CHW_DP, U_CHWST, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL
from coolctl.site import Site
from coolctl.site_schema import DwellTable, LimitsTable, RatesTable
from coolctl.thermal.plant import O_UNMET, O_VALVE, air_side

SAT, FAN = U_HALL, U_HALL + 1
COUNTS = (U_CHILLERS, U_CELLS, U_ECONOMIZER)
# A mild morning at 40 % load, one chiller, far from every limit.
CALM = np.array([14.0, 60e3, 1.0, 20.0, 2.0, 0.8, 0.0, 22.0, 0.6])
PLANT = {role: float("nan") for role in LATEST_ROLES} | {
    "chwst": 14.0, "chw_dp": 60e3, "chillers_on": 1.0, "cwst": 20.0, "tower_cells_on": 2.0, "economizer_on": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def rules(site: Site) -> Tick:
    return Tick(site, None, "fallback")


def shield_of(
    rules: Tick, *, limits: dict[str, float] | None = None, dwell: dict[str, float] | None = None, authority: Any = (3.0, 0.15),
    required_s: float = 300.0,
) -> Shield:  # fmt: skip
    return Shield(
        rules.halls, rules.p, LimitsTable(**(limits or {})), RatesTable(), DwellTable(**(dwell or {})), authority, required_s
    )


def estimate(now_s: float = 1e5, *, it_w: float = 4e5, plant: dict[str, float] | None = None, **changes: Any) -> Estimate:
    one = np.array([22.0])
    est = Estimate(
        now_s, np.array([18.0, 12.0, 87.5e3, it_w]), np.array([it_w]), one, one, one.copy(), np.array([0.6]), np.array([0.4]),
        np.array([2.0]), 8.0, 22.5, True, {**PLANT, **(plant or {})}, 1e5, (),
    )  # fmt: skip
    return est._replace(**changes)


def context(est: Estimate, baseline_u: Any = CALM, **changes: Any) -> Context:
    c = Context(est, np.array([0.5]), np.array(baseline_u, dtype=float), False, False, False, True, 20.0, "ride_through", 3600.0, 3.0,
                np.full(9, np.nan))  # fmt: skip
    return c._replace(**changes)


def held(rules: Tick, last: Any = CALM, **options: Any) -> Shield:
    """A shield that published `last` a moment ago, with every dwell and every lock-out long over."""
    shield = shield_of(rules, **options)
    shield.last = np.array(last, dtype=float)
    return shield


def changed(base: Any = CALM, **values: float) -> Any:
    u = np.array(base, dtype=float)
    for name, value in values.items():
        u[NAMES.index(name)] = value
    return u


NAMES = ("chwst", "dp", "chillers", "cwst", "cells", "flow", "plates", "sat", "fan")


def named(bits: Any, k: int) -> set[str]:
    return {name for name in LIMITS if bits[k] & BIT[name]}


# -- what passes, and the order of things


def test_calm_wish_passes_untouched(rules: Tick) -> None:
    shield = held(rules)
    u, bits = shield.limit(CALM, context(estimate()), 1.0)
    assert (u == CALM).all() and not bits.any() and (shield.last == CALM).all()


def test_every_limit_has_a_bit_of_its_own() -> None:
    assert {"ride_through", "load_step", "one_crah_fewer"} <= set(LIMITS), "what the planner calls its caps on the water"
    assert len(set(LIMITS)) == len(LIMITS) == 19 and [BIT[name] for name in LIMITS] == [2**k for k in range(19)]


def test_wish_is_not_written_into(rules: Tick) -> None:
    wish = changed(chwst=30.0)
    held(rules).limit(wish, context(estimate()), 1.0)
    assert wish[U_CHWST] == 30.0


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_becomes_the_rules_value_else_the_last(rules: Tick, nothing: float) -> None:
    u, bits = held(rules).limit(changed(chwst=nothing), context(estimate(), changed(chwst=13.99)), 1.0)
    assert u[U_CHWST] == 13.99 and named(bits, U_CHWST) == {"not_a_number"}
    u, bits = held(rules).limit(changed(chwst=nothing), context(estimate(), changed(chwst=np.nan)), 1.0)
    assert u[U_CHWST] == 14.0 and named(bits, U_CHWST) == {"not_a_number"}


def test_nothing_that_is_no_number_is_published_or_remembered(rules: Tick) -> None:
    shield = held(rules)
    c = context(
        estimate(hottest_c=np.nan), demand_speed=np.array([np.nan]), chwst_cap_c=np.nan, ride_through_s=np.nan, available=np.nan
    )
    u, _ = shield.limit(np.full(9, np.nan), c, np.nan)
    assert np.isfinite(u).all() and shield.last is not None and np.isfinite(shield.last).all()


def test_two_unknowns_still_leave_the_coils_their_water(rules: Tick) -> None:
    """A setpoint that nobody knows stands where it stood, and what depends on it is still judged."""
    last = changed(chwst=16.0, dp=20e3, sat=20.0, fan=0.9)
    est = estimate(plant={"chwst": 16.0})
    u, bits = held(rules, last).limit(changed(last, chwst=np.nan), context(est, changed(last, chwst=np.nan)), 1.0)
    assert u[U_CHWST] == 16.0 and u[U_CHW_DP] == pytest.approx(24e3) and named(bits, U_CHW_DP) == {"coil", "rate"}


def test_racks_above_their_limit_and_coils_short_of_water_are_answered_in_what_is_published(rules: Tick) -> None:
    u, bits = held(rules).limit(CALM, context(estimate(hottest_c=28.5)), 1e3)
    assert u[[U_CHWST, U_CHW_DP, SAT, FAN]].tolist() == [8.0, 140e3, 16.0, 1.0] and named(bits, U_CHWST) == {"inlet"}
    last = changed(chwst=16.0, dp=20e3, sat=20.0, fan=0.9)
    u, bits = held(rules, last).limit(last, context(estimate(plant={"chwst": 16.0})), 60.0)
    assert u[U_CHW_DP] > 50e3 and named(bits, U_CHW_DP) == {"coil"}


# -- the site's limits, one by one


def distinct_limits() -> LimitsTable:
    return LimitsTable(
        chwst_sp_min_c=8.5, chwst_sp_max_c=19.5, chw_dp_sp_min_pa=21e3, chw_dp_sp_max_pa=141e3, cwst_sp_min_c=9.5, cwst_sp_max_c=31.5,
        cw_flow_sp_min_ratio=0.55, cw_flow_sp_max_ratio=1.15, sat_sp_min_c=16.5, sat_sp_max_c=25.5, fan_speed_sp_min_ratio=0.36,
        fan_speed_sp_max_ratio=0.95,
    )  # fmt: skip


def test_each_setpoint_has_its_own_limits(rules: Tick) -> None:
    lo, hi = limit_vectors(distinct_limits(), 2, rules.p)
    assert lo.tolist() == [8.5, 21e3, 0.0, 9.5, 1.0, 0.55, 0.0, 16.5, 0.36, 16.5, 0.36]
    assert hi.tolist() == [19.5, 141e3, 3.0, 31.5, 3.0, 1.15, 1.0, 25.5, 0.95, 25.5, 0.95]


def test_plant_without_plates_keeps_one_chiller_at_least(rules: Tick) -> None:
    lo, hi = limit_vectors(distinct_limits(), 1, rules.p._replace(economizer=rules.p.economizer._replace(present=0.0)))
    assert lo[U_CHILLERS] == 1.0 and hi[U_ECONOMIZER] == 0.0


def test_each_setpoint_has_its_own_rates() -> None:
    rates = RatesTable(
        sat_sp_warm_k_per_min=0.6, sat_sp_cool_k_per_min=1.2, fan_speed_sp_down_ratio_per_s=0.004, fan_speed_sp_up_ratio_per_s=0.03,
        chwst_sp_warm_k_per_min=0.3, chwst_sp_cool_k_per_min=1.8, chw_dp_sp_down_pa_per_min=9e3, chw_dp_sp_up_pa_per_min=180e3,
        cwst_sp_k_per_min=0.54, cw_flow_sp_down_ratio_per_min=0.06, cw_flow_sp_up_ratio_per_min=0.18,
    )  # fmt: skip
    down, up = rate_vectors(rates, 2)
    assert 60.0 * down == pytest.approx([1.8, 9e3, 6e10, 0.54, 6e10, 0.06, 6e10, 1.2, 0.24, 1.2, 0.24])
    assert 60.0 * up == pytest.approx([0.3, 180e3, 6e10, 0.54, 6e10, 0.18, 6e10, 0.6, 1.8, 0.6, 1.8])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("far", [-1e9, 1e9])
def test_wish_beyond_a_limit_is_held_there_and_named(rules: Tick, name: str, far: float) -> None:
    k = NAMES.index(name)
    shield = held(rules)
    edge = shield.lo[k] if far < 0.0 else shield.hi[k]
    u, bits = shield.limit(changed(**{name: far}), context(estimate()), 1e6)
    assert shield.lo[k] <= u[k] <= shield.hi[k] and "site_limit" in named(bits, k)
    assert u[k] == edge or named(bits, k) - {"site_limit"}, (u[k], edge)


def test_water_stays_below_the_cap_it_is_given_and_the_cap_above_the_sites_least(rules: Tick) -> None:
    u, bits = held(rules).limit(CALM, context(estimate(), chwst_cap_c=13.995, chwst_cap_name="one_crah_fewer"), 1.0)
    assert u[U_CHWST] == 13.995 and named(bits, U_CHWST) == {"one_crah_fewer"}
    u, bits = held(rules).limit(CALM, context(estimate(), chwst_cap_c=-50.0), 1e3)
    assert u[U_CHWST] == 8.0 and named(bits, U_CHWST) == {"ride_through"}


def test_cap_at_the_very_value_changes_nothing_and_is_not_named(rules: Tick) -> None:
    _, bits = held(rules).limit(CALM, context(estimate(), chwst_cap_c=14.0), 1.0)
    assert not bits.any()


# -- authority


def test_bounded_policy_stays_within_its_band_of_the_rules(rules: Tick) -> None:
    shield = held(rules, authority=(1.0, 0.02))
    assert shield.authority.tolist() == pytest.approx([1.0, 0.02 * 140e3 * 4.0, 1.0, 1.0, 3.0, 0.06, 1.0, 1.0, 0.02])
    cool = changed(chwst=8.0, dp=140e3, sat=16.0, fan=1.0, flow=1.2)
    u, bits = shield.limit(cool, context(estimate(), bounded=True), 1e6)
    assert u[[U_CHWST, U_CHW_DP, U_CW_FLOW, SAT, FAN]] == pytest.approx([13.0, 71.2e3, 0.86, 21.0, 0.62])
    assert all(named(bits, k) == {"authority"} for k in (U_CHWST, U_CHW_DP, SAT, FAN))
    free, _ = held(rules, authority=(1.0, 0.02)).limit(cool, context(estimate()), 1e6)
    assert free[SAT] == 16.0 and free[FAN] == 1.0


# -- where it starts from


def test_start_is_from_the_plant_as_it_is_found(rules: Tick) -> None:
    found = {"chwst": 12.25, "chw_dp": 45e3, "chillers_on": 1.6, "cwst": 18.5, "tower_cells_on": 1.4, "economizer_on": 0.9}
    est = estimate(plant=found, sat_c=np.array([20.5]), fan_speed=np.array([0.71]))
    assert shield_of(rules)._first(context(est)).tolist() == [12.25, 45e3, 2.0, 18.5, 1.0, 0.8, 1.0, 20.5, 0.71]


def test_start_from_a_plant_out_of_its_limits_is_at_the_limit(rules: Tick) -> None:
    shield = shield_of(rules)
    for far, edge in ((-1e9, shield.lo), (1e9, shield.hi)):
        everything = dict.fromkeys(PLANT, far)
        u = shield._first(context(estimate(plant=everything, sat_c=np.array([far]), fan_speed=np.array([far]))))
        assert (np.delete(u, U_CW_FLOW) == np.delete(edge, U_CW_FLOW)).all()


def test_start_without_measurements_is_from_the_rules_and_without_rules_from_the_cold_end(rules: Tick) -> None:
    shield, dark = shield_of(rules), {role: float("nan") for role in PLANT}
    blind = estimate(plant=dark, sat_c=np.array([np.nan]), fan_speed=np.array([np.nan]))
    assert (shield._first(context(blind)) == CALM).all()
    cold = shield._first(context(blind, np.full(9, np.nan)))
    assert cold.tolist() == [8.0, 140e3, 3.0, 8.0, 3.0, 1.2, 1.0, 16.0, 1.0]
    assert shield._first(context(blind, np.full(9, 1e12))).tolist() == shield.hi.tolist()


def test_start_with_two_halls_takes_each_halls_own_air(two_halls: Site) -> None:
    tick = Tick(two_halls, None, "fallback")
    est = estimate(sat_c=np.array([20.0, 21.0]), fan_speed=np.array([0.6, 0.7]))
    first = tick.shield._first(context(est, np.full(11, np.nan)))
    assert first[U_HALL:].tolist() == [20.0, 0.6, 21.0, 0.7]


def test_first_setpoints_move_from_what_was_found(rules: Tick) -> None:
    u, bits = shield_of(rules).limit(changed(chwst=8.0), context(estimate()), 60.0)
    assert u[U_CHWST] == pytest.approx(12.0) and named(bits, U_CHWST) == {"rate"}


# -- what the plant keeps for itself


def test_what_the_plant_keeps_is_what_it_says_and_no_limit_is_named_for_it(rules: Tick) -> None:
    own = np.full(9, np.nan)
    own[[U_CHWST, U_CHILLERS]] = 7.0, 2.0
    shield = held(rules)
    u, bits = shield.limit(changed(chwst=30.0, chillers=0.0), context(estimate(), own_u=own), 1.0)
    assert u[U_CHWST] == 7.0 and u[U_CHILLERS] == 2.0 and not bits[[U_CHWST, U_CHILLERS]].any()
    assert shield.last is not None and shield.last[U_CHILLERS] == 2.0


def test_what_the_plant_starts_by_itself_is_no_start_of_ours(rules: Tick) -> None:
    own = np.full(9, np.nan)
    own[U_CHILLERS] = 2.0
    shield = held(rules)
    shield.limit(CALM, context(estimate(), own_u=own), 1.0)
    assert shield._started_s == -np.inf and shield._changed_s[U_CHILLERS] == -np.inf


# -- air


def test_fans_give_a_little_more_than_the_servers_draw(rules: Tick) -> None:
    u, bits = held(rules).limit(CALM, context(estimate(), demand_speed=np.array([0.6])), 1.0)
    assert u[FAN] == pytest.approx(1.03 * 0.6) and named(bits, FAN) == {"airflow"}
    u, bits = held(rules).limit(CALM, context(estimate(), demand_speed=np.array([2.0])), 1e3)
    assert u[FAN] == 1.0


def test_fans_at_the_very_floor_are_not_named(rules: Tick) -> None:
    shield = held(rules, limits={"airflow_ratio_min": 1.0})
    u, bits = shield.limit(CALM, context(estimate(), demand_speed=np.array([0.6])), 1.0)
    assert u[FAN] == 0.6 and not bits.any()


def test_unknown_demand_means_fans_at_full(rules: Tick) -> None:
    u, bits = held(rules).limit(CALM, context(estimate(), demand_speed=np.array([np.nan])), 1e3)
    assert u[FAN] == 1.0 and named(bits, FAN) == {"airflow"}


@pytest.mark.parametrize(("dewpoint_c", "least_c"), [(17.0, 19.0), (np.nan, 16.0), (-5.0, 15.0), (40.0, 26.0)])
def test_supply_air_stays_above_its_dew_point_margin(rules: Tick, dewpoint_c: float, least_c: float) -> None:
    shield = held(rules, limits={"sat_sp_min_c": 10.0})
    u, bits = shield.limit(changed(sat=10.0), context(estimate(dewpoint_c=dewpoint_c)), 1e3)
    if least_c > 22.0:
        assert u[SAT] == min(least_c, 26.0)
    else:
        assert u[SAT] == least_c
    assert named(bits, SAT) == {"dew_point"}


def test_each_hall_has_its_own_air(two_halls: Site) -> None:
    shield = Tick(two_halls, None, "fallback").shield
    u, bits = np.array([*CALM, 22.0, 0.6]), np.zeros(11, dtype=np.int64)
    shield._air(u, context(estimate(), demand_speed=np.array([0.8, 0.9])), bits)
    least = two_halls.file.limits.airflow_ratio_min
    assert u[[U_HALL + 1, U_HALL + 3]] == pytest.approx([0.8 * least, 0.9 * least])
    u[[U_HALL, U_HALL + 2]] = 10.0
    shield._air(u, context(estimate(dewpoint_c=18.0), demand_speed=np.array([np.nan, 0.1])), bits)
    assert (u[[U_HALL, U_HALL + 2]] == 18.0 + two_halls.file.limits.dewpoint_margin_k).all() and u[U_HALL + 1] == shield.hi[
        U_HALL + 1
    ]
    u[U_HALL + 3] = 0.5
    shield._air(u, context(estimate(), demand_speed=np.array([0.1, np.nan])), bits)
    assert u[U_HALL + 3] == shield.hi[U_HALL + 3]


# -- racks above their limit


@pytest.mark.parametrize(("over_k", "share"), [(0.4, 0.0), (0.5, 0.0), (1.25, 0.5), (2.0, 1.0), (9.0, 1.0)])
def test_racks_above_their_limit_drive_everything_to_the_cold_end(rules: Tick, over_k: float, share: float) -> None:
    shield, u, bits = held(rules), CALM.copy(), np.zeros(9, dtype=np.int64)
    shield._rescue(u, context(estimate(hottest_c=26.0 + over_k)), bits)
    for k, cold in ((U_CHWST, 8.0), (U_CHW_DP, 140e3), (SAT, 16.0), (FAN, 1.0)):
        assert u[k] == pytest.approx(CALM[k] + share * (cold - CALM[k])) and named(bits, k) == ({"inlet"} if share else set())
    assert (
        u[[U_CHILLERS, U_CWST, U_CELLS, U_CW_FLOW, U_ECONOMIZER]] == CALM[[U_CHILLERS, U_CWST, U_CELLS, U_CW_FLOW, U_ECONOMIZER]]
    ).all()


@pytest.mark.parametrize(("over_k", "all_of_it"), [(-0.1, False), (0.0, False), (0.1, True)])
def test_in_an_emergency_any_excess_is_answered_wholly(rules: Tick, over_k: float, all_of_it: bool) -> None:
    shield, u, bits = held(rules), CALM.copy(), np.zeros(9, dtype=np.int64)
    shield._rescue(u, context(estimate(hottest_c=26.0 + over_k), emergency=True), bits)
    assert (u[U_CHWST] == 8.0) == all_of_it and (u[FAN] == 1.0) == all_of_it


STANDS = {"chw_flow": 0.1, "chw_dp": 100.0}


@pytest.mark.parametrize("emergency", [False, True])
@pytest.mark.parametrize(
    ("meters", "left_alone"),
    [
        ({}, True),
        ({"chw_flow": np.nan}, False),
        ({"chw_dp": np.nan}, False),
        ({"chw_flow": 5.0}, False),
        ({"chw_dp": 5e3}, False),
    ],
)
def test_fans_are_driven_unless_flow_and_pressure_both_say_that_no_coil_has_water(
    rules: Tick, emergency: bool, meters: dict[str, float], left_alone: bool
) -> None:
    """Episode `random:332` of `make soak`: all pumps off, and the fans' own heat made the hall warmer than without them."""
    seen = estimate(hottest_c=29.0, plant={**STANDS, **meters})
    u, _ = held(rules).limit(CALM, context(seen, emergency=emergency), 1e3)
    left = CALM[FAN] if left_alone else 1.0
    assert u[FAN] == left and u[SAT] == 16.0 and u[U_CHWST] == 8.0
    u, _ = held(rules).limit(CALM, context(seen, demand_speed=np.array([0.9]), emergency=emergency), 1e3)
    assert u[FAN] >= 0.9 * rules.site.file.limits.airflow_ratio_min


@pytest.mark.parametrize(("share", "moves"), [(0.99, False), (1.0, True), (1.01, True)])
@pytest.mark.parametrize("meter", ["chw_flow", "chw_dp"])
def test_water_stands_below_a_twentieth_of_its_design_flow_and_lowest_pressure(
    rules: Tick, meter: str, share: float, moves: bool
) -> None:
    shield = held(rules)
    least = {"chw_flow": shield._p.chw_flow_nom_kgs, "chw_dp": rules.site.file.limits.chw_dp_sp_min_pa}[meter]
    assert shield._water_moves(estimate(plant={**STANDS, meter: 0.05 * least * share})) == moves


def test_unknown_inlets_drive_nothing(rules: Tick) -> None:
    shield, u, bits = held(rules), CALM.copy(), np.zeros(9, dtype=np.int64)
    shield._rescue(u, context(estimate(hottest_c=np.nan)), bits)
    assert (u == CALM).all()


# -- coils


def test_coil_in_range_asks_for_nothing(rules: Tick) -> None:
    shield, u, bits = held(rules), CALM.copy(), np.zeros(9, dtype=np.int64)
    shield._coil(u, context(estimate()), bits)
    assert (u == CALM).all() and not bits.any()


@pytest.mark.parametrize(("valve", "dp_pa"), [(0.97, 60e3), (0.98, 61.2e3), (np.nan, 60e3)])
def test_valve_that_is_open_wide_gets_two_percent_of_pressure_a_tick(rules: Tick, valve: float, dp_pa: float) -> None:
    shield, u, bits = held(rules), CALM.copy(), np.zeros(9, dtype=np.int64)
    shield._coil(u, context(estimate(valve=np.array([valve]))), bits)
    assert u[U_CHW_DP] == pytest.approx(dp_pa) and named(bits, U_CHW_DP) == ({"coil"} if valve > 0.97 else set())


def test_pressure_for_an_open_valve_ends_at_the_sites_limit(rules: Tick) -> None:
    last = changed(dp=139.9e3)
    shield, u, bits = held(rules, last), last.copy(), np.zeros(9, dtype=np.int64)
    shield._coil(u, context(estimate(valve=np.array([1.0]))), bits)
    assert u[U_CHW_DP] == 140e3


def test_coil_short_of_water_gets_pressure_until_it_carries_and_no_colder_water(rules: Tick) -> None:
    shield, bits = held(rules), np.zeros(9, dtype=np.int64)
    u = changed(chwst=16.0, dp=20e3, sat=20.0, fan=0.9)
    est = estimate(it_w=4e5, plant={"chwst": 16.0})
    shield._coil(u, context(est), bits)
    assert 20e3 < u[U_CHW_DP] < 140e3 and u[U_CHWST] == 16.0 and named(bits, U_CHW_DP) == {"coil"}
    before = u.copy()
    shield._coil(u, context(est), np.zeros(9, dtype=np.int64))
    assert (u == before).all()  # it carries now
    less = before.copy()
    less[U_CHW_DP] *= 0.75
    shield._coil(less, context(est), np.zeros(9, dtype=np.int64))
    assert less[U_CHW_DP] > 0.75 * before[U_CHW_DP]  # and did not at three quarters: no more than it needs


def test_coil_where_the_plant_keeps_the_pressure_gets_colder_water(rules: Tick) -> None:
    shield, bits = held(rules), np.zeros(9, dtype=np.int64)
    own = np.full(9, np.nan)
    own[U_CHW_DP] = 20e3
    u = changed(chwst=16.0, dp=20e3, sat=20.0, fan=0.9)
    shield._coil(u, context(estimate(it_w=7e5, plant={"chwst": 8.0}), own_u=own), bits)
    assert u[U_CHW_DP] == 20e3 and u[U_CHWST] < 16.0 and named(bits, U_CHWST) == {"coil"}
    assert (16.0 - u[U_CHWST]) % 1.0 == 0.0


def test_coil_counts_with_the_water_that_is_there_while_pressure_is_to_be_had(rules: Tick) -> None:
    est = estimate(it_w=7e5, plant={"chwst": 18.0})
    u = changed(chwst=10.0, dp=40e3, sat=20.0, fan=0.9)
    cold = u.copy()
    held(rules)._coil(cold, context(estimate(it_w=7e5, plant={"chwst": 10.0})), np.zeros(9, dtype=np.int64))
    held(rules)._coil(u, context(est), np.zeros(9, dtype=np.int64))
    assert cold[U_CHW_DP] == 40e3 < u[U_CHW_DP]
    # With no pressure left the setpoint counts: water that is minutes behind would drive it to its end.
    u = changed(chwst=10.0, dp=140e3, sat=20.0, fan=0.9)
    held(rules)._coil(u, context(estimate(it_w=7e5, plant={"chwst": 30.0})), np.zeros(9, dtype=np.int64))
    assert u[U_CHWST] == 10.0


def test_water_for_a_coil_ends_at_the_sites_limit(rules: Tick) -> None:
    u = changed(chwst=8.4, dp=140e3, sat=17.0, fan=1.0)
    held(rules)._coil(u, context(estimate(it_w=5e6)), np.zeros(9, dtype=np.int64))
    assert u[U_CHWST] == 8.0


def test_water_at_the_sites_limit_is_not_named_for_the_coil(rules: Tick) -> None:
    u, bits = changed(chwst=8.0, dp=140e3, sat=17.0, fan=1.0), np.zeros(9, dtype=np.int64)
    held(rules)._coil(u, context(estimate(it_w=5e6)), bits)
    assert u[U_CHWST] == 8.0 and not bits.any()


def test_water_for_a_coil_falls_by_eight_kelvin_in_a_tick_at_most(rules: Tick) -> None:
    u = changed(chwst=19.0, dp=140e3, sat=17.0, fan=1.0)
    held(rules)._coil(u, context(estimate(it_w=5e6)), np.zeros(9, dtype=np.int64))
    assert u[U_CHWST] == 11.0


def widest(shield: Shield, u: Any, it_w: float) -> tuple[float, float]:
    """Valve and heat not met of the model [W]."""
    air_side(u, w_of(it_w), shield._halls, shield._p, shield._out)
    return float(shield._out[O_VALVE]), float(shield._out[O_UNMET])


def test_valve_beyond_its_range_asks_for_pressure_although_no_heat_is_left(rules: Tick) -> None:
    shield, u = held(rules), changed(chwst=16.0, dp=60e3, sat=22.0, fan=0.9)
    valve, unmet_w = widest(shield, u, 7e5)
    assert 0.97 < valve < 1.0 and unmet_w == 0.0
    shield._coil(u, context(estimate(it_w=7e5, plant={"chwst": 16.0})), np.zeros(9, dtype=np.int64))
    assert u[U_CHW_DP] > 60e3


def test_heat_that_is_left_asks_for_colder_water_although_the_pressure_is_beyond_its_design(rules: Tick) -> None:
    shield = held(rules, limits={"chw_dp_sp_max_pa": 200e3})
    u = changed(chwst=19.0, dp=200e3, sat=20.0, fan=0.9)
    assert widest(shield, u, 9e5)[1] > 1e4
    shield._coil(u, context(estimate(it_w=9e5)), np.zeros(9, dtype=np.int64))
    assert u[U_CHWST] < 19.0 and widest(shield, u, 9e5)[1] == 0.0


@pytest.mark.parametrize("dp_pa", [20e3, 25e3, 30e3, 40e3])
@pytest.mark.parametrize("it_w", [3.5e5, 4e5, 4.5e5, 5e5])
def test_pressure_for_a_coil_is_what_it_needs_and_little_more(rules: Tick, dp_pa: float, it_w: float) -> None:
    shield, u = held(rules), changed(chwst=16.0, dp=dp_pa, sat=20.0, fan=0.9)
    if widest(shield, u, it_w)[0] <= 0.97:
        return
    shield._coil(u, context(estimate(it_w=it_w, plant={"chwst": 16.0})), np.zeros(9, dtype=np.int64))
    assert 0.87 <= widest(shield, u, it_w)[0] <= 0.97  # aimed at nine tenths open


def test_pressure_rises_by_a_quarter_at_a_time_for_a_valve_that_is_wide_open(
    rules: Tick, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coolctl.control.shield.EVALUATE_AGAIN", 1)
    u = changed(chwst=19.0, dp=20e3, sat=20.0, fan=0.9)
    held(rules)._coil(u, context(estimate(it_w=9e5, plant={"chwst": 19.0})), np.zeros(9, dtype=np.int64))
    assert u[U_CHW_DP] == pytest.approx(20e3 / 0.9**2)


# -- what the machines carry


def w_of(it_w: float, oawb_c: float = 12.0) -> Any:
    return np.array([oawb_c + 6.0, oawb_c, 87.5e3, it_w])


def test_no_machine_carries_nothing(rules: Tick) -> None:
    assert not shield_of(rules).carries(CALM, w_of(1e3), 0.0, 0.0, 1.0)


def test_one_chiller_carries_what_it_can_and_two_carry_twice_that(rules: Tick) -> None:
    shield, u = shield_of(rules), changed(fan=0.9, chwst=12.0, sat=20.0)
    most = [max(kw for kw in range(100, 2000, 10) if shield.carries(u, w_of(kw * 1e3, 20.0), n, 0.0, 1.0)) for n in (1.0, 2.0)]
    assert 500 < most[0] < 700 and most[1] == pytest.approx(2 * most[0], rel=0.15)


def test_ratio_asks_for_as_much_more_load(rules: Tick) -> None:
    shield, u = shield_of(rules), changed(fan=0.7, chwst=12.0, sat=20.0)
    edge = max(kw for kw in range(100, 1000) if shield.carries(u, w_of(kw * 1e3, 20.0), 1.0, 0.0, 1.0))
    u[FAN] = 0.7 / 1.25
    assert shield.carries(u, w_of(edge * 0.79e3, 20.0), 1.0, 0.0, 1.25)
    assert not shield.carries(u, w_of(edge * 0.82e3, 20.0), 1.0, 0.0, 1.25)


def test_plates_carry_in_the_cold_and_not_in_the_heat(rules: Tick) -> None:
    shield = shield_of(rules)
    assert shield.carries(CALM, w_of(4e5, 2.0), 0.0, 1.0, 1.0)
    assert not shield.carries(CALM, w_of(4e5, 16.0), 0.0, 1.0, 1.0)


def test_question_what_carries_changes_nothing(rules: Tick) -> None:
    shield, u, w = shield_of(rules), CALM.copy(), w_of(4e5)
    before = w.copy()
    shield.carries(u, w, 3.0, 1.0, 2.0)
    assert (u == CALM).all() and (w == before).all()


def test_towers_and_pumps_may_work_as_hard_as_they_can_for_it(rules: Tick) -> None:
    """What is asked of towers and pressure now does not count: they would be asked for more."""
    idle = changed(cwst=32.0, dp=20e3)
    shield = shield_of(rules)
    assert (
        shield.carries(idle, w_of(4e5), 1.0, 0.0, 1.0)
        == shield.carries(changed(cwst=8.0, dp=140e3), w_of(4e5), 1.0, 0.0, 1.0)
        is True
    )
    assert shield.carries(idle, w_of(4e5, 2.0), 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("u", "it_w", "oawb_c", "chillers", "plates", "why"),
    [
        ({"chwst": 12.0, "fan": 0.9, "sat": 20.0}, 650e3, 20.0, 1.0, 0.0, "the chiller is a little beyond its full load"),
        ({"chwst": 16.0, "fan": 0.6, "sat": 20.0}, 500e3, 20.0, 1.0, 0.0, "its evaporator has a third too much water"),
        (
            {"chwst": 19.0, "fan": 0.9, "sat": 20.0},
            400e3,
            2.0,
            0.0,
            1.0,
            "the coils are short of heat that the plates could carry",
        ),
        ({}, 400e3, 10.0, 0.0, 1.0, "the plates leave the water a kelvin too warm"),
    ],
)
def test_each_way_to_fall_short_is_one(
    rules: Tick, u: dict[str, float], it_w: float, oawb_c: float, chillers: float, plates: float, why: str
) -> None:
    shield = shield_of(rules)
    assert shield.carries(changed(**u), w_of(it_w, oawb_c), chillers, plates, 1.0) is False, why
    assert shield.carries(changed(chwst=12.0, sat=23.0), w_of(0.6 * it_w, min(oawb_c, 4.0)), chillers, plates, 1.0) is True


def test_no_machine_is_a_plain_no(rules: Tick) -> None:
    assert shield_of(rules).carries(CALM, w_of(1e3), 0.0, 0.0, 1.0) is False


@pytest.mark.parametrize(("fan", "ratio"), [(0.6, 1.5), (0.6, 1.05), (0.9, 1.5)])
def test_more_load_is_carried_with_as_much_more_air_and_no_more_than_there_is(rules: Tick, fan: float, ratio: float) -> None:
    shield = shield_of(rules)
    for kw in range(560, 700):
        alone = changed(chwst=12.0, fan=min(fan * ratio, 1.0))
        scaled = shield.carries(changed(chwst=12.0, fan=fan), w_of(kw * 1e3 / ratio, 20.0), 1.0, 0.0, ratio)
        assert scaled == shield.carries(alone, w_of(kw * 1e3, 20.0), 1.0, 0.0, 1.0), kw


def test_more_load_is_more_air_in_every_hall(two_halls: Site) -> None:
    shield = Tick(two_halls, None, "fallback").shield
    u = np.array([12.0, 100e3, 2.0, 20.0, 2.0, 0.8, 0.0, 22.0, 0.6, 22.0, 0.3])
    more = u.copy()
    more[[U_HALL + 1, U_HALL + 3]] *= 1.5
    conditions = [26.0, 20.0, two_halls.pressure_pa]
    answers = []
    for kw in range(200, 1200, 4):
        scaled = shield.carries(u, np.array([*conditions, kw * 1e3 / 1.5, kw * 1e3 / 1.5]), 1.0, 0.0, 1.5)
        assert scaled == shield.carries(more, np.array([*conditions, kw * 1e3, kw * 1e3]), 1.0, 0.0, 1.0), kw
        answers.append(scaled)
    assert answers[0] and not answers[-1]


# -- counts of machines


@pytest.mark.parametrize(("wish", "count"), [(1.4, 1.0), (1.6, 2.0), (0.6, 1.0)])
def test_machines_are_whole(rules: Tick, wish: float, count: float) -> None:
    u, bits = held(rules).limit(changed(chillers=wish), context(estimate()), 1.0)
    assert u[U_CHILLERS] == count and named(bits, U_CHILLERS) == {"site_limit"}, "what is changed is named"
    u, _ = held(rules).limit(changed(cells=wish + 1.0, plates=wish / 3.0), context(estimate()), 1.0)
    assert u[U_CELLS] == count + 1.0 and u[U_ECONOMIZER] == round(wish / 3.0)


def test_no_more_chillers_are_asked_for_than_there_are(rules: Tick) -> None:
    u, bits = held(rules).limit(changed(chillers=3.0), context(estimate(), available=2.0), 1.0)
    assert u[U_CHILLERS] == 2.0 and named(bits, U_CHILLERS) == {"available"}


def test_chiller_that_trips_stays_asked_for(rules: Tick) -> None:
    two = changed(chillers=2.0)
    for wish in (1.0, 2.0):
        u, bits = held(rules, two).limit(changed(chillers=wish), context(estimate(), available=1.0), 1.0)
        assert u[U_CHILLERS] == 2.0 and named(bits, U_CHILLERS) == ({"available"} if wish < 2.0 else set())


WARM_WATER = {"chwst": 16.0, "chillers_on": 1.0}


@pytest.mark.parametrize(("chwst_c", "it_w", "count"), [(15.6, 8e5, 2.0), (15.5, 8e5, 1.0), (15.6, 3e5, 1.0), (15.6, 6e5, 1.0)])
def test_one_more_machine_where_the_water_is_warm_and_the_model_knows_why(
    rules: Tick, chwst_c: float, it_w: float, count: float
) -> None:
    last = changed(fan=0.95, sat=20.0)
    est = estimate(it_w=it_w, plant={"chwst": chwst_c}, w=w_of(it_w, 20.0))
    u, bits = held(rules, last).limit(last, context(est), 1.0)
    assert u[U_CHILLERS] == count and named(bits, U_CHILLERS) == ({"capacity"} if count > 1.0 else set())


def test_one_more_machine_at_a_time_and_no_more_than_there_are(rules: Tick) -> None:
    last = changed(fan=0.95, sat=20.0)
    est = estimate(it_w=1.5e6, plant=WARM_WATER, w=w_of(1.5e6, 20.0))
    shield = held(rules, last)
    assert shield.limit(last, context(est), 1.0)[0][U_CHILLERS] == 2.0
    two = changed(last, chillers=2.0)
    for after_s, count in ((599.0, 2.0), (600.0, 2.0), (600.1, 3.0)):  # the one that was asked needs its time
        u, bits = shield.limit(two, context(est._replace(now_s=est.now_s + after_s)), 1.0)
        assert u[U_CHILLERS] == count and named(bits, U_CHILLERS) == ({"capacity"} if count > 2.0 else set())
    assert held(rules, last).limit(last, context(est, available=1.0), 1.0)[0][U_CHILLERS] == 1.0


def test_machines_are_short_of_cold_where_warm_water_is_not_a_start_that_is_under_way(rules: Tick) -> None:
    """What ends a trial in `bounded`: one more machine may lie outside of its band."""
    last, est = changed(fan=0.95, sat=20.0), estimate(it_w=8e5, plant=WARM_WATER, w=w_of(8e5, 20.0))
    assert not shield_of(rules).short_of_cold(est, 3.0), "nothing was published yet"
    shield = held(rules, last)
    assert shield.short_of_cold(est, 3.0)
    for chwst_c in (15.5, float("nan")):
        assert not shield.short_of_cold(est._replace(plant={**est.plant, "chwst": chwst_c}), 3.0)
    assert held(rules, changed(last, chillers=2.0)).short_of_cold(est, 1.0), "only those that are there count"
    assert not held(rules, changed(last, chillers=2.0)).short_of_cold(est, 3.0)
    shield.limit(last, context(est), 1.0)  # asks for one more
    shield.last = last
    assert not shield.short_of_cold(est._replace(now_s=est.now_s + 600.0), 3.0)
    assert shield.short_of_cold(est._replace(now_s=est.now_s + 600.1), 3.0)


def test_limits_that_undo_each_other_have_changed_nothing(rules: Tick) -> None:
    """Episode `adversary:1170` of `make soak`: the water asks for one more chiller, and one was stopped five minutes ago."""
    last, est = changed(fan=0.95, sat=20.0), estimate(it_w=8e5, plant=WARM_WATER, w=w_of(8e5, 20.0))
    shield = held(rules, last)
    shield._changed_s[U_CHILLERS] = est.now_s - 300.0
    u, bits = shield.limit(last, context(est), 1.0)
    assert u[U_CHILLERS] == 1.0 and named(bits, U_CHILLERS) == set()
    shield._changed_s[U_CHILLERS] = -np.inf
    assert named(shield.limit(last, context(est), 1.0)[1], U_CHILLERS) == {"capacity"}


# -- dwell


def moved(rules: Tick, name: str, before: float, after: float, **dwell: float) -> tuple[Shield, Any]:
    """A shield that has moved one count at 1e5 s."""
    free = {"chiller_on_s": 0.0, "chiller_off_s": 0.0, "chiller_between_starts_s": 0.0, "tower_cell_s": 0.0, "economizer_s": 0.0}
    shield = held(rules, changed(**{name: before}), dwell={**free, **dwell})
    start = changed(**{name: after})
    u, _ = shield.limit(start, context(estimate(plant={"chillers_on": 3.0, "economizer_on": 1.0})), 1.0)
    assert u[NAMES.index(name)] == after
    return shield, start


@pytest.mark.parametrize(
    ("name", "before", "after", "key"),
    [
        ("cells", 2.0, 3.0, "tower_cell_s"),
        ("cells", 2.0, 1.0, "tower_cell_s"),
        ("plates", 0.0, 1.0, "economizer_s"),
        ("chillers", 1.0, 2.0, "chiller_on_s"),
        ("chillers", 2.0, 1.0, "chiller_off_s"),
        ("chillers", 2.0, 1.0, "chiller_between_starts_s"),
    ],
)
def test_machine_that_has_moved_rests_for_its_time(rules: Tick, name: str, before: float, after: float, key: str) -> None:
    k = NAMES.index(name)
    for wait_s, count in ((499.0, after), (500.0, before)):
        shield, start = moved(rules, name, before, after, **{key: 500.0})
        est = estimate(1e5 + wait_s, plant={"chillers_on": 3.0, "economizer_on": 1.0})
        u, bits = shield.limit(changed(start, **{name: before}), context(est), 1.0)
        assert u[k] == count and named(bits, k) == ({"dwell"} if count == after else set()), (wait_s, named(bits, k))


def test_two_starts_are_apart_by_their_time_whatever_ran_between(rules: Tick) -> None:
    shield, start = moved(rules, "chillers", 1.0, 2.0, chiller_between_starts_s=600.0)
    for now_s, count in ((1e5 + 599.0, 2.0), (1e5 + 600.0, 3.0)):
        u, bits = shield.limit(changed(start, chillers=3.0), context(estimate(now_s, plant={"chillers_on": 2.0})), 1.0)
        assert u[U_CHILLERS] == count and named(bits, U_CHILLERS) == ({"dwell"} if count == 2.0 else set())


def test_overloaded_plant_waits_for_the_lock_out_only(rules: Tick) -> None:
    """A load beyond what runs need not wait until a stopped chiller has rested; a light load does."""
    for it_w, count in ((1.6e6, 3.0), (1.2e6, 2.0), (4e5, 2.0)):
        shield = held(rules, changed(chillers=3.0, fan=0.95), dwell={"chiller_off_s": 1800.0, "chiller_on_s": 0.0})
        two = changed(chillers=2.0, fan=0.95)
        u, _ = shield.limit(two, context(estimate(it_w=4e5, plant={"chillers_on": 3.0})), 1.0)
        assert u[U_CHILLERS] == 2.0
        est = estimate(1e5 + 700.0, it_w=it_w, w=w_of(it_w, 20.0), plant={"chillers_on": 2.0})
        u, bits = shield.limit(changed(two, chillers=3.0), context(est), 1.0)
        assert u[U_CHILLERS] == count and (("dwell" in named(bits, U_CHILLERS)) == (count < 3.0))


def test_emergency_waits_for_no_dwell(rules: Tick) -> None:
    shield, start = moved(rules, "chillers", 2.0, 1.0, chiller_off_s=1800.0, chiller_between_starts_s=600.0)
    u, _ = shield.limit(changed(start, chillers=2.0), context(estimate(1e5 + 5.0), emergency=True), 1.0)
    assert u[U_CHILLERS] == 2.0


def test_only_a_start_locks_the_next_start_out(rules: Tick) -> None:
    shield, _ = moved(rules, "chillers", 2.0, 1.0, chiller_on_s=0.0)
    assert shield._started_s == -np.inf and shield._changed_s[U_CHILLERS] == 1e5
    shield, _ = moved(rules, "chillers", 1.0, 2.0)
    assert shield._started_s == 1e5 and shield._changed_s == {U_CHILLERS: 1e5, U_CELLS: -np.inf, U_ECONOMIZER: -np.inf}


@pytest.mark.parametrize(
    ("name", "before", "after"), [("cells", 2.0, 3.0), ("plates", 0.0, 1.0), ("chillers", 1.0, 2.0), ("chillers", 2.0, 1.0)]
)
def test_machine_that_rests_and_is_asked_for_nothing_else_is_not_named(
    rules: Tick, name: str, before: float, after: float
) -> None:
    times = dict.fromkeys(("chiller_on_s", "chiller_off_s", "chiller_between_starts_s", "tower_cell_s", "economizer_s"), 900.0)
    shield, start = moved(rules, name, before, after, **times)
    u, bits = shield.limit(start, context(estimate(1e5 + 10.0, plant={"chillers_on": 3.0, "economizer_on": 1.0})), 1.0)
    assert u[NAMES.index(name)] == after and not bits.any()


def test_chiller_that_was_stopped_may_be_asked_for_although_the_running_one_must_stay(rules: Tick) -> None:
    """The least running time holds a stop, never a start."""
    shield, start = moved(rules, "chillers", 1.0, 2.0, chiller_on_s=1800.0)
    u, bits = shield.limit(changed(start, chillers=3.0), context(estimate(1e5 + 10.0, plant={"chillers_on": 2.0})), 1.0)
    assert u[U_CHILLERS] == 3.0 and not named(bits, U_CHILLERS)


# -- nothing that makes cold stops unless the rest carries

STOPPING = changed(chillers=2.0)


@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        ({}, True),
        ({"ride_through_s": 300.0}, True),
        ({"ride_through_s": 299.9}, False),
        ({"ride_through_s": np.nan}, False),
        ({"quorum": False}, False),
        ({"it_w": 8e5}, False),
        ({"plant": {"chillers_on": 0.0}}, False),
        ({"plant": {"chillers_on": np.nan}}, True),
    ],
)
def test_chiller_stops_only_where_the_rest_carries_and_the_loop_rides(rules: Tick, changes: dict[str, Any], stops: bool) -> None:
    given = dict(changes)
    ride = {"ride_through_s": given.pop("ride_through_s")} if "ride_through_s" in given else {}
    plant = {"chillers_on": 2.0, **given.pop("plant", {})}
    it_w = given.pop("it_w", 4e5)
    est = estimate(it_w=it_w, w=w_of(it_w, 20.0), plant=plant, **given)
    u, bits = held(rules, STOPPING).limit(changed(STOPPING, chillers=1.0), context(est, **ride), 1.0)
    assert u[U_CHILLERS] == (1.0 if stops else 2.0)
    why = "remaining_capacity" if est.quorum else "evidence"
    assert (why in named(bits, U_CHILLERS)) == (not stops)


def test_chiller_does_not_stop_without_quorum_whoever_else_has_let_it(rules: Tick) -> None:
    shield, u, bits = held(rules, STOPPING), changed(STOPPING, chillers=1.0), np.zeros(9, dtype=np.int64)
    shield._remaining(u, context(estimate(plant={"chillers_on": 2.0}, quorum=False)), bits)
    assert u[U_CHILLERS] == 2.0 and named(bits, U_CHILLERS) == {"remaining_capacity"}


def test_plates_stop_only_where_the_chillers_that_run_carry(rules: Tick) -> None:
    both = changed(plates=1.0)
    for seen, count in ((1.0, 0.0), (0.0, 1.0)):
        est = estimate(plant={"chillers_on": seen, "economizer_on": 1.0})
        u, bits = held(rules, both).limit(changed(both, plates=0.0), context(est), 1.0)
        assert u[U_ECONOMIZER] == count and ("remaining_capacity" in named(bits, U_ECONOMIZER)) == bool(count)
        assert u[U_CHILLERS] == 1.0


def test_last_chiller_stops_behind_plates_that_are_seen_to_run(rules: Tick) -> None:
    both = changed(plates=1.0)
    for seen, count in ((1.0, 0.0), (0.0, 1.0)):
        est = estimate(w=w_of(4e5, 2.0), plant={"chillers_on": 1.0, "economizer_on": seen})
        u, _ = held(rules, both).limit(changed(both, chillers=0.0), context(est), 1.0)
        assert u[U_CHILLERS] == count


def test_running_is_what_is_seen_of_what_is_asked() -> None:
    assert running(1.0, 2.0) == 1.0 and running(3.0, 2.0) == 2.0 and running(float("nan"), 2.0) == 2.0


# -- evidence for warm moves

WARM = changed(chwst=14.004, dp=59.9e3, sat=22.008, fan=0.596, cwst=20.005, flow=0.7995, cells=1.0)
COLD = changed(chwst=13.99, dp=60.1e3, sat=21.99, fan=0.61)


def test_warm_moves_are_made_with_evidence(rules: Tick) -> None:
    u, bits = held(rules).limit(WARM, context(estimate()), 1.0)
    assert u == pytest.approx(WARM) and not bits.any()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"quorum": False}, "evidence"),
        ({"confirmed": False}, "evidence"),
        ({"hottest_c": 25.71}, "inlet"),
        ({"hottest_c": np.nan}, "inlet"),
    ],
)
def test_no_warm_move_without_evidence_and_any_cold_one(rules: Tick, changes: dict[str, Any], name: str) -> None:
    own = {"confirmed": changes["confirmed"]} if "confirmed" in changes else {}
    est = estimate(**{k: v for k, v in changes.items() if k != "confirmed"})
    u, bits = held(rules).limit(WARM, context(est, **own), 1.0)
    for k in (U_CHWST, U_CHW_DP, SAT, FAN):
        assert u[k] == CALM[k] and named(bits, k) == {name}
    assert u[[U_CWST, U_CW_FLOW, U_CELLS]] == pytest.approx(WARM[[U_CWST, U_CW_FLOW, U_CELLS]])  # they do not reach the racks
    u, bits = held(rules).limit(COLD, context(est, **own), 1.0)
    assert u == pytest.approx(COLD) and not bits.any()


def test_warm_moves_end_a_margin_below_the_limit(rules: Tick) -> None:
    u, bits = held(rules).limit(WARM, context(estimate(hottest_c=25.7)), 1.0)
    assert u == pytest.approx(WARM) and not bits.any()


@pytest.mark.parametrize(
    ("start_c", "after_s", "now_c", "open_"),
    [
        (18.0, 899.0, 21.0, True),
        (18.0, 899.0, 21.1, False),
        (18.0, 901.0, 21.1, True),
        (5.0, 3599.0, 17.0, True),
        (5.0, 3599.0, 17.1, False),
        (5.0, 3601.0, 17.1, True),
    ],
)
def test_racks_may_warm_only_so_much_in_a_quarter_of_an_hour_and_in_an_hour(
    rules: Tick, start_c: float, after_s: float, now_c: float, open_: bool
) -> None:
    shield = held(rules)
    shield.limit(CALM, context(estimate(1e5, hottest_c=start_c)), 1.0)
    u, bits = shield.limit(WARM, context(estimate(1e5 + after_s, hottest_c=now_c)), 1.0)
    assert (u[SAT] > CALM[SAT]) == open_ and named(bits, SAT) == (set() if open_ else {"inlet"})


# -- rates


def test_rates_are_slow_towards_warm_and_quick_towards_cold(rules: Tick) -> None:
    warm = changed(chwst=20.0, dp=20e3, sat=26.0, fan=0.5, cwst=32.0, flow=0.5)
    u, bits = held(rules).limit(warm, context(estimate(), demand_speed=np.array([0.48])), 6.0)
    assert u[[U_CHWST, U_CHW_DP, U_CWST, U_CW_FLOW, SAT, FAN]] == pytest.approx([14.03, 59e3, 20.05, 0.795, 22.05, 0.57])
    assert all(named(bits, k) == {"rate"} for k in (U_CHWST, U_CHW_DP, U_CWST, U_CW_FLOW, SAT, FAN))
    cold = changed(chwst=8.0, dp=140e3, sat=16.0, fan=1.0, cwst=8.0, flow=1.2)
    u, bits = held(rules).limit(cold, context(estimate()), 3.0)
    assert u[[U_CHWST, U_CHW_DP, U_CWST, U_CW_FLOW, SAT, FAN]] == pytest.approx([13.9, 72e3, 19.975, 0.81, 21.9, 0.7002])


def test_nothing_moves_in_no_time(rules: Tick) -> None:
    u, _ = held(rules).limit(changed(chwst=8.0, sat=16.0, fan=1.0), context(estimate()), 0.0)
    assert u[[U_CHWST, SAT, FAN]].tolist() == [14.0, 22.0, 0.6]


@pytest.mark.parametrize(("wish", "fan"), [(0.9, 0.619), (0.62, 0.619), (0.615, 0.615), (0.5, 0.595)])
def test_fans_do_not_jump_at_a_change_of_mode(rules: Tick, wish: float, fan: float) -> None:
    c = context(estimate(), demand_speed=np.array([0.3]), mode_changed=True)
    u, bits = held(rules).limit(changed(fan=wish), c, 1.0)
    assert u[FAN] == pytest.approx(fan) and ("mode_change" in named(bits, FAN)) == (wish > 0.619)
    down, bits = held(rules).limit(changed(fan=0.4), c, 10.0)
    assert down[FAN] == pytest.approx(0.581) and named(bits, FAN) == {"rate", "mode_change"}


def test_fans_jump_at_a_change_of_mode_where_the_servers_or_an_emergency_ask(rules: Tick) -> None:
    for c in (
        context(estimate(), mode_changed=True, emergency=True),
        context(estimate()),
    ):
        u, bits = held(rules).limit(changed(fan=0.9), c, 1.0)
        assert u[FAN] == pytest.approx(0.6334)
    c = context(estimate(), demand_speed=np.array([0.7]), mode_changed=True)
    u, bits = held(rules).limit(CALM, c, 1.0)
    assert u[FAN] == pytest.approx(0.6334) and named(bits, FAN) == {"airflow", "rate"}


def test_fans_of_every_hall_rest_at_a_change_of_mode(two_halls: Site) -> None:
    shield = Tick(two_halls, None, "fallback").shield
    shield.last = np.array([*CALM, 22.0, 0.6])
    u, bits = shield.last.copy(), np.zeros(11, dtype=np.int64)
    u[[U_HALL + 1, U_HALL + 3]] = 0.63, 0.57
    shield._slew(u, context(estimate(), mode_changed=True), bits, 60.0)
    assert u[[U_HALL + 1, U_HALL + 3]] == pytest.approx([0.619, 0.581]) and u[[U_HALL, U_HALL + 2]].tolist() == [22.0, 22.0]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_temperatures_do_not_jump_at_a_change_of_mode_after_a_long_silence(two_halls: Site, sign: float) -> None:
    """A controller that was stopped for a minute has a minute's rate in hand: it may not spend it on another's wish."""
    shield = Tick(two_halls, None, "fallback").shield
    shield.last = np.array([*CALM, 22.0, 0.6])
    far, places = shield.last.copy(), [U_CHWST, U_HALL, U_HALL + 2]
    far[places] += 5.0 * sign
    u, bits = far.copy(), np.zeros(11, dtype=np.int64)
    shield._slew(u, context(estimate(), mode_changed=True), bits, 60.0)
    assert u[places] == pytest.approx(shield.last[places] + 0.19 * sign)
    assert all(named(bits, k) == {"rate", "mode_change"} for k in places)
    near = shield.last + 0.1
    u, bits = near.copy(), np.zeros(11, dtype=np.int64)
    shield._slew(u, context(estimate(), mode_changed=True), bits, 60.0)
    assert u[places].tolist() == near[places].tolist() and not bits[places].any()
    u, bits = far.copy(), np.zeros(11, dtype=np.int64)
    shield._slew(u, context(estimate(), mode_changed=True, emergency=True), bits, 60.0)
    assert np.all(np.abs(u[places] - shield.last[places]) > 0.25)


def test_machines_do_not_stand_still_at_a_change_of_mode(rules: Tick) -> None:
    u, bits = held(rules).limit(changed(plates=1.0, chillers=2.0), context(estimate(), mode_changed=True), 1.0)
    assert u[U_ECONOMIZER] == 1.0 and u[U_CHILLERS] == 2.0 and not bits.any()


# -- emergency


def test_emergency_puts_fans_to_full_and_lets_nothing_warm(rules: Tick) -> None:
    u, bits = held(rules).limit(WARM, context(estimate(), emergency=True), 1e3)
    assert u[FAN] == 1.0 and named(bits, FAN) == {"emergency"}
    for k in (U_CHWST, U_CHW_DP, SAT, U_CWST, U_CW_FLOW, U_CELLS):
        assert u[k] == CALM[k] and named(bits, k) == {"emergency"}
    assert u[U_ECONOMIZER] == 0.0 and u[U_CHILLERS] == 1.0
    u, _ = held(rules).limit(COLD, context(estimate(), emergency=True), 1.0)
    assert u[[U_CHWST, U_CHW_DP, SAT]] == pytest.approx(COLD[[U_CHWST, U_CHW_DP, SAT]])


def test_emergency_is_for_the_fans_of_every_hall(two_halls: Site) -> None:
    shield = Tick(two_halls, None, "fallback").shield
    shield.last = np.array([*CALM, 22.0, 0.6])
    demand = np.array([0.3, 0.3])
    c = context(
        estimate(w=np.array([18.0, 12.0, two_halls.pressure_pa, 2e5, 2e5])),
        shield.last,
        own_u=np.full(11, np.nan),
        demand_speed=demand,
    )
    u, _ = shield.limit(shield.last, c._replace(emergency=True), 1e3)
    assert u[[U_HALL + 1, U_HALL + 3]].tolist() == [shield.hi[U_HALL + 1]] * 2 and u[[U_HALL, U_HALL + 2]].tolist() == [
        22.0,
        22.0,
    ]


# -- what is remembered over a restart


def test_memory_goes_through_json_and_changes_nothing(rules: Tick) -> None:
    first = held(rules)
    for k in range(3):
        first.limit(changed(cells=2.0 + (k == 2)), context(estimate(1e5 + k, hottest_c=22.0 + k)), 1.0)
    memory = json.loads(json.dumps(first.memory(), allow_nan=False))
    second = shield_of(rules)
    second.recall(memory)
    assert second.memory() == first.memory() and second.last is not None and second.last.dtype == np.float64
    assert second._changed_s == {U_CHILLERS: -np.inf, U_CELLS: 1e5 + 2.0, U_ECONOMIZER: -np.inf} and second._started_s == -np.inf
    for shield in (first, second):
        u, bits = shield.limit(changed(cells=2.0), context(estimate(1e5 + 100.0, hottest_c=27.5)), 1.0)
        assert u[U_CELLS] == 3.0 and named(bits, U_CELLS) == {"dwell"}


def test_memory_of_starts_and_of_both_windows(rules: Tick) -> None:
    first = held(rules)
    first.limit(changed(chillers=2.0), context(estimate(1e5, hottest_c=5.0)), 1.0)
    first.limit(changed(chillers=2.0), context(estimate(1e5 + 1000.0, hottest_c=22.0)), 1.0)
    second = shield_of(rules)
    second.recall(json.loads(json.dumps(first.memory())))
    assert second.memory() == first.memory()
    assert second._started_s == 1e5 and second._changed_s[U_CHILLERS] == 1e5
    assert second._short.push(1e5 + 1000.0, 30.0) == 22.0 and second._long.push(1e5 + 1000.0, 30.0) == 5.0


def test_memory_of_a_shield_that_has_published_nothing(rules: Tick) -> None:
    second = held(rules)
    second.recall(shield_of(rules).memory())
    assert second.last is None and shield_of(rules).memory() == {"last": None, "timers_s": [None] * 4, "windows": [[], []]}
