"""Commissioning steps on the simulated plant: what should answer does, what is swapped, dead or in hand is named."""

from __future__ import annotations

import json

import numpy as np
import pytest

from coolctl.cli import main
from coolctl.control.commission import HOLD_S, QUIET_S, STEP_SAT_K, TRIES, Excitation, findings, influence
from coolctl.controller import Controller
from coolctl.points import U_CHW_DP, U_CHWST, U_HALL
from coolctl.site import Site
from sim_plant.faults import parse
from sim_plant.load import Load, constant
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics


def commissioned(site: Site, policy, only: list[int], *, swap=(), fault="", load=None, hours=3.0):  # type: ignore[no-untyped-def]
    """The excitation after it has tried the setpoints `only`, and the hottest rack meanwhile."""
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("05-10T06"), load or constant(0.6))
    controller, readings, hottest_c = Controller(site, policy), plant.reset(1), 0.0
    if fault:
        plant.faults.add(parse(fault))
    excitation = Excitation(site)
    excitation.queue = [(k, 1) for k in only]
    shows = dict([swap, swap[::-1]]) if swap else {}
    for k in range(int(hours * 3600)):
        if k == 2400:
            controller.control.excitation = excitation
        seen = readings | {point: readings[other] for point, other in shows.items()}
        readings = plant.step(controller.tick(seen, float(k)).setpoints, 1.0)
        hottest_c = max(hottest_c, float(plant.truth.rack_inlet_c.max()))
        if excitation.done:
            break
    return excitation, hottest_c


def test_a_step_is_answered_by_its_own_sensor_and_goes_home(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    excitation, hottest_c = commissioned(site, policy, [U_HALL, U_CHW_DP])
    supply, pressure = excitation.responses
    names = {p.id: i for i, p in enumerate(site.table.points)}
    assert supply.moved == pytest.approx(STEP_SAT_K, abs=0.02) and pressure.moved == pytest.approx(15e3, rel=0.02)
    assert influence(supply)[names["hall1.sat"]] == pytest.approx(1.0, abs=0.15)
    racks = [influence(supply)[i] for n, i in names.items() if n.endswith("rack_inlet")]
    assert np.nanmean(racks) == pytest.approx(1.0, abs=0.25)
    assert influence(supply)[names["chw_flow"]] < -1.0, "colder air, more water: a wider valve, or more pressure before it"
    assert influence(pressure)[names["chw_dp"]] == pytest.approx(1.0, abs=0.05)
    assert np.isnan(influence(pressure)[names["oadb"]]), "the weather does not answer"
    assert not findings(site, excitation.responses) and hottest_c < site.file.limits.rack_inlet_limit_c


def test_exchanged_halls_are_named(two_halls: Site, policy) -> None:  # type: ignore[no-untyped-def]
    halls = two_halls.halls
    racks = tuple(f"{h}.rack01.rack_inlet" for h in halls)
    excitation, _ = commissioned(two_halls, policy, [U_HALL, U_HALL + 2], swap=racks)
    found = {f.text for f in findings(two_halls, excitation.responses)}
    assert found == {
        text for rack in racks for text in (f"{rack} does not follow its hall's supply air", f"{rack} follows it: swapped?")
    }
    excitation, _ = commissioned(two_halls, policy, [U_HALL], swap=tuple(f"{h}.sat" for h in halls))
    assert any("sat of" in f.text and "swapped?" in f.text for f in findings(two_halls, excitation.responses))


def test_what_does_not_move_is_named(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    excitation, _ = commissioned(site, policy, [U_HALL], fault="stuck:hall1.valve:0.7")
    assert ["in hand" in f.text for f in findings(site, excitation.responses)] == [True]


def test_near_the_limit_and_under_a_restless_load_nothing_is_forced(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    warm, _ = commissioned(site, policy, [U_CHWST], fault="wrong:hall1.rack03.rack_inlet:11@2700", hours=2.0)
    assert [r.why_not in ("a rack is near its limit", "the policy is not in charge") for r in warm.responses] == [True]
    steps = Load("steps", 300.0 * np.arange(48), np.resize([0.4, 0.55], 48))
    restless, _ = commissioned(site, policy, [U_CHWST], load=steps, hours=2.0)
    assert [r.why_not for r in restless.responses] == ["the load moved"]
    assert [f.text for f in findings(site, restless.responses)] == ["not tried: the load moved"]


def test_the_plan_says_how_long_it_takes(site: Site) -> None:
    excitation = Excitation(site)
    assert len(excitation.queue) == 6 and TRIES > 1
    assert excitation.duration_s == 6 * (2 * QUIET_S + HOLD_S)


def test_the_command_prints_a_table_and_refuses_unknown_points(site: Site, capsys, tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert main(["commission", "--site", str(site.path), "--swap", "hall1.sat,nowhere"]) == 78
    assert "nowhere" in capsys.readouterr().err
    path = tmp_path / "found.json"
    assert main(["commission", "--site", str(site.path), "--hours", "1.4", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert not found["finished"] and found["steps"][0]["setpoint"] == "chwst_sp"
    assert found["steps"][0]["per_unit"]["chwst"] == pytest.approx(1.0, abs=0.2)
    assert "NOT finished" in capsys.readouterr().out
