"""The way out and back: every format says units and times, and what comes out can be imported, replayed and calibrated."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import SITE

from coolctl import cli
from coolctl.control.tick import IN_PROCESS
from coolctl.controller import Controller
from coolctl.edge.recorder import Recorder
from coolctl.recording import Recording
from coolctl.site import Site
from coolctl.trace import columns, header, pack
from coolctl.trends.formats import Field, LineProtocolFile, Stamps, field_text, iso, tag_text
from sim_plant.load import constant
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

OK, FAILED, USAGE = 0, 1, 2
TICKS = 1500


@pytest.fixture(scope="module")
def recorded(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-five minutes as the daemon records it, on a clock that has no date."""
    folder = tmp_path_factory.mktemp("recording")
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T10"), constant(0.6))
    readings = plant.reset(1)
    controller = Controller(site, None, "auto")
    recorder = Recorder(folder, site.name, columns(site), header(site, "", "", "auto"))
    for k in range(TICKS):
        now_s = 5000.0 + k
        controller.store.put_readings(readings, now_s)
        snap = controller.store.snapshot(now_s)
        decision = controller.tick_snapshot(snap)
        recorder.append(pack(snap, IN_PROCESS, "", decision))
        readings = plant.step(decision.setpoints, 1.0)  # type: ignore[assignment]
    recorder.close()
    return folder


def run(*words: object) -> int:
    try:
        return cli.main([str(w) for w in words])
    except SystemExit as end:
        return int(end.code or 0)


def table(text: str) -> tuple[list[str], list[list[str]]]:
    rows = list(csv.reader(io.StringIO(text)))
    return rows[0], rows[1:]


def started(folder: Path) -> float:
    stamp = re.search(r"-(\d{8}T\d{6})-", next(folder.glob("*.cool")).name)
    assert stamp
    return datetime.datetime.strptime(stamp.group(1) + "+0000", "%Y%m%dT%H%M%S%z").timestamp()


def test_csv_has_units_dates_setpoints_and_mode(recorded: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", recorded, "--format", "csv") == OK
    names, rows = table(capsys.readouterr().out)
    assert len(rows) == TICKS and {"time", "chwst [degC]", "chiller_power [kW]", "sp:chwst_sp [degC]", "mode [text]"} <= set(
        names
    )
    assert rows[0][0] == iso(started(recorded)) and rows[61][0] == iso(started(recorded) + 61.0)
    source = Recording(recorded)
    values = source.read()[:, source.columns.index("value:chiller_power")]
    assert [float(r[names.index("chiller_power [kW]")]) for r in rows] == pytest.approx((values / 1e3).tolist(), rel=1e-11)
    assert rows[-1][names.index("mode [text]")] in ("auto", "bounded", "fallback")


def test_csv_unknown_values_are_empty_cells(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", recorded, "--points", "chwst_sp,chwst", "--to", "3") == OK
    _, rows = table(capsys.readouterr().out)
    assert len(rows) == 4 and all(
        row[1] == "" and row[2] for row in rows
    )  # a setpoint's point is never heard, its decision is `sp:`


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--from", "100", "--to", "200"), 101),
        (("--step", "60"), 25),
        (("--step", "60", "--from", "30"), 25),
        (("--from", "5000"), 0),
    ],
)
def test_csv_bounds_and_step(recorded: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], count: int) -> None:
    assert run("export", recorded, "--points", "chwst", *words) == OK
    assert len(table(capsys.readouterr().out)[1]) == count


def test_csv_bounds_as_times(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin = iso(started(recorded) + 60.0)
    assert run("export", recorded, "--points", "chwst", "--from", begin, "--to", iso(started(recorded) + 69.0)) == OK
    rows = table(capsys.readouterr().out)[1]
    assert len(rows) == 10 and rows[0][0] == begin


def test_recording_without_a_start_in_its_name_has_seconds_of_the_run(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = tmp_path / "mine.cool"
    renamed.write_bytes(next(recorded.glob("*.cool")).read_bytes())
    assert run("export", renamed, "--points", "chwst", "--to", "2") == OK
    names, rows = table(capsys.readouterr().out)
    assert names[0] == "run_s [s]" and [r[0] for r in rows] == ["0", "1", "2"]
    assert run("export", renamed, "--format", "line-protocol") == FAILED
    assert "tells no start" in capsys.readouterr().err


# What the line protocol allows: measurement and tags with backslashed marks, one field, an integer stamp.
LINE = re.compile(r'^coolctl(?:,\w+=(?:[^,= \\]|\\[,= ]|\\(?![,= ]))+)+ (?:value=-?[\d.e+-]+|text="(?:[^"\\]|\\.)*") \d{19}$')


def test_line_protocol_every_line_is_well_formed(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", recorded, "--format", "line-protocol", "--to", "5") == OK
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 100 and all(LINE.match(line) for line in lines)
    assert not any("nan" in line or "inf" in line for line in lines)
    first = next(line for line in lines if "point=chwst," in line)
    assert "unit=degC" in first and first.endswith(f" {round(started(recorded) * 1e9):.0f}")


def test_line_protocol_escapes_what_a_name_may_hold() -> None:
    assert (
        tag_text("a b,c=d") == "a\\ b\\,c\\=d"
        and tag_text("two\nlines") == "two\\ lines"
        and not tag_text("end\\").endswith("\\")
    )
    assert field_text('say "x\\y"') == '"say \\"x\\\\y\\""'
    out = io.StringIO()
    writer = LineProtocolFile(
        out, [Field("CH 1, kW=", "chiller_power", "plant", "kW"), Field("mode", "", "plant", "text")], "my site"
    )
    writer.write(Stamps(np.array([1.5]), True), [[3.25], ['a "b"']])
    first, second = out.getvalue().splitlines()
    assert (
        first == "coolctl,machine=plant,point=CH\\ 1\\,\\ kW\\=,role=chiller_power,site=my\\ site,unit=kW value=3.25 1500000000"
    )
    assert second.endswith('text="a \\"b\\"" 1500000000') and "role=" not in second


def test_parquet_or_a_clear_word(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.parquet"
    assert run("export", recorded, "--format", "parquet") == USAGE and "--out FILE" in capsys.readouterr().err
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        assert run("export", recorded, "--format", "parquet", "--out", path) == FAILED
        assert 'pip install "coolctl[parquet]"' in capsys.readouterr().err and not path.exists()
        return
    assert run("export", recorded, "--format", "parquet", "--out", path) == OK
    read = parquet.read_table(path)
    assert read.num_rows == TICKS and read.schema.field("chwst").metadata[b"unit"] == b"degC"
    assert read["time"][0].as_py().timestamp() == started(recorded) and read["oadb"][0].as_py() > 10.0


def test_export_usage(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", recorded, "--points", "chwts") == USAGE and "did you mean 'chwst'" in capsys.readouterr().err
    assert run("export", recorded, "--from", "yesterday") == USAGE and "neither seconds" in capsys.readouterr().err
    assert run("export", tmp_path / "none.cool") == FAILED and "no such recording" in capsys.readouterr().err
    out = tmp_path / "x.csv"
    assert run("export", recorded, "--out", out, "--points", "chwst,mode") == OK
    assert f"{TICKS} ticks of 2 columns" in capsys.readouterr().out and len(out.read_text().splitlines()) == TICKS + 1


# -- and back


@pytest.fixture(scope="module")
def returned(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording exported as CSV, probed, and imported with the map that the probe wrote."""
    folder = tmp_path_factory.mktemp("returned")
    log, found, rules = folder / "log.csv", folder / "probe.json", folder / "map.toml"
    assert run("export", recorded, "--out", log) == OK
    assert run("import", log, "--probe", "--site", SITE, "--json", found) == OK
    rules.write_text(json.loads(found.read_text())["map"])
    assert run("import", log, "--site", SITE, "--map", rules, "--out", folder / "out") == OK
    return folder / "out"


def test_round_trip_gives_the_same_inputs(recorded: Path, returned: Path, site: Site) -> None:
    before, after = Recording(recorded), Recording(returned)
    a, b = before.read(), after.read()
    assert len(a) == len(b) and b[0, 0] == started(recorded)
    for p in site.table.points:
        if not p.writable:
            k = before.columns.index(f"value:{p.id}")
            # Twelve digits of the site's unit, and its conversion.
            np.testing.assert_allclose(b[:, k], a[:, k], rtol=1e-9, atol=1e-9, err_msg=p.id)


def test_imported_recording_is_calibrated_as_the_one_it_came_from(
    recorded: Path, returned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for folder in (recorded, returned):
        assert run("calibrate", folder, "--json", "-") == OK
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["ticks"] == found[1]["ticks"] == TICKS
    for a, b in zip(found[0]["gains"], found[1]["gains"], strict=True):
        assert a["factor"] == pytest.approx(b["factor"], abs=2e-4) and a["name"] == b["name"]
    assert any(abs(g["factor"] - 1.0) > 1e-3 for g in found[1]["gains"])  # half an hour tells little, but something


def test_imported_recording_is_replayed_and_has_nothing_to_verify(
    returned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("replay", returned, "--verify") == USAGE
    err = capsys.readouterr().err
    assert "imported from trend logs" in err and err.count("\n") == 1
    terms = tmp_path / "terms.csv"
    assert run("replay", returned, "--to", "300", "--terms", terms) == OK
    assert "no decisions recorded; planned power replayed" in capsys.readouterr().out
    rows = list(csv.DictReader(terms.open()))
    assert len(rows) == 301 and float(rows[-1]["plan_w"]) > 1e4 and float(rows[-1]["chwst_sp"]) > 5.0
    assert run("replay", returned, "--to", "60", "--model", "default", "--json", "-") == OK
    data = json.loads(capsys.readouterr().out)
    assert data["identical"] is None and data["planned_power_replayed_w"] > 1e4


def test_imported_recording_is_exported_with_its_dates_and_without_setpoints(
    returned: Path, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", returned, "--to", "1") == OK
    names, rows = table(capsys.readouterr().out)
    assert rows[0][0] == iso(started(recorded)) and "mode [text]" not in names and "sp:chwst_sp [degC]" not in names
