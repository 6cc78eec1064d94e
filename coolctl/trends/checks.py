"""Checks of single columns: what cannot be, what does not move, what is not there, what is there twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.points import ROLES
from coolctl.trends.digest import Digest
from coolctl.trends.findings import ERROR, NOTE, WARNING, Finding, span_text, utc_text
from coolctl.units import UNITS, from_internal

F64 = NDArray[np.float64]

STUCK_S, STUCK_SAMPLES, STUCK_TIMES = 6 * 3600.0, 24, 20.0
GAP_TIMES, GAP_MIN_S, SPARSE_RATIO = 2.0, 300.0, 0.2
COLUMN_GAP_S = 86400.0
FULL_SPEED, HABIT_RATIO = 0.97, 0.5
ZERO_RATIO_MAX = 0.2
REST_RATIO = 0.1
MOVING = ("c", "kgs", "pa", "m3s")
SUFFIX_LOW = {"c": -30.0, "w": 0.0, "kgs": 0.0, "m3s": 0.0}
SUFFIX_HIGH = {"c": 150.0}


class Column(NamedTuple):
    """A channel as the checks see it: name in the log, role or none, unit in the log, and its position in the digest."""

    name: str
    role: str
    unit: str
    at: int

    @property
    def suffix(self) -> str:
        return UNITS[self.unit].suffix if self.unit else ROLES[self.role].suffix if self.role else ""

    def shown(self, internal: float) -> str:
        """A value in the log's own unit."""
        return f"{from_internal(internal, self.unit):.4g} {self.unit}" if self.unit else f"{internal:.4g}"


def check_columns(columns: list[Column], d: Digest, interval_s: float, running: NDArray[np.bool_]) -> Iterator[Finding]:
    """Findings of every column for itself, and of columns that are the same; `running` says when the plant does."""
    zeros: list[Finding] = []
    for c in columns:
        v = d.v[c.at]
        known = v[v == v]
        if d.known[c.at] + d.outside[c.at] == 0:
            yield Finding(
                "nothing_known", ERROR, c.name, "no good value in the whole log", "is it the right column, and its states?"
            )
            continue
        yield from _impossible(c, d)
        if len(known) < STUCK_SAMPLES:
            continue
        zeros += _zeros(c, known)
        yield from _stuck(c, d.t_s, v, running)
        yield from _sparse(c, d.t_s, v)
        yield from _rest(c, known)
        yield from _habit(c, known)
    yield from _together(zeros)
    yield from _gaps(columns, d, interval_s)
    yield from _same(columns, d)


def _impossible(c: Column, d: Digest) -> Iterator[Finding]:
    low, high = float(d.low[c.at]), float(d.high[c.at])
    share = d.outside[c.at] / max(d.outside[c.at] + d.known[c.at], 1.0)
    pressure = c.suffix == "pa" and not ("dp" in c.role or "delta" in c.name.casefold() or "diff" in c.name.casefold())
    lowest = ROLES[c.role].low if c.role else -1.0 if pressure else SUFFIX_LOW.get(c.suffix, -np.inf)
    highest = ROLES[c.role].high if c.role else SUFFIX_HIGH.get(c.suffix, np.inf)
    count = f", {100.0 * share:.2g} % of the time" if share else ""
    if c.suffix in ("w", "kgs", "m3s") and high <= 0.0 and low < 0.0:
        yield Finding("wrong_sign", ERROR, c.name, f"never above 0, down to {c.shown(low)}", "scale = -1 in its row of the map")
        return
    if low < lowest:
        kind = "a pressure below a vacuum's" if pressure else "lower than can be"
        yield Finding(
            "impossible_value",
            WARNING,
            c.name,
            f"falls to {c.shown(low)}: {kind}{count}",
            "a broken sensor or a logger's word for no answer: name it in missing = [...]",
        )
    if high > highest:
        yield Finding(
            "impossible_value",
            WARNING,
            c.name,
            f"rises to {c.shown(high)}: higher than can be{count}",
            "wrong unit? or a logger's word for no answer: name it in missing = [...]",
        )


def _zeros(c: Column, known: F64) -> Iterator[Finding]:
    """Exactly 0 °C (or 32 °F, or 0 °F) among values that are never near it."""
    zero = known == from_zero(c.unit)
    if c.suffix == "c" and zero.any() and zero.mean() < ZERO_RATIO_MAX:
        usual = float(np.quantile(known[~zero], 0.005))
        if usual - from_zero(c.unit) > 2.0:
            yield Finding(
                "zero_for_no_answer",
                WARNING,
                c.name,
                f"exactly 0 in {100.0 * zero.mean():.2g} % of the time, else {c.shown(usual)} or more",
                "the logger wrote 0 where it had no answer: missing = [0.0] in its row of the map",
            )


def _together(zeros: list[Finding]) -> Iterator[Finding]:
    """Where many columns are 0 now and then, it is the row that is no answer."""
    if len(zeros) <= 3:
        yield from zeros
        return
    names = ", ".join(f.where for f in zeros[:6]) + (" …" if len(zeros) > 6 else "")
    yield Finding(
        "zero_for_no_answer",
        WARNING,
        names,
        f"{len(zeros)} temperatures are now and then exactly 0 ({zeros[0].text})",
        'the logger wrote 0 where it had no answer: [clean] zero_rows = "missing", or missing = [0.0] in their rows',
    )


def from_zero(unit: str) -> float:
    """What a figure of 0 in the log is in internal units."""
    return UNITS[unit].offset if unit else 0.0


def _runs(t_s: F64, v: F64) -> tuple[F64, NDArray[np.int64], NDArray[np.int64]]:
    """Lengths [s] of the runs of one value, their first and last index; unknown values end a run."""
    change = np.flatnonzero((v[1:] != v[:-1]) | (np.diff(t_s) > 6 * 3600.0)) + 1
    first = np.concatenate([[0], change])
    last = np.concatenate([change - 1, [len(v) - 1]])
    length_s = np.where(v[first] == v[first], t_s[last] - t_s[first], 0.0)
    return length_s, first, last


def _stuck(c: Column, t_s: F64, v: F64, running: NDArray[np.bool_]) -> Iterator[Finding]:
    known = v[v == v]
    if known.min() == known.max():
        if c.suffix in (*MOVING, "w", "ratio"):
            yield Finding("constant", NOTE, c.name, f"always {c.shown(float(known[0]))}", "not connected, or never used?")
        return
    if c.suffix not in MOVING or c.role.endswith("_sp") or len(np.unique(known)) < 10:
        return
    length_s, first, last = _runs(t_s, v)
    length_s = np.where(v[first] == from_zero(c.unit), 0.0, length_s)  # at rest
    moved = length_s[length_s > 0.0]
    usual_s = float(np.median(moved)) if len(moved) else 0.0
    long = (length_s >= STUCK_S) & (last - first >= STUCK_SAMPLES) & (length_s >= STUCK_TIMES * usual_s)
    # A sensor with a floor rests there again and again: that is said as a rest, not as a fault of the sensor.
    long &= v[first] != known.min()
    ran = np.concatenate([[0], np.cumsum(running)])
    long &= ran[last + 1] - ran[first] > 0.5 * (last + 1 - first)  # water that stands still keeps its temperature
    if long.any():
        k = int(np.argmax(np.where(long, length_s, 0.0)))
        yield Finding(
            "stuck",
            WARNING,
            c.name,
            f"did not move for {span_text(length_s[k])} from {utc_text(t_s[first[k]])} (at {c.shown(float(v[first[k]]))}), "
            f"{int(long.sum())} such stretches; it usually moves within {span_text(max(usual_s, 1.0))}",
            "a dead sensor or a dead poll: until it is mended, take the column out of the map",
        )


def _sparse(c: Column, t_s: F64, v: F64) -> Iterator[Finding]:
    share = float((v != v).mean())
    known_s = t_s[v == v]
    k = int(np.argmax(np.diff(known_s)))
    if known_s[k + 1] - known_s[k] > COLUMN_GAP_S:
        yield Finding(
            "column_gap",
            WARNING,
            c.name,
            f"not known for {span_text(known_s[k + 1] - known_s[k])} from {utc_text(known_s[k])}",
            "evaluate and calibrate on what lies before or behind",
        )
    if share > SPARSE_RATIO:
        yield Finding(
            "mostly_missing" if share > 0.5 else "often_missing",
            WARNING,
            c.name,
            f"not known {100.0 * share:.0f} % of the time",
            "find another source, or raise max_hold_s if it is logged on change only",
        )


def _rest(c: Column, known: F64) -> Iterator[Finding]:
    """A flow or a power that rests at a small figure that is not 0."""
    if c.suffix not in ("kgs", "m3s", "w") or known.min() <= 0.0:
        return
    at_rest, usual = float(known.min()), float(np.quantile(known, 0.95))
    share = float((known <= at_rest * 1.001).mean())
    if share > REST_RATIO and at_rest < 0.1 * usual:
        yield Finding(
            "rests_above_zero",
            NOTE,
            c.name,
            f"never 0: rests at {c.shown(at_rest)} for {100.0 * share:.0f} % of the time",
            "an offset of the meter: a machine at rest still shows flow; on_above tells when it runs",
        )


def _habit(c: Column, known: F64) -> Iterator[Finding]:
    """Speeds at their end, flows that never vary: where a variable speed would save."""
    if c.suffix == "ratio" and ("speed" in c.role or c.role == ""):
        running = known[known > 0.05]
        full = float((running >= FULL_SPEED).mean()) if len(running) >= STUCK_SAMPLES else 0.0
        if full > HABIT_RATIO and known.max() <= 1.3 and "speed" in c.role:
            yield Finding(
                "constant_speed_habit",
                NOTE,
                c.name,
                f"at {100 * FULL_SPEED:.0f} % or more in {100.0 * full:.0f} % of the time that it runs",
                "a fan that runs at full speed or not at all: the saving that variable speed would bring is left",
            )
    if c.role in ("chw_flow", "cw_flow"):
        running = known[known > 0.3 * np.quantile(known, 0.95)]
        if (
            len(running) >= STUCK_SAMPLES
            and running.mean() > 0.0
            and np.quantile(np.abs(running / np.median(running) - 1.0), 0.9) < 0.03
        ):
            yield Finding(
                "constant_flow_habit",
                NOTE,
                c.name,
                f"within 3 % of {c.shown(float(np.median(running)))} whenever it runs",
                "a constant-speed pump, or a flow that is assumed, not measured",
            )


def _gaps(columns: list[Column], d: Digest, interval_s: float) -> Iterator[Finding]:
    """Stretches in which nothing at all was logged: the youngest value of all is old."""
    if len(d.t_s) < 2:
        return
    youngest_s = np.fmin.reduce(d.age_s, axis=0)
    limit_s = max(GAP_TIMES * interval_s, GAP_MIN_S)
    silent = youngest_s > limit_s
    youngest_s = np.where(np.isfinite(youngest_s), youngest_s, 0.0)  # nothing was heard yet
    ends = np.flatnonzero(np.diff(np.concatenate([[0], silent.astype(np.int8), [0]])))
    spans = [(float(d.t_s[a] - youngest_s[a]), float(d.t_s[min(b, len(d.t_s) - 1)])) for a, b in ends.reshape(-1, 2).tolist()]
    spans += [
        (float(d.t_s[k]), float(d.t_s[k + 1]))
        for k in np.flatnonzero(np.diff(d.t_s) > 2.0 * limit_s + 3.0 * np.median(np.diff(d.t_s)))
    ]
    merged: list[tuple[float, float]] = []
    for a, b in sorted(spans):
        if merged and a <= merged[-1][1] + 1.0:
            merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
        else:
            merged.append((a, b))
    if merged:
        longest = sorted(merged, key=lambda s: s[0] - s[1])[:3]
        shown = "; ".join(f"{span_text(b - a)} from {utc_text(a)}" for a, b in longest)
        yield Finding(
            "gaps",
            WARNING,
            "all columns",
            f"{len(merged)} gaps, {span_text(sum(b - a for a, b in merged))} in all: {shown}",
            "nothing is known there; evaluate and calibrate on what lies between",
        )


def _same(columns: list[Column], d: Digest) -> Iterator[Finding]:
    seen: dict[bytes, Column] = {}
    for c in columns:
        v = d.v[c.at]
        known = v[v == v]
        if len(known) < STUCK_SAMPLES or len(np.unique(known[:: max(len(known) // 2000, 1)])) < 3:
            continue
        # Rounded to what a float32 tells, so that another unit's rounding does not hide a copy.
        key = np.nan_to_num(v.astype(np.float32), nan=-1e30).tobytes()
        first = seen.setdefault(key, c)
        if first is not c:
            yield Finding(
                "duplicated_column",
                WARNING,
                c.name,
                f"the same figures as {first.name}, always",
                "one point under two names, or a copy in the place of a sensor: map one of them",
            )
