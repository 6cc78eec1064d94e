"""The command line: exit codes, messages that say what and where, and nothing secret in any of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SITE

from coolctl import cli

OK, FAILED, USAGE, CHECK, UNREACHABLE, CONFIG = 0, 1, 2, 3, 69, 78
VERBS = [name for name, _, _ in cli.VERBS]


def call(*words: object) -> int:
    """Exit code of a command line, however it ends."""
    try:
        return cli.main([str(w) for w in words])
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize("verb", VERBS)
def test_help_says_what_the_verb_does(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(verb, "--help") == OK
    said = capsys.readouterr().out
    assert f"coolctl {verb}" in said and "options:" in said


def test_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == OK
    said = capsys.readouterr().out
    assert all(verb in said for verb in VERBS)
    assert call() == USAGE and call("nonsense") == USAGE
    assert call("--version") == OK


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--site", SITE, "--hours", "5:2"),
        ("evaluate", "--site", SITE, "--hours", "0:nan"),
        ("evaluate", "--site", SITE, "--days", "0"),
        ("evaluate", "--site", SITE, "--controllers", "ai,best"),
        ("evaluate", "--site", SITE, "--json", "/no/such/folder/x.json"),
        ("demo", "--duration", "-5"),
        ("demo", "--speed", "inf"),
        ("demo", "--fault", "x"),
        ("mode", "loud", "--site", SITE),
        ("bench", "--only", "P99"),
        ("check-config",),
        ("run",),
    ],
)
def test_wrong_arguments_are_a_usage_error(words: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words) == USAGE
    assert capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    "verb",
    [
        v
        for v in VERBS
        if v
        not in (
            "replay",
            "outlook",
            "calibrate",
            "train",
            "check-config",
            "report",
            "import",
            "export",
            "bench",
            "verify",
            "bundle",
        )
    ],
)
def test_missing_site_file_is_a_configuration_error(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(verb, "--site", "/no/such/site.toml") == CONFIG
    assert "/no/such/site.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--load", "/no/load.csv"), "/no/load.csv"),
        (("--weather", "NOWHERE"), "CHN_Guiyang"),  # what there is instead
        (("--start", "02-30T00"), "02-30T00"),
    ],
)
@pytest.mark.parametrize("verb", ["evaluate", "demo"])
def test_wrong_plant_inputs_are_said_before_anything_runs(
    verb: str, more: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(verb, "--site", SITE, *more) == CONFIG
    err = capsys.readouterr().err
    assert said in err and "[1/4]" not in err


def test_demo_of_a_real_site_is_refused(edited_site: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("demo", "--site", edited_site(("simulated = true", "simulated = false"))) == CONFIG
    assert "simulated" in capsys.readouterr().err


def test_check_config_good_site_prints_what_is_in_force_without_secrets(
    edited_site: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2-very-secret")
    path = edited_site(("[weather]", f'[mqtt]\nusername = "plant"\npassword_file = "{secret}"\n\n[weather]'))
    assert call("check-config", path) == OK
    said = capsys.readouterr()
    assert "ride_through_margin_s" in said.out  # defaults too
    for words in (("points", "--site", path), ("mode", "--site", path, "--broker", "127.0.0.1:1")):
        call(*words)
    more = capsys.readouterr()
    assert "hunter2" not in said.out + said.err + more.out + more.err


def test_check_config_bad_site_names_every_fault_with_its_line(
    edited_site: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited_site(("racks = 32", "racks = 0"), ("altitude_m = 1223", "altitud_m = 1223"), ("count = 3", 'count = "three"'))
    before = path.read_bytes()
    out = tmp_path / "faults.json"
    assert call("check-config", path, "--json", out) == CONFIG
    said = capsys.readouterr().err
    for line, word in (("racks = 0", "racks"), ("altitud_m", "altitude_m"), ('count = "three"', "count")):
        number = 1 + next(k for k, text in enumerate(path.read_text().splitlines()) if line in text)
        assert f"{path}:{number}" in said and word in said
    assert len(json.loads(out.read_text())["faults"]) >= 3 and path.read_bytes() == before


def test_points_lists_every_point(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("points", "--site", SITE, "--json", "-") == OK
    rows = json.loads(capsys.readouterr().out)
    assert {"chwst", "hall1.rack32.rack_inlet", "chwst_sp"} <= {r["id"] for r in rows}
    assert {"id", "role", "machine", "unit", "topic", "dialect"} <= set(rows[0])


def test_mode_without_a_broker_is_unreachable(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("mode", "auto", "--site", SITE, "--reason", "test", "--broker", "127.0.0.1:1") == UNREACHABLE
    assert "broker" in capsys.readouterr().err


def test_mode_wants_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("mode", "auto", "--site", SITE) == USAGE
    assert "reason" in capsys.readouterr().err


def test_refused_policy_is_a_failed_check_that_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", "--site", SITE, "--hours", "0:1", "--controllers", "ai", "--policy", tmp_path) == CHECK
    assert str(tmp_path / "passport.json") in capsys.readouterr().err


def test_evaluate_writes_the_ledger_and_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ledger.json"
    words = ("evaluate", "--site", SITE, "--hours", "0:0.8", "--start", "07-15T06", "--load", "0.6", "--json", out)
    assert call(*words) == OK
    table = capsys.readouterr().out
    ledger = json.loads(out.read_text())
    assert {"site", "weather", "load", "hours", "seed", "config_hash", "model_hash", "controllers", "savings"} <= set(ledger)
    assert set(ledger["controllers"]) == {"b1", "b2lite", "b2", "ai"}
    for entry in ledger["controllers"].values():
        kwh = entry["energy_kwh"]
        assert kwh["cooling_total"] == pytest.approx(sum(v for k, v in kwh.items() if k != "cooling_total"), abs=0.05)
        assert 10.0 < kwh["cooling_total"] < 300.0 and entry["ppue"] > 1.0
        assert {"rack_inlet_max_c", "degree_minutes_above_limit", "ride_through_min_s"} <= set(entry["service"])
    assert all(name in table for name in ("b1", "b2lite", "b2", "ai"))
    # At one price all day money and carbon are saved as energy is, heat left behind charged alike.
    for saving in ledger["savings"].values():
        if isinstance(saving, dict):
            assert saving["cost_ratio"] == pytest.approx(saving["cooling_ratio"], abs=2e-4)
            assert saving["carbon_ratio"] == pytest.approx(saving["cooling_ratio"], abs=2e-4)
    again = tmp_path / "again.json"
    assert call(*words[:-1], again) == OK
    assert again.read_bytes() == out.read_bytes()  # same seed, same bytes


@pytest.mark.parametrize("limit_c", [17, 31])
def test_limit_of_a_comparison_leaves_room_to_control(limit_c: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", "--site", SITE, "--limit", limit_c, "--hours", "0:0.1") == USAGE
    assert "leaves no room" in capsys.readouterr().err
