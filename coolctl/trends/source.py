"""Bytes of a trend log, in pieces that end at a line: plain or gzip, UTF-8, UTF-16 or a Windows code page.

A log may be larger than memory, so nothing here reads a whole file. What is no text is refused by name.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from coolctl.errors import TrendError

PIECE_BYTES = 8 << 20
HEAD_BYTES = 256 << 10
LOG_SUFFIXES = (".csv", ".tsv", ".txt", ".log", ".csv.gz", ".tsv.gz", ".txt.gz", ".log.gz")
# What people bring instead of text, by its first bytes.
FOREIGN = {
    b"PK\x03\x04": "an Excel workbook or a zip archive: save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV",
    b"PAR1": "a Parquet file: write it as CSV",
    b"%PDF": "a PDF: export the log itself as CSV",
    b"COOLREC1": "a coolctl recording already",
    b"SQLite format 3": "a SQLite database: export its table as CSV",
}
BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class Piece(NamedTuple):
    """Whole lines as UTF-8 (or a superset of ASCII), and the number of the first, counted from 1."""

    raw: bytes
    line: int


def log_files(names: list[str]) -> list[Path]:
    """The files meant: folders stand for the logs in them. Raises `TrendError` where there is none."""
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.is_file() and p.name.lower().endswith(LOG_SUFFIXES))
            if not inside:
                raise TrendError(path, None, f"no trend log ({' '.join(LOG_SUFFIXES[:4])}, or these with .gz) in this folder")
            found += inside
        elif not path.is_file():
            raise TrendError(path, None, "no such file")
        else:
            found.append(path)
    return found


def stem(path: Path) -> str:
    """The name of a log without its folder and endings: what a file of one point is called."""
    name = path.name
    for suffix in sorted(LOG_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def head(path: Path) -> bytes:
    """The first lines of a log, the last one whole where the log is longer. Raises `TrendError`."""
    return next(pieces(path, HEAD_BYTES)).raw


def pieces(path: Path, size: int = PIECE_BYTES) -> Iterator[Piece]:
    """The log in pieces of about `size` bytes. Raises `TrendError` for what cannot be read, with the line reached."""
    line = 1
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            stream: IO[bytes] = gzip.GzipFile(fileobj=plain) if packed else plain  # type: ignore[assignment]
            for raw in _lines(path, stream, size):
                yield Piece(raw, line)
                line += raw.count(b"\n")
    except (EOFError, zlib.error) as error:
        raise TrendError(path, line, "the gzip file ends or breaks behind this line; copy it again") from error
    except gzip.BadGzipFile as error:
        raise TrendError(path, line, f"the gzip file is damaged behind this line ({error}); copy it again") from error
    except OSError as error:
        raise TrendError(path, None, f"cannot be read: {error.strerror}") from error


def _lines(path: Path, stream: IO[bytes], size: int) -> Iterator[bytes]:
    start = stream.read(size)
    encoding, start = _encoding(path, start)
    decoder = codecs.getincrementaldecoder(encoding)("replace") if encoding.startswith("utf-16") else None
    old_mac = b"\r" in start and b"\n" not in start
    rest, read = b"", start
    while read:
        text = decoder.decode(read).encode() if decoder else read
        rest += text.replace(b"\r", b"\n") if old_mac else text
        cut = rest.rfind(b"\n") + 1
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
        elif len(rest) > 4 * size:
            raise TrendError(path, None, f"no line ends within {len(rest) >> 20} MB: this is no trend log")
        read = stream.read(size)
    if rest.strip():
        yield rest + b"\n"


def _encoding(path: Path, start: bytes) -> tuple[str, bytes]:
    """The encoding, and the bytes behind the mark that told it."""
    if not start.strip():
        raise TrendError(path, None, "is empty")
    for magic, what in FOREIGN.items():
        if start.startswith(magic):
            raise TrendError(path, 1, f"is {what}")
    for mark, encoding in BOMS:
        if start.startswith(mark):
            return encoding, start[len(mark) :]
    sample = start[:4096]
    if sample[1::2].count(0) > 0.4 * len(sample[1::2]) and sample[::2].count(0) == 0:
        return "utf-16-le", start
    binary = sum(b < 9 or 13 < b < 32 for b in sample)
    if binary > 0.01 * len(sample) or b"\0" in start:
        raise TrendError(path, 1, "is binary, not text: a trend log is CSV")
    return "utf-8", start


def words(raw: bytes) -> str:
    """Text of a cell: UTF-8, else the Windows code page that old exports use."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")
