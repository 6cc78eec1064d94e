"""Where `config/`, `models/` and the plant's data lie: beside the package in a checkout, under the prefix when installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


def shared_folder(name: str) -> Path:
    """The folder `name` ("config" or "models"); a checkout's own comes before an installed one."""
    candidates = [_CHECKOUT / name, Path(sys.prefix) / "share" / "coolctl" / name]
    return next((c for c in candidates if c.is_dir()), candidates[0])


def state_folder(given: str, site_name: str) -> Path:
    """Where a daemon keeps what must survive it: as given, systemd's, or the user's."""
    base = given or os.environ.get("STATE_DIRECTORY") or str(Path.home() / ".local" / "state" / "coolctl")
    return Path(base) / site_name
