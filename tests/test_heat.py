"""IT power meters against the heat in air and water: lies are found and the heat counts; sound meters are never accused."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from faults.plant_rows import steps, swinging

from coolctl.control.estimate import Estimate, Estimator
from coolctl.control.health import LIGHT, REASONS, Health
from coolctl.control.heat import WELL_S, follow_heat
from coolctl.controller import Controller
from coolctl.points import SampleStore
from coolctl.site import Site
from coolctl.thermal.params import hall_array
from sim_plant.faults import parse
from sim_plant.load import Load, constant
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics
from tools import soak
from tools.soak_chain import Chain

METER = "hall1.it_power"
Change = Callable[[dict[str, float], float], None]


class Watched:
    """A plant under its own control, and the health of its sensors."""

    def __init__(self, site: Site, load: Load, faults: Iterable[str] = (), seed: int = 1, **more: float):
        self.site = site
        self.plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T12"), load, **more)  # type: ignore[arg-type]
        self.readings = self.plant.reset(seed)
        for text in faults:
            self.plant.faults.add(parse(text))
        halls = hall_array(site)
        self.health, self.estimator = Health(site.table, site.halls, halls), Estimator(site, halls)
        self.store, self.t, self.found_s = SampleStore(site.table), 0.0, -1.0
        self.est: Estimate | None = None

    def run(self, seconds: float, change: Change | None = None, dt_s: float = 1.0) -> bool:
        """Whether the meter is doubted at the end."""
        for _ in range(round(seconds / dt_s)):
            readings = dict(self.readings)
            if change:
                change(readings, self.t)
            self.store.put_readings(readings, self.t)
            snap = self.health.assess(self.store.snapshot(self.t))
            self.est = self.health.warned(self.estimator.assess(snap), snap)
            if self.found_s < 0.0 and self.doubted:
                self.found_s = self.t
            self.readings = self.plant.step(None, dt_s)  # type: ignore[assignment]
            self.t += dt_s
        return self.doubted

    @property
    def doubted(self) -> bool:
        return bool(self.health.doubt[self.site.table.index[METER]] == LIGHT)

    @property
    def true_w(self) -> float:
        return self.plant.truth.it_w


def times(**factor: float) -> Change:
    """Readings of the hall that are off by a factor."""

    def change(readings: dict[str, float], _t: float) -> None:
        for name, ratio in factor.items():
            readings[f"hall1.{name}"] *= ratio

    return change


def plus(**off: float) -> Change:
    def change(readings: dict[str, float], _t: float) -> None:
        for name, by in off.items():
            readings[f"hall1.{name}"] += by

    return change


@pytest.mark.parametrize("dt_s", [1.0, 60.0])
def test_a_meter_that_drops_to_nearly_nothing_is_found_and_the_heat_counts(site: Site, dt_s: float) -> None:
    w = Watched(site, constant(0.6))
    assert not w.run(360, dt_s=dt_s)
    assert w.run(420, times(it_power=0.1), dt_s)
    assert w.est is not None and w.true_w < w.est.it_w[0] < 1.4 * w.true_w
    assert w.est.w[3] == pytest.approx(w.est.it_w[0], rel=0.15)
    assert w.health.doubts()[0].reason == REASONS[LIGHT]
    # It is believed again once it has said for ten minutes what the air says.
    assert w.run(WELL_S - 120, dt_s=dt_s)
    assert not w.run(420, dt_s=dt_s)
    assert w.est.it_w[0] == pytest.approx(w.true_w, rel=0.05)


def test_the_heat_counts_before_the_meter_is_called_wrong(site: Site) -> None:
    w, counted = Watched(site, constant(0.6)), -1
    w.run(300)
    for k in range(120):
        doubted = w.run(1, times(it_power=0.1))
        assert w.est is not None
        if counted < 0 and k > 0 and w.est.it_w[0] > 0.8 * w.true_w:
            counted = k
        if doubted:
            break
    assert doubted and 0 < counted <= k - 10


def test_half_the_load_is_found_with_the_waters_word_and_never_against_it(site: Site) -> None:
    half = times(it_power=0.5)
    w = Watched(site, constant(0.8))
    w.run(300)
    assert w.run(600, half)
    w = Watched(site, constant(0.8))
    w.run(300)

    def cold_water(readings: dict[str, float], t: float) -> None:
        half(readings, t)
        readings["chwrt"] = readings["chwst"] + 0.5 * (readings["chwrt"] - readings["chwst"])

    assert not w.run(600, cold_water)


NIGHTLY = pytest.mark.nightly


@pytest.mark.parametrize(
    ("load", "change"),
    [
        pytest.param(steps((0.0, 0.9), (600.0, 0.45)), None, marks=NIGHTLY),  # GPU jobs that end in a second
        (steps((0.0, 0.9), (600.0, 0.1)), None),
        pytest.param(steps((0.0, 0.15), (600.0, 0.95)), None, marks=NIGHTLY),
        pytest.param(swinging(0.3, 1.0, 10.0), None, marks=NIGHTLY),
        pytest.param(swinging(0.1, 1.0, 300.0), None, marks=NIGHTLY),
        (constant(0.15), plus(sat=-0.5, rat=0.5)),  # half a kelvin each, the wrong way, at a small load
        pytest.param(constant(0.15), times(crah_fan_speed=1.1), marks=NIGHTLY),
        pytest.param(constant(0.9), times(crah_fan_speed=1.1), marks=NIGHTLY),
        pytest.param(constant(0.6), times(crah_fan_speed=0.9), marks=NIGHTLY),
        pytest.param(constant(0.5), plus(sat=0.5, rat=-0.5), marks=NIGHTLY),
        (constant(0.15), lambda r, t: (times(crah_fan_speed=1.1)(r, t), plus(sat=-0.5, rat=0.5)(r, t))),
    ],
)  # fmt: skip
def test_a_sound_meter_is_believed(site: Site, load: Load, change: Change | None) -> None:
    w = Watched(site, load)
    w.run(1200, change)
    assert w.found_s < 0.0


@pytest.mark.nightly
@pytest.mark.parametrize(
    "fault", ["off:hall1.crahs:0.25", "off:hall1.crahs:0.5", "stuck:hall1.valve:0", "off:chw_pumps", "off:chiller1"]
)
@pytest.mark.parametrize("ratio", [0.3, 0.8])
def test_a_broken_machine_is_no_lying_meter(site: Site, fault: str, ratio: float) -> None:
    w = Watched(site, constant(ratio), [f"{fault}@600-1200"])
    w.run(2400)
    assert w.found_s < 0.0


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(6))
def test_a_plant_unlike_its_model_is_no_lying_meter(site: Site, seed: int) -> None:
    w = Watched(site, swinging(0.3, 0.9, 900.0), mismatch=0.3, mismatch_seed=seed)
    w.run(3600)
    assert w.found_s < 0.0


def test_without_the_return_air_nothing_is_compared_and_a_doubt_ends_at_the_design_load(site: Site) -> None:
    def silent(readings: dict[str, float], _t: float) -> None:
        readings["hall1.rat"] = np.nan

    w = Watched(site, constant(0.6))
    assert not w.run(300, lambda r, t: (silent(r, t), times(it_power=0.1)(r, t)))  # type: ignore[arg-type]
    w = Watched(site, constant(0.6))
    w.run(300)
    assert w.run(300, times(it_power=0.1))
    w.run(30, lambda r, t: (silent(r, t), times(it_power=0.1)(r, t)))  # type: ignore[arg-type]
    assert w.doubted and w.est is not None and w.est.it_w[0] == site.file.halls[0].it_power_nom_w


def test_a_meter_stuck_before_a_load_step_is_found_before_the_racks_are_hot(site: Site, policy: object) -> None:
    """Played without the comparison a rack comes to 31 °C: the policy takes the air away that the meter does not ask for."""
    load = steps((0.0, 0.2), (420.0, 0.84))
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T12"), load)
    readings, controller = plant.reset(1), Controller(site, policy)  # type: ignore[arg-type]
    plant.faults.add(parse(f"stuck:{METER}@390"))
    found_s, hottest_c = -1.0, 0.0
    for t in range(700):
        d = controller.tick(readings, float(t))
        if found_s < 0.0 and METER in d.doubted:
            found_s = t - 420.0
        readings = plant.step(d.setpoints, 1.0)  # type: ignore[assignment]
        hottest_c = max(hottest_c, float(plant.truth.rack_inlet_c.max()))
    assert 0.0 < found_s <= 45.0 and hottest_c < site.file.limits.rack_inlet_limit_c


def mute(*names: str) -> Change:
    def change(readings: dict[str, float], _t: float) -> None:
        for name in names:
            readings[name] = np.nan

    return change


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_a_hall_without_a_meter_is_told_from_air_and_water(site: Site, load: float) -> None:
    w = Watched(site, constant(load))
    w.run(300)
    w.run(900, mute(METER))
    assert w.est is not None and w.est.substituted == ("it_power[0]",)
    assert w.true_w < w.est.it_w[0] < min(1.45 * w.true_w, site.file.halls[0].it_power_nom_w + 1.0)
    assert w.est.w[3] == pytest.approx(w.est.it_w[0], rel=0.15)


@pytest.mark.parametrize("gone", ["hall1.rat", "hall1.crah_fan_speed", "chw_flow", "chwrt"])
def test_one_witness_alone_is_no_ground_to_leave_the_design_load(site: Site, gone: str) -> None:
    w = Watched(site, constant(0.4))
    w.run(300)
    w.run(600, mute(METER, gone))
    assert w.est is not None and w.est.it_w[0] == site.file.halls[0].it_power_nom_w


def test_air_that_tells_far_less_than_the_water_is_not_believed(site: Site) -> None:
    """The return air's sensor reads half the rise: after a while the design load counts."""
    w = Watched(site, constant(0.6))
    w.run(300)

    def change(readings: dict[str, float], t: float) -> None:
        mute(METER)(readings, t)
        readings["hall1.rat"] = readings["hall1.sat"] + 0.5 * (readings["hall1.rat"] - readings["hall1.sat"])

    w.run(7200, change, dt_s=5.0)
    assert w.est is not None and w.est.it_w[0] == site.file.halls[0].it_power_nom_w


@pytest.mark.parametrize(
    "faults", [(f"off:{METER}@600",), (f"off:{METER}@600", "stuck:hall1.rat@800"), (f"stuck:{METER}@600", "off:hall1.rat@800")]
)
def test_a_load_step_that_no_meter_shows_takes_no_rack_far_above_its_limit(
    site: Site, policy: object, faults: tuple[str, ...]
) -> None:
    """Played without what the aisle's pressure tells, a rack comes to 31 °C in the last two."""
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T12"), steps((0.0, 0.2), (1000.0, 0.9)))
    readings, controller = plant.reset(1), Controller(site, policy)  # type: ignore[arg-type]
    for text in faults:
        plant.faults.add(parse(text))
    hottest_c = 0.0
    for t in range(1400):
        readings = plant.step(controller.tick(readings, float(t)).setpoints, 1.0)  # type: ignore[assignment]
        hottest_c = max(hottest_c, float(plant.truth.rack_inlet_c.max()))
    assert hottest_c < site.file.limits.rack_inlet_limit_c + 0.5


def test_a_meter_that_sticks_low_beside_a_hostile_policy_takes_no_air_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Episode `adversary:161` of `make soak`: at 1,040 s a load of 840 kW reads 66 kW. The racks warmed by 7 K in 75 s."""
    trace: list[tuple[float, float]] = []
    judge = Chain._judge

    def seen(chain: Chain, now_s: float) -> None:
        trace.append((now_s, float(chain.plant.rack_inlet_c.max())))
        judge(chain, now_s)

    monkeypatch.setattr(Chain, "_judge", seen)
    soak.play(soak.stage(), "adversary", 161, 5.0)
    inlets_c = [c for t, c in trace if 1030.0 <= t <= 1150.0]
    assert len(inlets_c) == 25 and max(inlets_c) - inlets_c[0] < 1.0


def test_compiled_equals_plain(site: Site) -> None:
    plain, rng, halls = getattr(follow_heat, "py_func", follow_heat), np.random.default_rng(3), hall_array(site)
    states = [[np.full(1, np.nan) for _ in range(4)] for _ in range(2)]
    for k in range(200):
        seen = [np.array([rng.uniform(*r)]) for r in ((0.0, 1e6), (15.0, 26.0), (20.0, 45.0), (0.3, 1.0))]
        if k % 17 == 5:
            seen[k % 4][0] = np.nan
        for kernel, state in zip((follow_heat, plain), states, strict=True):
            kernel(*seen, 88e3, halls, 5.0, *state)
        for a, b in zip(*states, strict=True):
            assert a == pytest.approx(b, rel=1e-11, nan_ok=True)
