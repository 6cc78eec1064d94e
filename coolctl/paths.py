"""Where `config/`, `models/` and the plant's data lie: beside the package in a checkout, under a prefix when installed."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shared_folder(name: str) -> Path:
    """The folder `name` ("config" or "models"); a checkout's own comes before an installed one."""
    candidates = _candidates(name)
    return next((c for c in candidates if c.is_dir()), candidates[0])


def _candidates(name: str) -> list[Path]:
    folders = []
    # Beside an installed package lies site-packages, where a folder called `config` is somebody else's.
    if (_PACKAGE.parent / "pyproject.toml").is_file():
        folders.append(_PACKAGE.parent / name)
    # This environment's own, one in the user's home, and the system packages' (Debian keeps data apart from the code).
    prefixes = [sysconfig.get_path("data"), sysconfig.get_path("data", sysconfig.get_preferred_scheme("user")), "/usr"]
    return folders + [Path(prefix) / "share" / "coolctl" / name for prefix in prefixes if prefix]


def state_folder(given: str, site_name: str) -> Path:
    """Where a daemon keeps what must survive it: as given, systemd's, or the user's."""
    base = given or os.environ.get("STATE_DIRECTORY") or str(Path.home() / ".local" / "state" / "coolctl")
    return Path(base) / site_name
