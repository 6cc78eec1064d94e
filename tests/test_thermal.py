"""The controller's model against plate values, energy balance and what physics forbids."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from coolctl.points import U_CHILLERS, U_CW_FLOW, U_CWST, U_ECONOMIZER, U_HALL
from coolctl.psychro import CP_AIR_JKGK, CP_WATER_JKGK
from coolctl.site import Site
from coolctl.thermal import chiller, economizer, plant, pump_fan, room, tower
from coolctl.thermal.dynamics import HORIZON_S, ride_through_s
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.plant import (
    O_CHILLER,
    O_CHW_FLOW,
    O_CHWRT,
    O_CHWST,
    O_COOLING,
    O_CW_FLOW,
    O_CWRT,
    O_CWST,
    O_ECONOMIZER,
    O_HEAT,
    O_UNMET,
    OUTPUTS,
    evaluate_plant,
)  # fmt: skip

CW = 4186.0


@pytest.fixture(scope="module")
def model(site: Site):  # type: ignore[no-untyped-def]
    p, halls = plant_params(site), hall_array(site)

    def evaluate(u: list[float], wb_c: float = 18.0, it_w: float = 6e5, pressure_pa: float = 101325.0) -> np.ndarray:
        out = np.zeros(len(OUTPUTS))
        evaluate_plant(np.array(u, float), np.array([wb_c + 4.0, wb_c, pressure_pa, it_w / 1.05]), halls, p.row, out)
        return out

    return p, halls, evaluate


B1 = [12.0, 140e3, 2.0, 22.0, 2.0, 1.0, 0.0, 22.0, 0.72]


def test_chiller_at_plate_gives_reference_cop(model) -> None:  # type: ignore[no-untyped-def]
    p = model[0].chiller
    load_w = chiller.capacity_w(7.22, 23.89, p)
    power_w, plr = chiller.power_w(load_w, 7.22, 23.89, p.condenser_flow_nom_kgs, p)
    # Curves are normalised to about 1 at their reference: the fit's own residual is below 3 %.
    assert load_w / power_w == pytest.approx(p.cop_ref, rel=0.03)
    assert plr == pytest.approx(1.0, abs=0.02)


def test_chiller_colder_condenser_water_never_costs(model) -> None:  # type: ignore[no-untyped-def]
    p = model[0].chiller
    for x in np.arange(6.0, 20.1, 1.0):
        eir = [chiller.eir_ratio(x, y, p) for y in np.arange(8.0, 36.0, 0.5)]
        capacity = [chiller.capacity_w(x, y, p) for y in np.arange(8.0, 36.0, 0.5)]
        assert (np.diff(eir) >= -1e-12).all(), x
        assert (np.diff(capacity) <= 1e-6).all(), x


def test_chiller_warmer_chilled_water_saves_and_less_condenser_flow_costs(model) -> None:  # type: ignore[no-untyped-def]
    p = model[0].chiller
    powers = [chiller.power_w(4e5, x, 24.0, 31.0, p)[0] for x in np.arange(8.0, 20.0, 1.0)]
    assert (np.diff(powers) < 0.0).all()
    flows = [chiller.power_w(4e5, 12.0, 24.0, m, p)[0] for m in (31.0, 25.0, 20.0, 15.0)]
    assert (np.diff(flows) > 0.0).all()


def test_chiller_below_minimum_load_cycles_at_constant_cop(model) -> None:  # type: ignore[no-untyped-def]
    p = model[0].chiller
    low, lower = chiller.power_w(0.10 * 6e5, 12.0, 22.0, 31.0, p)[0], chiller.power_w(0.05 * 6e5, 12.0, 22.0, 31.0, p)[0]
    assert low / lower == pytest.approx(2.0, rel=0.02)  # only the condenser-flow term moves with load


def test_tower_design_approach_is_the_records(model) -> None:  # type: ignore[no-untyped-def]
    p = model[0].tower
    leaving = tower.leaving_water_c(1.0, 62.0 / 3.0, 1.1e6 / 3.0, 26.0, 101325.0, p)
    assert 3.5 <= leaving - 26.0 <= 4.0


def test_tower_balances_and_is_monotone(model) -> None:  # type: ignore[no-untyped-def]
    p = model[0].tower
    for speed, wb in itertools.product((0.2, 0.6, 1.0), (0.0, 12.0, 24.0)):
        t = tower.leaving_water_c(speed, 20.0, 3e5, wb, 90e3, p)
        back = tower.heat_rejected_w(speed, 20.0, t + 3e5 / (20.0 * CW), t, wb, 90e3, p)
        assert back == pytest.approx(3e5, rel=1e-3)  # bisection to 1e-5 K
    colder = [tower.leaving_water_c(s, 20.0, 3e5, 15.0, 90e3, p) for s in (0.2, 0.4, 0.7, 1.0)]
    assert (np.diff(colder) < 0.0).all()


def test_tower_thin_air_makes_warmer_water(model) -> None:  # type: ignore[no-untyped-def]
    p = model[0].tower
    low, high = (tower.leaving_water_c(1.0, 20.0, 3e5, 15.0, pa, p) for pa in (101e3, 84e3))
    assert high != low  # less air, but more enthalpy per kelvin: both effects are in
    assert tower.fan_power_w(1.0, 20.0, 84e3, p) < tower.fan_power_w(1.0, 20.0, 101e3, p)


def test_economizer_never_moves_heat_uphill(model) -> None:  # type: ignore[no-untyped-def]
    p = model[0].economizer
    assert economizer.heat_w(20.0, 20.0, 21.0, 40.0, p) == 0.0
    assert 0.0 < economizer.heat_w(20.0, 20.0, 10.0, 40.0, p) <= 20.0 * CW * 10.0


def test_pump_at_plate(model) -> None:  # type: ignore[no-untyped-def]
    p = model[0].cw_pump
    assert pump_fan.pump_power_w(31.0, 220e3, 1.0, p) == pytest.approx(10.35e3, rel=0.02)  # plate 10.35 kW


def test_crah_at_plate(model) -> None:  # type: ignore[no-untyped-def]
    assert pump_fan.fan_power_w(1.0, 1.2, 5000.0, 2.8, 50.0) == pytest.approx(5050.0)


def test_servers_fan_figures_of_the_white_paper(model) -> None:  # type: ignore[no-untyped-def]
    hall = room.HallParams(*model[1][0])
    base = room.server_power_w(1e6, 15.0, hall)
    assert room.server_power_w(1e6, 25.0, hall) / base - 1.0 == pytest.approx(0.010, abs=0.003)
    assert room.server_power_w(1e6, 27.0, hall) / base - 1.0 == pytest.approx(0.020, abs=0.004)


def test_too_little_air_makes_hot_spots(model) -> None:  # type: ignore[no-untyped-def]
    hall = room.HallParams(*model[1][0])
    plenty, short = (room.inlets_c(6e5, 22.0, kgs, hall) for kgs in (60.0, 40.0))
    assert plenty[2] > 1.03 and plenty[1] - 22.0 < 1.6
    assert short[2] < 0.85 and short[1] - 22.0 > 5.0


def test_plant_energy_balance_closes(model) -> None:  # type: ignore[no-untyped-def]
    _p, _halls, evaluate = model
    for u in (B1, [16.0, 60e3, 1.0, 20.0, 3.0, 0.8, 1.0, 23.5, 0.7], [17.0, 60e3, 0.0, 9.0, 3.0, 0.8, 1.0, 23.5, 0.7]):
        out = evaluate(u, 4.0 if u[U_CHILLERS] == 0 else 14.0)
        assert out[O_UNMET] == 0.0
        chw_w = out[O_CHW_FLOW] * CW * (out[O_CHWRT] - out[O_CHWST])
        cw_w = out[O_CW_FLOW] * CW * (out[O_CWRT] - out[O_CWST])
        assert chw_w == pytest.approx(out[O_HEAT], rel=1e-6)
        # The last condenser iteration may still be 0.01 K away from its fixed point.
        assert cw_w == pytest.approx(out[O_HEAT] + out[O_CHILLER], rel=5e-3)


def test_plant_economizer_share_falls_with_wet_bulb(model) -> None:  # type: ignore[no-untyped-def]
    u = [16.0, 60e3, 1.0, 8.0, 3.0, 0.9, 1.0, 23.5, 0.7]
    shares = [model[2](u, wb)[O_ECONOMIZER] for wb in (6.0, 10.0, 14.0, 18.0, 22.0)]
    assert (np.diff(shares) <= 1e-6).all() and shares[0] > 0.0


def test_plant_overload_is_unmet_not_silent(model) -> None:  # type: ignore[no-untyped-def]
    u = list(B1)
    u[U_CHILLERS] = 1.0
    assert model[2](u, 26.0, it_w=9.5e5)[O_UNMET] > 0.0
    u[U_CHILLERS], u[U_ECONOMIZER], u[U_CWST] = 0.0, 1.0, 8.0
    assert model[2](u, 20.0)[O_UNMET] > 0.0


def test_plant_less_condenser_flow_is_not_free(model) -> None:  # type: ignore[no-untyped-def]
    u = list(B1)
    chillers = []
    for ratio in (1.0, 0.8, 0.6):
        u[U_CW_FLOW] = ratio
        chillers.append(model[2](u, 20.0)[O_CHILLER])
    assert (np.diff(chillers) > 0.0).all()


def test_plant_unknown_in_unknown_out(model) -> None:  # type: ignore[no-untyped-def]
    assert np.isnan(model[2](B1, float("nan"))[O_COOLING])
    u = list(B1)
    u[U_HALL] = float("nan")
    assert np.isnan(model[2](u)[O_COOLING])


def test_ride_through_order_of_the_study(model) -> None:  # type: ignore[no-untyped-def]
    # PHYSICS §7, 600 kW, 12 m³: 1690 s at 7/18, 1180 at 12/22, 950 at 16/23, 734 at 18/25. The coarse roll-out may be
    # shorter than the study's (it errs to the safe side at warm water), never 15 % longer.
    p, halls, _ = model
    p = p._replace(loop_volume_m3=12.0, buffer_m3=0.0)
    found = []
    for chwst, sat, study in ((7.0, 18.0, 1690.0), (12.0, 22.0, 1180.0), (16.0, 23.0, 950.0), (18.0, 25.0, 734.0)):
        u = np.array([chwst, 140e3, 2.0, 22.0, 2.0, 1.0, 0.0, sat, 0.75])
        w = np.array([20.0, 16.0, 101325.0, 6e5 / 1.05])
        seconds = ride_through_s(u, w, chwst, chwst + 8.0, 32.0, HORIZON_S, halls, p.row, np.zeros(2))
        assert 0.65 * study <= seconds <= 1.15 * study
        found.append(seconds)
    assert (np.diff(found) < 0.0).all()
    assert ride_through_s(u, w, float("nan"), 20.0, 32.0, HORIZON_S, halls, p.row, np.zeros(2)) == 0.0


def test_kernels_compiled_equal_plain(model) -> None:  # type: ignore[no-untyped-def]
    p, _halls, evaluate = model
    for kernel, args in (
        (chiller.power_w, (4e5, 14.0, 22.0, 25.0, p.chiller)),
        (tower.leaving_water_c, (0.7, 20.0, 3e5, 15.0, 90e3, p.tower)),
        (economizer.heat_w, (20.0, 20.0, 10.0, 40.0, p.economizer)),
        (pump_fan.pump_power_w, (20.0, 150e3, 1.0, p.chw_pump)),
    ):
        plain = getattr(kernel, "py_func", kernel)(*args)
        assert kernel(*args) == pytest.approx(plain, rel=1e-9)
    assert evaluate(B1)[O_COOLING] > 0.0


def test_a_row_is_the_plant_field_by_field(model) -> None:  # type: ignore[no-untyped-def]
    p = model[0]
    numbered = plant.plant_of(np.arange(float(plant.PLANT_COLUMNS)))
    assert len(p.row) == plant.PLANT_COLUMNS and p.row is p.row
    assert plant.plant_of(p.row) == p and np.array_equal(numbered.row, np.arange(plant.PLANT_COLUMNS))
    worse = p._replace(chiller=p.chiller._replace(eir_scale=1.2))
    assert worse.row[plant.PLACES.chiller.eir_scale] == 1.2
    assert np.count_nonzero(worse.row != p.row) == 1, "another plant has a row of its own"


def test_kernels_have_one_signature(model) -> None:  # type: ignore[no-untyped-def]
    model[2](B1)
    assert len(plant.evaluate_plant.signatures) == 1  # a second one would compile inside a tick
    for kernel in (chiller.power_w, tower.operate, room.inlets_c):
        assert len(kernel.signatures) <= 1, kernel.__name__


def test_condenser_water_is_what_the_towers_make(site):
    """Where the economizer carries most of the load, substitution would swing between two waters for ever."""
    p, halls = plant_params(site), hall_array(site)
    rng = np.random.default_rng(3)
    u, out = np.zeros(U_HALL + 2 * len(halls)), np.zeros(len(plant.OUTPUTS))
    for _ in range(500):
        w = np.concatenate([[25.0, rng.uniform(-5.0, 25.0), 89e3], rng.uniform(0.1, 0.8, len(halls)) * halls[:, 0]])
        cells = float(rng.integers(1, int(p.cells) + 1))
        u[:U_HALL] = (
            rng.uniform(8.0, 20.0), 80e3, rng.integers(0, 3), w[1] + rng.uniform(1.0, 20.0), cells, rng.uniform(0.5, 1.0), 1.0,
        )  # fmt: skip
        u[U_HALL::2], u[U_HALL + 1 :: 2] = 22.0, 0.6
        plant.evaluate_plant(u, w, halls, p.row, out)
        made_c, _, _ = plant.tower_makes(out[plant.O_CWST], u, w, cells, out[plant.O_CW_FLOW], p, out.copy())
        assert abs(made_c - out[plant.O_CWST]) < 2.0 * plant.CWST_TOLERANCE_K


def test_inversions_give_back_what_went_in(site: Site) -> None:
    """Water for a heat, leaving water and fan speed for a heat: put back, they give that heat, wherever there is one."""
    rng = np.random.default_rng(4)
    p, hall = plant_params(site).tower, room.hall_params(hall_array(site)[0])
    held = 0
    for _ in range(2000):
        heat_w, air_kgs = rng.uniform(1e3, 1.2e6), hall.air_flow_nom_kgs * rng.uniform(0.3, 1.0)
        chwst_c, sat_c, most, air = (
            rng.uniform(6.0, 19.0),
            rng.uniform(20.0, 26.0),
            rng.uniform(0.3, 1.2),
            air_kgs / hall.air_flow_nom_kgs,
        )
        ratio, short_w = room.coil_water_ratio(heat_w, chwst_c, sat_c, air_kgs, air, most, hall.coil_ua_nom_wk, hall)
        into_c = sat_c + heat_w / (air_kgs * CP_AIR_JKGK)
        carried_w = room.coil_heat_w(ratio, chwst_c, into_c, air_kgs, air, hall.coil_ua_nom_wk, hall)
        if ratio > room.COIL_FLOW_MIN_RATIO * 1.01:
            assert carried_w + short_w == pytest.approx(heat_w, rel=1e-5)
        wetbulb_c, pressure_pa, water_kgs = (
            rng.uniform(-15.0, 30.0),
            rng.uniform(70e3, 102e3),
            p.water_flow_nom_kgs * rng.uniform(0.3, 1.2),
        )
        heat_w, setpoint_c = water_kgs * 4186.0 * rng.uniform(1.0, 12.0), wetbulb_c + rng.uniform(-3.0, 25.0)
        lwt_c, speed = tower.operate(setpoint_c, water_kgs, heat_w, wetbulb_c, pressure_pa, p)
        ewt_c = lwt_c + heat_w / (water_kgs * CP_WATER_JKGK)
        rejected_w = tower.heat_rejected_w(speed, water_kgs, ewt_c, lwt_c, wetbulb_c, pressure_pa, p)
        assert rejected_w == pytest.approx(heat_w, rel=1e-4)
        held += lwt_c == setpoint_c
    assert 400 < held < 1900  # fans that follow and fans at an end are both there
