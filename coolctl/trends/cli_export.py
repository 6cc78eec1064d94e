"""`coolctl export`: a recording as CSV, Parquet or line protocol, in the units of its site file, stamps in UTC.

Stamps: an imported recording holds UTC; the daemon's own clock has no date, so its ticks are counted from the start that
the recording's name tells, to the second. Where neither is known the first column is `run_s`, seconds of the run.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.cli_args import not_negative, output
from coolctl.control.mode import MODES
from coolctl.errors import EXIT_OK, EXIT_USAGE, CoolctlError, nearest
from coolctl.points import ROLES
from coolctl.recording import Recording
from coolctl.site import Site
from coolctl.trace import imported, open_recording
from coolctl.trends.formats import CsvFile, Field, LineProtocolFile, ParquetFile, Stamps, Writer, known
from coolctl.trends.zone import zone_of
from coolctl.units import UNITS

F64 = NDArray[np.float64]
_STARTED = re.compile(r"-(\d{8}T\d{6})-\d+-\d{4}$")
# The unit that a setpoint without a point of its own is shown in.
SHOWN = {"c": "degC", "pa": "kPa", "ratio": "percent", "count": "count", "flag": "bool"}
MODE = "mode"


class Moment(NamedTuple):
    """A bound on the command line: seconds of the run, or seconds since 1970."""

    seconds: float
    absolute: bool


def moment(text: str) -> Moment:
    """`3600` seconds of the run, or `2026-07-15T10:00` (UTC unless it says otherwise)."""
    try:
        return Moment(not_negative(text), False)
    except argparse.ArgumentTypeError:
        pass
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither seconds of the run nor a time such as 2026-07-15T10:00Z") from None
    return Moment((when if when.tzinfo else when.replace(tzinfo=zone_of("UTC"))).timestamp(), True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", help="a .cool file, or a folder (its newest run)")
    parser.add_argument("--format", choices=("csv", "parquet", "line-protocol"), default="csv")
    parser.add_argument("--out", type=output, default="-", metavar="FILE|-")
    parser.add_argument("--from", dest="begin", type=moment, metavar="T", help="from here on [s of the run], or a time in UTC")
    parser.add_argument("--to", dest="end", type=moment, metavar="T", help="up to here")
    parser.add_argument("--points", default="", metavar="A,B", help="these alone: point ids, setpoints as sp:chwst_sp, mode")
    parser.add_argument("--step", type=not_negative, default=0.0, metavar="S", help="at most one tick in so many seconds")


class Column(NamedTuple):
    """A field and where it stands in a row."""

    field: Field
    at: int


def main(args: argparse.Namespace) -> int:
    if args.format == "parquet" and args.out == "-":
        print("Parquet goes into a file: --out FILE", file=sys.stderr)
        return EXIT_USAGE
    recording, site, _ = open_recording(args.recording)
    began_s = start_of(recording)
    columns = _chosen(_columns(recording, site), args.points)
    if not columns:
        return EXIT_USAGE
    absolute = began_s is not None
    if not absolute and (args.format == "line-protocol" or any(m and m.absolute for m in (args.begin, args.end))):
        raise CoolctlError(
            f"{recording.segments[0]}: its name tells no start, so its ticks have no date; give bounds in seconds of the run"
        )
    fields = [c.field for c in columns]
    count = 0
    with _opened(args.out, args.format) as stream:
        writer: Writer
        if args.format == "parquet":
            writer = ParquetFile(args.out, fields, absolute)
        elif args.format == "csv":
            writer = CsvFile(stream, fields, absolute)
        else:
            writer = LineProtocolFile(stream, fields, site.name)
        for seconds, rows in _ticks(recording, args, began_s):
            writer.write(Stamps(seconds, absolute), [_figures(c, rows, site) for c in columns])
            count += len(rows)
        writer.close()
    for text in recording.damage:
        print(f"damage: {text}", file=sys.stderr)
    if args.out != "-":
        print(f"{count} ticks of {len(columns)} columns: {args.out}")
    return EXIT_OK


@contextlib.contextmanager
def _opened(target: str, form: str) -> Iterator[IO[str]]:
    if target == "-" or form == "parquet":
        yield sys.stdout
        return
    try:
        stream = Path(target).open("w", newline="", encoding="utf-8")  # noqa: SIM115  closed below
    except OSError as error:
        raise CoolctlError(f"{target}: cannot be written: {error.strerror}") from error
    with stream:
        yield stream


def start_of(recording: Recording) -> float | None:
    """Seconds since 1970 to be added to the ticks' own time; None where nothing tells the date."""
    if imported(recording):
        return 0.0
    match = _STARTED.search(recording.segments[0].stem)
    if not match:
        return None
    first = next(recording.rows(), None)
    recording.damage.clear()
    if first is None:
        return 0.0
    return datetime.datetime.strptime(match.group(1) + "+0000", "%Y%m%dT%H%M%S%z").timestamp() - float(first[0, 0])


def _columns(recording: Recording, site: Site) -> list[Column]:
    """Everything that can be written: points, then setpoints in force and the mode where there are decisions."""
    found = [Column(Field(p.id, p.role, p.machine, p.unit), 1 + k) for k, p in enumerate(site.table.points)]
    index = {name: k for k, name in enumerate(recording.columns)}
    for name, i in zip(site.u_names, site.u_point.tolist(), strict=True):
        if (at := index.get(f"sp:{name}")) is not None:
            role = name.split(".")[-1]
            unit = site.table.points[i].unit if i >= 0 else SHOWN[ROLES[role].suffix]
            found.append(Column(Field(f"sp:{name}", role, name.split(".")[0] if "." in name else "plant", unit), at))
    if MODE in index:
        found.append(Column(Field(MODE, "", "plant", "text"), index[MODE]))
    return found


def _chosen(columns: list[Column], names: str) -> list[Column]:
    """The columns named, in the order named; all where nothing is named; none, and the reason said, where a name is unknown."""
    if not names:
        # Where decisions are recorded they tell the setpoints, and their points are never heard.
        decided = any(c.field.id.startswith("sp:") for c in columns)
        settings = {f"sp:{c.field.id}" for c in columns} & {c.field.id for c in columns}
        return [c for c in columns if not (decided and f"sp:{c.field.id}" in settings)]
    by_id = {c.field.id: c for c in columns}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in by_id:
            print(f"--points: the recording has no {name!r}{nearest(name, by_id)}", file=sys.stderr)
            return []
    return [by_id[name] for name in dict.fromkeys(wanted)]


def _ticks(recording: Recording, args: argparse.Namespace, began_s: float | None) -> Iterator[tuple[F64, F64]]:
    """Blocks of rows within the bounds, thinned to the step, with their stamps."""
    first_s, last_taken_s = np.nan, -np.inf
    for rows in recording.rows():
        now_s = rows[:, 0]
        first_s = float(now_s[0]) if first_s != first_s else first_s
        stamps = now_s - first_s if began_s is None else now_s + began_s

        def own(bound: Moment | None, otherwise: float, first_s: float = first_s) -> float:
            return otherwise if bound is None else bound.seconds - (began_s or 0.0) if bound.absolute else bound.seconds + first_s

        take = (now_s >= own(args.begin, -np.inf)) & (now_s <= own(args.end, np.inf))
        if args.step:
            for k in np.flatnonzero(take).tolist():
                # Half a millisecond of grace: ticks of a real clock come a little early now and then.
                take[k] = now_s[k] - last_taken_s >= args.step - 5e-4
                last_taken_s = now_s[k] if take[k] else last_taken_s
        if take.any():
            yield stamps[take], rows[take]


def _figures(column: Column, rows: F64, site: Site) -> list[Any]:
    values = rows[:, column.at]
    if column.field.unit == "text":
        return [MODES[int(v)] if 0.0 <= v < len(MODES) else None for v in values.tolist()]
    unit = UNITS[column.field.unit]
    return known((values - unit.offset) / unit.scale)
