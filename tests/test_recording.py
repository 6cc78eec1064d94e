"""The recording format and its reader: bit-exact, and honest about every kind of damage."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from coolctl import recording_format as fmt
from coolctl.edge.recorder import Recorder
from coolctl.errors import RecordingError
from coolctl.recording import open_recording
from coolctl.recording_columns import GROUP_COLUMNS, decode_rows, encode_rows

SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, 5e-324, -5e-324, 1.7976931348623157e308, 2.0**53, 2.0**53 + 2, 0.1])
NAN_BITS = np.array([0x7FF8000000000000, 0x7FF8DEADBEEF0001, 0xFFF8000000000000, 0x7FF0000000000001], dtype=np.uint64)


def bits(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows).view(np.uint64)


def mixed_rows(seed: int, rows: int, columns: int) -> np.ndarray:
    """Columns of every kind: any bits, decimals, kW, percent, constants, repeats, special values, NaN."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, 2**64, (rows, columns), dtype=np.uint64).view(np.float64)
    for j in range(columns):
        kind = rng.integers(0, 9)
        if kind == 1:
            out[:, j] = np.round(rng.normal(22, 1, rows), 2)
        elif kind == 2:
            out[:, j] = np.round(rng.normal(800, 5, rows), 1) * 1e3
        elif kind == 3:
            out[:, j] = np.round(rng.uniform(0, 100, rows), 1) * 0.01
        elif kind == 4:
            out[:, j] = rng.normal()
        elif kind == 5 and j > 0:
            out[:, j] = out[:, j - 1]
        elif kind == 6:
            out[:, j] = rng.choice(SPECIAL, rows)
        elif kind == 7:
            out[:, j] = rng.choice(NAN_BITS, rows).view(np.float64)
        elif kind == 8:
            out[:, j] = rng.integers(0, 3, rows) * 1e6
    return out


def write(folder: Path, rows: np.ndarray, *, close: bool = True, event_every: int = 0, **options: int) -> Recorder:
    columns = [f"c{j}" for j in range(rows.shape[1])]
    recorder = Recorder(folder, columns, {"site": "t"}, wait_for_disk=True, **options)
    for i, row in enumerate(rows):
        recorder.append(row, [{"text": "mark", "i": i}] if event_every and i % event_every == 0 else ())
    assert recorder.failed is None
    if close:
        recorder.close()
    return recorder


def rotating(folder: Path, columns: list[str], rotate_s: float, clock: list[float]) -> Recorder:
    return Recorder(
        folder, columns, {"site": "t"}, rotate_s, block_rows=10, wait_for_disk=True, clock=lambda: clock[0]
    )


def read(path: Path) -> tuple[np.ndarray, list[str]]:
    recording = open_recording(path)
    blocks = list(recording.rows())
    width = len(recording.columns)
    return np.concatenate(blocks) if blocks else np.empty((0, width)), recording.damage


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
        "import hashlib, sys; sys.path.insert(0, sys.argv[1]); from test_recording import mixed_rows, encode_rows\n"
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
    assert [(i, e["text"]) for i, e in recording.events()] == [
        (i, t) for i in (0, 59, 60, 199) for t in ("mode", "é")
    ]
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


def block_offsets(path: Path) -> list[int]:
    data, offsets, at = path.read_bytes(), [], 0
    while (at := data.find(fmt.TAG_BLOCK, at)) >= 0:
        offsets.append(at)
        at += 1
    return offsets


def test_flipped_bit_costs_one_block_and_is_named_with_its_offset(tmp_path: Path) -> None:
    rows = mixed_rows(8, 50, 6)
    write(tmp_path, rows, block_rows=10, event_every=1)
    path = next(tmp_path.glob("*.cool"))
    offset = block_offsets(path)[2]
    data = bytearray(path.read_bytes())
    data[offset + 100] ^= 0x10
    path.write_bytes(data)
    back, damage = read(tmp_path)
    assert np.array_equal(bits(back), bits(np.concatenate([rows[:20], rows[30:]])))
    assert damage[0].startswith(f"{path.name}: offset {offset}: damaged (CRC)") and "rows 20 to 29" in damage[1]
    assert [event["i"] for _, event in open_recording(tmp_path).events()] == [*range(20), *range(30, 50)]


def test_torn_tail_keeps_what_is_before_it(tmp_path: Path) -> None:
    rows = mixed_rows(9, 30, 6)
    write(tmp_path, rows, block_rows=10)
    path = next(tmp_path.glob("*.cool"))
    last = block_offsets(path)[2]
    os.truncate(path, last + 40)
    back, damage = read(tmp_path)
    assert np.array_equal(bits(back), bits(rows[:20]))
    assert damage == [f"{path.name}: offset {last}: torn or damaged end, 40 bytes skipped"]


def test_damaged_header_is_replaced_by_that_of_a_sibling(tmp_path: Path) -> None:
    clock = [0.0]
    rows = mixed_rows(10, 30, 4)
    recorder = rotating(tmp_path, list("abcd"), 10, clock)
    for row in rows:
        clock[0] += 1.0
        recorder.append(row)
    recorder.close()
    first = min(tmp_path.glob("*.cool"))
    data = bytearray(first.read_bytes())
    data[fmt.PREAMBLE_BYTES + 5] ^= 1
    first.write_bytes(data)
    back, damage = read(tmp_path)
    assert np.array_equal(bits(back), bits(rows))
    assert len(damage) == 1 and damage[0].startswith(f"{first.name}: damaged header (CRC)")


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


FOREIGN = {
    "empty": (b"", "empty file"),
    "short": (fmt.MAGIC, "only 8 bytes"),
    "csv": (b"time,chwst\n" * 50, "wrong magic"),
    "pickle": (b"\x80\x04\x95" + bytes(100), "wrong magic"),
    "zeros": (bytes(4096), "wrong magic"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_file_is_refused_with_its_name_and_reason(tmp_path: Path, name: str) -> None:
    data, reason = FOREIGN[name]
    path = tmp_path / "x-000001.cool"
    path.write_bytes(data)
    for target in (path, tmp_path):
        with pytest.raises(RecordingError, match=reason) as caught:
            open_recording(target)
        assert path.name in str(caught.value)


def test_foreign_file_beside_a_recording_is_only_noted(tmp_path: Path) -> None:
    rows = mixed_rows(16, 5, 4)
    write(tmp_path, rows)
    (tmp_path / "a-000001.cool").write_bytes(b"no recording at all" * 10)
    (tmp_path / "b-000001.wal").write_bytes(b"")
    (tmp_path / "c.cool").mkdir()
    os.mkfifo(tmp_path / "d.cool")  # opening it would wait for ever
    back, damage = read(tmp_path)
    assert np.array_equal(bits(back), bits(rows))
    assert [d.split(":")[0] for d in damage] == ["a-000001.cool", "b-000001.wal", "c.cool", "d.cool"]


@pytest.mark.parametrize("target", ["nothing-000001.cool", "nothing", "x.txt", "empty"])
def test_path_without_recording_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "x.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match=target):
        open_recording(tmp_path / target)


def test_future_format_version_is_named(tmp_path: Path) -> None:
    head = bytearray(fmt.encode_start(fmt.KIND_SEGMENT, bytes(8), 0, 0, 1, b"{}"))
    struct.pack_into("<H", head, 8, 2)
    struct.pack_into("<I", head, fmt.PREAMBLE_BYTES - 4, zlib.crc32(head[: fmt.PREAMBLE_BYTES - 4]))
    (tmp_path / "x-000001.cool").write_bytes(head)
    with pytest.raises(RecordingError, match="format_version 2"):
        open_recording(tmp_path)


# --- crafted files: every CRC is right, the content is not


def crafted(folder: Path, header: bytes, frames: bytes, columns: int = 2) -> Path:
    path = folder / "x-000001.cool"
    path.write_bytes(fmt.encode_start(fmt.KIND_SEGMENT, bytes(8), 0, 0, columns, header) + frames)
    return path


def frame(rows: int, first_row: int, body: bytes, events: bytes = b"") -> bytes:
    head = struct.pack("<4sIQII", fmt.TAG_BLOCK, rows, first_row, len(body), len(events))
    return head + struct.pack("<I", fmt.frame_crc(head + bytes(4), body + events)) + body + events


@pytest.mark.parametrize(
    "header", [b"", b"{", b"[1]", b"{}", b'{"columns":["a"]}', b'{"columns":["a",1]}', b"[" * 100_000, b"\xff\xfe"]
)
def test_header_that_names_no_columns_is_refused(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(RecordingError, match=r"x-000001\.cool"):
        open_recording(crafted(tmp_path, header, b""))


def test_deflate_bomb_is_noted_and_not_inflated(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(512 << 20), 9)
    body = struct.pack("<I", len(bomb)) + bomb
    header = json.dumps({"columns": ["a", "b"]}).encode()
    # The body of this many rows may be as long as the bomb; the events' bomb has no such excuse.
    rows = 4096
    body = struct.pack("<I", len(bomb[:60000])) + bomb[:60000]
    path = crafted(tmp_path, header, frame(rows, 0, body) + frame(1, rows, encode_rows(np.ones((1, 2))), bomb))
    del bomb
    tracemalloc.start()
    recording = open_recording(path)
    assert [len(b) for b in recording.rows()] == [1] and list(recording.events()) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20  # events are inflated to at most 16 MiB, a block of two columns to 128 KiB
    assert len(recording.damage) == 2 and all(f"{path.name}: offset" in d for d in recording.damage)


def test_absurd_sizes_are_refused_before_allocating(tmp_path: Path) -> None:
    header = json.dumps({"columns": ["a", "b"]}).encode()
    good = frame(1, 0, encode_rows(np.ones((1, 2))))
    absurd = [
        struct.pack("<4sIQIII", fmt.TAG_BLOCK, rows, first, body, events, 0)
        for rows, first, body, events in [
            (0xFFFFFFFF, 0, 10, 0), (1, 2**63, 10, 0), (1, 0, 0xFFFFFFFF, 0), (1, 0, 10, 0xFFFFFFFF), (0, 0, 0, 0),
        ]
    ]  # fmt: skip
    path = crafted(tmp_path, header, b"".join(absurd) + good)
    tracemalloc.start()
    back, damage = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(back, np.ones((1, 2))) and len(damage) == 1 and peak < 8 << 20


def test_events_of_wrong_shape_are_noted(tmp_path: Path) -> None:
    header = json.dumps({"columns": ["a", "b"]}).encode()
    body = encode_rows(np.ones((1, 2)))
    wrong = [b"{}", b"[1]", b"[[0]]", b'[["0",{}]]', b"[[true,{}]]", b"[[0,[]]]", b"[" * 50_000]
    frames = b"".join(frame(1, i, body, zlib.compress(text)) for i, text in enumerate(wrong))
    recording = open_recording(crafted(tmp_path, header, frames))
    assert list(recording.events()) == [] and len(recording.damage) == len(wrong)
    assert list(recording.events()) == [] and len(recording.damage) == len(wrong)  # a second pass notes nothing twice


def test_fuzzed_block_with_a_right_crc_is_decoded_or_noted(tmp_path: Path) -> None:
    rng = np.random.default_rng(99)
    header = json.dumps({"columns": [f"c{j}" for j in range(20)]}).encode()
    packed = encode_rows(mixed_rows(17, 12, 20))
    raw = zlib.decompress(packed[4:])
    noted = 0
    for _ in range(500):
        data = bytearray(raw)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(0, min(len(data), 200))] = rng.integers(0, 256)
        body = zlib.compress(bytes(data[: rng.integers(1, len(data) + 1)]) if rng.random() < 0.2 else bytes(data))
        path = crafted(tmp_path, header, frame(12, 0, struct.pack("<I", len(body)) + body), columns=20)
        back, damage = read(path)
        assert len(back) in (0, 12) and (len(back) == 12) == (damage == [])
        noted += len(damage)
    assert noted > 50  # the mutations do reach the checks


# --- random damage


def mutate(data: bytearray, rng: np.random.Generator) -> bytearray:
    """One random damage: flipped bits, overwritten stretch, cut, removed or doubled stretch, garbage at the end."""
    at = int(rng.integers(0, len(data)))
    span = int(rng.integers(1, 300))
    kind = rng.integers(0, 7)
    if kind <= 1:
        data[at] ^= 1 << int(rng.integers(0, 8))
    elif kind == 2:
        data[at : at + span] = rng.bytes(len(data[at : at + span]))
    elif kind == 3:
        del data[at:]
    elif kind == 4:
        del data[at : at + span]
    elif kind == 5:
        data[at:at] = data[at : at + span]
    else:
        data += rng.bytes(span)
    return data


def test_2000_damaged_recordings_give_true_rows_or_a_reason(tmp_path: Path) -> None:
    rows = mixed_rows(18, 47, 11)
    rows[:, 0] = np.arange(47)
    source, target = tmp_path / "source", tmp_path / "target"
    target.mkdir()
    recorder = write(source, rows, close=False, block_rows=10, event_every=5)
    files = {p.name: p.read_bytes() for p in source.iterdir()}
    assert len(files) == 3
    recorder.close()
    expected = bits(rows)
    rng = np.random.default_rng(2000)
    refused = partial = 0
    for _ in range(2000):
        victim = rng.choice(list(files))
        for name, data in files.items():
            (target / name).write_bytes(mutate(bytearray(data), rng) if name == victim else data)
        try:
            recording = open_recording(target)
            back = bits(np.concatenate([np.empty((0, 11)), *recording.rows()]))
            events = list(recording.events())
        except RecordingError as error:
            assert victim in str(error)
            refused += 1
            continue
        # Whatever is read is true and in order, and what is not there is accounted for.
        numbers = back[:, 0].view(np.float64).astype(int)
        assert (np.diff(numbers) > 0).all() and np.array_equal(back, expected[numbers])
        assert all(event["i"] == numbers[row] for row, event in events)
        assert len(back) == 47 or any(victim in note for note in recording.damage)
        partial += len(back) < 47
    assert refused > 50 and partial > 200  # the damage does bite
