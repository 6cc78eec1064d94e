"""What several verbs share: argument types, which say what is wrong before anything is started, and results as JSON."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any


def not_negative(text: str) -> float:
    """A finite number, zero or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of zero or more")
    return value


def positive(text: str) -> float:
    """A finite number above zero."""
    value = not_negative(text)
    if value == 0.0:
        raise argparse.ArgumentTypeError("must be more than zero")
    return value


def ratio(text: str) -> float:
    """A number above zero and below one."""
    value = positive(text)
    if value >= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a ratio between 0 and 1")
    return value


def hours(text: str) -> tuple[float, float]:
    """`A:B` as (A, B - A) in hours, or `B` alone."""
    begin, colon, end = text.partition(":")
    if not colon:
        begin, end = "0", text
    first_h, last_h = not_negative(begin or "0"), not_negative(end)
    if not last_h > first_h:
        raise argparse.ArgumentTypeError(f"{text!r}: the second hour must be later than the first")
    return first_h, last_h - first_h


def output(text: str) -> str:
    """A file that can be written, or `-`."""
    path = Path(text)
    if text != "-" and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: no such folder, or a folder itself")
    return text


def folder(text: str) -> str:
    """A folder that is there or can be made."""
    path = Path(text)
    if (path.exists() and not path.is_dir()) or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no folder, and none can be made there")
    return text


def emit_json(data: Any, target: str | None) -> bool:
    """Write `data` to the file `target`, or to standard output for `-`; whether that is still free for people."""
    if not target:
        return True
    text = json.dumps(data, indent=1, allow_nan=False)
    if target == "-":
        print(text)
        return False
    Path(target).write_text(text + "\n", encoding="utf-8")
    return True
