"""P5 and P6: what a message costs on its way in, from the socket's bytes to the store, beside mosquitto_sub."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from coolctl.bench.machine import cores
from coolctl.bench.pairs import Pairs, of_times
from coolctl.bench.rows import Curve, Row, inverse, not_run, ratio_row
from coolctl.bench.sites import default_text, of_points, of_text
from coolctl.daemon_link import Link
from coolctl.dialects import decoder_for, encode_batch, encode_single
from coolctl.points import SampleStore
from coolctl.site import Site

MESSAGES, ROUNDS = 20_000, 5
RATE_PER_S, RATE_SECONDS, RATE_ROUNDS = 5_000, 4, 3
BATCHES = (50, 500, 2_000, 5_000)
LISTEN_LIMIT_S = 40.0
COLLECT_S = 0.25  # between two turns of the store
VALUE = 0.5  # inside every role's range, whatever its unit


def one_topic_a_point(text: str) -> str:
    """The site with one message a point instead of batches, over the protocol that the feed speaks."""
    return text.replace('topic = "coolctl/v1/{site}/tel"', 'topic = "bench/{point}"', 1) + '\n[mqtt]\nprotocol = "3.1.1"\n'


class Feed:
    """The broker's end, in a process of its own."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "coolctl.bench.feed"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._child.stdout
        self.port = int(self._child.stdout.readline())

    def order(self, topics: list[str], payloads: list[bytes], messages: int, qos: int = 0, per_s: float = 0.0) -> None:
        """Have a run ready for the next listener."""
        assert self._child.stdin
        run = {"topics": topics, "payloads": [p.decode() for p in payloads], "messages": messages, "qos": qos, "per_s": per_s}
        self._child.stdin.write(json.dumps(run) + "\n")
        self._child.stdin.flush()

    def answer(self) -> dict[str, float]:
        """How the run went."""
        assert self._child.stdout
        found: dict[str, float] = json.loads(self._child.stdout.readline())
        return found

    def close(self) -> None:
        """End it."""
        self._child.kill()
        self._child.wait()


def listen(site: Site, port: int, messages: int) -> tuple[int, float]:
    """The daemon's own link takes `messages`; how many points the store took, and the processor seconds spent."""
    link = Link(site, f"127.0.0.1:{port}")
    deadline_s = time.monotonic() + LISTEN_LIMIT_S
    spent = 0.0
    begun = time.thread_time()
    while link.client.received < messages and time.monotonic() < deadline_s:
        if not link.client.received:
            link.client.run_until(deadline_s, lambda: bool(link.client.received))
            begun = time.thread_time()
        link.wait(time.monotonic() + COLLECT_S, lambda: link.client.received >= messages)
        link.collect(time.monotonic(), False)
        spent = time.thread_time() - begun
    stored = int(np.isfinite(link.store.value).sum())
    lost = (
        link.client.dropped + sum(link.rejects.values()) + sum(link.decoder.rejects.values()) + sum(link.store.rejects.values())
    )
    received = link.client.received
    link.client.close()
    if lost or received < messages:
        raise RuntimeError(f"{received} of {messages} messages came, {lost} were refused")
    return stored, spent


def mosquitto_sub(port: int, messages: int, qos: int) -> float:
    """The C client takes `messages` and prints them to nowhere; processor seconds spent."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", "bench/#", "-q", str(qos), "-V", "mqttv311"]
    subprocess.run([*command, "-C", str(messages)], stdout=subprocess.DEVNULL, timeout=LISTEN_LIMIT_S, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def against_mosquitto(site: Site, feed: Feed, qos: int, messages: int, rounds: int) -> tuple[Pairs, Pairs]:
    """Wall seconds and processor seconds of the product over mosquitto_sub's, same bytes from the same sender."""
    points = [p for p in site.table.points if not p.writable and p.topic.startswith("bench/")]
    topics, payloads = [p.topic for p in points], [encode_single(points[0], VALUE, 1_700_000_000_000)]
    mine: list[list[float]] = [[], []]
    theirs: list[list[float]] = [[], []]
    for k in range(rounds + 1):
        feed.order(topics, payloads, messages, qos)
        _, cpu_s = listen(site, feed.port, messages)
        answer = feed.answer()
        feed.order(topics, payloads, messages, qos)
        sub_cpu_s = mosquitto_sub(feed.port, messages, qos)
        other = feed.answer()
        if k:  # the first turn is for the caches
            mine[0].append(answer["seconds"])
            mine[1].append(cpu_s)
            theirs[0].append(other["seconds"])
            theirs[1].append(sub_cpu_s)
    return of_times(mine[0], theirs[0]), of_times(mine[1], theirs[1])


def p5() -> Iterator[Row | Curve]:
    """Rows of P5."""
    if shutil.which("mosquitto_sub") is None or cores() < 2:
        why = "no mosquitto_sub on this machine" if cores() >= 2 else f"needs 2 cores, here is {cores()}"
        yield not_run("P5", "all", "ingest, one message a point", why)
        return
    site, feed = of_text(one_topic_a_point(default_text())), Feed()
    try:
        for qos, target in ((0, 0.8), (1, 0.7)):
            wall, cpu = against_mosquitto(site, feed, qos, MESSAGES, ROUNDS)
            what = f"one message a point at QoS {qos}, decoded and stored, nothing lost: rate over mosquitto_sub's"
            if qos:
                what += " (the daemon subscribes at QoS 0 and never meets this)"
            yield ratio_row(
                "P5", f"qos{qos}", what, inverse(cpu), target, "≥", "mosquitto_sub, same bytes, processor time of each",
                us_a_message=1e6 * cpu.a_s / MESSAGES, reference_us_a_message=1e6 * cpu.b_s / MESSAGES,
                wall_ratio=1.0 / wall.ratio,
            )  # fmt: skip
    finally:
        feed.close()


def batch_rate(points: int, seconds: float = 0.5) -> float:
    """Points a second from the bytes of batches to the store, on one core."""
    site = of_text(of_points(max(points, 150)))
    names = [p.id for p in site.table.points if not p.writable][:points]
    decoder, store = decoder_for(site), SampleStore(site.table)
    topic = next(p.topic for p in site.table.points if not p.writable)
    rng = np.random.default_rng(6)
    raws = [encode_batch(dict(zip(names, np.round(rng.uniform(0.1, 0.9, len(names)), 2).tolist(), strict=True)), 1000 * k)
            for k in range(50)]  # fmt: skip
    rates = []
    for _ in range(5):
        fresh, done, begun = SampleStore(site.table), 0, time.thread_time()
        while time.thread_time() - begun < seconds / 5 or done < 50:
            store = fresh if done % 50 == 0 else store
            store.t_source_s[:] = -np.inf if done % 50 == 0 else store.t_source_s
            store.put(decoder.decode(topic, raws[done % 50]), float(done))
            done += 1
        rates.append(done * len(names) / (time.thread_time() - begun))
    if decoder.rejects or store.rejects or not np.isfinite(store.value).sum() >= len(names):
        raise RuntimeError(f"not all was stored: {decoder.rejects} {store.rejects}")
    return float(np.median(rates))


def p6() -> Iterator[Row | Curve]:
    """Rows of P6."""
    rates = {n: batch_rate(n) for n in BATCHES}
    what = "batched ingest, JSON batches of 500 points, bytes to store, one core"
    yield Row("P6", "batch", what, rates[500] / 1e6, "M points/s", 5.0, "≥")
    yield Curve("ingest", "points in a batch", "ns a point", [float(n) for n in BATCHES],
                {"decode and store": [1e9 / rates[n] for n in BATCHES]})  # fmt: skip
    what = f"{RATE_PER_S:,} messages a second, one a point, decoded and stored: share of a core"
    if cores() < 2:
        yield not_run("P6", "rate", what, f"needs 2 cores, here is {cores()}")
        return
    site, feed = of_text(one_topic_a_point(of_points(5_000))), Feed()
    try:
        yield _paced(site, feed, what)
    finally:
        feed.close()


def _paced(site: Site, feed: Feed, what: str) -> Row:
    points = [p for p in site.table.points if not p.writable and p.topic.startswith("bench/")]
    payloads: list[Any] = [encode_single(points[0], VALUE, 1_700_000_000_000)]
    shares = []
    for _ in range(RATE_ROUNDS):
        feed.order([p.topic for p in points], payloads, RATE_PER_S * RATE_SECONDS, 0, RATE_PER_S)
        _, cpu_s = listen(site, feed.port, RATE_PER_S * RATE_SECONDS)
        feed.answer()
        shares.append(cpu_s / RATE_SECONDS)
    low, middle, high = np.percentile(shares, (0, 50, 100))
    return Row("P6", "rate", what, float(middle), "ratio", 0.15, spread=(float(low), float(high)))
