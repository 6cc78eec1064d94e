"""Hot reload: the whole new site file is read and tried beside the running one, and taken at a tick's end or not at all.

What a process holds open for its life (broker, points, ports, the policy's file) needs a restart; a file that changes
such a thing is refused whole, with the name of what it changed.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from coolctl.control.policy import Policy
from coolctl.controller import Controller
from coolctl.errors import CoolctlError
from coolctl.site import Site, load_site

NEED_RESTART = (
    "site",
    "plant",
    "telemetry",
    "points",
    "mqtt",
    "gateway",
    "dsx",
    "sparkplug",
    "neuron",
    "metrics",
    "web",
    "recorder",
)


class Reloaded(NamedTuple):
    """A new site file with a controller made for it; `fault` says why there is none."""

    site: Site | None
    controller: Controller | None
    fault: str = ""


class Reloader:
    """`ask` from a signal handler, `poll` once a tick; reading and building happen in a thread of their own."""

    def __init__(self, path: str, policy: Policy | None):
        self._path, self._policy = path, policy
        self._asked = False
        self._thread: threading.Thread | None = None
        self._found: Reloaded | None = None

    def ask(self) -> None:
        """Read the file anew; asked twice within one reading, it is read again afterwards."""
        self._asked = True

    @property
    def reading(self) -> bool:
        """Whether a reading has begun whose answer was not fetched."""
        return self._thread is not None

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._asked or self._thread is not None

    def poll(self, site: Site, granted: str) -> Reloaded | None:
        """What a reading has found, once."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            found, self._found = self._found, None
            return found
        if self._asked and self._thread is None:
            self._asked = False
            self._thread = threading.Thread(target=self._read, args=(site, granted), name="reload", daemon=True)
            self._thread.start()
        return None

    def _read(self, site: Site, granted: str) -> None:
        try:
            new = load_site(self._path)
            changed = needs_restart(site, new)
            if changed:
                self._found = Reloaded(None, None, f"{', '.join(changed)} changed: that takes a restart")
            else:
                self._found = Reloaded(new, Controller(new, self._policy, granted))
        except (CoolctlError, OSError) as error:
            self._found = Reloaded(None, None, str(error))
        except Exception as error:  # a fault of ours must not leave a reload without its answer
            self._found = Reloaded(None, None, f"{type(error).__name__}: {error}")


def needs_restart(old: Site, new: Site) -> list[str]:
    """The tables of a new site file that a running process cannot take, as they are named in it."""
    changed = [name for name in NEED_RESTART if getattr(old.file, name) != getattr(new.file, name)]
    if old.file.control.policy != new.file.control.policy:
        changed.append("control.policy")
    if not changed and (old.table.points != new.table.points or old.u_names != new.u_names):
        changed.append("halls")  # as many as before are needed, with as many racks
    return changed
