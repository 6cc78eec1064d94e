"""Trend logs as facility engineers bring them: read rightly, doubted aloud, and refused in one line where they are none."""

from __future__ import annotations

import datetime
import functools
import gzip
import json
import math
import os
import random
import tomllib
import zoneinfo
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SITE

from coolctl import cli
from coolctl.points import Quality
from coolctl.recording import Recording
from coolctl.site import load_site
from coolctl.trace import Unpacker, columns
from coolctl.trends import cells, reading
from coolctl.trends.findings import Notes
from coolctl.trends.names import role_of
from coolctl.trends.order import in_order
from coolctl.trends.source import pieces
from coolctl.trends.stamps import StampReader, guess_form
from coolctl.trends.unit_words import unit_in_name, unit_of
from coolctl.trends.values import value_of
from coolctl.trends.zone import LocalClock, zone_of

DATA = Path(os.environ.get("COOLCTL_DATA", ROOT.parent / "shared" / "data"))
TELEMETRY = DATA / "telemetry"
needs_data = pytest.mark.skipif(not TELEMETRY.is_dir(), reason=f"no real data at {DATA} (set COOLCTL_DATA)")

OK, FAILED, USAGE, CONFIG = 0, 1, 2, 78


class Imported:
    """A recording just made, with its answer."""

    def __init__(self, folder: Path, answer: dict):
        self.folder, self.answer = folder, answer
        self.recording = Recording(folder)
        self.site = load_site(SITE)

    @functools.cached_property
    def rows(self) -> np.ndarray:
        return self.recording.read()

    @property
    def t_s(self) -> np.ndarray:
        return self.rows[:, 0]

    def _column(self, kind: str, point: str) -> np.ndarray:
        return self.rows[:, self.recording.columns.index(f"{kind}:{point}")]

    def value(self, point: str) -> np.ndarray:
        """In the site's unit."""
        p = self.site.table.points[self.site.table.index[point]]
        return np.array([p.encode(v) for v in self._column("value", point)])

    def age_s(self, point: str) -> np.ndarray:
        return self._column("age_s", point)

    def quality(self, point: str) -> np.ndarray:
        return self._column("quality", point)

    def found(self, name: str) -> list[dict]:
        return [f for f in self.answer["findings"] if f["name"] == name]


MAP = """
[log]
layout = "{layout}"
separator = "{separator}"
decimal = "{decimal}"
header_line = {header_line}
units_line = {units_line}
[time]
column = "time"
format = "{form}"
tz = "{tz}"
{time}
[grid]
step_s = {step_s}
max_hold_s = {hold_s}
{tables}
"""
CHWST = '[[points]]\ncolumn = "chwst"\npoint = "chwst"\nunit = "degC"\n'


def map_text(tables: str = CHWST, **changes: object) -> str:
    plain = {"layout": "wide", "separator": ",", "decimal": ".", "header_line": 1, "units_line": 0, "form": "iso", "tz": "UTC",
             "step_s": 60.0, "hold_s": 180.0, "time": "", "tables": tables}  # fmt: skip
    return MAP.format(**{**plain, **changes})


def write(path: Path, text: str | bytes) -> Path:
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.fixture
def load(tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Import text (or files) with a map; the recording."""

    def run(
        log: str | bytes | list[Path], tables: str = CHWST, *words: str, name: str = "log.csv", map: str = "", **changes: object
    ) -> Imported:
        files = log if isinstance(log, list) else [write(tmp_path / name, log)]
        write(tmp_path / "map.toml", map or map_text(tables, **changes))
        folder = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        code = cli.main(
            [
                "import",
                *map_(files),
                "--site",
                str(SITE),
                "--map",
                str(tmp_path / "map.toml"),
                "--out",
                str(folder),
                "--json",
                "-",
                *words,
            ]
        )
        out, err = capsys.readouterr()
        assert code == OK, err
        return Imported(folder, json.loads(out))

    return run


def map_(files: list[Path]) -> list[str]:
    return [str(f) for f in files]


@pytest.fixture
def probe(tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """What --probe says of a text."""

    def run(log: str | bytes | list[Path], *words: str, name: str = "log.csv", site: bool = True) -> dict:
        files = log if isinstance(log, list) else [write(tmp_path / name, log)]
        code = cli.main(["import", *map_(files), "--probe", "--json", "-", *(["--site", str(SITE)] if site else []), *words])
        out, err = capsys.readouterr()
        assert code == OK, err
        return json.loads(out)

    return run


def utc(text: str) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


def wide(rows: list[tuple[str, ...]], header: str = "time,chwst") -> str:
    return "\n".join([header, *(",".join(r) for r in rows)]) + "\n"


def minutes(count: int, start: str = "2026-03-01T00:00", step_s: float = 60.0) -> list[str]:
    first = datetime.datetime.fromisoformat(start)
    return [(first + datetime.timedelta(seconds=step_s * k)).isoformat(sep=" ") for k in range(count)]


# -- the reader of cells


@pytest.mark.parametrize("decimal", [".", ","])
def test_cells_read_as_float_does(decimal: str) -> None:
    rng = random.Random(3)
    texts = [
        "0",
        "-0.0",
        "+5",
        ".5",
        "5.",
        "1e3",
        "-1.25E-2",
        "9007199254740993",
        "123456789.123456789",
        "1e400",
        "0.1",
        "1e22",
        "7e-23",
    ]
    texts += [f"{rng.uniform(-1e6, 1e6):.{rng.randint(0, 12)}f}" for _ in range(300)]
    for text in texts:
        raw = np.frombuffer(text.replace(".", decimal).encode(), dtype=np.uint8)
        value, plain = cells.number(raw, 0, len(raw), ord(decimal), cells.POW10)
        assert not plain or (value == float(text) and math.copysign(1, value) == math.copysign(1, float(text))), text
    for text in ("", "abc", "1,2,3", "--1", "1e", "12 kW", "0x10", "1_000"):
        raw = np.frombuffer((text + " ").encode(), dtype=np.uint8)
        assert not cells.number(raw, 0, len(raw) - 1, ord(decimal), cells.POW10)[1] or text == "1,2,3"


@pytest.mark.parametrize("mark", [".", ","])
def test_cells_of_a_line_are_the_numbers_that_they_are_alone(mark: str) -> None:
    """The short way through a line gives to the last bit what the long one gives, and leaves to it what is no plain number."""
    rng = random.Random(7)
    texts = [
        "-0",
        "0",
        "1.",
        ".5",
        "-.5",
        "-",
        ".",
        "--1",
        "1-2",
        "1.2.3",
        "1e5",
        "+1",
        " 1",
        "1 ",
        '"1.5"',
        "x",
        "",
        "9" * 15,
        "9" * 16,
        "0." + "1" * 14,
    ]
    texts += [f"{rng.uniform(-1e4, 1e4):.{rng.randrange(12)}f}" for _ in range(400)]
    texts = [text.replace(".", mark) for text in texts]
    line = (";".join(["t", *texts]) + "\r\n" + ";".join(["t", *reversed(texts)]) + "\n").encode()
    n = len(texts)
    slot, out = np.array([-2, *range(n)]), np.empty((n, 4))
    text, odd, tally = (
        np.empty((1, 4, 2), dtype=np.int64),
        np.empty((4 * n, 4), dtype=np.int64),
        np.zeros(cells.TALLY, dtype=np.int64),
    )
    cells.scan(np.frombuffer(line, dtype=np.uint8), 0, ord(";"), ord(mark), slot, out, text, odd, cells.POW10, tally)
    assert tally[cells.T_ROWS] == 2 and tally[cells.T_NEXT] == len(line) and not tally[cells.T_SHORT] and not tally[cells.T_LONG]
    for row, own in enumerate((texts, list(reversed(texts)))):
        left = set(odd[: tally[cells.T_ODD]][odd[: tally[cells.T_ODD], 1] == row, 0].tolist())
        for k, alone in enumerate(own):
            raw = np.frombuffer(alone.strip('" ').encode() or b"x", dtype=np.uint8)
            value, plain = cells.number(raw, 0, len(raw), ord(mark), cells.POW10)
            assert (k in left) == (bool(alone) and not plain), alone
            assert np.isnan(out[k, row]) if not plain else out[k, row].tobytes() == np.float64(value).tobytes(), alone


@pytest.mark.parametrize(
    ("text", "decimal", "value"),
    [("On", ".", 1), ("OFF", ".", 0), ("true", ".", 1), ("1,234.5", ".", 1234.5), ("1.234,5", ",", 1234.5), ("1 234,5", ",", 1234.5),
     ("54.2 °F {ok}", ".", 54.2), ("72.1 {overridden}", ".", 72.1), ("3.4 {unackedAlarm}", ".", 3.4), ("12.5 kW", ".", 12.5)],
)  # fmt: skip
def test_cells_words_and_figures_with_company(text: str, decimal: str, value: float) -> None:
    assert value_of(text.encode(), decimal, {}) == (value, "")


@pytest.mark.parametrize("text", ["Alarm", "{down}", "0.0 {down}", "54.1 {fault,down}", "Fault", "nan", "#REF!", "{stale}"])
def test_cells_broken_is_bad_not_missing(text: str) -> None:
    assert value_of(text.encode(), ".", {})[0] == math.inf


def test_cells_a_lone_comma_never_becomes_a_thousand() -> None:
    value, foreign = value_of(b"1,5", ".", {})
    assert value == math.inf and foreign == "1,5"
    assert value_of(b"Heat", ".", {"heat": 2.0}) == (2.0, "")
    assert math.isnan(value_of(b"N/A", ".", {})[0])


# -- stamps


@pytest.mark.parametrize(
    ("form", "text", "at"),
    [
        ("iso", "2026-03-01 10:20:30", "2026-03-01T10:20:30"), ("iso", "2026-03-01T10:20:30.250", "2026-03-01T10:20:30.250"),
        ("iso", "20260301 10:20", "2026-03-01T10:20"), ("dmy", "1/3/26 10:20", "2026-03-01T10:20"), ("mdy", "3/1/2026 1:02:03 PM", "2026-03-01T13:02:03"),
        ("mdy", "3/1/2026 12:02 AM", "2026-03-01T00:02"), ("dmy", "01.03.2026 10:20", "2026-03-01T10:20"), ("dmy", "1-Mar-26 10:20", "2026-03-01T10:20"),
        ("ymd", "2026/3/1 10:20", "2026-03-01T10:20"), ("unix_s", "1772360430", "2026-03-01T10:20:30"), ("unix_ms", "1772360430250", "2026-03-01T10:20:30.250"),
        ("excel", "46082.5", "2026-03-01T12:00"),
    ],
)  # fmt: skip
def test_stamps_of_every_form(form: str, text: str, at: str) -> None:
    assert StampReader(form).read([text])[0][0] == pytest.approx(utc(at), abs=1e-3)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01 00:00", "2026-02-30 00:00", "2026-01-01 25:00", "99/99/9999", "12:30"]
)
def test_stamps_nonsense_is_unknown(text: str) -> None:
    assert math.isnan(StampReader("iso").read([text])[0][0])


def test_stamps_day_or_month_first_is_decided_by_the_data_or_said() -> None:
    assert guess_form(["13/02/2026 00:00", "14/02/2026 00:00"]).form == "dmy"  # type: ignore[union-attr]
    assert guess_form(["02/13/2026 00:00", "02/14/2026 00:00"]).form == "mdy"  # type: ignore[union-attr]
    by_order = guess_form(["01/02/2026 00:00", "02/02/2026 00:00", "03/02/2026 00:00"])
    assert by_order is not None and by_order.form == "dmy" and by_order.sure
    doubtful = guess_form(["01/02/2026 00:00", "01/02/2026 01:00"])
    assert doubtful is not None and not doubtful.sure and "cannot be told" in doubtful.why


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Shanghai", "+05:30"])
def test_zone_round_trips_a_whole_year(name: str) -> None:
    """Every 10 minutes of a year, both passes of the repeated hour among them, written as local time and read back."""
    zone = zone_of(name)
    unix_s = utc("2026-01-01") + 600.0 * np.arange(365 * 144)
    local_s = np.array([s + datetime.datetime.fromtimestamp(s, zone).utcoffset().total_seconds() for s in unix_s])  # type: ignore[union-attr]
    clock = LocalClock(zone)
    parts = [clock.utc_s(p) for p in np.array_split(local_s, 7)]
    assert (np.concatenate(parts) == unix_s).all() and clock.missing == 0
    assert bool(clock.repeated) == (name not in ("Asia/Shanghai", "+05:30"))


def test_zone_words_tell_the_repeated_hour() -> None:
    local_s, _, names = StampReader("mdy").read(["11/1/2026 1:30 AM EST", "11/1/2026 1:30 AM EDT"])
    found = LocalClock(zoneinfo.ZoneInfo("America/New_York")).utc_s(local_s, names)
    assert found.tolist() == [utc("2026-11-01T06:30"), utc("2026-11-01T05:30")]


# -- time in a log


def test_import_repeated_and_missing_hour_are_handled_and_said(load) -> None:  # type: ignore[no-untyped-def]
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    unix_s = [utc("2026-10-24T23:00") + 900.0 * k for k in range(16)]
    local = [datetime.datetime.fromtimestamp(s, zone).strftime("%Y-%m-%d %H:%M") for s in unix_s]
    assert len(set(local)) == 12  # four stamps come twice
    got = load(wide([(t, str(k)) for k, t in enumerate(local)]), tz="Europe/Berlin", hold_s=900.0)
    assert got.t_s[0] == unix_s[0] and got.t_s[-1] == unix_s[-1]
    assert got.value("chwst")[got.t_s == unix_s[9]] == pytest.approx(9.0)
    assert got.found("repeated_hour") and not got.found("clock_set_back")
    spring = wide([(t, "7") for t in minutes(16, "2026-03-29T01:00", 900.0)])
    got = load(spring, tz="Europe/Berlin", hold_s=900.0)
    assert "fixed offset" in got.found("missing_hour")[0]["cure"]


def test_import_hourly_log_shows_the_same_stamp_twice(load) -> None:  # type: ignore[no-untyped-def]
    stamps = ["2026-10-25 00:00", "2026-10-25 01:00", "2026-10-25 02:00", "2026-10-25 02:00", "2026-10-25 03:00"]
    got = load(wide([(t, str(k)) for k, t in enumerate(stamps)]), tz="Europe/Berlin", hold_s=3600.0)
    assert got.t_s[-1] - got.t_s[0] == 4 * 3600.0
    assert got.value("chwst")[got.t_s == utc("2026-10-25T01:00")] == pytest.approx(3.0)


@pytest.mark.parametrize("sorted_by_point", [False, True])
def test_import_long_log_through_the_repeated_hour(load, probe, sorted_by_point: bool) -> None:  # type: ignore[no-untyped-def]
    """Unaligned samples of three points; each figure is the moment at which it was taken."""
    rng, zone, start_s = random.Random(2), zoneinfo.ZoneInfo("America/New_York"), utc("2026-11-01T03:00")
    points = {"P/CHWS-T": 5.0, "P/CHWR-T": 10.0, "P/CH1 Run": 0.0}
    rows = []
    for k in range(0, 6 * 3600, 7):
        point = rng.choice(list(points))
        local = datetime.datetime.fromtimestamp(start_s + k, zone).strftime("%d.%m.%Y %H:%M:%S")
        value = rng.choice(["On", "Off"]) if "Run" in point else f"{points[point] + k / 10000:.4f}".replace(".", ",")
        rows.append(f"{point};{local};{value}")
    rows = sorted(rows, key=lambda r: r.split(";")[0]) if sorted_by_point else rows
    text = "Point;Timestamp;Value\n" + "\n".join(rows) + "\n"
    rules = probe(text)["map"].replace("Asia/Shanghai", "America/New_York").replace("step_s = 14.0", "step_s = 7.0")
    got = load(text, map=rules)
    assert got.found("repeated_hour") and not got.found("text_not_understood") and got.t_s[-1] >= start_s + 6 * 3600 - 60
    for point, base in (("chwst", 5.0), ("chwrt", 10.0)):
        value, age_s = got.value(point), got.age_s(point)
        known = ~np.isnan(value)
        assert known.mean() > 0.9
        taken_s = start_s + (value[known] - base) * 10000
        assert np.abs(taken_s - (got.t_s - age_s)[known]).max() < 1.0  # four decimals of the figure


def test_import_newest_first_is_turned_round(load) -> None:  # type: ignore[no-untyped-def]
    got = load(wide([(t, str(k)) for k, t in enumerate(minutes(50))][::-1]))
    assert got.found("newest_first") and (np.diff(got.t_s) > 0).all()
    assert got.value("chwst").round(6).tolist() == [float(k) for k in range(50)]


def test_import_clock_jumps_are_left_out_and_said(load) -> None:  # type: ignore[no-untyped-def]
    rows = [(t, "7") for t in minutes(100)]
    rows[50] = ("2070-01-01 00:00", "99")
    got = load(wide(rows))
    assert len(got.t_s) == 100 and "52" in got.found("clock_jump_ahead")[0]["where"]
    assert got.value("chwst").max() == pytest.approx(7.0)
    back = [(t, "7") for t in minutes(100)] + [(t, "8") for t in minutes(60, "2026-03-01T01:10")]
    got = load(wide(back))
    assert got.found("clock_set_back") and got.t_s[-1] == utc("2026-03-01T02:09")


def test_import_duplicates_the_last_counts(load) -> None:  # type: ignore[no-untyped-def]
    got = load(wide([("2026-03-01 00:00", "5"), ("2026-03-01 00:00", "6"), ("2026-03-01 00:01", "7")]))
    assert got.value("chwst").round(9).tolist() == [6.0, 7.0] and got.found("duplicate_stamps")


def test_in_order_believes_the_many() -> None:
    notes = Notes()
    assert in_order(np.array([1.0, 2.0, 90.0, 91.0, 3.0, 4.0, 5.0, 6.0]), -math.inf, notes, "x").tolist() == [0, 1, 4, 5, 6, 7]
    assert in_order(np.array([1.0, 2.0, 3.0, 4.0, 2.5, 5.0]), -math.inf, notes, "x").tolist() == [0, 1, 2, 3, 5]
    assert in_order(np.array([1.0, 2.0]), 1.5, notes, "x").tolist() == [1]
    scrambled = np.random.default_rng(1).permutation(200).astype(float)
    assert (scrambled[in_order(scrambled, -math.inf, notes, "x")] == np.arange(200)).all()


# -- holding


def test_import_holds_the_last_value_then_knows_nothing(load) -> None:  # type: ignore[no-untyped-def]
    got = load(wide([("2026-03-01 00:00:30", "5"), ("2026-03-01 00:10", "6")]), hold_s=180.0)
    assert got.t_s[0] == utc("2026-03-01T00:01")
    assert got.age_s("chwst")[:3].tolist() == [30.0, 90.0, 150.0]
    assert got.value("chwst")[:3].round(9).tolist() == [5.0] * 3 and np.isnan(got.value("chwst")[3:9]).all()
    assert (got.quality("chwst")[3:9] == Quality.STALE).all() and got.quality("chwst")[9] == Quality.GOOD


def test_import_holes_hold_and_bad_samples_do_not(load) -> None:  # type: ignore[no-untyped-def]
    stamps = minutes(5)
    got = load(wide(list(zip(stamps, ["5", "", "{down}", "", "6"], strict=True))))
    assert got.quality("chwst").tolist() == [Quality.GOOD, Quality.GOOD, Quality.SOURCE_BAD, Quality.SOURCE_BAD, Quality.GOOD]
    assert np.isnan(got.value("chwst")[2:4]).all()


def test_import_values_that_cannot_be_are_out_of_range(load) -> None:  # type: ignore[no-untyped-def]
    got = load(wide(list(zip(minutes(40), ["7"] * 20 + ["-40"] * 20, strict=True))))
    assert (got.quality("chwst")[20:] == Quality.OUT_OF_RANGE).all() and np.isnan(got.value("chwst")[20:]).all()
    assert got.found("impossible_value")


def test_import_a_year_of_nothing_does_not_fill_the_disk(load) -> None:  # type: ignore[no-untyped-def]
    got = load(wide([(t, "7") for t in [*minutes(30), *minutes(30, "2027-03-01")]]))
    assert 60 <= len(got.t_s) < 100 and got.found("gaps")


def test_import_step_option_and_what_it_passes_over(load) -> None:  # type: ignore[no-untyped-def]
    got = load(wide([(t, str(k / 10)) for k, t in enumerate(minutes(120, step_s=1.0))]), CHWST, "--step", "10", step_s=1.0)
    assert np.diff(got.t_s).tolist() == [10.0] * 11 and got.value("chwst").round(9).tolist() == [float(k) for k in range(12)]


# -- forms of logs


def test_import_semicolons_decimal_commas_units_row_and_bom(load, probe) -> None:  # type: ignore[no-untyped-def]
    text = "Zeit;CHWST;CHW Flow\n;°F;GPM\n" + "".join(
        f"{d:02d}.03.2026 00:0{m};44,6;158,50323\n" for d in (1, 13) for m in range(9)
    )
    said = probe(("\ufeff" + text).encode())
    assert (said["separator"], said["decimal"], said["units_line"], said["time"]["format"]) == (";", ",", 2, "dmy")
    assert {c["name"]: (c["unit"], c["point"]) for c in said["columns"]} == {
        "CHWST": ("degF", "chwst"),
        "CHW Flow": ("gpm", "chw_flow"),
    }
    got = load(text, map=said["map"])
    assert got.value("chwst")[0] == pytest.approx(7.0) and got.value("chw_flow")[0] == pytest.approx(10.0, rel=1e-6)


def test_import_long_change_of_value_log_with_status(load, probe) -> None:  # type: ignore[no-untyped-def]
    text = "Timestamp,Point Name,Value,Status\n"
    for k in range(60):
        text += f"2026-03-01T00:{k:02d}:10Z,Plant/CHWST,{6 + k / 10},{'{ok}' if k != 30 else '{fault,down}'}\n"
        if k % 20 == 0:
            text += f"2026-03-01T00:{k:02d}:20Z,Plant/Chiller 1 Status,{'On' if k < 40 else 'Off'},{{ok}}\n"
    said = probe(text)
    assert said["layout"] == "long" and {c["point"] for c in said["columns"]} == {"chwst", "chillers_on"}
    got = load(text, map=said["map"])
    assert got.quality("chwst")[30] == Quality.SOURCE_BAD and got.found("bad_status")
    on = got.value("chillers_on")
    assert on[5] == 1.0 and on[-1] == 0.0


def test_import_one_file_for_each_point_from_a_folder(tmp_path: Path, load, probe) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "points"
    folder.mkdir()
    write(folder / "CHWST.csv", "Timestamp,Value (°C)\n" + "".join(f"{t},{7 + k / 10}\n" for k, t in enumerate(minutes(30))))
    write(
        folder / "CHWRT.csv.gz",
        "Timestamp,Value (°C)\n" + "".join(f"{t},{12 + k / 10}\n" for k, t in enumerate(minutes(15, step_s=120.0))),
    )
    said = probe([folder])
    assert said["layout"] == "per_point"
    got = load([folder], map=said["map"])
    assert (
        got.value("chwst")[10] == pytest.approx(8.0)
        and got.value("chwrt")[11] == pytest.approx(12.5)
        and got.age_s("chwrt")[11] == 60.0
    )


def test_import_wide_logs_with_other_columns_meet_on_time(tmp_path: Path, load) -> None:  # type: ignore[no-untyped-def]
    a = write(tmp_path / "a.csv", wide([(t, "7") for t in minutes(20)]))
    b = write(tmp_path / "b.csv", wide([(t, "12") for t in minutes(20, "2026-03-01T00:05")], "time,chwrt"))
    got = load([a, b], CHWST + CHWST.replace("chwst", "chwrt"))
    assert (
        got.t_s[-1] == utc("2026-03-01T00:24")
        and got.value("chwrt")[10] == pytest.approx(12.0)
        and np.isnan(got.value("chwrt")[0])
    )


def test_import_months_in_several_files_in_any_order(tmp_path: Path, load) -> None:  # type: ignore[no-untyped-def]
    a = write(tmp_path / "a.csv", wide([(t, "8") for t in minutes(20, "2026-03-01T00:20")]))
    b = write(tmp_path / "b.csv.gz", wide([(t, "7") for t in minutes(20)]))
    got = load([a, b])
    assert len(got.t_s) == 40 and got.value("chwst")[[0, -1]].round(9).tolist() == [7.0, 8.0] and not got.found("clock_set_back")


def test_import_several_columns_are_one_point(load) -> None:  # type: ignore[no-untyped-def]
    tables = (
        '[[points]]\ncolumns = ["a kW", "b kW"]\ncombine = "sum"\npoint = "chiller_power"\nunit = "kW"\n'
        '[[points]]\ncolumns = ["a kW", "b kW"]\ncombine = "sum"\npoint = "chillers_on"\nunit = "count"\non_above = 5.0\n'
    )
    got = load(
        wide(list(zip(minutes(3), ["100", "100", ""], ["50", "1", "60"], strict=True)), "time,a kW,b kW"), tables, hold_s=59.0
    )
    assert got.value("chiller_power")[:2].round(6).tolist() == [150.0, 101.0] and np.isnan(got.value("chiller_power")[2])
    assert got.value("chillers_on")[:2].tolist() == [2.0, 1.0]


def test_import_mixed_units_become_the_houses_own(load) -> None:  # type: ignore[no-untyped-def]
    spelled = {"chwst": ("44.6", "°F", "degC", 7.0), "chw_flow": ("158.50323", "US gpm", "kg/s", 10.0), "chiller_power": ("100", "tons", "kW", 351.68528),
               "hall1.aisle_dp": ("0.02", "in.w.c.", "Pa", 4.98178), "chw_dp": ("10", "psi", "kPa", 68.94757), "tower_speed": ("0.5", "ratio", "%", 50.0)}  # fmt: skip
    tables = "".join(f'[[points]]\ncolumn = "{p}"\npoint = "{p}"\nunit = "{unit}"\n' for p, (_, unit, _, _) in spelled.items())
    got = load(wide([(t, *(v[0] for v in spelled.values())) for t in minutes(3)], "time," + ",".join(spelled)), tables)
    for point, (_, _, _, expected) in spelled.items():
        assert got.value(point)[0] == pytest.approx(expected, rel=1e-5), point


def test_import_utf16_and_old_line_ends(load) -> None:  # type: ignore[no-untyped-def]
    text = wide([(t, "7") for t in minutes(5)])
    assert (
        len(load(text.encode("utf-16")).t_s)
        == len(load(text.replace("\n", "\r\n")).t_s)
        == len(load(text.replace("\n", "\r")).t_s)
        == 5
    )


def test_import_date_and_time_in_two_columns(load, probe) -> None:  # type: ignore[no-untyped-def]
    text = "Date,Time,CHWST\n" + "".join(f"13/03/2026,00:{m:02d}:00,7.{m}\n" for m in range(10))
    got = load(text, map=probe(text)["map"])
    assert len(got.t_s) == 10 and got.t_s[0] == utc("2026-03-12T16:00")  # the site's zone is Shanghai's


def test_import_does_not_depend_on_how_the_log_is_cut_into_pieces(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    rows = [(t, str(5 + k % 7) if k % 5 else "") for k, t in enumerate(minutes(500))]
    rows[63:66] = [("2070-01-01 00:00", "9")] * 3
    whole = load(wide(rows))
    monkeypatch.setattr(reading, "ROWS", 17)
    monkeypatch.setattr(reading, "pieces", functools.partial(pieces, size=999))
    cut = load(wide(rows))
    assert cut.rows.tobytes() == whole.rows.tobytes() and len(cut.t_s) == 500
    assert cut.found("clock_jump_ahead")[0]["where"] == whole.found("clock_jump_ahead")[0]["where"] == "log.csv:65"


def test_import_row_numbers_in_words_are_right_behind_blank_and_foreign_lines(load) -> None:  # type: ignore[no-untyped-def]
    text = "time,chwst\n2026-03-01 00:00,5\n\n2026-03-01 00:01,5\nnot a time,5\n2026-03-01 00:02,Sunny\n"
    got = load(text)
    assert got.found("stamp_not_understood")[0]["where"] == "log.csv:5"
    assert "log.csv:6" in got.found("text_not_understood")[0]["text"]


# -- checks


def plant(count: int = 400, flow: float = 40.0, power: float = 150.0, supply: float = 7.0, back: float = 12.0) -> str:
    rng = np.random.default_rng(5)
    rows = []
    for t in minutes(count):
        a, b, f, p = rng.normal(0, 0.05, 4)
        rows.append((t, f"{supply + a:.2f}", f"{back + b:.2f}", f"{flow * (1 + f / 20):.4f}", f"{power * (1 + p / 3):.2f}"))
    return wide(rows, "time,chws_c,chwr_c,chw_flow_lps,chiller_kw")


@pytest.mark.parametrize(
    ("change", "name", "says"),
    [
        ({}, "energy_balance", "plausible"),
        ({"flow": 40.0 / 60.0}, "flow_mis_scaled", "60 times too small"),
        ({"flow": 40.0 * 60.0}, "flow_mis_scaled", "L/min taken for L/s"),
        ({"flow": 40.0 * 15.85}, "flow_mis_scaled", "GPM taken for L/s"),
        ({"supply": 12.0, "back": 7.0}, "supply_and_return_exchanged", "exchange"),
        ({"power": -150.0}, "wrong_sign", "scale = -1"),
    ],
)  # fmt: skip
def test_check_balance(probe, change: dict, name: str, says: str) -> None:  # type: ignore[no-untyped-def]
    found = [f for f in probe(plant(**change))["findings"] if f["name"] == name]
    assert found and says in found[0]["text"] + found[0]["cure"]
    if change:
        assert not [f for f in probe(plant())["findings"] if f["name"] == name]


def test_check_stuck_constant_duplicated_zero_and_habits(probe) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(2)
    rows = []
    for k, t in enumerate(minutes(3000)):
        live = 7.0 + rng.normal(0, 0.1)
        stuck = 12.34 if 500 < k < 1200 else 12.0 + rng.normal(0, 0.2)
        zero = 0.0 if k % 50 == 0 else 22.0 + rng.normal(0, 0.2)
        rows.append((t, f"{live:.2f}", f"{stuck:.2f}", f"{live:.2f}", f"{zero:.2f}", "100" if k % 10 else "60", "150", "4.0"))
    text = wide(rows, "time,chws_c,chwr_c,spare supply_c,cws_c,tower_fan_pct,chiller_kw,cwr_c")
    found = {(f["name"], f["where"]) for f in probe(text)["findings"]}
    assert {("stuck", "chwr_c"), ("duplicated_column", "spare supply_c"), ("zero_for_no_answer", "cws_c"),
            ("constant_speed_habit", "tower_fan_pct"), ("constant", "cwr_c"), ("constant", "chiller_kw")} <= found  # fmt: skip
    assert ("stuck", "chws_c") not in found


def test_import_missing_figures_and_zero_rows_are_no_answers(load) -> None:  # type: ignore[no-untyped-def]
    tables = CHWST + "missing = [-40.0]\n" + CHWST.replace("chwst", "chwrt") + '[clean]\nzero_rows = "missing"\n'
    got = load(
        wide(list(zip(minutes(4), ["7", "-40", "0", "8"], ["12", "12", "0", "13"], strict=True)), "time,chwst,chwrt"), tables
    )
    assert got.quality("chwst").tolist() == [1, Quality.SOURCE_BAD, Quality.SOURCE_BAD, 1]
    assert got.quality("chwrt").tolist() == [1, 1, Quality.SOURCE_BAD, 1] and got.found("zero_rows")


# -- probe


def test_probe_says_why_and_its_map_is_read_back(probe, load) -> None:  # type: ignore[no-untyped-def]
    text = 'time,"CHW Supply Temp, ""P1"" [°C]",Oil Temp (°F)\n' + "".join(f"{t},7.1,100\n" for t in minutes(30))
    said = probe(text)
    data = tomllib.loads(said["map"])
    assert data["points"][0]["column"] == 'CHW Supply Temp, "P1" [°C]' and data["points"][0]["point"] == "chwst"
    assert "point" not in data["points"][1] and data["points"][1]["unit"] == "degF"
    assert said["interval_s"] == 60.0 and all(c["unit_why"] for c in said["columns"])
    assert len(load(text, map=said["map"]).t_s) == 30


def test_probe_without_a_site_names_roles_and_says_the_zone_is_a_guess(probe) -> None:  # type: ignore[no-untyped-def]
    said = probe(wide([(t, "7") for t in minutes(30)]), site=False)
    assert said["columns"][0]["role"] == "chwst" and said["columns"][0]["point"] == ""
    assert [f for f in said["findings"] if f["name"] == "zone_not_told"] and 'role = "chwst"' in said["map"]


def test_probe_one_point_in_two_units_is_one_row_and_a_doubt(probe) -> None:  # type: ignore[no-untyped-def]
    header = "time,CHWST [°C],CHW Supply A [°F],CHW Supply B [°F]"
    said = probe(wide([(t, "7", "44", "45") for t in minutes(30)], header))
    rows = tomllib.loads(said["map"])["points"]
    assert [r.get("point", "") for r in rows] == ["chwst", "", ""] and "another row's already" in said["map"]


def test_probe_prints_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "log.csv", plant(60))
    assert cli.main(["import", str(path), "--probe", "--site", str(SITE)]) == OK
    out = capsys.readouterr().out
    assert "comma between cells" in out and "[[points]]" in out and "energy_balance" in out


def test_probe_writes_the_map_that_the_import_takes_and_never_over_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, rules = write(tmp_path / "log.csv", plant(60)), tmp_path / "map.toml"
    words = ["import", str(path), "--site", str(SITE), "--map", str(rules)]
    assert cli.main([*words, "--probe"]) == OK and f"the map: {rules}" in capsys.readouterr().out
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == OK
    rules.write_text("# edited by hand\n")
    assert cli.main([*words, "--probe"]) == USAGE and "somebody's work" in capsys.readouterr().err
    assert rules.read_text() == "# edited by hand\n"


@pytest.mark.parametrize(
    ("name", "role"),
    [("CHWST", "chwst"), ("AHU-Plant_CHW_Return_Temp", "chwrt"), ("CH-1 kW", "chiller_power"), ("CT1 Fan Speed", "tower_speed"), ("OAT", "oadb"),
     ("Condenser Water Entering Temp", "cwst"), ("chw_flow_lps", "chw_flow"), ("CRAH 3 Fan Speed", "crah_fan_speed"), ("CHWP-1 kW", "chw_pump_power"),
     ("Evap Refrigerant Press", ""), ("CHWST Setpoint", "chwst_sp"), ("Wet Bulb", "oawb"), ("foo", "")],
)  # fmt: skip
def test_names_of_the_trade(name: str, role: str) -> None:
    assert role_of(name).role == role


def test_units_as_logs_spell_them() -> None:
    assert [unit_of(t) for t in ("°F", "US gpm", "Tons", "in w.c.", "(kW)", "m³/h", "bananas")] == [
        "degF",
        "gpm",
        "ton",
        "inWC",
        "kW",
        "m3/h",
        "",
    ]
    assert (
        unit_in_name("Flow [GPM]")[0] == "gpm"
        and unit_in_name("chw_flow_lps_raw")[0] == "L/s"
        and unit_in_name("Zone A")[0] == ""
    )


# -- what is refused


def refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str | bytes, map: str = "", name: str = "log.csv"
) -> tuple[int, str]:
    path = write(tmp_path / name, log) if not (name.endswith(".gz") and isinstance(log, bytes)) else tmp_path / name
    if name.endswith(".gz") and isinstance(log, bytes):
        path.write_bytes(log)
    write(tmp_path / "map.toml", map or map_text())
    code = cli.main(
        ["import", str(path), "--site", str(SITE), "--map", str(tmp_path / "map.toml"), "--out", str(tmp_path / "out")]
    )
    assert not list(tmp_path.glob("out/*"))
    return code, capsys.readouterr().err


GOOD_LOG = wide([(t, "7") for t in minutes(400)])
PACKED = gzip.compress(("time,chwst\n" + "".join(f"{t},{math.sin(k)}\n" for k, t in enumerate(minutes(3000)))).encode())


@pytest.mark.parametrize(
    ("log", "name", "code", "says"),
    [
        (b"", "log.csv", FAILED, "log.csv: is empty"), (b"  \n\n", "log.csv", FAILED, "is empty"), (b"\x00\x01\x02" * 99, "log.csv", FAILED, "binary"),
        (b"PK\x03\x04xxxx", "log.csv", FAILED, "Excel"), (PACKED[: len(PACKED) // 2], "log.csv.gz", FAILED, "gzip file ends"),
        (b"time,chwst\n", "log.csv", FAILED, "nothing is written"), (b"time,chwst\nx,1\ny,2\n", "log.csv", FAILED, "nothing is written"),
        (b"time,chwst\n2026-03-01 00:00,7,5\n2026-03-01 00:01,7,5\n", "log.csv", FAILED, "log.csv:2: most rows have more cells"),
        (b"time,other\n2026-03-01 00:00,7\n", "log.csv", CONFIG, "no column 'chwst'"),
        (b"stamp,chwst\n2026-03-01 00:00,7\n", "log.csv", CONFIG, "log.csv:1: time.column"),
        (("time," + ",".join(["chwst"] * 8) + "\n2026-03-01 00:00" + ",7" * 8 + "\n").encode(), "log.csv", CONFIG, "8 times in the header: say which, #2"),
    ],
)  # fmt: skip
def test_refused_logs_are_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: bytes, name: str, code: int, says: str
) -> None:
    got, err = refused(tmp_path, capsys, log, name=name)
    assert (got, err.count("\n")) == (code, 1) and says in err and name in err, err


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('unit = "degC"', 'unit = "degX"', "unknown unit 'degX' (did you mean"), ('unit = "degC"', 'unit = "kW"', "does not measure chwst"),
        ('point = "chwst"', 'point = "chwts"', "no point 'chwts'"), ('tz = "UTC"', 'tz = "Mars/Base"', "no zone"),
        ("step_s = 60.0", "step_s = 0.1", "greater than or equal to 1"), ("[grid]", "[grd]", "unknown key"), ('column = "time"', "column = 3", "string"),
        ("[grid]", "[grid", "syntax"),
    ],
)  # fmt: skip
def test_refused_maps_name_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    text = map_text().replace(old, new, 1)
    code, err = refused(tmp_path, capsys, GOOD_LOG, text)
    assert code == CONFIG and says in err and "Traceback" not in err
    line = text.splitlines().index(next(row for row in text.splitlines() if new in row)) + 1
    assert f"map.toml:{line}:" in err, err


def test_refused_usage_and_probe_of_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "log.csv", GOOD_LOG)
    assert cli.main(["import", str(path)]) == USAGE and "--probe" in capsys.readouterr().err
    assert cli.main(["import", str(tmp_path / "none.csv"), "--probe"]) == FAILED
    assert "no such file" in capsys.readouterr().err
    for text in ("a,b\n1,2\n3,4\n", "just prose\nwithout a time\n", "x"):
        assert cli.main(["import", str(write(tmp_path / "prose.csv", text)), "--probe"]) == FAILED
        err = capsys.readouterr().err
        assert "prose.csv:1" in err and err.count("\n") == 1
    (tmp_path / "empty").mkdir()
    assert cli.main(["import", str(tmp_path / "empty"), "--probe"]) == FAILED and "no trend log" in capsys.readouterr().err


def test_probe_never_raises_on_damaged_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(4)
    raw = plant(40).encode()
    for _ in range(60):
        changed = bytearray(raw)
        for _ in range(rng.randint(1, 40)):
            changed[rng.randrange(len(changed))] = rng.choice(b",;\n\t\"'{}0-.x\xff ")
        path = write(tmp_path / "log.csv", bytes(changed[: rng.randrange(1, len(changed))]))
        assert cli.main(["import", str(path), "--probe", "--site", str(SITE)]) in (OK, FAILED, CONFIG)
    capsys.readouterr()


# -- the recording


def test_recording_says_that_it_is_imported_and_holds_a_ticks_inputs(load) -> None:  # type: ignore[no-untyped-def]
    got = load(GOOD_LOG)
    unpack = Unpacker(got.site)
    assert got.recording.columns == columns(got.site)[: unpack.decision_at]
    assert got.recording.header["imported"]["files"] == ["log.csv"] and "[[points]]" in got.recording.header["imported"]["map"]
    snap, gateway, grant = unpack.inputs(got.rows[5])
    assert snap.now_s == utc("2026-03-01T00:05") and gateway.confirmed and not grant
    assert not [p for p in got.folder.iterdir() if p.suffix != ".cool"]


# -- real logs


@needs_data
@pytest.mark.parametrize(
    ("log", "ticks", "points", "findings"),
    [
        ("esb_chiller1_5min", 64017, 13, {"constant_speed_habit", "constant_flow_habit", "gaps", "mostly_missing", "energy_balance"}),
        ("esb_tower_fans_5min", 64188, 1, {"constant_speed_habit", "gaps"}),
        ("bartech_chiller2_events_long", 400_000, 6, {"gaps", "column_gap", "rests_above_zero", "balance_not_told", "mostly_missing"}),
        ("monash_chiller1_2025", 333_661, 7, {"day_and_month_exchanged", "impossible_value", "zero_for_no_answer"}),
    ],
)  # fmt: skip
def test_real_log_is_probed_imported_and_its_faults_named(
    probe, load, log: str, ticks: int, points: int, findings: set[str]
) -> None:  # type: ignore[no-untyped-def]
    path = TELEMETRY / f"{log}.csv.gz"
    said = probe([path])
    assert findings <= {f["name"] for f in said["findings"]}
    got = load([path], map=said["map"])
    # To the tick where the log is periodic; a log of changes leaves out its silent weeks.
    assert got.answer["ticks"] == ticks if ticks != 400_000 else got.answer["ticks"] > ticks
    assert got.answer["points"] == points
    first = next(got.recording.rows())
    assert (np.diff(first[:, 0]) >= 60.0).all() and not got.recording.damage


@needs_data
def test_real_chiller_with_water_exchanged_and_a_flow_in_the_wrong_unit_is_found_out(tmp_path: Path, probe) -> None:  # type: ignore[no-untyped-def]
    rows = gzip.decompress((TELEMETRY / "esb_chiller1_5min.csv.gz").read_bytes()).decode().splitlines()
    rows[0] = (
        rows[0]
        .replace("chw_in_c,chw_out_c", "chw_out_c,chw_in_c")
        .replace("cdw_in_c,cdw_out_c", "cdw_out_c,cdw_in_c")
        .replace("_lps", "_gpm")
    )
    found = [f for f in probe("\n".join(rows[:6000]) + "\n")["findings"] if f["severity"] == "error"]
    assert [f["name"] for f in found].count("supply_and_return_exchanged") == 2
    assert any(f["name"] == "flow_mis_scaled" and "L/s taken for GPM" in f["text"] for f in found)
