"""`coolctl doctor`: looks at everything that a site needs, says what it saw, and what to do where that is not right."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coolctl import __version__, jit, lease
from coolctl.cli_args import emit_json, output, positive
from coolctl.dialects import Decoder
from coolctl.edge import mqtt_probe
from coolctl.edge.certificate import ends_s
from coolctl.edge.mqtt import MqttClient, MqttSettings, settings_for
from coolctl.edge.onnx_policy import load_policy
from coolctl.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_UNREACHABLE, ConfigError, ModelError
from coolctl.paths import state_folder
from coolctl.points import Quality, SampleStore
from coolctl.site import Site, load_site
from coolctl.strict_json import Rejected

GOOD, WARN, FAULT = "good", "look", "FAULT"
NAMED_MAX = 8
DISK_MIN_BYTES = 2e9
CERTIFICATE_MIN_S = 14 * 86400.0
# A unit mistaken shows as a value far from any that the role has in a running plant: typical low and high, internal units.
USUAL = {
    "rack_inlet": (10.0, 40.0), "sat": (8.0, 35.0), "rat": (15.0, 55.0), "chwst": (2.0, 30.0), "chwrt": (4.0, 40.0),
    "cwst": (2.0, 45.0), "cwrt": (4.0, 50.0), "oadb": (-35.0, 50.0), "oawb": (-35.0, 35.0), "chw_dp": (5e3, 5e5),
}  # fmt: skip


class Finding(NamedTuple):
    """One check: what was seen, and what to do unless it is good."""

    check: str
    verdict: str
    saw: str
    do: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, metavar="FILE")
    parser.add_argument("--broker", default="", metavar="HOST:PORT", help="instead of the site file's")
    parser.add_argument("--listen", type=positive, default=10.0, metavar="S", help="how long to listen for points (default 10)")
    parser.add_argument("--state", default="", metavar="DIR", help="the daemon's state folder")
    parser.add_argument("--json", type=output, metavar="FILE|-")


def main(args: argparse.Namespace) -> int:
    site = load_site(args.site)
    findings: list[Finding] = []
    people = emit_json([], "") if args.json != "-" else False
    unreachable = False
    for finding in examine(site, args.broker, args.listen, args.state):
        findings.append(finding)
        unreachable |= finding.check == "broker" and finding.verdict == FAULT
        if people:
            print(f"{finding.verdict:<6}{finding.check:<16}{finding.saw}")
            if finding.do:
                print(f"{'':<22}→ {finding.do}")
    emit_json([f._asdict() for f in findings], args.json)
    if unreachable:
        return EXIT_UNREACHABLE
    return EXIT_CHECK_FAILED if any(f.verdict == FAULT for f in findings) else EXIT_OK


def examine(site: Site, broker: str, listen_s: float, state: str = "") -> Iterator[Finding]:
    """Every check, one after the other; what needs the broker comes last and ends where the broker does not answer."""
    yield machine()
    yield clock()
    yield telemetry_of_others()
    yield kernel_cache()
    yield state_of(state_folder(state, site.name))
    yield from recording(site)
    yield model(site)
    yield from writable_by_others(site)
    try:
        settings = settings_for(site, broker, "ops")
    except ConfigError as error:
        yield Finding("secrets", FAULT, str(error), "give the file to the service's user alone: chmod 600, chown")
        return
    found = list(reach(settings))
    yield from found
    if not any(f.verdict == FAULT for f in found):
        yield from traffic(site, settings, listen_s)
        yield from audience(site, broker)


def machine() -> Finding:
    """Version, interpreter and cores."""
    cores = len(os.sched_getaffinity(0))
    saw = f"coolctl {__version__}, Python {sys.version.split()[0]}, {cores} cores"
    if cores < 2:
        return Finding("machine", WARN, saw, "a second core keeps recorder, scrapes and the page out of the loop's way")
    return Finding("machine", GOOD, saw)


def clock() -> Finding:
    """Whether somebody keeps the clock: tariffs, expiries of grants and recordings go by it; control does not."""
    program = shutil.which("timedatectl")
    said = ""
    if program:
        words = [program, "show", "-p", "NTPSynchronized", "--value"]
        said = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    if said == "yes":
        return Finding("clock", GOOD, "synchronised")
    saw = "not synchronised" if said == "no" else "nobody can say whether it is synchronised"
    return Finding("clock", WARN, saw, "run chrony or systemd-timesyncd: control goes by its own monotonic clock, records do not")


def telemetry_of_others() -> Finding:
    """ONNX Runtime sends usage data unless it is told not to before it is loaded."""
    if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
        return Finding("privacy", GOOD, "ONNX Runtime's telemetry is off")
    return Finding(
        "privacy", FAULT, "ORT_DISABLE_TELEMETRY is not 1", "set it in the unit; coolctl does so before it loads the engine"
    )


def kernel_cache() -> Finding:
    """Where compiled kernels are kept: writable, and by this user alone, for Numba's index is a pickle."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    if not os.environ.get("NUMBA_CACHE_DIR") or not os.access(folder, os.W_OK):
        return Finding(
            "kernel cache", WARN, "no folder can be written: each start compiles anew", "set CacheDirectory= or COOLCTL_CACHE_DIR"
        )
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Finding("kernel cache", FAULT, f"{folder} may be written by others", f"chmod 700 {folder}")
    return Finding("kernel cache", GOOD, f"{folder}, {len(jit.KERNELS)} kernels")


def state_of(folder: Path) -> Finding:
    """Where grant, evidence and gains outlive a restart."""
    place = next(p for p in (folder, *folder.parents) if p.exists())
    if os.access(place, os.W_OK):
        return Finding("state", GOOD, f"{folder} can be written")
    return Finding(
        "state", WARN, f"{folder} cannot be written by this user", "right for a person; the service's own user needs it"
    )


def recording(site: Site) -> Iterator[Finding]:
    """Whether there is a recording, and room for it."""
    folder = site.file.recorder.folder
    if not folder:
        yield Finding(
            "recording", WARN, "nothing is recorded", "set [recorder] folder: without records there is no proof of savings"
        )
        return
    place = next(p for p in (Path(folder), *Path(folder).absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    saw = f"{folder}, {free / 1e9:.0f} GB free"
    yield Finding(
        "recording", *((GOOD, saw) if free > DISK_MIN_BYTES else (WARN, saw, "make room: the recorder stops when full"))
    )


def model(site: Site) -> Finding:
    """Whether the policy would be admitted."""
    name = site.file.control.policy
    if name == "none":
        return Finding("policy", WARN, "none is named: the rule baseline controls", "set [control] policy for the savings")
    try:
        return Finding("policy", GOOD, f"{name}, {load_policy(name).model_hash[:12]}…, all golden states reproduced")
    except ModelError as error:
        return Finding("policy", FAULT, str(error), "put the released folder back; the rule baseline controls meanwhile")


def writable_by_others(site: Site) -> Iterator[Finding]:
    """What decides over a plant must not be changed by any user of the machine."""
    path = Path(site.path)
    loose = [str(p) for p in (path, path.absolute().parent) if p.exists() and p.stat().st_mode & stat.S_IWOTH]
    if loose:
        yield Finding("site file", FAULT, f"anybody may write {', '.join(loose)}", f"chmod o-w {' '.join(loose)}")
    else:
        yield Finding("site file", GOOD, f"{site.path}, config hash {site.config_hash[:12]}…, {len(site.table)} points")


def reach(s: MqttSettings) -> Iterator[Finding]:
    """Port, encryption, and whether the broker takes us."""
    where = f"{s.host}:{s.port}"
    fault = mqtt_probe.tcp_fault(s.host, s.port)
    if fault:
        yield Finding("broker", FAULT, f"{where}: {fault}", "is it running, is the port right, does a firewall stand between?")
        return
    if s.tls:
        fault = mqtt_probe.tls_fault(s)
        if fault:
            yield Finding(
                "broker",
                FAULT,
                f"{where}: TLS: {fault}",
                "check ca_file, cert_file, their dates, and that host is the name in the broker's certificate",
            )
            return
        yield Finding("encryption", GOOD, f"{where}: the broker's certificate is good")
        yield from own_certificate(s)
    client = MqttClient(s, [])
    client.run_until(time.monotonic() + mqtt_probe.TIMEOUT_S, lambda: client.ready)
    ready, error = client.ready, client.last_error
    client.close()
    if ready:
        yield Finding("broker", GOOD, f"{where} takes {s.username or 'us'}")
    else:
        yield Finding(
            "broker", FAULT, f"{where}: {error or 'no answer'}", "user, password file or certificate: what does its log say?"
        )


def own_certificate(s: MqttSettings) -> Iterator[Finding]:
    """How long ours still lasts, where we show one."""
    left_s = ends_s(s.cert_file) - time.time()
    if not s.cert_file:
        return
    if left_s < 0.0:
        yield Finding("certificate", FAULT, f"{s.cert_file} has ended or cannot be read", "issue a new one under the same name")
    elif left_s < CERTIFICATE_MIN_S:
        saw = f"{s.cert_file} ends in {left_s / 86400.0:.0f} days"
        yield Finding("certificate", WARN, saw, "issue a new one; it is taken with the next connection")
    else:
        yield Finding("certificate", GOOD, f"{s.cert_file}, {left_s / 86400.0:.0f} days left")


def traffic(site: Site, s: MqttSettings, listen_s: float) -> Iterator[Finding]:
    """What is heard within `listen_s`: points, the gateway, the daemon."""
    m = site.file.mqtt
    decoder, store = Decoder(site.table, m.payload_max_bytes, m.batch_max_bytes), SampleStore(site.table)
    topics = {kind: site.topic(kind) for kind in ("gw_tick", "decision")}
    client = MqttClient(s, [*decoder.topics, *topics.values()])
    heard: dict[str, Any] = {}
    end_s = time.monotonic() + listen_s
    while time.monotonic() < end_s:
        client.run_until(end_s, lambda: bool(client.inbox))
        while client.inbox:
            message = client.inbox.popleft()
            kind = next((k for k, topic in topics.items() if topic == message.topic), "")
            if kind:
                heard[kind] = message.payload
            else:
                store.put(decoder.decode(message.topic, message.payload), message.received_s)
    client.close()
    yield from _points(site, store)
    refused = {**decoder.rejects, **store.rejects}
    if refused:
        said = ", ".join(f"{n} × {reason}" for reason, n in sorted(refused.items()))
        yield Finding("messages", WARN, f"refused: {said}", "compare one with `coolctl points --site FILE` and docs/MQTT.md")
    yield _gateway(heard.get("gw_tick"))
    yield _daemon(heard.get("decision"))


def _points(site: Site, store: SampleStore) -> Iterator[Finding]:
    snap = store.snapshot(time.monotonic())
    wanted = [i for i, p in enumerate(site.table.points) if not p.writable]
    names = [site.table.points[i].id for i in wanted if snap.quality[i] == Quality.NEVER]
    saw = f"{len(wanted) - len(names)} of {len(wanted)} heard"
    if names:
        more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
        yield Finding(
            "points",
            FAULT,
            f"{saw}; not: {', '.join(names[:NAMED_MAX])}{more}",
            "topic, field, or an access list: `mosquitto_sub -v` with the same identity",
        )
    else:
        yield Finding("points", GOOD, saw)
    odd = []
    for i in wanted:
        low, high = USUAL.get(site.table.points[i].role, (-np.inf, np.inf))
        if snap.quality[i] == Quality.OUT_OF_RANGE:
            odd.append(f"{site.table.points[i].id} is outside its range")
        elif snap.value[i] == snap.value[i] and not low <= snap.value[i] <= high:
            odd.append(f"{site.table.points[i].id} = {snap.value[i]:.4g}")
    if odd:
        yield Finding(
            "units", WARN, f"unusual: {', '.join(odd[:NAMED_MAX])}", "is the unit in [[points]] that of the wire (°F, kPa, %)?"
        )


def _gateway(raw: bytes | None) -> Finding:
    try:
        tick = lease.decode_gateway_tick(raw) if raw is not None else None
    except Rejected:
        tick = None
    if tick is None:
        return Finding(
            "gateway", WARN, "not heard", "start `coolctl gateway --site FILE` beside the BMS; without it nothing is ever applied"
        )
    holder = tick.holder or "nobody"
    saw = f"heard; epoch {tick.epoch} held by {holder}; the plant {'has itself' if tick.local else 'follows the lease'}"
    return Finding("gateway", GOOD, saw + ("; in hand at the BMS" if tick.hand else ""))


def _daemon(raw: bytes | None) -> Finding:
    try:
        decision = json.loads(raw) if raw is not None else None
        saw = f"heard; granted {decision['granted']}, in effect {decision['mode']}: {decision['mode_reason']}" if decision else ""
    except (ValueError, KeyError, TypeError):
        return Finding(
            "daemon", WARN, "something else writes on its topic", "one writer for each topic: see config/mosquitto/coolctl.acl"
        )
    if not saw:
        return Finding("daemon", WARN, "not heard", "start `coolctl run --site FILE`")
    return Finding("daemon", GOOD, saw)


def audience(site: Site, broker: str) -> Iterator[Finding]:
    """Who would hear a setpoint, asked with the daemon's identity and a message that no gateway takes for a lease."""
    try:
        settings = settings_for(site, broker, "daemon")
    except ConfigError:
        yield Finding(
            "setpoint topic", WARN, "the daemon's secrets cannot be read by this user", "run as the service's user to know"
        )
        return
    answer = mqtt_probe.who_hears(settings, site.topic("sp"), b'{"probe":true}')
    if answer == "Success":
        yield Finding("setpoint topic", GOOD, f"{site.topic('sp')}: somebody listens")
    elif "No matching" in answer:
        yield Finding(
            "setpoint topic", WARN, f"{site.topic('sp')}: nobody listens", "start the gateway; is it on the same broker?"
        )
    elif "authorized" in answer:
        yield Finding(
            "setpoint topic", FAULT, f"{site.topic('sp')}: {answer}", "the access list must let the daemon's identity write it"
        )
    else:
        yield Finding(
            "setpoint topic",
            WARN,
            f"cannot be told: {answer}",
            "only MQTT 5 tells; read-back of the applied setpoints is what counts",
        )
