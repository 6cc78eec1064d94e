"""Comparisons over days and plants: sums add, extremes widen, intervals are Student's, jobs change nothing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SITE

from coolctl import cli, cli_evaluate
from coolctl.cli_evaluate import over_plants, season_starts
from coolctl.savings.ledger import Account
from coolctl.site import Site
from sim_plant.load import constant
from sim_plant.plant import SimPlant


def counted(site: Site, load: float, seconds: int, inlet_add_k: float = 0.0) -> Account:
    plant, account = SimPlant(site, load=constant(load)), Account(site)
    plant.reset(1)
    for _ in range(seconds):
        plant.step(None, 1.0)
        t = plant.truth
        account.add(t._replace(rack_inlet_c=t.rack_inlet_c + inlet_add_k), 1.0, sat_min_c=22.0, ride_through_s=900.0)
    return account


def test_absorbed_days_add_and_keep_their_worst(site: Site) -> None:
    cool, warm = counted(site, 0.4, 300), counted(site, 0.7, 200, inlet_add_k=4.0)
    both = Account(site)
    for account in (cool, warm, Account(site)):
        both.absorb(account)
    a, b, sums = cool.entry(), warm.entry(), both.entry()
    for key, value in sums["energy_kwh"].items():
        assert value == pytest.approx(a["energy_kwh"][key] + b["energy_kwh"][key], abs=2e-4)
    for key in ("it_kwh", "heat_kwh", "stored_kwh"):
        assert sums[key] == pytest.approx(a[key] + b[key], abs=2e-3)
    service = sums["service"]
    assert service["rack_inlet_max_c"] == b["service"]["rack_inlet_max_c"] > a["service"]["rack_inlet_max_c"]
    assert service["degree_minutes_above_limit"] == pytest.approx(b["service"]["degree_minutes_above_limit"])
    assert sums["wear"]["valve_travel"] == pytest.approx(a["wear"]["valve_travel"] + b["wear"]["valve_travel"], abs=0.02)
    assert both.seconds == 500.0


def test_season_days_are_spread_over_the_year() -> None:
    assert season_starts(1) == ["07-02T00"]
    starts = season_starts(12)
    assert len(set(starts)) == 12 and [s[:2] for s in starts] == [f"{m:02d}" for m in range(1, 13)]


def test_each_plant_takes_its_turn_of_the_season_days(site: Site) -> None:
    parser = argparse.ArgumentParser()
    cli_evaluate.add_arguments(parser)
    given = parser.parse_args(["--site", str(SITE), "--season-days", "12", "--days-each", "2", "--plants", "6"])
    campaign = cli_evaluate.Campaign(site, ["b1"], given)
    days = [[span[0] for span in campaign._spans_of(plant)] for plant in range(6)]
    assert sorted(day for each in days for day in each) == season_starts(12)  # together they see each day once
    assert days[0] == [season_starts(12)[0], season_starts(12)[6]]  # and each sees both halves of the year
    assert campaign.length_h == 48.0
    assert cli.main(["evaluate", "--site", str(SITE), "--season-days", "2", "--days-each", "3"]) == 2


def one_plant(ratio: float, most: float, b2_kwh: float) -> dict[str, object]:
    """What a plant's ledger tells `over_plants`: not of equal service where the saving is small."""
    faults = [] if ratio > 0.05 else ["a rack was 3.0 K·min longer above its limit"]
    saving = {"cooling_ratio": ratio, "equal_service": not faults, "service_faults": faults}
    return {
        "savings": {"ai_vs_b2": saving, "oracle_vs_b2": saving | {"cooling_ratio": most}, "gap_closed_b2_to_oracle": 0.1},
        "controllers": {"b2": {"energy_kwh": {"cooling_total": b2_kwh}}},
    }


def test_interval_over_plants_is_students() -> None:
    found = over_plants([one_plant(r, 0.2, 100.0) for r in (0.05, 0.10, 0.15, 0.20)])["ai_vs_b2"]
    assert found["cooling_ratio_mean"] == 0.125 and found["cooling_ratio_worst"] == 0.05
    assert found["cooling_ratio_half_width"] == pytest.approx(3.182 * np.std([5, 10, 15, 20], ddof=1) / 200.0, abs=1e-4)
    assert found["equal_service"] == 3 and found["plants"] == 4
    assert found["service_faults"] == {"1": ["a rack was 3.0 K·min longer above its limit"]}


def test_the_gap_to_the_oracle_over_plants_is_a_ratio_of_sums() -> None:
    found = over_plants([one_plant(0.1, 0.2, 300.0), one_plant(0.1, 0.1, 100.0)])
    assert found["gap_closed_b2_to_oracle"] == pytest.approx((30.0 + 10.0) / (60.0 + 10.0), abs=1e-4)


def test_several_jobs_give_the_same_ledger_and_say_each_plant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--site", str(SITE), "--hours", "0:0.7", "--season-days", "2", "--step", "5", "--controllers", "b1,b2"]
    words += ["--mismatch", "0.15", "--plants", "2", "--load", "0.6"]
    ledgers = []
    for jobs in ("1", "2"):
        path = tmp_path / f"{jobs}.json"
        assert cli.main([*words, "--jobs", jobs, "--json", str(path)]) == 0
        ledgers.append(path.read_bytes())
    assert ledgers[0] == ledgers[1]
    plants = json.loads(ledgers[0])["plants"]["b2_vs_b1"]
    assert plants["plants"] == 2 and len(set(plants["cooling_ratios"])) == 2  # another plant, another saving
    said = capsys.readouterr().out
    assert "2 plants" in said
    assert said.count("not on plant") == 2 * (2 - plants["equal_service"])  # in each of the two runs


def test_longer_steps_give_the_energy_of_short_ones(site: Site) -> None:
    parser = argparse.ArgumentParser()
    cli_evaluate.add_arguments(parser)
    totals = []
    for step in ("1", "5"):
        args = parser.parse_args(["--site", str(SITE), "--hours", "0:2", "--load", "0.6", "--step", step])
        run = cli_evaluate.Run("b2", 0, "04-20T10", 0.0, 2.0)
        totals.append(cli_evaluate.run_one(args, run)[0].entry()["energy_kwh"]["cooling_total"])
    assert totals[1] == pytest.approx(totals[0], rel=0.01)


@pytest.mark.nightly
def test_best_static_and_oracle_are_not_beaten_by_what_they_start_from(tmp_path: Path) -> None:
    out = tmp_path / "ledger.json"
    words = ["evaluate", "--site", str(SITE), "--start", "04-20T00", "--hours", "0:1", "--step", "20", "--json", str(out)]
    assert cli.main([*words, "--controllers", "b2,b3,oracle"]) == 0
    ledger = json.loads(out.read_text())
    total = {name: entry["energy_kwh"]["cooling_total"] for name, entry in ledger["controllers"].items()}
    assert ledger["savings"]["b3_vs_b2"]["cooling_ratio"] >= 0.0 and ledger["savings"]["b3_vs_b2"]["equal_service"]
    assert total["oracle"] < total["b2"] and set(ledger["tuned"]["b3"]) >= {"airflow_ratio", "lift_ratio"}


def test_a_plant_too_weak_for_its_load_is_said_so(edited_site, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    weak = edited_site(
        ("capacity_nom_w = 650e3", "capacity_nom_w = 220e3"), ("evaporator_flow_nom_kgs = 22.5", "evaporator_flow_nom_kgs = 9.0"),
        ("condenser_flow_nom_kgs = 31.0", "condenser_flow_nom_kgs = 11.0"),
    )  # fmt: skip
    words = [
        "evaluate",
        "--site",
        str(weak),
        "--start",
        "07-15T10",
        "--hours",
        "0:2",
        "--step",
        "10",
        "--load",
        "0.95",
        "--controllers",
    ]
    assert cli.main([*words, "b1,b2"]) == 0
    said = capsys.readouterr().out
    assert "warning: the plant does not carry this load" in said and "kWh" in said
    assert cli.main(["evaluate", "--site", str(SITE), "--hours", "0:1", "--step", "10", "--controllers", "b1,b2"]) == 0
    assert "warning" not in capsys.readouterr().out


def test_a_site_stands_in_the_air_of_its_weather() -> None:
    here, there = (cli_evaluate._site(str(SITE), None, weather) for weather in ("", "CHN_Lanzhou"))
    assert there.pressure_pa == pytest.approx(84.8e3, rel=0.01) and here.pressure_pa > there.pressure_pa + 2e3
    assert len({here.config_hash, there.config_hash, here.at_limit(25.0).config_hash}) == 3
    assert here.at_limit(25.0).file.limits.rack_inlet_limit_c == 25.0
