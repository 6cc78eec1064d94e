"""Time that only goes forward: which rows of a log to believe when its stamps do not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coolctl.trends.findings import Notes, span_text, utc_text

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
MANY = 20


def newest_first(t_s: F64) -> bool:
    """Whether most steps go back."""
    steps = np.diff(t_s[np.isfinite(t_s)])
    return len(steps) > 0 and int((steps < 0.0).sum()) > int((steps > 0.0).sum())


def in_order(t_s: F64, last_s: float, notes: Notes, where: str, line: int = 0) -> I64:
    """Indices of the rows to keep, in the order of time, none before `last_s`.

    Where time steps back, either the rows before it were ahead or those after it are late: the fewer are left out.
    Where it steps back all the time, the log is merely unsorted.
    """
    back = np.flatnonzero(t_s[1:] < t_s[:-1]) + 1
    index = np.arange(len(t_s))
    if len(back) > MANY:
        index = np.argsort(t_s, kind="stable")
        notes.add("not_in_order", _place(where, line, int(back[0])), int((index != np.arange(len(t_s))).sum()))
    elif len(back):
        index = index[_believed(t_s, back, notes, where, line)]
    late = t_s[index] < last_s
    if late.any():
        first = int(np.argmax(late))
        notes.add(
            "clock_set_back", _place(where, line, int(index[first])), int(late.sum()), span_text(last_s - t_s[index[first]])
        )
        index = index[~late]
    return index


def _believed(t_s: F64, back: I64, notes: Notes, where: str, line: int) -> NDArray[np.bool_]:
    keep = np.ones(len(t_s), dtype=bool)
    for i in back.tolist():
        before_at = np.flatnonzero(keep[:i])
        if not keep[i] or not len(before_at) or t_s[before_at[-1]] <= t_s[i]:
            continue
        last = before_at[-1]
        later = np.flatnonzero(t_s[i:] >= t_s[last])
        after_end = i + (int(later[0]) if len(later) else len(t_s) - i)
        ahead = before_at[t_s[before_at] > t_s[i]]
        step = span_text(t_s[last] - t_s[i])
        if len(ahead) < after_end - i:
            keep[ahead] = False
            notes.add("clock_jump_ahead", _place(where, line, int(ahead[0])), len(ahead), step)
        else:
            keep[i:after_end] = False
            notes.add("clock_set_back", _place(where, line, i), after_end - i, f"{step} at {utc_text(t_s[i])}")
    kept = np.flatnonzero(keep)
    highest = np.maximum.accumulate(t_s[kept]) if len(kept) else t_s[kept]
    keep[kept[t_s[kept] < highest]] = False
    return keep


def _place(where: str, line: int, row: int) -> str:
    return f"{where}:{line + row}" if line else where
