"""A recording's columns as CSV, Parquet or line protocol. Each writer takes ticks and is told the end."""

from __future__ import annotations

import csv
import datetime
import importlib
import math
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from coolctl.errors import CoolctlError

F64 = NDArray[np.float64]


class ExtraMissing(CoolctlError):
    """A format was asked for whose library is not installed."""


class Field(NamedTuple):
    """One column to write: its id, what it is, whose it is, and the unit of its figures (`text` for words)."""

    id: str
    role: str
    machine: str
    unit: str

    @property
    def heading(self) -> str:
        """Name with the unit in brackets, as the importer reads it back."""
        return f"{self.id} [{self.unit}]" if self.unit else self.id


class Stamps(NamedTuple):
    """Times of ticks: seconds since 1970 where the recording tells them, else seconds of the run."""

    seconds: F64
    absolute: bool


class Writer(Protocol):
    """What every format has."""

    def write(self, stamps: Stamps, columns: list[list[Any]]) -> None:
        """Some ticks; None stands for what is not known."""

    def close(self) -> None:
        """Nothing more comes."""


def iso(unix_s: float) -> str:
    """UTC with milliseconds: the precision that ticks have."""
    ms = round(unix_s * 1e3)
    text = datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{ms % 1000:03d}Z"


def plain(value: float) -> str:
    """A figure with twelve digits: what a meter tells, without the dust of a unit's conversion."""
    return f"{value:.12g}"


class CsvFile:
    """Wide: one row for each tick, units in the header's brackets, an empty cell where a value is not known."""

    def __init__(self, stream: IO[str], fields: list[Field], absolute: bool):
        self._rows: Any = csv.writer(stream, lineterminator="\n")
        self._rows.writerow(["time" if absolute else "run_s [s]", *(f.heading for f in fields)])

    def write(self, stamps: Stamps, columns: list[list[Any]]) -> None:
        """Rows of ticks."""
        times = [iso(s) for s in stamps.seconds.tolist()] if stamps.absolute else [plain(s) for s in stamps.seconds.tolist()]
        texts = [[plain(v) if isinstance(v, float) else "" if v is None else v for v in column] for column in columns]
        self._rows.writerows(zip(times, *texts, strict=True))

    def close(self) -> None: ...


class LineProtocolFile:
    """Influx line protocol: a line for each value that is known, its stamp in nanoseconds since 1970."""

    def __init__(self, stream: IO[str], fields: list[Field], site: str):
        self._stream = stream
        self._heads = [_head(f, site) for f in fields]
        self._text = [f.unit == "text" for f in fields]

    def write(self, stamps: Stamps, columns: list[list[Any]]) -> None:
        """Lines of ticks."""
        times = [f" {round(s * 1e3) * 1_000_000}\n" for s in stamps.seconds.tolist()]
        for k, time in enumerate(times):
            for head, words, column in zip(self._heads, self._text, columns, strict=True):
                value = column[k]
                if value is not None:
                    self._stream.write(head + (field_text(value) if words else plain(value)) + time)

    def close(self) -> None: ...


def _head(field: Field, site: str) -> str:
    tags = {"site": site, "machine": field.machine, "point": field.id, "role": field.role, "unit": field.unit}
    # The database wants tags sorted, and none of them empty.
    told = ",".join(f"{key}={tag_text(value)}" for key, value in sorted(tags.items()) if value)
    return f"coolctl,{told} {'text' if field.unit == 'text' else 'value'}="


def tag_text(text: str) -> str:
    """A tag's value: commas, equals signs and blanks escaped; a line end cannot be written, nor a backslash at the end."""
    text = " ".join(text.splitlines())
    for mark in (",", "=", " "):
        text = text.replace(mark, "\\" + mark)
    return text + "_" if text.endswith("\\") else text


def field_text(text: str) -> str:
    """A field's text in quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class ParquetFile:
    """Parquet with zstd; stamps in milliseconds UTC, units in the metadata of each column."""

    def __init__(self, path: str, fields: list[Field], absolute: bool):
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise ExtraMissing('Parquet needs pyarrow, which is not installed: pip install "coolctl[parquet]"') from error
        arrow = self._arrow
        first = (
            arrow.field("time", arrow.timestamp("ms", tz="UTC"))
            if absolute
            else arrow.field("run_s", arrow.float64(), metadata={"unit": "s"})
        )
        kinds = [arrow.string() if f.unit == "text" else arrow.float64() for f in fields]
        rest = [
            arrow.field(f.id, kind, metadata={"unit": f.unit, "role": f.role, "machine": f.machine})
            for f, kind in zip(fields, kinds, strict=True)
        ]
        self._schema = arrow.schema([first, *rest])
        try:
            self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        except OSError as error:
            raise CoolctlError(f"{path}: cannot be written: {error}") from error

    def write(self, stamps: Stamps, columns: list[list[Any]]) -> None:
        """A row group of ticks."""
        arrow = self._arrow
        times = np.round(stamps.seconds * 1e3).astype(np.int64) if stamps.absolute else stamps.seconds
        arrays = [arrow.array(times, type=self._schema.field(0).type)]
        arrays += [arrow.array(column, type=self._schema.field(k + 1).type) for k, column in enumerate(columns)]
        self._writer.write_table(arrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """The file's footer."""
        self._writer.close()


def known(values: F64) -> list[float | None]:
    """Figures, None where not known."""
    return [v if math.isfinite(v) else None for v in values.tolist()]


__all__ = ["CsvFile", "ExtraMissing", "Field", "LineProtocolFile", "ParquetFile", "Stamps", "Writer", "iso", "known"]
