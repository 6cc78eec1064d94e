"""Blocks of a recording and rows written ahead: every bit comes back, few bytes, and no byte of a stranger is believed."""

from __future__ import annotations

import math
import random
import zlib

import numpy as np
import pytest

from coolctl import column_kernels, write_ahead
from coolctl.column_codec import decode_columns, encode_columns
from coolctl.column_kernels import BITS, DECIMAL, SCALES, TIMES, figure, find_form, integer
from coolctl.units import UNITS
from coolctl.write_ahead import Entries, whole_rows

ODD = np.array([np.nan, -0.0, np.inf, -np.inf, 5e-324, 1.7e308, float(1 << 53), 2.0**40 * 1.01, -np.nan, 0.1 + 0.2])


def column(rng: np.random.Generator, rows: int) -> np.ndarray:
    """A column as recordings have them, or as nobody would expect it."""
    kind = rng.integers(9)
    x = np.cumsum(rng.normal(size=rows)) + rng.normal() * 10.0 ** rng.integers(-3, 6)
    if kind == 0:
        x = np.full(rows, rng.choice([0.0, -0.0, np.nan, np.inf, 21.5]))
    elif kind <= 3:
        name = rng.choice(list(UNITS))
        x = np.round(x, rng.integers(0, 4)) * UNITS[name].scale + UNITS[name].offset
    elif kind == 4:
        x = np.round(x / 0.01) * 0.01
    elif kind == 5:
        x = np.float64(rng.normal()) + np.arange(rows) / 7200.0
    elif kind == 6:
        x = rng.integers(0, 2**64, rows, dtype=np.uint64).view(np.float64)
    elif kind == 7:
        x = x.astype(np.float32).astype(np.float64)
    if rng.random() < 0.4:
        a = rng.integers(rows)
        x[a : a + rng.integers(1, rows + 1)] = rng.choice(ODD)
    if rng.random() < 0.4:
        x[rng.integers(0, rows, 1 + rows // 20)] = rng.choice(ODD, 1 + rows // 20)
    return x


@pytest.mark.parametrize("seed", range(60))
def test_block_comes_back_to_the_last_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = int(rng.choice([1, 2, 3, 17, 120, 700]))
    x = np.array([column(rng, rows) for _ in range(rng.integers(1, 30))])
    x = x[rng.integers(0, len(x), rng.integers(1, 2 * len(x) + 1))]  # some columns twice
    payload = encode_columns(x)
    assert decode_columns(payload, rows, len(x)).tobytes() == np.ascontiguousarray(x.T).tobytes()


def test_block_of_nothing_but_zeros_is_small_and_whole() -> None:
    payload = encode_columns(np.zeros((1000, 120)))
    assert len(payload) < 40 and not decode_columns(payload, 120, 1000).any()


@pytest.mark.parametrize("name", sorted(UNITS))
def test_figures_of_every_unit_are_kept_as_integers(name: str) -> None:
    """What a sensor sends with one digit after the point, in internal units, as the import and the daemon compute it."""
    wire = np.arange(180, 260) / 10.0
    n = np.empty(len(wire), dtype=np.int64)
    unit, _digits = find_form(wire * UNITS[name].scale + UNITS[name].offset, n)
    assert unit >= 0 and np.ptp(n) < 200 * np.ptp(wire)


def test_scales_are_those_of_the_format() -> None:
    """Another order or figure is another format: what is written would come back as something else."""
    assert len(SCALES) == 25 and zlib.crc32(np.array(SCALES).tobytes()) == 0x0A5510E7


@pytest.mark.parametrize(("digits", "v"), [(2, 0.29), (2 + TIMES, 29 * 0.01), (0, -7.0), (1, 1e9), (6, 1e-6)])
def test_integer_stands_for_exactly_its_figure(digits: int, v: float) -> None:
    n = integer(v, digits, 1.0, 0.0)
    assert n != column_kernels.FAILS and figure(n, digits, 1.0, 0.0) == v
    for other in (math.nextafter(v, math.inf), math.nextafter(v, -math.inf), -0.0, math.nan, math.inf, 1e300):
        assert integer(other, digits, 1.0, 0.0) == column_kernels.FAILS


def test_noise_of_a_sensor_takes_what_its_entropy_asks() -> None:
    """Noise of 5 steps has log2(5 · √(2πe)) = 4.37 bits; one bit in ten more for the code, the tables and the running mean."""
    rng = np.random.default_rng(3)
    x = np.round(rng.normal(22.0, 0.05, (400, 120)), 2)
    assert 8.0 * len(encode_columns(x)) / x.size < 1.1 * math.log2(5.0 * math.sqrt(2.0 * math.pi * math.e))


def test_ramps_and_twins_take_next_to_nothing() -> None:
    ramp = 0.27 - np.arange(120) / 7200.0
    alone, rng = len(encode_columns(ramp[None])), np.random.default_rng(4)
    assert alone < 2.0 * 120
    x = rng.normal(size=(1, 120))
    assert len(encode_columns(np.repeat(x, 50, axis=0))) < len(encode_columns(x)) + 150


@pytest.mark.parametrize("seed", range(6))
def test_damaged_tables_raise_or_give_a_block_of_that_shape(seed: int) -> None:
    """Changed behind the checksums, as a stranger could: no count, place or twin leads outside of the block."""
    rng = random.Random(seed)
    numbers = np.random.default_rng(seed)
    x = np.array([column(numbers, 40) for _ in range(12)])
    x = np.concatenate([x, x[:3]])
    raw, refused = zlib.decompress(encode_columns(x)), 0
    for _ in range(300):
        changed = bytearray(raw)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(raw) if rng.random() < 0.3 else 400)] = rng.randrange(256)
        cut = changed[: rng.randrange(len(raw))] if rng.random() < 0.1 else changed
        try:
            assert decode_columns(zlib.compress(bytes(cut), 0), 40, len(x)).shape == (40, len(x))
        except ValueError:
            refused += 1
    assert refused > 30


@pytest.mark.parametrize(
    ("payload", "rows", "columns", "why"),
    [
        (b"", 3, 2, "0 bytes"),
        (b"none of ours", 3, 2, "incorrect header"),
        (zlib.compress(bytes(10_000_000)), 3, 2, "bytes for 3 rows"),
        (encode_columns(np.ones((2, 3))), 3600, 1 << 20, "in a block"),
        (encode_columns(np.ones((2, 3))), 3, 5, "tables"),
        (encode_columns(np.arange(6.0).reshape(2, 3)), 4, 2, "planes"),
    ],
)
def test_payload_of_something_else_is_refused(payload: bytes, rows: int, columns: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode_columns(payload, rows, columns)


def test_compiled_kernels_give_what_the_plain_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    x = np.array([column(rng, 30) for _ in range(40)])
    payload = encode_columns(x)
    back = decode_columns(payload, 30, len(x))
    for name, kernel in list(vars(column_kernels).items()):
        if hasattr(kernel, "py_func"):
            monkeypatch.setattr(column_kernels, name, kernel.py_func)
            if hasattr(__import__("coolctl.column_codec").column_codec, name):
                monkeypatch.setattr(f"coolctl.column_codec.{name}", kernel.py_func)
    with np.errstate(over="ignore", invalid="ignore"):
        assert encode_columns(x) == payload
        assert decode_columns(payload, 30, len(x)).tobytes() == back.tobytes()


def test_sorting_tells_figures_from_bits() -> None:
    x = np.array([[20.01, 20.03, 20.02, 20.01], [math.pi, math.e, math.tau, 1.0 / 7.0]])
    raw = zlib.decompress(encode_columns(x))
    assert list(raw[8:10]) == [DECIMAL, BITS]


# -- written ahead


@pytest.mark.parametrize("columns", [1, 63, 64, 65, 200])
def test_rows_written_ahead_come_back_to_the_last_bit(columns: int) -> None:
    rng = np.random.default_rng(columns)
    rows = rng.normal(size=(30, columns))
    for k in range(1, 30):
        still = rng.random(columns) < 0.7
        rows[k, still] = rows[k - 1, still]
    rows[4, 0], rows[5, 0], rows[6, 0] = np.nan, -0.0, 0.0
    entries, raw = Entries(columns, 30), b""
    for k, row in enumerate(rows):
        raw += entries.entry(row, k)
    assert [i for i, _ in whole_rows(raw, columns)] == list(range(30))
    assert np.array([row for _, row in whole_rows(raw, columns)]).tobytes() == rows.tobytes()
    assert len(raw) < 0.4 * rows.nbytes + 30 * (24 + 8)
    assert np.ascontiguousarray(entries.block().T).tobytes() == rows.tobytes()
    with pytest.raises(ValueError, match="behind 30"):  # there is no room for another
        entries.entry(rows[0], 30)
    entries.begin()  # a new file knows nothing of the row before, even where it is the same
    (again,) = whole_rows(bytes(entries.entry(rows[-1], 30)), columns)
    assert again[0] == 30 and again[1] is not None and again[1].tobytes() == rows[-1].tobytes()


def test_compiled_entries_are_the_plain_ones() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(5, 130))
    rows[1:, 70:] = rows[0, 70:]
    out = [np.zeros(5 * 135 + 1, dtype=np.int64) for _ in range(2)]
    kernels = write_ahead.put_entry, write_ahead.take_entries
    for words, (put, take) in zip(out, (kernels, [getattr(k, "py_func", k) for k in kernels]), strict=True):
        before, at, block = np.zeros(130, dtype=np.int64), 0, np.empty((130, 5), dtype=np.int64)
        for k, row in enumerate(rows):
            at = put(row, k, before, words, at)
        take(words, block)
        assert block.T.tobytes() == rows.tobytes()
    assert np.array_equal(*out) and at == 5 * (2 + 3) + 130 + 4 * 70


def test_rows_before_a_torn_or_changed_entry_are_kept() -> None:
    rows = np.random.default_rng(1).normal(size=(6, 3))
    entries, ends, raw = Entries(3, 6), [0], b""
    for k, row in enumerate(rows):
        raw += entries.entry(row, k)
        ends.append(len(raw))
    for cut in range(len(raw)):
        whole = [row for _, row in whole_rows(raw[:cut], 3) if row is not None]
        assert len(whole) == sum(end <= cut for end in ends) - 1 and np.array_equal(whole, rows[: len(whole)] if whole else whole)
    for at in range(8, len(raw)):  # the first eight bytes are the index, which the reader puts in its place
        changed = bytearray(raw)
        changed[at] ^= 0x10
        found = [row for _, row in whole_rows(bytes(changed), 3)]
        before = sum(end <= at for end in ends) - 1
        assert np.array_equal(found[:before], rows[:before] if before else [])
        assert len(found) == 6 or found[-1] is None
