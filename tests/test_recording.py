"""The recording format and its reader: bit-exact, in order, self-contained."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recordings import NAN_BITS, SPECIAL, bits, mixed_rows, read, rotating, write

from coolctl import recording_format as fmt
from coolctl.edge.recorder import Recorder
from coolctl.recording import open_recording
from coolctl.recording_columns import GROUP_COLUMNS, decode_rows, encode_rows


@pytest.mark.parametrize("columns", [1, 9, 260, GROUP_COLUMNS, GROUP_COLUMNS + 1, 2 * GROUP_COLUMNS + 7])
@pytest.mark.parametrize("rows", [1, 2, 3, 60, 257])
def test_block_of_any_bits_comes_back_bit_for_bit(rows: int, columns: int) -> None:
    block = mixed_rows(rows * 1000 + columns, rows, columns)
    back = decode_rows(encode_rows(block), rows, columns)
    assert back.flags.c_contiguous and np.array_equal(bits(back), bits(block))


@pytest.mark.parametrize("value", [*SPECIAL, *NAN_BITS.view(np.float64)])
def test_special_value_among_decimals_keeps_its_bits(value: float) -> None:
    block = np.round(np.linspace(20.0, 21.0, 40), 2).reshape(-1, 1)
    block[17, 0] = value
    assert np.array_equal(bits(decode_rows(encode_rows(block), 40, 1)), bits(block))


def test_quantised_sensors_take_less_than_0_7_bytes_a_sample() -> None:
    # P11: 0.01 K with 0.03 K of noise, 0.1 kW with 2 kW of noise; the entropy of such differences is about 0.6 bytes.
    rng = np.random.default_rng(11)
    drift = np.cumsum(rng.normal(0, 0.01, (600, 500)), axis=0)
    rows = np.round(22 + drift + rng.normal(0, 0.03, (600, 500)), 2)
    rows[:, ::4] = np.round(800 + 30 * drift[:, ::4] + rng.normal(0, 2, (600, 125)), 1) * 1e3
    size = sum(len(fmt.encode_block(rows[i : i + 60], i, [])) for i in range(0, 600, 60))
    assert size / rows.size < 0.70


def test_constant_and_repeated_columns_cost_next_to_nothing() -> None:
    noise = np.random.default_rng(1).normal(size=(60, 1))
    one = len(encode_rows(noise))
    many = len(encode_rows(np.hstack([noise] * 200 + [np.full((60, 200), 3.25)])))
    # Two bytes of reference and one of method for a repeat, one and a value for a constant, before deflate.
    assert many - one < 200 * 3 + 200 * 2


def test_plain_python_kernels_write_the_same_bytes() -> None:
    script = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1]); from recordings import mixed_rows\n"
        "from coolctl.recording_columns import encode_rows\n"
        "print(hashlib.sha256(encode_rows(mixed_rows(5, 60, 40))).hexdigest())"
    )
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    plain = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], env=env, capture_output=True, text=True, check=True
    )
    assert plain.stdout.strip() == hashlib.sha256(encode_rows(mixed_rows(5, 60, 40))).hexdigest()


def test_recording_gives_rows_events_and_header_back(tmp_path: Path) -> None:
    rows = mixed_rows(3, 200, 37)
    header = {"site": "t", "config_hash": "ab", "site_text": "[site]\nname = 't'\n# °C"}
    recorder = Recorder(tmp_path, [f"c{j}" for j in range(37)], header)
    for i, row in enumerate(rows):
        recorder.append(row, [{"text": "mode", "i": i}, {"text": "é"}] if i in (0, 59, 60, 199) else ())
    recorder.close()
    recording = open_recording(tmp_path)
    assert np.array_equal(bits(np.concatenate(list(recording.rows()))), bits(rows))
    assert recording.columns == tuple(f"c{j}" for j in range(37))
    assert {**recording.header, **header} == recording.header and recording.header["format_version"] == 1
    assert [(i, e["text"]) for i, e in recording.events()] == [(i, t) for i in (0, 59, 60, 199) for t in ("mode", "é")]
    assert recording.damage == [] and recording.row_count == 200
    assert [p.suffix for p in tmp_path.iterdir()] == [".cool"]


def test_running_recorder_can_be_read_up_to_its_last_row(tmp_path: Path) -> None:
    rows = mixed_rows(4, 150, 12)
    recorder = write(tmp_path, rows, close=False, event_every=70)
    recording = open_recording(tmp_path)
    assert np.array_equal(bits(np.concatenate(list(recording.rows()))), bits(rows))
    assert [i for i, _ in recording.events()] == [0, 70, 140]
    assert [event["i"] for _, event in recording.events()] == [0, 70, 140]
    recorder.close()


def test_segment_alone_is_complete_and_the_last_brings_its_write_ahead_rows(tmp_path: Path) -> None:
    clock = [0.0]
    rows = mixed_rows(6, 50, 5)
    recorder = rotating(tmp_path, list("abcde"), 20, clock)
    for i, row in enumerate(rows[:45]):
        clock[0] = float(i)
        recorder.append(row, [{"i": i}])
        if i % 10 == 9:
            assert recorder.flush()
    segments = sorted(tmp_path.glob("*.cool"))
    spans = [(0, 20), (20, 45)]  # rows 40 to 44 have no block yet
    for (first, end), segment in zip(spans, segments, strict=True):
        alone = open_recording(segment)
        assert np.array_equal(bits(np.concatenate(list(alone.rows()))), bits(rows[first:end])), segment
        assert [(n, e["i"]) for n, e in alone.events()] == [(n, first + n) for n in range(end - first)]
        assert alone.header == open_recording(tmp_path).header and alone.damage == []
    recorder.close()


def test_missing_segment_is_named_by_its_rows_and_the_others_are_read(tmp_path: Path) -> None:
    clock = [0.0]
    rows = mixed_rows(7, 90, 3)
    recorder = rotating(tmp_path, list("abc"), 20, clock)
    for i, row in enumerate(rows):
        clock[0] = float(i)
        recorder.append(row, [{"i": i}])
        if i % 10 == 9:
            assert recorder.flush()
    recorder.close()
    segments = sorted(tmp_path.glob("*.cool"))
    first_gone, gone = segments[0], segments[2]
    gone.unlink()
    first_gone.unlink()
    back, damage = read(tmp_path)
    left = np.concatenate([rows[20:40], rows[60:]])
    assert np.array_equal(bits(back), bits(left))
    assert [d.split(": ")[1] for d in damage] == [
        "rows 0 to 19 of its run are missing", "rows 40 to 59 of its run are missing",
    ]  # fmt: skip
    assert [(n, e["i"]) for n, e in open_recording(tmp_path).events()][19:21] == [(19, 39), (20, 60)]


def test_copied_segment_does_not_double_its_rows(tmp_path: Path) -> None:
    rows = mixed_rows(12, 30, 4)
    write(tmp_path, rows, block_rows=10)
    path = next(tmp_path.glob("*.cool"))
    (tmp_path / "backup.cool").write_bytes(path.read_bytes())
    back, damage = read(tmp_path)
    assert np.array_equal(bits(back), bits(rows)) and damage == []


def test_runs_with_other_columns_are_named_and_read_apart(tmp_path: Path) -> None:
    write(tmp_path, mixed_rows(13, 5, 4))
    write(tmp_path, mixed_rows(14, 6, 3))
    write(tmp_path, mixed_rows(15, 7, 4))
    recording = open_recording(tmp_path)
    assert [len(b) for b in recording.rows()] == [5, 7] and recording.row_count == 12
    assert [len(next(run.rows())) for run in recording.runs] == [5, 6, 7]
    assert len(recording.damage) == 1 and "other columns" in recording.damage[0]
