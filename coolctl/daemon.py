"""`coolctl run`: the controller as a daemon. One thread: MQTT in, the tick, a lease out, record, again.

It starts silent, resumes the granted mode (a policy grant as `fallback` until the evidence is clean) and publishes
only what a lease can carry. If it dies, the lease runs out and the plant has itself.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import time
from typing import Any

from coolctl import ingest, jit
from coolctl.audit import Audit
from coolctl.control.decision import Decision
from coolctl.control.mode import PUBLISHING
from coolctl.control.policy import Policy
from coolctl.control.tick import GatewayView
from coolctl.controller import Controller
from coolctl.daemon_link import Link
from coolctl.daemon_node import NodeLink
from coolctl.daemon_state import Command, GainsFile, GrantFile, Holds
from coolctl.edge.certificate import ends_s
from coolctl.edge.journal import ERROR, NOTICE, WARNING, Line
from coolctl.edge.metrics import MetricsServer
from coolctl.edge.onnx_policy import OnnxPolicy, load_policy
from coolctl.edge.recorder import Recorder
from coolctl.edge.sdnotify import notify, reloading
from coolctl.edge.time_box import TimeBox
from coolctl.errors import ModelError
from coolctl.invariants import CHECKS
from coolctl.journal_lines import DaemonLines, DecisionLines, journal_of
from coolctl.metrics_view import ViewMaker
from coolctl.paths import state_folder
from coolctl.points import Snapshot
from coolctl.promotion import Evidence
from coolctl.reload import Reloader
from coolctl.savings.switchback import NOT_ASSIGNED, Switchback
from coolctl.site import Site, load_site
from coolctl.tariff import PriceClock
from coolctl.trace import columns, header, pack
from coolctl.warmup import warm_up

TICK_S = 1.0
LATE_MAX_S, COMPUTE_MAX_S, OVERRUNS_MAX = 0.25, 0.5, 3
COLLECT_EVERY = 600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--broker", default="", metavar="HOST:PORT", help="instead of the site file's")
    parser.add_argument("--state", default="", metavar="DIR", help="where the granted mode is kept")
    parser.add_argument("--record", default="", metavar="DIR", help="record every tick here (default: the site file's)")
    parser.add_argument("--policy", default="", help="folder or name under models/ (default: the site's)")
    parser.add_argument("--metrics-port", type=int, default=None, metavar="N", help="0 = any free port, -1 = none")
    parser.add_argument(
        "--ingest-process", action="store_true", help="hear telemetry in a process of its own: from 5,000 messages a second on"
    )


NO_POLICY = "none"


def main(args: argparse.Namespace) -> int:
    daemon = Daemon(load_site(args.site), args)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    signal.signal(signal.SIGHUP, lambda *_: daemon.reloader.ask())
    daemon.run()
    return 0


def in_time(policy: OnnxPolicy, site: Site) -> Policy:
    """The policy with a deadline, where a second is a second: a simulated plant waits, and its runs are to be repeatable."""
    return policy if site.file.site.simulated else TimeBox(policy)


class Daemon:
    """Wires the edges round the tick."""

    def __init__(self, site: Site, args: argparse.Namespace):
        if args.ingest_process:
            ingest.check(site)
        self.site = site
        self.journal = journal_of(site, "coolctl")
        self._decision_lines, self._lines = DecisionLines(), DaemonLines()
        name = args.policy or site.file.control.policy
        try:
            policy: Policy | None = None if name == NO_POLICY else in_time(load_policy(name), site)
        except ModelError as error:
            # Without a policy the rule baseline still controls; an operator sees why.
            self.journal.say(Line("policy", f"policy refused, the rule baseline controls: {error}", WARNING))
            policy = None
        self.policy, self._policy_name, self._record_folder = policy, name, args.record or site.file.recorder.folder
        self.model_hash = policy.model_hash if policy else ""
        self.reloader, self.reload_ok = Reloader(args.site, policy), True
        self._state = state = state_folder(args.state, site.name)
        self.grants = GrantFile(state / "grant.json", site.file.control.start_mode)
        self.holds = Holds(state / "holds.json", site)
        self._gains = GainsFile(state / "gains.json", site.config_hash)
        warm_up(site, policy)
        self.controller = Controller(site, policy, self.grants.mode)
        self.controller.control.restore(*self._gains.read(time.time()))
        self.audit, self.violations = Audit(site, self.controller.control), dict.fromkeys((i for i, _text, _test in CHECKS), 0)
        self.evidence = self._evidence()
        self._reaches = ""
        self.switchback, self._assigned, self._clock_s = Switchback(site), NOT_ASSIGNED, 0.0
        self.link = Link(site, args.broker)
        self.ingest = ingest.Ingest(site, args.broker) if args.ingest_process else None
        if self.ingest is not None:
            self.ingest.join(self.link)
        self.node = NodeLink(site, args.broker, state / "bdseq") if site.file.sparkplug.group else None
        self.link.may_claim = self.grants.mode in PUBLISHING
        self.certificate_ends_s = ends_s(self.link.cert_file)
        self.recorder = self._recorder()
        port = args.metrics_port if args.metrics_port is not None else site.file.metrics.port
        self.metrics = MetricsServer(site.file.metrics.host, port) if port >= 0 else None
        if self.metrics is not None and self.metrics.error:
            self.journal.say(Line("metrics", f"no metrics: {self.metrics.error}", WARNING))
        self._views = ViewMaker(site)
        self._prices = PriceClock(site)
        self.ticks = self.overruns = self.deadline_misses = 0
        self._last_s = self._judged_s = -1e18
        self._stopping = False
        self._said: list[str] = []

    def _evidence(self) -> Evidence | None:
        """What promotion asks for at this site; another site file or policy has its own to gather."""
        asked = self.site.file.promotion.required
        if not asked and (asked is not None or self.site.file.site.simulated):
            return None
        identity = f"{self.site.config_hash} {self.model_hash}"
        return Evidence(self._state / "evidence.json", self.site.file.promotion, identity)

    def _recorder(self, memory: dict[str, Any] | None = None) -> Recorder | None:
        if not self._record_folder:
            return None
        known = self.controller.control.known()
        head = header(self.site, self.model_hash, self._policy_name, self.grants.mode, known, memory)
        names, rotate_s = columns(self.site), self.site.file.recorder.rotate_s
        return Recorder(self._record_folder, self.site.name, names, head, rotate_s=rotate_s)

    def _start_over(self) -> None:
        """A simulated plant began a new run: a controller without memory, and a recording of its own."""
        self.controller = Controller(self.site, self.policy, self.grants.mode)
        self.audit = Audit(self.site, self.controller.control)
        self._reaches = ""
        self.link.restart_clock()
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = self._recorder()

    def _reload(self) -> None:
        """Take a site file that was read anew, whole, between two ticks; or say why the old one stays."""
        was_reading = self.reloader.reading
        found = self.reloader.poll(self.site, self.grants.mode)
        if self.reloader.reading and not was_reading:
            reloading()  # until READY=1 below
        if found is None:
            return
        self.reload_ok = not found.fault
        if found.site is None or found.controller is None:
            text, level = f"the site file is refused and the old one stays: {found.fault}", ERROR
        else:
            self._go_on_with(found.site, found.controller)
            text, level = f"the site file was read anew: {found.site.config_hash[:12]}", NOTICE
        self._said.append(text[:500])
        self.journal.say(Line("reload", text, level, "refused" if found.fault else "taken"))
        notify("READY=1", f"STATUS={text[:200]}")

    def _go_on_with(self, site: Site, controller: Controller) -> None:
        before = self.controller.control
        memory = before.memory()
        if controller.control.modes.granted != self.grants.mode:
            controller.grant(self.grants.mode, self.grants.reason)  # a person was quicker than the reading of the file
        controller.control.restore(before.known())
        controller.control.recall(memory)
        self.site = self.link.site = site
        self.controller, self.audit = controller, Audit(site, controller.control)
        self._gains = GainsFile(self._state / "gains.json", site.config_hash)
        self.holds = Holds(self._state / "holds.json", site)
        if self.evidence is not None:
            self.evidence.write()
        self.evidence, self._reaches = self._evidence(), ""
        self.switchback, self._assigned = Switchback(site), NOT_ASSIGNED
        self._views, self._prices = ViewMaker(site), PriceClock(site)
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = self._recorder(memory)

    def stop(self) -> None:
        """Release and end after the tick in hand."""
        self._stopping = True

    def run(self) -> None:
        """Until `stop`. Kernels are frozen and garbage set aside before the first tick."""
        jit.freeze()
        sys.setswitchinterval(0.0005)
        gc.collect()
        gc.freeze()
        gc.disable()
        fields = {"COOLCTL_CONFIG": self.site.config_hash[:12], "COOLCTL_MODEL": self.model_hash[:12] or NO_POLICY}
        text = f"started with the site file {fields['COOLCTL_CONFIG']} and the policy {fields['COOLCTL_MODEL']}"
        self.journal.say(Line("start", text, NOTICE, fields=fields))
        notify("READY=1", f"STATUS={self.site.name}: waiting for telemetry")
        next_s = time.monotonic()
        own_clock = not self.site.file.site.simulated
        while not self._stopping:
            woken = self.link.wait(next_s, lambda: self._stopping)
            now_s = time.monotonic()
            self._reload()
            if woken is not None:
                # A simulated plant's clock drives; the own schedule only keeps the loop turning.
                if woken < self._last_s - TICK_S:
                    self._start_over()
                self._last_s = woken
                self._tick(woken, now_s)
                next_s = now_s + TICK_S
            elif now_s >= next_s:
                if own_clock:
                    self._tick(now_s, next_s)
                else:
                    notify("WATCHDOG=1")  # no plant clock, no ticks: what must be alive is this loop
                    for line in self._lines.link.look(self.link.client):
                        self.journal.say(line)
                next_s += TICK_S * max(1, int((now_s - next_s) / TICK_S) + 1)
        self._release()

    def _tick(self, now_s: float, due_s: float) -> None:
        started_s = time.monotonic()
        late_s = started_s - due_s
        self.link.store.put(self._prices.samples(time.time()), now_s)
        if self.ingest is not None and (text := self.ingest.look_after(self.link, now_s)):
            self.journal.say(Line("ingest", text, WARNING, each=True))
        snap, gateway, command = self.link.collect(now_s, self.overruns >= OVERRUNS_MAX)
        before, self._clock_s = self._assigned, self.switchback.clock_s(now_s, time.time())
        self._assigned = self.switchback.at(self._clock_s)
        grant = self._grant(command)
        held = self.holds.take(command, time.time())
        self.controller.override(self.holds.vector())
        late_before = self._late()
        decision = self.controller.tick_snapshot(snap, gateway)
        late = self._late() != late_before
        computed_s = time.monotonic()
        broken = self._judge(decision, snap, gateway, bool(grant), late_s, computed_s - started_s)
        news = self._decision_lines.look(decision, self.link.decoder.faults)
        self.link.publish(decision, [*held, *broken, *self._said, *(line.text for line in news)], self.holds.held)
        self._said = []
        if self.node is not None:
            self.node.tell(decision, gateway, self.link)
            if text := self.node.news():
                self.journal.say(Line("node", text, NOTICE))
        if self.recorder is not None:
            events = [{"grant": grant, "reason": self.grants.reason}] if grant else []
            events += [{"hold": text} for text in held + broken]
            if self._assigned != before:
                events.append({"switchback": self._assigned.name, "block": str(self._assigned.block)})
            self.recorder.append(pack(snap, gateway, grant, decision, self._clock_s, self._assigned, late), events)
        done_s = time.monotonic()
        missed = late_s > LATE_MAX_S or done_s - started_s > COMPUTE_MAX_S
        self.overruns = self.overruns + 1 if missed else 0
        self.deadline_misses += missed
        if self.metrics is not None:
            stages = {"compute": computed_s - started_s, "publish": done_s - computed_s}
            self.metrics.publish(self._views.make(self, decision, snap), stages)
        self._log(decision, snap, news, held, broken)
        self.ticks += 1
        notify("WATCHDOG=1", *([f"STATUS={decision.mode}: {decision.mode_reason}"] if self.ticks % 10 == 1 else []))
        if self.ticks % COLLECT_EVERY == 0:
            self._gains.write(self.controller.control.known(), time.time())
            if self.evidence is not None:
                self.evidence.write()
            self.certificate_ends_s = ends_s(self.link.cert_file)  # a new one is taken with the next connection
            gc.collect(1)  # at a moment of our choosing; the old generation stays frozen

    def _late(self) -> int:
        """How often the policy's answer was not waited for."""
        return self.policy.late if isinstance(self.policy, TimeBox) else 0

    def _log(self, decision: Decision, snap: Snapshot, news: list[Line], held: list[str], broken: list[str]) -> None:
        """What is new in this tick, into the journal."""
        lines = [*news, *(Line("hold", text, NOTICE, each=True) for text in held)]
        lines += [Line("invariant", text, ERROR, text.partition(":")[0]) for text in broken]
        for line in (*lines, *self._lines.look(self, decision, snap)):
            self.journal.say(line)
        self.journal.turn()

    def _grant(self, command: Command | None) -> str:
        """The mode that is granted anew in this tick: an operator's, or as far as the evidence for it reaches; else empty."""
        asked = self.grants.take(command, time.time())
        reaches, waits_for = self.grants.mode, ""
        if self.evidence is not None:
            reaches, waits_for = self.evidence.ceiling(self.grants.mode)
        reaches, block = self.switchback.ceiling(reaches, self._assigned)
        waits_for = block or waits_for
        # What a person must clear is not cleared by a lot: a latched policy stays on the rules in either arm.
        if not asked and (reaches == self._reaches or self.controller.control.modes.latched):
            return ""
        first = not self._reaches and not asked
        self._reaches = reaches
        if first and reaches == self.grants.mode:
            return ""  # the controller was made with it
        reason = self.grants.reason if reaches == self.grants.mode else f"{self.grants.mode} is granted; {waits_for}"
        self.controller.grant(reaches, reason)
        self.link.may_claim = reaches in PUBLISHING
        return reaches

    def _judge(
        self, decision: Decision, snap: Snapshot, gateway: GatewayView, granted: bool, late_s: float, compute_s: float
    ) -> list[str]:
        """Every invariant on the living plant; what is broken is counted, said and held against a promotion."""
        dt_s = min(max(decision.now_s - self._judged_s, 0.0), 60.0)
        self._judged_s = decision.now_s
        found = self.audit.look(decision, snap, gateway=gateway, operator=granted, lateness_s=late_s, compute_s=compute_s)
        for violation in found:
            self.violations[violation.id] += 1
        if self.evidence is not None:
            self.evidence.add(decision, dt_s, len(found))
        return [f"broken invariant {v.id}: {v.text}" for v in found[:3]]

    def _release(self) -> None:
        """An explicit none, so that the plant takes over at once and not after the lease."""
        notify("STOPPING=1")
        self.link.release()
        if self.ingest is not None:
            self.ingest.close()
        if self.node is not None:
            self.node.close()
        if self.evidence is not None:
            self.evidence.write()
        self._gains.write(self.controller.control.known(), time.time())
        if self.recorder is not None:
            self.recorder.close()
        if self.metrics is not None:
            self.metrics.close()
        self.journal.say(Line("stop", "stopped; the plant has itself", NOTICE))
        self.journal.close()
