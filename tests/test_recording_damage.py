"""Damaged, foreign and hostile recordings: what is true is read, what is lost is named, nothing else is raised."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from recordings import bits, mixed_rows, read, rotating, write

from coolctl import recording_format as fmt
from coolctl.errors import RecordingError
from coolctl.recording import open_recording
from coolctl.recording_columns import encode_rows


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
