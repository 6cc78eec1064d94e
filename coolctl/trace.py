"""The row of a recording: what a tick was given and what it decided, as columns that daemon and replay share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl import __version__
from coolctl.control.decision import Decision, row_columns
from coolctl.control.mode import MODES
from coolctl.control.tick import GatewayView
from coolctl.errors import ForeignRecording, WrongSite
from coolctl.points import Snapshot
from coolctl.recording import Recording
from coolctl.savings.switchback import NOT_ASSIGNED, Assigned
from coolctl.site import Site, load_site, parse_site

F64 = NDArray[np.float64]
GATEWAY_COLUMNS = ("gateway:age_s", "gateway:confirmed", "gateway:hand", "gateway:overrun", "grant", "gateway:held")
NO_GRANT = -1.0
# Inputs that older versions did not have yet, and what stood for them then: nobody else held a gateway, nobody could override.
HELD_BEFORE, OVERRIDE_BEFORE = 1.0, math.nan
# Behind inputs and decision, so that recordings without them replay as before: the test's, and whether the policy was late.
MORE_COLUMNS = ("clock_s", "switchback:block", "switchback:arm", "policy_late")


def columns(site: Site) -> list[str]:
    """Column names of a row."""
    ids = [p.id for p in site.table.points]
    names = ["now_s"]
    for kind in ("value", "age_s", "quality"):
        names += [f"{kind}:{i}" for i in ids]
    overrides = [f"override:{name}" for name in site.u_names]
    return [*names, *GATEWAY_COLUMNS, *overrides, *row_columns(site), *MORE_COLUMNS]


def pack(
    snap: Snapshot, gateway: GatewayView, grant: str, decision: Decision, clock_s: float = math.nan,
    assigned: Assigned = NOT_ASSIGNED, late: bool = False,
) -> F64:  # fmt: skip
    """One tick as a row; `grant` is the mode granted anew in this tick, or empty, `clock_s` the clock of the switchback, `late`
    whether the policy's answer was not waited for."""
    code = float(MODES.index(grant)) if grant else NO_GRANT
    view = (gateway.age_s, float(gateway.confirmed), float(gateway.hand), float(gateway.overrun), code, float(gateway.held))
    held = decision.u_override if decision.u_override is not None else np.full(len(decision.u), np.nan)
    more = (clock_s, *assigned, float(late))
    return np.concatenate([(snap.now_s,), snap.value, snap.age_s, snap.quality, view, held, decision.row(), more])


class Unpacker:
    """Splits rows of a site's recording back into a tick's inputs and the decision recorded."""

    def __init__(self, site: Site):
        self.points = len(site.table)
        self.gateway_at = 1 + 3 * self.points
        self.override_at = self.gateway_at + len(GATEWAY_COLUMNS)
        self.decision_at = self.override_at + len(site.u_names)

    def overrides(self, row: F64) -> F64:
        """What operators held at values of their own; NaN where nobody did."""
        return row[self.override_at : self.decision_at].copy()

    def inputs(self, row: F64) -> tuple[Snapshot, GatewayView, str]:
        """Snapshot, gateway view and the operator's command of a row."""
        n = self.points
        snap = Snapshot(float(row[0]), row[1 : 1 + n], row[1 + n : 1 + 2 * n], row[1 + 2 * n : 1 + 3 * n].astype(np.int8))
        age_s, confirmed, hand, overrun, code, held = row[self.gateway_at : self.override_at].tolist()
        grant = MODES[int(code)] if 0.0 <= code < len(MODES) else ""
        return snap, GatewayView(age_s, confirmed > 0.5, hand > 0.5, overrun > 0.5, held > 0.5), grant

    def decision(self, row: F64) -> F64:
        """The recorded decision's part of a row, and what stands behind it."""
        return row[self.decision_at :]


def header(
    site: Site, model_hash: str, policy_name: str, granted: str, known: dict[str, list[float]] | None = None,
    memory: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What a replay needs beside the rows; `known` is what calibration started from, `memory` the whole tick after a reload."""
    return {
        "coolctl_version": __version__,
        "site_name": site.name,
        "site_text": site.text,
        "record_texts": site.record_texts,
        "config_hash": site.config_hash,
        "model_hash": model_hash,
        "policy_name": policy_name,
        "granted": granted,
        "gains": known or {},
        "memory": memory,
    }


def imported(recording: Recording) -> bool:
    """Whether it was made from trend logs: inputs alone, in UTC, without decisions."""
    return bool(recording.header.get("imported"))


def site_of(head: dict[str, Any], where: str) -> Site:
    """The site that a recording was made with. Raises `ConfigError`."""
    texts = head["record_texts"]
    return parse_site(head["site_text"], where, lambda file, path, lines: (texts, []))


def added_since(site: Site) -> dict[str, float]:
    """Inputs that are newer than the first recordings, with the values that a recording without them stands for."""
    return {"gateway:held": HELD_BEFORE, **{f"override:{name}": OVERRIDE_BEFORE for name in site.u_names}}


def open_recording(path: str, site_path: str = "") -> tuple[Recording, Site, Site]:
    """A recording, the site that it was made with, and the site to work with: that one, or the one at `site_path`.

    Raises `ForeignRecording` where a tick's inputs are not this version's, `WrongSite` where the points differ.
    """
    recording = Recording(path)
    where = str(recording.segments[0])
    original = site_of(recording.header, where)
    inputs = columns(original)[: Unpacker(original).decision_at]
    added = added_since(original)
    lacking = [name for name in inputs if name not in recording.columns]
    if lacking and all(name in added for name in lacking):
        rest = [name for name in recording.columns if name not in inputs]
        recording.widen([*inputs, *rest], {name: added[name] for name in lacking})
    if recording.columns[: len(inputs)] != inputs:
        version = recording.header.get("coolctl_version")
        raise ForeignRecording(f"{where}: recorded by another version ({version}); a tick's inputs are not those of this one")
    site = load_site(site_path) if site_path else original
    if [p.id for p in site.table.points] != [p.id for p in original.table.points]:
        raise WrongSite(f"{site_path}: its points are not those of the recording")
    return recording, original, site
