"""Where `config/`, `models/` and the plant's data lie: beside the package in a checkout, under the prefix when installed."""

from __future__ import annotations

import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


def shared_folder(name: str) -> Path:
    """The folder `name` ("config" or "models"); a checkout's own comes before an installed one."""
    candidates = [_CHECKOUT / name, Path(sys.prefix) / "share" / "coolctl" / name]
    return next((c for c in candidates if c.is_dir()), candidates[0])
