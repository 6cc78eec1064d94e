"""Recordings: exact, durable against kill -9, honest about damage. Replay: the same decisions, bit for bit."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import SITE

from coolctl import replay
from coolctl.cli import main
from coolctl.control.tick import IN_PROCESS
from coolctl.controller import Controller
from coolctl.edge.recorder import Recorder
from coolctl.edge.time_box import Late
from coolctl.errors import EXIT_CHECK_FAILED, CoolctlError, RecordingError
from coolctl.recording import FIRST_VERSION, FORMAT_VERSION, Recording, encode_header, encode_rows, header_size
from coolctl.site import Site
from coolctl.trace import Unpacker, columns, header, open_recording, pack
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

NAMES = ["a", "b", "c"]


def write(folder: Path, rows: np.ndarray, **options: float) -> Recorder:
    recorder = Recorder(folder, "run", NAMES, {"x": 1}, **options)  # type: ignore[arg-type]
    for row in rows:
        recorder.append(row)
    return recorder


def bits(rows: np.ndarray) -> list[int]:
    return np.ascontiguousarray(rows).view(np.uint64).ravel().tolist()


def wild_rows(count: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 2**63, (count, 3), dtype=np.uint64).view(np.float64)
    rows[::3, 0], rows[::5, 1], rows[::7, 2] = np.nan, -0.0, np.inf
    return rows


def test_recording_any_bit_pattern_round_trips(tmp_path: Path) -> None:
    rows = wild_rows(333)
    write(tmp_path, rows).close()
    recording = Recording(tmp_path)
    assert bits(recording.read()) == bits(rows) and not recording.damage and recording.header["x"] == 1


def test_recording_runs_begun_in_one_second_are_told_apart_and_stay_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload ends one run and begins the next at once, in the same process."""
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101T000000")
    rows = wild_rows(12)
    for k in range(12):
        recorder = write(tmp_path, rows[: k + 1])
        assert not recorder.failed
        recorder.close()
    runs = [Recording(path) for path in sorted(tmp_path.glob("*-0000.cool"))]
    assert [run.count_rows() for run in runs] == list(range(1, 13))
    assert bits(Recording(tmp_path).read()) == bits(rows), "a folder is its newest run"


def test_recording_open_block_is_readable_without_close(tmp_path: Path) -> None:
    rows = wild_rows(77)
    recorder = write(tmp_path, rows)
    time.sleep(0.2)
    assert bits(Recording(tmp_path).read()) == bits(rows)
    recorder.close()


@pytest.mark.parametrize("rotate_s", [3600.0, 0.0])
def test_recording_tail_of_what_stands_still_is_whole_in_every_file(tmp_path: Path, rotate_s: float) -> None:
    """Figures that do not change are not written again, but each write-ahead file is read without those before it."""
    rows = np.tile([21.5, -0.0, np.nan], (37, 1))
    recorder = write(tmp_path, rows, block_rows=10, rotate_s=rotate_s)
    time.sleep(0.3)
    found = Recording(tmp_path)
    assert bits(found.read()) == bits(rows) and found.count_rows() == 30
    recorder.close()


def test_recording_rotates_into_self_contained_segments(tmp_path: Path) -> None:
    rows = wild_rows(200)
    write(tmp_path, rows, rotate_s=0.0, block_rows=20).close()
    assert len(list(tmp_path.glob("*.cool"))) >= 10
    assert bits(Recording(tmp_path).read()) == bits(rows)
    last = sorted(tmp_path.glob("*.cool"))[-2]
    assert Recording(last).columns == NAMES


def test_recording_turns_to_a_new_segment_while_its_blocks_are_on_their_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk so slow that a block is still waiting when the segment ends: its rows must not be written over."""
    rows = wild_rows(60)
    monkeypatch.setattr(os, "fdatasync", lambda _n: time.sleep(0.05))
    write(tmp_path, rows, rotate_s=0.0, block_rows=5).close()
    assert bits(Recording(tmp_path).read()) == bits(rows)


def test_recording_gives_up_what_is_written_ahead_once_it_is_in_the_segment(tmp_path: Path) -> None:
    """The other thread does, not the next tick."""
    recorder = write(tmp_path, wild_rows(15), block_rows=10)
    deadline_s = time.monotonic() + 5.0
    while (tmp_path / recorder.path.name).with_suffix(".wal0").stat().st_size and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert [recorder.path.with_suffix(s).stat().st_size > 0 for s in (".wal0", ".wal1")] == [False, True]
    recorder.close()


def test_recording_gives_up_no_row_that_is_written_ahead_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk so slow that both files have gone on before the first block is safe: its safety says nothing of what came since."""
    rows, asked = wild_rows(30), threading.Semaphore(0)
    monkeypatch.setattr(os, "fdatasync", lambda _n: asked.acquire(timeout=5.0))
    recorder = write(tmp_path, rows, block_rows=12)
    assert bits(Recording(tmp_path).read()) == bits(rows) and not recorder.failed
    asked.release(100)
    time.sleep(0.3)
    assert bits(Recording(tmp_path).read()) == bits(rows)
    recorder.close()
    assert bits(Recording(tmp_path).read()) == bits(rows)


def test_recording_takes_no_row_of_another_width(tmp_path: Path) -> None:
    recorder = write(tmp_path, wild_rows(3))
    recorder.append(np.zeros(4))
    assert "a row of 4 columns instead of 3" in recorder.failed
    recorder.close()
    assert len(Recording(tmp_path).read()) == 3


def test_recording_header_ends_where_the_first_frame_begins(tmp_path: Path) -> None:
    """Whatever words stand in it: sizes are told by it."""
    path = tmp_path / "run-1-0000.cool"
    head = encode_header({"columns": ["a", "ROWS", "COLS"], "site_text": "COLS ROWS EVTS"})
    path.write_bytes(head + encode_rows(np.zeros((2, 3)), 0))
    with path.open("rb") as stream:
        assert header_size(stream) == len(head) and stream.read(4) == b"COLS"


def test_recording_counts_no_more_room_than_a_file_may_fill(tmp_path: Path) -> None:
    """Heads of frames that name thousands of rows and hold none: no memory is taken for them, and each is said."""
    path = tmp_path / "run-1-0000.cool"
    frame = struct.pack("<4sIIQI", b"COLS", 0, 3600, 0, 0)
    path.write_bytes(encode_header({"columns": [f"c{k}" for k in range(1000)]}) + frame * 50_000)
    recording = Recording(path)
    assert len(recording.read()) == 0 and len(recording.damage) == 50_000


def test_recording_blocks_that_overlap_or_lack_come_at_once_as_they_come_one_by_one(tmp_path: Path) -> None:
    """Rows are decoded to where they belong: what is there twice, or does not decode, must not shift the others."""
    rows = wild_rows(60)
    frame = struct.Struct("<4sIIQI")
    whole = encode_rows(rows[20:40], 20)
    half = whole[frame.size : len(whole) // 2]
    broken = frame.pack(b"COLS", len(half), 20, 20, zlib.crc32(half)) + half
    blocks = [encode_rows(rows[:12], 0), encode_rows(rows[5:20], 5), broken, encode_rows(rows[40:60], 40)]
    path = tmp_path / "run-1-0000.cool"
    path.write_bytes(encode_header({"columns": NAMES}) + b"".join(blocks))
    expected = np.concatenate([rows[:20], rows[40:]])
    recording = Recording(path)
    assert bits(recording.read()) == bits(expected) == bits(np.concatenate(list(Recording(path).rows())))
    assert "cannot be decoded" in recording.damage[0] and "20 to 39 are missing" in recording.damage[1]


def test_recording_events_come_back_with_their_row(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "run", NAMES, {})
    for k in range(5):
        recorder.append(np.full(3, float(k)), [{"grant": "auto"}] if k == 3 else ())
    recorder.close()
    recording = Recording(tmp_path)
    recording.read()
    assert [(e.row, e.fields) for e in recording.events] == [(3, {"grant": "auto"})]


KILLED = """
import sys, numpy as np
from coolctl.edge.recorder import Recorder
r = Recorder(sys.argv[1], "run", ["a", "b", "c"], {}, block_rows=10)
k = 0
while True:
    r.append(np.full(3, float(k)))
    k += 1
    sys.stdout.write(f"{k}\\n"); sys.stdout.flush()
"""


@pytest.mark.parametrize("attempt", range(6))
def test_recording_kill_9_loses_no_acknowledged_row(tmp_path: Path, attempt: int) -> None:
    rng = random.Random(attempt)
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(rng.uniform(0.01, 0.3))
    child.send_signal(signal.SIGKILL)
    acknowledged = [int(line) for line in child.stdout.read().splitlines() if line.strip().isdigit()]
    child.wait()
    rows = Recording(tmp_path).read()
    assert len(rows) >= max(acknowledged[:-1], default=1)  # the last line may itself be torn
    assert (rows[:, 0] == np.arange(len(rows))).all()


def test_recording_damage_is_skipped_and_said(tmp_path: Path) -> None:
    write(tmp_path, wild_rows(300), block_rows=50).close()
    path = next(tmp_path.glob("*.cool"))
    raw = path.read_bytes()
    rng = random.Random(1)
    for _ in range(400):
        changed = bytearray(raw)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(bytes(changed[: rng.randrange(1, len(changed))] if rng.random() < 0.3 else changed))
        try:
            recording = Recording(path)
            rows = recording.read()
            assert len(rows) <= 300 and rows.shape[1] == len(recording.columns)
        except RecordingError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("content", [b"", b"COOLREC1", b"SQLite format 3\0" * 9, b"COOLREC1" + b"\xff" * 64])
def test_recording_foreign_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x-1-0000.cool"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="x-1-0000"):
        Recording(path)
    for nothing in (tmp_path / "none", tmp_path / "x.csv"):
        with pytest.raises(RecordingError):
            Recording(nothing)


FULL = """
import sys, resource, signal, numpy as np
from coolctl.edge.recorder import Recorder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
r = Recorder(sys.argv[1], "run", ["a", "b", "c"], {})
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for k in range(500): r.append(np.full(3, float(k)))
print("failed" if r.failed else "not failed")
r.close()
"""


def test_recording_full_disk_stops_the_recorder_not_the_caller(tmp_path: Path) -> None:
    assert resource.RLIMIT_FSIZE >= 0
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.strip() == "failed"
    rows = Recording(tmp_path).read()
    assert 10 < len(rows) < 500 and (rows[:, 0] == np.arange(len(rows))).all()


@pytest.mark.skipif(os.geteuid() != 0, reason="a folder that root cannot write needs a file in its place")
def test_recording_on_a_slow_disk_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes half a second to sync: the caller, paced so that a block takes longer than that, never waits for it."""
    slow_s, synced = 0.5, []
    monkeypatch.setattr(os, "fdatasync", lambda _n: (time.sleep(slow_s), synced.append(1)))
    recorder = Recorder(tmp_path, "slow", ["a"], {}, block_rows=60)
    longest_s = 0.0
    for k in range(150):
        begun_s = time.monotonic()
        recorder.append(np.array([float(k)]))
        longest_s = max(longest_s, time.monotonic() - begun_s)
        time.sleep(0.01)
    assert synced and longest_s < slow_s / 2.0
    recorder.close()
    assert not recorder.failed and sum(len(b) for b in Recording(tmp_path).rows()) == 150


def test_recording_impossible_folder_never_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = Recorder(tmp_path / "file", "run", NAMES, {})
    recorder.append(np.zeros(3))
    assert recorder.failed


# -- replay


@pytest.fixture(scope="module")
def recorded(site: Site, policy, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    """Twenty minutes of a run with a change of grant, recorded as the daemon does."""
    folder = tmp_path_factory.mktemp("recording")
    plant = SimPlant(site, from_statistics("CHN_Guiyang").starting("07-15T10"), synthetic())
    readings = plant.reset(1)
    controller = Controller(site, policy, "auto")
    recorder = Recorder(folder, site.name, columns(site), header(site, policy.model_hash, "default", "auto"))
    for k in range(1200):
        grant = {600: "bounded", 900: "fallback"}.get(k, "")
        if grant:
            controller.grant(grant, "test")
        controller.store.put_readings(readings, float(k))
        snap = controller.store.snapshot(float(k))
        decision = controller.tick_snapshot(snap)
        recorder.append(pack(snap, IN_PROCESS, grant, decision))
        readings = plant.step(decision.setpoints, 1.0)
    recorder.close()
    assert not recorder.failed
    return folder


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    return parser.parse_args(words)


def test_replay_is_bit_identical_and_fast(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay.main(arguments(str(recorded), "--verify")) == 0
    out = capsys.readouterr().out
    assert "bit for bit" in out and out.startswith("1200 ticks")


@pytest.mark.parametrize("told", [True, False])
def test_replay_knows_when_the_policy_was_late(site: Site, policy, tmp_path: Path, told: bool) -> None:  # type: ignore[no-untyped-def]
    late = set(range(20, 23))

    class Hesitant:
        model_hash, tick = policy.model_hash, 0

        def infer(self, x):  # type: ignore[no-untyped-def]
            if self.tick in late:
                raise Late
            return policy.infer(x)

    hesitant, plant = Hesitant(), SimPlant(site)
    readings, controller = plant.reset(1), Controller(site, hesitant, "auto")
    recorder = Recorder(tmp_path, site.name, columns(site), header(site, policy.model_hash, "default", "auto"))
    for hesitant.tick in range(40):
        controller.store.put_readings(readings, float(hesitant.tick))
        snap = controller.store.snapshot(float(hesitant.tick))
        decision = controller.tick_snapshot(snap)
        recorder.append(pack(snap, IN_PROCESS, "", decision, late=told and hesitant.tick in late))
        readings = plant.step(decision.setpoints, 1.0)
    recorder.close()
    assert replay.main(arguments(str(tmp_path), "--verify")) == (0 if told else EXIT_CHECK_FAILED)


def test_replay_finds_the_first_difference(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Recording(recorded)
    rows = source.read()
    at = source.columns.index("sp:chwst_sp")
    rows[700, at] = np.nextafter(rows[700, at], 99.0)
    changed = Recorder(
        tmp_path, "run", source.columns, {k: v for k, v in source.header.items() if k not in ("columns", "format_version")}
    )
    for row in rows:
        changed.append(row)
    changed.close()
    assert replay.main(arguments(str(tmp_path), "--verify")) == 3
    assert "tick 701" in capsys.readouterr().out


def test_replay_verifies_a_recording_that_knows_fewer_terms(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording of an older version: what both versions know is compared, and a difference in it is still found."""
    source = Recording(recorded)
    known = [k for k, name in enumerate(source.columns) if not name.startswith("term:price_")]
    assert len(known) < len(source.columns)
    head = {k: v for k, v in source.header.items() if k not in ("columns", "format_version")}
    rows = source.read()[:, known]
    for folder, code in (("old", 0), ("wrong", 3)):
        if folder == "wrong":
            rows[500, [source.columns[k] for k in known].index("term:plan_w")] += 1e-9
        older = Recorder(tmp_path / folder, "run", [source.columns[k] for k in known], head)
        for row in rows:
            older.append(row)
        older.close()
        assert replay.main(arguments(str(tmp_path / folder), "--verify")) == code
        assert ("bit for bit" in capsys.readouterr().out) == (code == 0)


def test_replay_what_if_and_terms(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terms = tmp_path / "terms.csv"
    assert replay.main(arguments(str(recorded), "--model", "default", "--terms", str(terms), "--to", "100")) == 0
    lines = terms.read_text().splitlines()
    assert len(lines) == 102 and "ride_through_s" in lines[0] and "planned power" in capsys.readouterr().out
    assert replay.main(arguments(str(recorded), "--verify", "--model", "default")) == 2


def test_replay_of_nothing_is_an_error_with_a_name(tmp_path: Path) -> None:
    with pytest.raises(CoolctlError, match="no recording"):
        replay.main(arguments(str(tmp_path), "--verify"))


# -- recordings of older versions

OLDEST = (
    Path(__file__).parent / "data" / "hall1mw-20261125T110141-1-0000.cool.gz"
)  # forty ticks by the first version that made any


@pytest.fixture
def oldest(tmp_path: Path) -> Path:
    path = tmp_path / "old" / OLDEST.stem
    path.parent.mkdir()
    path.write_bytes(gzip.decompress(OLDEST.read_bytes()))
    return path


def test_recording_of_the_oldest_version_is_read_and_replayed(
    oldest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = Recording(oldest)
    assert stored.header["format_version"] == 1 and "gateway:held" not in stored.columns
    rows = stored.read()
    assert rows.shape == (40, len(stored.columns)) and not stored.damage
    recording, site, _site = open_recording(str(oldest))
    unpack, first = Unpacker(site), next(recording.rows())[0]
    snap, gateway, grant = unpack.inputs(first)
    assert gateway.held and not grant and np.isnan(unpack.overrides(first)).all()
    at = stored.columns.index("value:chwst")
    assert snap.value[site.table.index["chwst"]] == rows[0, at]
    assert first[recording.columns.index("term:hottest_c")] == rows[0, stored.columns.index("term:hottest_c")]
    terms = tmp_path / "terms.csv"
    assert replay.main(arguments(str(oldest), "--site", str(SITE), "--terms", str(terms))) == 0
    assert capsys.readouterr().out.startswith("40 ticks") and len(terms.read_text().splitlines()) == 41


FIRST_FORMAT = "hall1mw-20261128T121500-1-0000"  # a process killed at its 75th tick, blocks of 30: two whole ones and a tail
FIRST_FORMAT_ROWS = "d2f143b9f0c7aba8de2dfa7290683a2f1da17be0fda24e7903487252955cb1ef"


def test_recording_of_the_first_format_comes_back_bit_for_bit_with_its_tail(tmp_path: Path) -> None:
    for packed in OLDEST.parent.glob(f"{FIRST_FORMAT}.*.gz"):
        (tmp_path / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    stored = Recording(tmp_path)
    rows = stored.read()
    assert stored.header["format_version"] == FIRST_VERSION and rows.shape[0] == 75 and stored.count_rows() == 60
    assert hashlib.sha256(rows.tobytes()).hexdigest() == FIRST_FORMAT_ROWS and not stored.damage
    assert [(e.row, e.fields) for e in stored.events] == [(50, {"grant": "bounded"})]
    wal = tmp_path / f"{FIRST_FORMAT}.wal0"
    wal.write_bytes(wal.read_bytes()[:-9])
    assert len(stored.read()) == 74 and "torn tail" in stored.damage[0]


def test_recording_of_a_later_format_is_refused_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "run-1-0000.cool").write_bytes(encode_header({"columns": ["a"], "format_version": FORMAT_VERSION + 1}))
    with pytest.raises(RecordingError, match=f"format_version {FORMAT_VERSION + 1} is not 1 or 2"):
        Recording(tmp_path)


@pytest.mark.parametrize("verb", [("calibrate",), ("export", "--format", "csv", "--out", "-")], ids=lambda v: v[0])
def test_recording_of_the_oldest_version_serves_the_other_verbs(
    oldest: Path, verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb[0], str(oldest), *verb[1:]]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 10


def test_recording_with_inputs_that_nobody_knows_is_refused(oldest: Path, tmp_path: Path) -> None:
    source = Recording(oldest)
    head = {k: v for k, v in source.header.items() if k not in ("columns", "format_version")}
    names = ["gateway:other" if n == "gateway:confirmed" else n for n in source.columns]
    foreign = Recorder(tmp_path, "run", names, head)
    foreign.append(source.read()[0])
    foreign.close()
    with pytest.raises(CoolctlError, match="another version"):
        open_recording(str(tmp_path))
