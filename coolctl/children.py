"""What a process of this package needs to start another one of it."""

from __future__ import annotations

import os
from pathlib import Path

import coolctl


def environment_of_child() -> dict[str, str]:
    """Our environment, in which `python -m coolctl` is this very package, installed or not."""
    root = str(Path(coolctl.__file__).resolve().parent.parent)
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path}
