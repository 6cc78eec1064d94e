"""This command, then the fallback: what the shield foresees, and what it does where the plant's own rules would be late."""

from __future__ import annotations

import numpy as np
import pytest
from foretold import Foretold
from test_shield import CALM, SAT, changed, context, estimate, held, named

from coolctl.control import foresight
from coolctl.control.estimate import Estimate
from coolctl.control.fixed_rules import B1
from coolctl.control.foresight import Foresight, Now, foresee_c
from coolctl.control.shield import LOST_S as SHIELD_LOST_S
from coolctl.control.tick import NOTICED_S, Tick
from coolctl.edge_schema import GatewayTable
from coolctl.points import U_CHILLERS, U_CHW_DP, U_CHWST, U_HALL
from coolctl.site import Site

DEMAND = np.array([0.5])
SOME = estimate(plant={"chwrt": 20.0})
LOST_S = 17.0


@pytest.fixture(scope="module")
def rules(site: Site) -> Tick:
    return Tick(site, None, "fallback")


def looking(rules: Tick, limit_c: float = 26.5, leased_s: float = LOST_S, **p: float) -> Foresight:
    return Foresight(rules.halls, rules.p._replace(**p), limit_c, leased_s)


def foreseen(rules: Tick, u: np.ndarray, est: object = None, leased_s: float = LOST_S, **p: float) -> float:
    f = looking(rules, leased_s=leased_s, **p)
    f.look(u, CALM, est or estimate(plant={"chwrt": 20.0}), DEMAND)  # type: ignore[arg-type]
    return f.hottest_c


def test_a_plant_that_is_left_as_it_is_stays_as_it_is_seen(rules: Tick) -> None:
    for seen_c in (21.0, 22.5, 25.0):
        assert foreseen(rules, CALM, estimate(inlet_max_c=np.array([seen_c]))) == pytest.approx(seen_c, abs=0.05)


def test_less_cooling_is_hotter_by_every_setpoint_that_reaches_racks(rules: Tick) -> None:
    still_c = foreseen(rules, CALM)
    assert foreseen(rules, changed(sat=25.0)) > still_c + 1.0
    assert foreseen(rules, changed(fan=0.45)) > still_c + 1.0
    assert foreseen(rules, changed(sat=18.0, fan=0.8)) <= still_c + 1e-9


def test_water_that_fails_is_felt_through_the_coils(rules: Tick) -> None:
    """Warm water, little pressure or no machine: nothing while the buffer lasts, then the racks."""
    hot = estimate(it_w=9e5, plant={"chwrt": 20.0}, fan_speed=np.array([0.95]))
    for u in (changed(chillers=0.0, fan=0.95), changed(chwst=20.0, fan=0.95), changed(dp=2e3, fan=0.95)):
        small = {"loop_volume_m3": 3.0, "buffer_m3": 0.0}
        assert foreseen(rules, u, hot, 280.0, **small) > foreseen(rules, changed(fan=0.95), hot, 280.0, **small) + 0.5, u


def test_the_longer_nobody_is_there_the_hotter(rules: Tick) -> None:
    warm = changed(sat=25.0, fan=0.48)
    hottest_c = [foreseen(rules, warm, leased_s=s) for s in (5.0, 17.0, 60.0)]
    assert hottest_c == sorted(hottest_c) and hottest_c[-1] > hottest_c[0] + 0.5


def test_machines_that_are_only_asked_for_do_not_count(rules: Tick) -> None:
    est = estimate(it_w=9e5, plant={"chwrt": 20.0}, fan_speed=np.array([0.95]))
    assert foreseen(rules, changed(chillers=3.0, fan=0.95), est) == foreseen(rules, changed(fan=0.95), est)


def test_racks_that_lag_behind_their_air_are_not_taken_for_cool_ones(rules: Tick) -> None:
    """Supply air has risen by 2 K, the racks not yet: they will."""
    f = looking(rules)
    f.look(CALM, CALM, estimate(1e5), DEMAND)
    before_c = f.hottest_c
    f.look(CALM, CALM, estimate(1e5 + 1.0, sat_c=np.array([24.0])), DEMAND)
    assert f.hottest_c > before_c + 1.5
    for k in range(20):
        f.look(CALM, CALM, estimate(1e5 + 60.0 * k), DEMAND)
    assert f.hottest_c == pytest.approx(before_c, abs=0.05)


def test_what_is_not_measured_is_as_it_was_published(rules: Tick) -> None:
    nothing = np.array([np.nan])
    silent = estimate(
        plant={"chwst": np.nan, "chwrt": np.nan, "cwst": np.nan, "chillers_on": np.nan, "economizer_on": np.nan},
        sat_c=nothing, fan_speed=nothing,
    )  # fmt: skip
    assert foreseen(rules, CALM, silent) == pytest.approx(foreseen(rules, CALM), abs=0.05)
    assert np.isfinite(foreseen(rules, CALM, silent._replace(inlet_max_c=nothing)))


def test_a_command_that_comes_too_late_goes_towards_the_plants_own_until_it_does_not(rules: Tick) -> None:
    """The supply air has become warmer by 0.9 K, the racks have not followed yet; now the fans are to slow down."""
    last, wish = changed(sat=24.0, fan=0.57), changed(sat=24.0, fan=0.515)
    racks = {"inlet_max_c": np.array([25.65]), "hottest_c": 25.65, "fan_speed": np.array([0.57])}
    before, est = estimate(1e5, sat_c=np.array([23.1]), **racks), estimate(1e5 + 11.0, sat_c=np.array([24.0]), **racks)
    shield, f = held(rules, last), looking(rules)
    for look in (shield.foresight.look, f.look):
        look(last, last, before, DEMAND)
    u, bits = shield.limit(wish, context(est), 11.0)
    assert {name for k in range(9) for name in named(bits, k)} == {"then_fallback"}
    assert all(bits[k] for k in (U_CHWST, U_CHW_DP, SAT, SAT + 1))
    assert u[SAT] < 24.0 and u[SAT + 1] > 0.515 and u[U_CHWST] < last[U_CHWST] and u[U_CHW_DP] > last[U_CHW_DP]
    # The nearest that passes: what lies a little back towards the wish does not.
    assert not f.look(u, last, est, DEMAND)
    assert f.look(wish + 0.9 * (u - wish), last, est, DEMAND)


def test_a_machine_that_was_to_stop_runs_on_where_the_command_comes_too_late(rules: Tick) -> None:
    """One of two chillers could go by what they carry; not in the same breath as the air."""
    last, wish = changed(sat=24.0, fan=0.57, chillers=2.0), changed(sat=24.0, fan=0.515, chillers=1.0)
    racks = {"inlet_max_c": np.array([25.65]), "hottest_c": 25.65, "fan_speed": np.array([0.57]), "plant": {"chillers_on": 2.0}}
    before, est = estimate(1e5, sat_c=np.array([23.1]), **racks), estimate(1e5 + 11.0, sat_c=np.array([24.0]), **racks)
    shield = held(rules, last)
    shield.foresight.look(last, last, before, DEMAND)
    u, bits = shield.limit(wish, context(est), 11.0)
    assert u[U_CHILLERS] == 2.0 and named(bits, U_CHILLERS) == {"then_fallback"}
    assert held(rules, last).limit(wish, context(before), 11.0)[0][U_CHILLERS] == 1.0, "without the air it may"


def test_up_to_where_racks_are_rescued_the_shield_lets_them_come(rules: Tick) -> None:
    """Half a kelvin over their limit of 26 °C: a command after which they stand at 25.6 °C is left alone."""
    last, wish = changed(sat=24.0, fan=0.57), changed(sat=24.0, fan=0.515)
    est = estimate(inlet_max_c=np.array([25.5]), hottest_c=25.5, fan_speed=np.array([0.57]), sat_c=np.array([24.0]))
    shield = held(rules, last)
    u, bits = shield.limit(wish, context(est), 11.0)
    assert 25.55 < shield.foresight.hottest_c < 26.5 and not bits.any() and u.tolist() == wish.tolist()


def test_a_lost_controller_is_missed_after_its_lease_and_the_time_to_notice() -> None:
    assert GatewayTable().ttl_s + NOTICED_S == SHIELD_LOST_S == LOST_S


def test_machines_that_would_be_missed_are_not_stopped(rules: Tick) -> None:
    f = looking(rules)
    u, colder = changed(chillers=0.0), changed(chillers=1.0)
    f.look(u, CALM, estimate(), DEMAND)
    f._bar_c = -100.0
    assert f.nearest(u, colder, CALM, estimate())[U_CHILLERS] == 1.0


def test_where_the_plants_own_rules_would_not_help_either_the_wish_stands(rules: Tick) -> None:
    hot = estimate(inlet_max_c=np.array([31.0]), hottest_c=25.6)
    f = looking(rules)
    assert not f.look(CALM, CALM, hot, DEMAND) and f.hottest_c > 30.0
    assert f.look(changed(fan=0.4), CALM, hot, DEMAND)  # but it may not make it worse


@pytest.mark.parametrize("bounded", [False, True])
def test_what_is_done_instead_keeps_every_other_limit(rules: Tick, bounded: bool) -> None:
    """Rates, the band of a policy on trial and the dew point hold; what the plant keeps for itself is left alone."""
    last, dry_c = changed(sat=24.0, fan=0.52), 24.0
    est = estimate(inlet_max_c=np.array([27.5]), hottest_c=25.6, sat_c=np.array([23.0]), fan_speed=np.array([0.53]))
    own_u = np.full(9, np.nan)
    own_u[U_CHW_DP] = 60e3
    c = context(est._replace(dewpoint_c=22.0), last, bounded=bounded, own_u=own_u)
    shield = held(rules, last, authority=(0.01, 0.15))
    u, bits = shield.limit(changed(last, fan=0.5), c, 1.0)
    assert "then_fallback" in named(bits, U_CHWST)
    assert u[SAT] >= dry_c - 1e-9 and u[U_CHW_DP] == 60e3 and not bits[U_CHW_DP]
    assert u[U_CHWST] == pytest.approx(last[U_CHWST] - (0.01 if bounded else 2.0 / 60.0), abs=1e-9)


def test_what_is_done_instead_keeps_the_air_of_every_hall_over_its_dew_point(two_halls: Site) -> None:
    shield, both = Tick(two_halls, None, "fallback").shield, np.ones(2)
    last = np.array([14.0, 60e3, 2.0, 20.0, 2.0, 0.8, 0.0, 24.0, 0.6, 24.0, 0.6])
    est = estimate(
        plant={"chwst": 12.0, "chwrt": 20.0, "chillers_on": 2.0}, w=np.array([18.0, 12.0, 82e3, 2.4e5, 2.4e5]), inlet_mean_c=23.0 * both,
        inlet_max_c=27.5 * both, sat_c=23.0 * both, fan_speed=0.6 * both, valve=0.4 * both, aisle_dp_pa=2.0 * both, dewpoint_c=22.0,
        hottest_c=25.6,
    )._replace(it_w=2.4e5 * both)  # fmt: skip
    shield.last = last.copy()
    wish = np.where(np.isin(np.arange(11), (8, 10)), 0.55, last)
    c = context(est, last, demand_speed=0.5 * both, own_u=np.full(11, np.nan))
    u, bits = shield.limit(wish, c, 1.0)
    assert named(bits, U_CHWST) == {"then_fallback"} and u[[7, 9]].tolist() == [24.0, 24.0]


def test_own_rules_are_those_of_the_plant(rules: Tick) -> None:
    f = looking(rules)
    f.look(CALM, CALM, estimate(), np.array([0.6]))
    assert f.own[[U_CHWST, U_CHW_DP, U_HALL]].tolist() == [B1.CHWST_C, B1.DP_PA, B1.SAT_C]
    assert f.own[U_HALL + 1] == pytest.approx(B1.AIRFLOW * 0.6)
    f.look(CALM, CALM, estimate(), np.array([np.nan]))
    assert f.own[U_HALL + 1] == 1.0


def test_compiled_equals_plain(rules: Tick) -> None:
    plain = getattr(foresee_c, "py_func", foresee_c)
    rng, seen, own = np.random.default_rng(4), np.zeros((1, foresight.STATES)), changed(chwst=12.0, dp=140e3, fan=0.6)
    for _ in range(20):
        u, last = rng.uniform(rules.shield.lo, rules.shield.hi), rng.uniform(rules.shield.lo, rules.shield.hi)
        seen[0, :3] = rng.uniform((18.0, 0.3, 20.0), (26.0, 1.0, 28.0))
        now = Now(*rng.uniform((8.0, 14.0, 10.0, 0.0, 0.0), (18.0, 24.0, 25.0, 3.0, 1.0)).tolist())
        args = (u, last, own, LOST_S, estimate(it_w=rng.uniform(2e5, 1e6)).w, now, rules.halls, rules.p.row, seen)
        a, b = foresee_c(*args, np.zeros_like(seen)), plain(*args, np.zeros_like(seen))
        assert a == pytest.approx(b, rel=1e-9)


def drawn(rng: np.random.Generator, tick: Tick, now_s: float) -> tuple[np.ndarray, np.ndarray, Estimate, np.ndarray]:
    """Any wish, what was published before it, and a plant as it may be seen, with holes."""
    count, u, last = len(tick.halls), rng.uniform(tick.shield.lo, tick.shield.hi), rng.uniform(tick.shield.lo, tick.shield.hi)
    u[U_CHW_DP], last[U_CHW_DP] = rng.choice([u[U_CHW_DP], 100.0]), rng.choice([last[U_CHW_DP], 100.0])
    u[U_HALL + 1] = rng.choice([u[U_HALL + 1], 0.0], p=[0.8, 0.2])  # a fan that is asked to stand
    supply_c = rng.uniform(6.0, 20.0) if rng.random() < 0.9 else rng.uniform(30.0, 60.0)
    plant = {
        "chwst": supply_c, "chwrt": supply_c + rng.uniform(-1.0, 12.0), "cwst": rng.uniform(4.0, 26.0),
        "chillers_on": rng.integers(0, 4), "economizer_on": rng.choice([0.0, 0.5, 0.52, 1.0]),
    }  # fmt: skip
    plant = {name: float(value) if rng.random() < 0.9 else np.nan for name, value in plant.items()}
    seen = {
        "sat_c": rng.uniform(16.0, 27.0, count), "fan_speed": rng.uniform(0.0, 1.0, count), "inlet_max_c": rng.uniform(18.0, 32.0, count),
    }  # fmt: skip
    demand = rng.uniform(0.1, 1.2, count)
    for values in (*seen.values(), demand):
        values[rng.random(count) < 0.1] = np.nan
    w = np.concatenate([[18.0, 12.0, rng.uniform(75e3, 1e5)], tick.halls[:, 0] * rng.uniform(0.1, 1.1, count)])
    return u, last, estimate(now_s, plant=plant, w=w, **seen), demand


VARIANTS = {
    "one hall": lambda p: p,
    "plates beside the condensers": lambda p: p._replace(economizer=p.economizer._replace(parallel=1.0)),
    "small machines": lambda p: p._replace(chiller=p.chiller._replace(capacity_ref_w=5e4), buffer_m3=0.0),
    "no plates": lambda p: p._replace(economizer=p.economizer._replace(present=0.0)),
    "little water": lambda p: p._replace(loop_volume_m3=0.4, buffer_m3=0.0),
    "a buffer": lambda p: p._replace(loop_volume_m3=20.0, buffer_m3=30.0),
    "two halls": lambda p: p,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_foresight_is_the_one_that_is_described(site: Site, two_halls: Site, variant: str) -> None:
    """Against a second writing of it: tick for tick the same hottest rack, the same verdict and the same way out."""
    tick = Tick(two_halls if variant == "two halls" else site, None, "fallback")
    p, rng = VARIANTS[variant](tick.p), np.random.default_rng(list(VARIANTS).index(variant))
    leased_s = 30.0 if variant == "a buffer" else LOST_S  # of which the rest of the five minutes is whole steps
    ours, theirs = Foresight(tick.halls, p, 24.0, leased_s), Foretold(tick.halls, p, 24.0, leased_s)
    now_s, late = 1e5, 0
    for _ in range(14):
        u, last, est, demand = drawn(rng, tick, now_s)
        assert ours.look(u, last, est, demand) == theirs.look(u, last, est, demand)
        assert ours.hottest_c == pytest.approx(theirs.hottest_c, rel=1e-9)
        colder = np.where(tick.shield.warm_sign > 0.0, tick.shield.lo, tick.shield.hi)
        if theirs.hottest_c > theirs.bar_c:
            assert ours.nearest(u, colder, last, est) == pytest.approx(theirs.nearest(u, colder), rel=1e-9)
            late += 1
        now_s += float(rng.choice([1.0, 5.0, 30.0, 60.0, 300.0, -10.0]))
    assert late >= 3


def test_what_comes_too_late_does_so_by_more_than_a_twentieth_of_a_kelvin(rules: Tick) -> None:
    """And where the rules would do no better now, by so much more than they would."""
    wish = changed(fan=0.45)
    hottest_c = foreseen(rules, wish)
    assert looking(rules, hottest_c - 0.052).look(wish, CALM, SOME, DEMAND)
    assert not looking(rules, hottest_c - 0.048).look(wish, CALM, SOME, DEMAND)
    now_c = foreseen(rules, CALM, leased_s=0.0)
    assert hottest_c > now_c + 1.0 and looking(rules, now_c - 5.0).look(wish, CALM, SOME, DEMAND)
    assert not looking(rules, hottest_c).look(wish, CALM, SOME, DEMAND), "at the limit is within it"


def test_racks_that_nobody_measures_stand_where_the_model_has_them(rules: Tick) -> None:
    unknown = SOME._replace(inlet_max_c=np.array([np.nan]))
    ours, theirs = looking(rules), Foretold(rules.halls, rules.p, 26.5, LOST_S)
    ours.look(CALM, CALM, unknown, DEMAND)
    theirs.look(CALM, CALM, unknown, DEMAND)
    assert ours.hottest_c == pytest.approx(theirs.hottest_c, rel=1e-12)


def test_water_nearly_as_warm_as_the_air_that_comes_back_says_that_the_coil_is_better_than_its_record(rules: Tick) -> None:
    """By a hundred-thousandth of a kelvin: half a watt by the record, and yet it carries the hall."""
    theirs = Foretold(rules.halls, rules.p, 26.5, LOST_S)
    theirs.look(CALM, CALM, SOME, DEMAND)
    (hall,), _ = theirs._halls(14.0, 0.6, SOME.w[2])
    water_c = hall.mass_c - 1e-5
    warm = estimate(plant={"chwst": water_c, "chwrt": water_c + 4.0})
    ours = looking(rules)
    ours.look(CALM, CALM, warm, DEMAND)
    theirs = Foretold(rules.halls, rules.p, 26.5, LOST_S)
    theirs.look(CALM, CALM, warm, DEMAND)
    assert 0.0 < 0.85 * hall.coil_w((60e3 / rules.p.chw_pump.head_static_pa) ** 0.5, water_c, SOME.w[2]) < 1.0
    assert ours.hottest_c == pytest.approx(theirs.hottest_c, rel=1e-6)


def test_chillers_of_the_wish_that_stop_are_not_counted(rules: Tick) -> None:
    assert U_CHILLERS == 2 and foreseen(rules, changed(chillers=0.0), leased_s=280.0, buffer_m3=0.0, loop_volume_m3=2.0) >= (
        foreseen(rules, CALM, leased_s=280.0, buffer_m3=0.0, loop_volume_m3=2.0)
    )
