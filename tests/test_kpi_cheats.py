"""Ways to make a figure look good that must lose: each is run against the Guideline-36 sequence and judged by the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, SITE

from coolctl.controller import Controller, RuleController
from coolctl.points import U_HALL
from coolctl.savings.evaluate import Ledger, run
from coolctl.savings.ledger import Account
from coolctl.site import Site, load_site
from sim_plant.load import Load, constant
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

STEP_S = 5.0
CONFIG = ROOT / "config"
METER = "chiller_power"
Setpoints = dict[str, float]


def plant_of(site: Site, load: Load, start: str = "07-15T12") -> SimPlant:
    return SimPlant(site, from_statistics("CHN_Guiyang").starting(start), load, coarse=True)


class Rules:
    """The Guideline-36 sequence, with its setpoints or the readings that it sees changed on the way."""

    def __init__(self, site: Site, change: Callable[[Setpoints], Setpoints] = dict, see: Callable[[Setpoints], Setpoints] = dict):
        self._rules, self._change, self._see = RuleController(site, "b2"), change, see

    def tick(self, readings: Mapping[str, float], now_s: float) -> Setpoints:
        return self._change(self._rules.tick(self._see(dict(readings)), now_s))


def judged(site: Site, cheat: Any, load: Load, hours: float = 3.0) -> tuple[dict[str, Any], dict[str, Account]]:
    """The saving of `cheat` against the plain sequence, and the two accounts."""
    accounts = {name: run(site, plant_of(site, load), c, hours, 1, STEP_S) for name, c in (("b2", Rules(site)), ("cheat", cheat))}
    return Ledger(site, hours, 1, accounts, {}).as_dict()["savings"]["cheat_vs_b2"], accounts


def set_to(**values: float) -> Callable[[Setpoints], Setpoints]:
    return lambda sps: sps | {k.replace("__", "."): v for k, v in values.items()}


def wins(saving: dict[str, Any]) -> bool:
    """Whether the ledger would print it as a saving."""
    return bool(saving["equal_service"] and saving["cooling_ratio"] > 0.0)


def test_turning_cooling_off_is_no_saving(site: Site) -> None:
    off = set_to(chillers_on_sp=0.0, economizer_on_sp=0.0, tower_cells_on_sp=1.0, chw_dp_sp=20.0, hall1__fan_speed_sp=35.0)
    saving, _ = judged(site, Rules(site, off), constant(0.6))
    assert not wins(saving) and any("above its limit" in fault for fault in saving["service_faults"])


def test_heating_the_room_lowers_ppue_and_still_loses(site: Site) -> None:
    """Warmer air lets the plant rest while the servers' own fans race: the ratio falls, the bill does not."""
    saving, accounts = judged(site, Rules(site, set_to(hall1__sat_sp=26.0, hall1__fan_speed_sp=50.0)), constant(0.6))
    mine, base = accounts["cheat"].entry(), accounts["b2"].entry()
    assert mine["ppue"] < base["ppue"]
    assert mine["energy_kwh"]["server_fan_increase"] > 2.0 * base["energy_kwh"]["server_fan_increase"]
    assert saving["cooling_ratio"] < 0.0 and not saving["equal_service"]


def test_overcooling_costs(site: Site) -> None:
    cold = set_to(hall1__sat_sp=18.0, chwst_sp=8.0, hall1__fan_speed_sp=100.0)
    saving, accounts = judged(site, Rules(site, cold), constant(0.6))
    assert saving["cooling_ratio"] < -0.2
    assert accounts["cheat"].entry()["service"]["degree_minutes_above_limit"] == 0.0


def test_watching_one_cold_rack_is_found_out_by_the_others(site: Site) -> None:
    def one_rack(seen: Setpoints) -> Setpoints:
        racks = [k for k in seen if ".rack" in k]
        return seen | dict.fromkeys(racks, min(seen[k] for k in racks) - 3.0)

    saving, _ = judged(site, Rules(site, set_to(hall1__sat_sp=25.5), one_rack), constant(0.6))
    assert not wins(saving) and any("above its limit" in fault for fault in saving["service_faults"])


@pytest.fixture
def leaky(tmp_path: Path) -> Site:
    """A hall whose chips draw 3 % more with every kelvin of inlet."""
    folder = tmp_path / "equipment"
    folder.mkdir()
    record = (CONFIG / "equipment" / "servers_air.toml").read_text()
    (folder / "servers_air.toml").write_text(record + "leakage_per_k = 0.03\n")
    (tmp_path / "site.toml").write_text(SITE.read_text())
    return load_site(tmp_path / "site.toml")


def test_where_chips_leak_warmer_loses_and_the_controller_goes_colder(site: Site, leaky: Site, policy: object) -> None:
    saving, _ = judged(leaky, Rules(leaky, set_to(hall1__sat_sp=25.0)), constant(0.6))
    assert saving["cooling_ratio"] < 0.0
    warmest = {}
    for name, where in (("ordinary", site), ("leaky", leaky)):
        seen: list[float] = []
        run(where, plant_of(where, constant(0.6)), Controller(where, policy), 2.0, 1, STEP_S,  # type: ignore[arg-type]
            observe=lambda d, now_s, seen=seen: seen.append(d.u[U_HALL]) if now_s > 3600.0 else None)  # fmt: skip
        warmest[name] = float(np.mean(seen))
    assert warmest["leaky"] < warmest["ordinary"] - 1.0
    saving, _ = judged(leaky, Controller(leaky, policy), constant(0.6))  # type: ignore[arg-type]
    assert wins(saving)


SLIGHTLY = [pytest.param(0.7, marks=pytest.mark.nightly), pytest.param(1.4, marks=pytest.mark.nightly)]


@pytest.mark.parametrize("factor", [*SLIGHTLY, 4.0])
def test_calibrating_on_a_faulty_meter_costs_little(two_halls: Site, policy: object, factor: float) -> None:
    """A chiller meter that is wrong from the start: its gain follows or is frozen, the plan hardly cares."""

    class Blinded(Controller):
        def tick(self, readings: Mapping[str, float], now_s: float) -> Any:
            return super().tick({k: v * factor if k == METER else v for k, v in readings.items()}, now_s)

    load, entries = constant(0.6), []
    for kind in (Controller, Blinded):
        controller = kind(two_halls, policy)  # type: ignore[arg-type]
        entries.append(run(two_halls, plant_of(two_halls, load), controller, 4.0, 1, STEP_S).entry())
    gain = next(g for g in controller.control._calibrator.gains() if g.name == "chiller_eir")  # type: ignore[union-attr]
    assert gain.frozen or abs(gain.factor - 1.0) > 0.15, "the wrong meter was not looked at"
    clean, blinded = entries
    ratio = blinded["energy_kwh"]["cooling_total"] / clean["energy_kwh"]["cooling_total"]
    assert ratio < 1.04, f"{100 * (ratio - 1):.1f} % dearer on a meter that reads {factor} times too much"
    assert blinded["service"]["degree_minutes_above_limit"] <= clean["service"]["degree_minutes_above_limit"] + 0.5
