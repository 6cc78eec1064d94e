"""A block of rows as bytes: columns compressed one by one, bit-exact for every float64, NaN payloads and -0.0 included.

Per group of columns: one that never changes is one value, one equal to an earlier column is a reference, and the rest
are differences of 64-bit integers: of `value / factor * divisor` where that gives each value back bit for bit, of the
raw bits otherwise. Sensors report two or three decimals, so most differences fit one byte; deflate with run-length
matching then takes the entropy out at a third of the time of full matching and to a smaller size (0.71 against 0.75
bytes a sample on noisy sensors).
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import RecordingError
from coolctl.jit import kernel

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

# Columns coded together: numpy calls of about 30,000 elements stay in the cache and hold the interpreter lock < 0.2 ms.
GROUP_COLUMNS = 512
_LENGTH = struct.Struct("<I")

_CONST, _SAME, _DELTA = 0, 1, 2
# (divisor, factor): value = integer / divisor * factor, coarsest first. Part of the format: append only.
# The factors 1000 and 0.01 are those of kW, kPa and percent, whose rounding a plain decimal would not repeat.
_SCALES = [(0.0, 0.0)]  # 0: the integer is the value's bits
_SCALES += [(1.0, f) for f in (1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1.0)]
_SCALES += [(10.0, 1e3), (1e2, 1e3), (1e3, 1e3), (10.0, 1.0), (1.0, 0.01), (1e2, 1.0), (10.0, 0.01)]
_SCALES += [(1e3, 1.0), (1e2, 0.01), (1e4, 1.0), (1e5, 1.0), (1e6, 1.0), (1e7, 1.0), (1e8, 1.0), (1e9, 1.0)]
_DIVISOR = np.array([s[0] for s in _SCALES])
_FACTOR = np.array([s[1] for s in _SCALES])


def inflate(data: bytes, limit: int) -> bytes:
    """Decompress to at most `limit` bytes."""
    inflater = zlib.decompressobj()
    try:
        out = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise RecordingError(f"compressed data is damaged: {error}") from None
    if not inflater.eof or inflater.unused_data or len(out) > limit:
        raise RecordingError(f"compressed data does not end where it should (within {limit} bytes)")
    return out


def encode_rows(rows: F64) -> bytes:
    """Compress a C-contiguous (rows, columns) array."""
    parts = []
    for start in range(0, rows.shape[1], GROUP_COLUMNS):
        columns = np.ascontiguousarray(rows[:, start : start + GROUP_COLUMNS].T)
        deflater = zlib.compressobj(6, zlib.DEFLATED, 15, 7, zlib.Z_RLE)
        packed = deflater.compress(_encode_group(columns)) + deflater.flush()
        parts += [_LENGTH.pack(len(packed)), packed]
    return b"".join(parts)


def decode_rows(body: bytes, rows: int, columns: int) -> F64:
    """The (rows, columns) array of a block body; the caller has bounded both numbers."""
    out = np.empty((rows, columns))
    offset = 0
    for start in range(0, columns, GROUP_COLUMNS):
        width = min(GROUP_COLUMNS, columns - start)
        if offset + 4 > len(body):
            raise RecordingError("block ends before its last column")
        end = offset + 4 + _LENGTH.unpack_from(body, offset)[0]
        raw = inflate(body[offset + 4 : end], width * (16 + 8 * rows))
        out[:, start : start + width] = _decode_group(raw, rows, width).T
        offset = end
    if offset != len(body):
        raise RecordingError("block body and its columns differ in length")
    return out


def _encode_group(columns: F64) -> bytes:
    """Columns (one per line) as bytes for the deflater."""
    bits = columns.view(np.int64)
    method = np.where((bits == bits[:, :1]).all(axis=1), _CONST, _DELTA).astype(np.uint8)
    source = _mark_repeats(bits, method)
    constant, delta = bits[method == _CONST, 0], np.flatnonzero(method == _DELTA)
    codes = np.empty((len(delta), bits.shape[1]), dtype=np.int64)
    scale, width = np.empty(len(delta), dtype=np.uint8), np.empty(len(delta), dtype=np.uint8)
    with np.errstate(all="ignore"):
        _code_deltas(columns[delta], bits[delta], _DIVISOR, _FACTOR, codes, scale, width)
    order = _plane_order(width, scale)
    planes = [(codes[order[: np.count_nonzero(width > k)], 1:] >> (8 * k)).astype(np.uint8).tobytes() for k in range(8)]
    head = [method.tobytes(), source.tobytes(), scale.tobytes(), width.tobytes()]
    return b"".join([*head, _planes_of(constant), _planes_of(codes[:, 0]), *planes])


def _decode_group(raw: bytes, rows: int, columns: int) -> F64:
    """Columns (one per line) from the bytes of `_encode_group`."""
    take = _Taker(raw)
    method = take.bytes_(columns)
    same, delta = np.flatnonzero(method == _SAME), np.flatnonzero(method == _DELTA)
    constant = np.flatnonzero(method == _CONST)
    source = take.bytes_(2 * len(same)).view("<u2")
    scale, width = take.bytes_(len(delta)), take.bytes_(len(delta))
    bad = (method > _DELTA).any() or (scale >= len(_SCALES)).any() or (width > 8).any()
    if bad or (source >= same).any() or (method[source] == _SAME).any():
        raise RecordingError("block names an unknown column coding")
    out = np.empty((columns, rows), dtype=np.int64)
    out[constant] = take.planes(len(constant)).view(np.int64)[:, None]
    integers = np.empty((len(delta), rows), dtype=np.int64)
    integers[:, 0] = _unzigzag(take.planes(len(delta)))
    order = _plane_order(width, scale)
    steps = np.zeros((len(delta), rows - 1), dtype=np.uint64)
    for k in range(int(width.max(initial=0))):
        used = int(np.count_nonzero(width > k))
        steps[:used] |= take.bytes_(used * (rows - 1)).reshape(used, rows - 1).astype(np.uint64) << np.uint64(8 * k)
    take.finish()
    integers[order, 1:] = _unzigzag(steps)
    out[delta] = _from_integers(np.cumsum(integers, axis=1), scale[:, None])
    out[same] = out[source]
    return out.view(np.float64)


class _Taker:
    """Cuts a byte string into arrays; too short or too long is damage."""

    def __init__(self, raw: bytes):
        self._data = np.frombuffer(raw, dtype=np.uint8)
        self._at = 0

    def bytes_(self, count: int) -> U8:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise RecordingError("block ends inside a column")
        self._at += count
        return part

    def planes(self, count: int) -> NDArray[np.uint64]:
        return np.ascontiguousarray(self.bytes_(8 * count).reshape(8, count).T).view("<u8").reshape(count)

    def finish(self) -> None:
        if self._at != len(self._data):
            raise RecordingError("block is longer than its columns")


def _planes_of(values: NDArray[Any]) -> bytes:
    """64-bit integers byte plane by byte plane: the planes of small numbers are zeros."""
    return values.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8).T.tobytes()


def _mark_repeats(bits: I64, method: U8) -> NDArray[np.uint16]:
    """Mark the columns equal to an earlier one in `method` and return which one, in column order."""
    # The dict looks for candidates by a wrapping multiplicative hash; equality is then checked on the bits.
    weights = np.arange(1, 2 * bits.shape[1], 2, dtype=np.int64) * np.int64(0x9E3779B97F4A7C1)
    hashes = (bits * weights).sum(axis=1).tolist()
    seen: dict[int, int] = {}
    source = []
    for i in np.flatnonzero(method == _DELTA).tolist():
        first = seen.setdefault(hashes[i], i)
        if first != i and np.array_equal(bits[first], bits[i]):
            method[i] = _SAME
            source.append(first)
    return np.array(source, dtype="<u2")


@kernel
def _coarsest_scale(values: F64, bits: I64, divisor: F64, factor: F64) -> int:
    """First scale at which integers give every value back bit for bit; 0 where there is none."""
    for k in range(1, divisor.shape[0]):
        exact = True
        for r in range(values.shape[0]):
            scaled = values[r] / factor[k] * divisor[k]
            # Beyond 2**53 not every integer is a float64; written so that NaN fails too. -0.0 == 0.0: ask the bits.
            exact = abs(scaled) < 9007199254740992.0 and (values[r] != 0.0 or bits[r] == 0)
            if exact:
                exact = int(np.rint(scaled)) / divisor[k] * factor[k] == values[r]
            if not exact:
                break
        if exact:
            return k
    return 0


@kernel
def _code_deltas(values: F64, bits: I64, divisor: F64, factor: F64, codes: I64, scale: U8, width: U8) -> None:
    """Zigzag codes of each column's differences (its first integer as it is), its scale, and the bytes a code needs."""
    for c in range(values.shape[0]):
        k = _coarsest_scale(values[c], bits[c], divisor, factor)
        previous, used = np.int64(0), np.int64(0)
        for r in range(values.shape[1]):
            integer = bits[c, r] if k == 0 else np.int64(np.rint(values[c, r] / factor[k] * divisor[k]))
            step = integer - previous
            codes[c, r] = (step << 1) ^ (step >> 63)
            if r > 0:
                used |= codes[c, r]
            previous = integer
        scale[c] = k
        width[c] = 8 if used < 0 else 0
        while used > 0:
            width[c] += 1
            used >>= 8


def _from_integers(integers: I64, scale: U8) -> I64:
    """Bits of the values; the same operations as the test in `_coarsest_scale`, or exactness would be luck."""
    with np.errstate(all="ignore"):
        scaled = integers / _DIVISOR[scale] * _FACTOR[scale]
    return np.where(scale == 0, integers, scaled.view(np.int64))


def _unzigzag(codes: NDArray[np.uint64]) -> I64:
    return (codes >> np.uint64(1)).view(np.int64) ^ -(codes & np.uint64(1)).view(np.int64)


def _plane_order(width: U8, scale: U8) -> NDArray[np.int64]:
    """Wide columns first, so that a byte plane is a leading slice; like scales together, for deflate's statistics."""
    return np.lexsort((scale, 255 - width))
