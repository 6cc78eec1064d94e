"""What is new since the last tick, in words and fields: for the journal, and with the decision for the page.

Only changes are told. How often a change may be said at all is the journal's business (coolctl/edge/journal.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from coolctl import __version__
from coolctl.control.decision import TERMS, Decision
from coolctl.control.health import JUMPS, REASONS
from coolctl.control.mode import PUBLISHING
from coolctl.edge.journal import CRITICAL, ERROR, INFO, NOTICE, WARNING, Journal, Line
from coolctl.gateway import GatewayCore
from coolctl.points import Quality, Snapshot
from coolctl.proof import FAILED, SILENT
from coolctl.site import Site

if TYPE_CHECKING:
    from coolctl.daemon import Daemon

GATEWAY_SILENT_S = 15.0
GATEWAY_AGE = TERMS.index("gateway_age_s")
LET_GO_S = 2.5  # a lease that ends so soon after a good word was given back, not forgotten
FAULTS_MAX = 20  # of one kind in one tick
POINTS_EACH_MAX = 5
QUALITY_WORDS = {
    Quality.NEVER: "has not been heard",
    Quality.GOOD: "is good",
    Quality.SOURCE_BAD: "is called bad by its source",
    Quality.STALE: "is stale",
    Quality.OUT_OF_RANGE: "is out of range",
    Quality.IMPLAUSIBLE: "is not plausible",
}


def journal_of(site: Site, process: str) -> Journal:
    """The journal of one of a site's processes."""
    return Journal(process, {"COOLCTL_SITE": site.name, "COOLCTL_VERSION": __version__})


class Client(Protocol):
    """What is looked at of an MQTT client."""

    ready: bool
    last_error: str


class LinkLines:
    """The broker comes and goes."""

    def __init__(self) -> None:
        self._ready = False
        self._error = ""

    def look(self, client: Client) -> Iterator[Line]:
        """What has become of the link since the last look."""
        if client.ready and not self._ready:
            yield Line("broker", "the broker answers and everything is subscribed", NOTICE, "link")
        elif self._ready and not client.ready:
            yield Line(
                "broker", f"the broker is lost: {client.last_error}", WARNING, "link", {"COOLCTL_REASON": client.last_error}
            )
        elif not client.ready and client.last_error and client.last_error != self._error:
            yield Line("broker", f"no broker: {client.last_error}", WARNING, "error", {"COOLCTL_REASON": client.last_error})
        self._ready, self._error = client.ready, client.last_error


def refused(event: str, before: Mapping[str, int], now: Mapping[str, int]) -> Iterator[Line]:
    """A line for each reason for which more was refused."""
    for reason in now:
        more = now[reason] - before.get(reason, 0)
        if more > 0:
            text = f"{more} message{'s' if more > 1 else ''} refused: {reason}"
            yield Line(event, text, WARNING, reason, {"COOLCTL_REASON": reason})


class DecisionLines:
    """What a decision brings: the mode with its cause, what stands out, what is not believed any more."""

    def __init__(self) -> None:
        self._mode = self._alarm = ""
        self._suspect: tuple[int, str] | None = None
        self._sick: dict[str, str] = {}
        self._no_effect: set[str] = set()
        self._doubted: dict[str, str] = {}
        self._misdescribed: dict[str, str] = {}

    def look(self, d: Decision, misdescribed: Mapping[str, str]) -> list[Line]:
        """`misdescribed`: points whose source says of them what the site file does not."""
        return [*self._of_mode(d), *self._of_plant(d), *self._of_points(d, misdescribed)]

    def _of_mode(self, d: Decision) -> Iterator[Line]:
        if d.mode != self._mode:
            fields = {
                "COOLCTL_MODE": d.mode,
                "COOLCTL_MODE_FROM": self._mode or "none",
                "COOLCTL_GRANTED": d.granted,
                "COOLCTL_REASON": d.mode_reason,
                "COOLCTL_TICK": str(d.seq),
            }
            lost = self._mode in PUBLISHING and d.mode in ("fallback", "release")
            level = CRITICAL if d.mode == "emergency" else WARNING if lost else NOTICE
            yield Line("mode", f"{d.mode}: {d.mode_reason}", level, d.mode, fields, each=True)
            self._mode = d.mode

    def _of_plant(self, d: Decision) -> Iterator[Line]:
        suspect, sick = d.suspect, d.sick_loops
        if suspect and (suspect.hall, suspect.kind) != self._suspect:
            hall = d.site.halls[suspect.hall]
            yield Line("hall", f"{hall}: {suspect.text()}", NOTICE, hall)
        self._suspect = (suspect.hall, suspect.kind) if suspect else None
        for loop in sick.keys() - self._sick.keys():
            yield Line("loop", f"{loop} {sick[loop]}", WARNING, loop, {"COOLCTL_REASON": sick[loop]})
        self._sick = sick
        for name in sorted(set(d.without_effect) - self._no_effect):
            text = "the plant says that it follows, and does not"
            yield Line("effect", f"{name}: {text}", WARNING, name, {"COOLCTL_REASON": text})
        self._no_effect = set(d.without_effect)

    def _of_points(self, d: Decision, misdescribed: Mapping[str, str]) -> Iterator[Line]:
        doubted = {name: why for name, why in d.doubted.items() if why != REASONS[JUMPS]}
        for name in doubted.keys() - self._doubted.keys():
            yield Line("doubt", f"{name} {doubted[name]}: not believed", NOTICE, name, {"COOLCTL_REASON": doubted[name]})
        self._doubted = doubted
        if misdescribed != self._misdescribed:
            new = [(n, text) for n, text in misdescribed.items() if self._misdescribed.get(n) != text]
            for name, text in new[:FAULTS_MAX]:
                yield Line("description", f"{name}: {text}: not believed", WARNING, name, {"COOLCTL_REASON": text})
            self._misdescribed = dict(misdescribed)


class DaemonLines:
    """What is new around the controller's loop: link, lease, points, refusals, recorder, late ticks."""

    def __init__(self) -> None:
        self.link = LinkLines()
        self._silent = self._hand = self._remote = self._held = False
        self._granted = self._recorder = self._refusal = ""
        self._rejects: dict[str, int] = {}
        self._quality: Sequence[int] = ()
        self._misses = 0

    def look(self, daemon: Daemon, d: Decision, snap: Snapshot) -> Iterator[Line]:
        """What has changed since the last tick."""
        yield from self.link.look(daemon.link.client)
        yield from self._of_grant(daemon, d)
        yield from self._of_lease(daemon, d)
        yield from self._of_points(daemon.site, snap)
        link = daemon.link
        rejects = {**link.rejects, **link.decoder.rejects, **link.store.rejects}
        if rejects != self._rejects:
            yield from refused("refused", self._rejects, rejects)
            self._rejects = rejects
        failed = daemon.recorder.failed if daemon.recorder is not None else ""
        if failed and failed != self._recorder:
            yield Line("recorder", f"the recording has stopped: {failed}", ERROR, fields={"COOLCTL_REASON": failed})
        self._recorder = failed
        if daemon.deadline_misses > self._misses:
            yield Line("late", "a tick began too late or took too long", WARNING)
        self._misses = daemon.deadline_misses

    def _of_grant(self, daemon: Daemon, d: Decision) -> Iterator[Line]:
        if d.granted != self._granted:
            reason = daemon.grants.reason
            fields = {"COOLCTL_GRANTED": d.granted, "COOLCTL_REASON": reason}
            yield Line(
                "grant", f"{d.granted} is in force of {daemon.grants.mode} granted: {reason}", NOTICE, "", fields, each=True
            )
            self._granted = d.granted

    def _of_lease(self, daemon: Daemon, d: Decision) -> Iterator[Line]:
        link = daemon.link
        silent = not d.term_values[GATEWAY_AGE] <= GATEWAY_SILENT_S
        if silent != self._silent:
            text = "the gateway is silent" if silent else "the gateway is heard"
            yield Line("gateway", text, WARNING if silent else NOTICE, "heard")
        held, remote = link.holds_epoch, bool(link.gateway and not link.gateway.local)
        hand = bool(link.gateway and link.gateway.hand)
        if link.gateway is not None and held != self._held:
            epoch = {"COOLCTL_EPOCH": str(link.gateway.epoch)}
            whose = "ours" if held else f"held by {link.gateway.holder or 'nobody'}"
            yield Line("epoch", f"epoch {link.gateway.epoch} is {whose}", NOTICE, "", epoch)
        if remote != self._remote:
            yield Line("lease", "the plant follows the lease" if remote else "the plant has itself", NOTICE)
        if hand != self._hand:
            yield Line("hand", "the plant is in hand at the BMS" if hand else "nobody holds the plant in hand", NOTICE)
        refusal = link.ack.rejected if link.ack else ""
        if refusal and refusal != self._refusal:
            yield Line("ack", f"the gateway refuses leases: {refusal}", WARNING, refusal, {"COOLCTL_REASON": refusal})
        self._silent, self._held, self._remote, self._hand, self._refusal = silent, held, remote, hand, refusal

    def _of_points(self, site: Site, snap: Snapshot) -> Iterator[Line]:
        now = snap.quality.tolist()
        if now == self._quality:
            return
        before = self._quality or [Quality.NEVER] * len(now)
        groups: dict[int, list[str]] = {}
        for point, old, new in zip(site.table.points, before, now, strict=True):
            if old != new:
                groups.setdefault(new, []).append(point.id)
        self._quality = now
        for quality, names in groups.items():
            words, level = QUALITY_WORDS[Quality(quality)], INFO if quality == Quality.GOOD else WARNING
            word = Quality(quality).name.lower()
            if len(names) > POINTS_EACH_MAX:
                text = f"{len(names)} points: each {words}: {', '.join(names[:POINTS_EACH_MAX])} …"
                yield Line("points", text, level, word, {"COOLCTL_QUALITY": word})
                continue
            for name in names:
                yield Line("point", f"{name} {words}", level, name, {"COOLCTL_POINT": name, "COOLCTL_QUALITY": word})


class GatewayLines:
    """What is new at the gateway: who holds the epoch, whether a lease is passed on, and why one ended."""

    def __init__(self) -> None:
        self._link = LinkLines()
        self._holder = self._proof = ""
        self._leased = self._hand = self._bms_silent = False
        self._rejects: dict[str, int] = {}
        self._misdescribed: dict[str, str] = {}

    def look(self, core: GatewayCore, client: Client, misdescribed: Mapping[str, str]) -> Iterator[Line]:
        """What has changed since the last look; `misdescribed`: what is in the way of writing."""
        yield from self._link.look(client)
        if core.holder != self._holder:
            yield Line("epoch", f"the right to lease is granted to {core.holder}", NOTICE)
            self._holder = core.holder
        if core.hand != self._hand:
            yield Line("hand", "a person holds the plant at the BMS" if core.hand else "nobody holds the plant in hand", NOTICE)
            self._hand = core.hand
        if core.bms_silent != self._bms_silent:
            text = (
                "the BMS does not say its clock any more: nothing is leased"
                if core.bms_silent
                else "the BMS says its clock again"
            )
            yield Line("bms", text, ERROR if core.bms_silent else NOTICE)
            self._bms_silent = core.bms_silent
        proof = core.proof
        if proof is not None and proof.state != self._proof:
            failed = proof.state == FAILED
            text = f"proof test: {proof.state}{': ' + proof.reason if failed else ''}"
            yield Line("proof", text, ERROR if failed else NOTICE, proof.state, {"COOLCTL_REASON": proof.reason})
            self._proof = proof.state
        if core.leased != self._leased:
            self._leased = core.leased
            cause = "" if core.leased else _why_ended(core)
            text = f"leased to {core.holder} ({core.lease_mode})" if core.leased else f"the plant has itself: {cause}"
            fields = {"COOLCTL_MODE": core.lease_mode if core.leased else "local", "COOLCTL_REASON": cause or "leased"}
            yield Line("lease", text, NOTICE if core.leased else WARNING, "", fields, each=True)
        if core.rejects != self._rejects:
            yield from refused("refused", self._rejects, core.rejects)
            self._rejects = dict(core.rejects)
        if misdescribed != self._misdescribed:
            for name, fault in list(misdescribed.items())[:FAULTS_MAX]:
                text = f"output: {name}: {fault}: nothing is written"
                yield Line("description", text, WARNING, name, {"COOLCTL_REASON": fault})
            self._misdescribed = dict(misdescribed)


def _why_ended(core: GatewayCore) -> str:
    """Why no lease is passed on any more."""
    if core.hand:
        return "a person holds it at the BMS"
    if core.proof is not None and core.proof.state in (SILENT, FAILED):
        return "the proof test is silent" if core.proof.state == SILENT else core.proof.reason
    if core.bms_silent:
        return "the BMS does not say its clock any more"
    silent_s = core.now_s - core.heard_s
    if silent_s < 0.0:
        return "a simulated plant began anew"
    return "the controller let go" if silent_s <= LET_GO_S else f"no good setpoints for {silent_s:.0f} s"
