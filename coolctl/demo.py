"""`coolctl demo`: a real broker, the simulated plant, the gateway, the daemon and the page; then the savings table.

The plant runs in this process and is master of time; gateway, daemon and page are processes of their own. The run over
the broker is the table's `ai` row; the baselines' rows come from the same plant, seed and initial state in process.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from coolctl.children import environment_of_child
from coolctl.cli_args import not_negative, output, positive
from coolctl.cli_evaluate import make_plant, write_ledger
from coolctl.controller import RuleController
from coolctl.edge.broker import Broker, free_port
from coolctl.edge.onnx_policy import load_policy
from coolctl.errors import EXIT_FAILED, EXIT_OK, ConfigError, Fault
from coolctl.paths import shared_folder
from coolctl.savings.evaluate import SKIP_S, Auditor, Ledger, run
from coolctl.savings.ledger import Account
from coolctl.site import Site, load_site

BASELINES = ("b1", "b2lite", "b2")
START_WAIT_S = 60.0
START = "04-10T06"  # the wet bulb stands near the year's median: neither the best hours nor the worst
PROGRESS_EVERY_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", default="", metavar="FILE", help="default: the shipped 1 MW hall")
    parser.add_argument("--duration", type=positive, default=120.0, metavar="S", help="wall seconds (default 120)")
    parser.add_argument(
        "--plant-hours", type=not_negative, default=0.0, metavar="H", help="end after so many plant hours instead"
    )
    parser.add_argument(
        "--speed", type=not_negative, default=60.0, help="plant seconds per wall second, 0 = unpaced (default 60)"
    )
    parser.add_argument("--start", default=START, metavar="MM-DDTHH", help=f"default {START}, near the year's median wet bulb")
    parser.add_argument("--load", default="", metavar="FILE[:COLUMN|sum]")
    parser.add_argument("--load-scale", choices=("peak", "mean"), default="peak")
    parser.add_argument("--weather", default="", metavar="EPW|CSV|STATION")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-web", action="store_true", help="without the live page")
    parser.add_argument("--port", type=int, default=None, help="the page's port (default: the site file's, else a free one)")
    parser.add_argument("--record", default="", metavar="DIR", help="keep the recording here")
    parser.add_argument("--json", type=output, metavar="FILE|-", help="write the ledger")


def main(args: argparse.Namespace) -> int:
    site = load_site(args.site or shared_folder("config") / "sites" / "hall1mw.toml")
    if not site.file.site.simulated:
        key = "site.simulated"
        raise ConfigError([Fault(site.path, None, key, "a demo needs `simulated = true`: its plant's clock drives the loop")])
    demo = Demo(site, args)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: demo.interrupt())
    try:
        return demo.run()
    finally:
        demo.close()


def say(text: str) -> None:
    """A line of progress; standard error, so that `--json -` stays clean."""
    print(text, file=sys.stderr, flush=True)


class Demo:
    """Starts the processes, runs the plant, and makes sure that nothing is left behind."""

    def __init__(self, site: Site, args: argparse.Namespace):
        self.site, self.args = site, args
        self.plant = make_plant(site, args)  # first of all: a wrong load or weather file is said before anything runs
        self.processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.broker: Broker | None = None
        self.server: Any = None
        self.interrupted = False
        self.account, self.auditor = Account(site), Auditor(site)
        self._folder = tempfile.TemporaryDirectory(prefix="coolctl-demo-")
        self._said_s = 0.0
        self._begun_s = 0.0

    def interrupt(self) -> None:
        """Ctrl-C: stop after the step in hand."""
        self.interrupted = True
        if self.server is not None:
            self.server.stop()

    def run(self) -> int:
        """The whole demo; the exit code."""
        self.broker = Broker()
        address = f"127.0.0.1:{self.broker.port}"
        say(f"[1/4] broker: {self.broker.kind} on {address}")
        self._spawn("gateway", "gateway", "--state", self._folder.name, "--metrics-port", "-1", address=address)
        record = self.args.record or str(Path(self._folder.name) / "recording")
        self._spawn("controller", "run", "--state", self._folder.name, "--record", record, "--metrics-port", "0", address=address)
        if not self.args.no_web:
            port = self._page_port()
            self._spawn("page", "web", "--port", str(port), address=address)
            say(f"      live page: http://127.0.0.1:{port}/")
        say("[2/4] gateway and controller started; waiting for the first lease")
        if not self._run_plant(address):
            return EXIT_FAILED
        seconds = self.server.plant.t_s
        self._stop_processes()
        if self.interrupted and seconds < SKIP_S + 60.0:
            say("interrupted before there was anything to count")
            return EXIT_OK
        if seconds < SKIP_S + 60.0:
            say(f"only {seconds:.0f} plant seconds: the first {SKIP_S:.0f} are not counted, so there is no table")
            return EXIT_OK
        say(f"[4/4] the same {seconds / 3600.0:.2f} plant hours under the baselines, in process")
        self._table(seconds)
        return EXIT_OK

    def _page_port(self) -> int:
        if self.args.port is not None:
            return int(self.args.port) or free_port()
        import socket

        with socket.socket() as probe:
            try:
                probe.bind((self.site.file.web.host, self.site.file.web.port))
                return self.site.file.web.port
            except OSError:
                return free_port()

    def _spawn(self, name: str, verb: str, *more: str, address: str) -> None:
        command = [sys.executable, "-m", "coolctl", verb, "--site", self.site.path, "--broker", address, *more]
        # A session of its own: Ctrl-C reaches this process only, which then ends the others in order.
        log = (Path(self._folder.name) / f"{name}.log").open("wb")
        process = subprocess.Popen(
            command, env=environment_of_child(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        self.processes.append((name, process))

    def _run_plant(self, address: str) -> bool:
        from sim_plant.mqtt_plant import PlantServer, RunSettings

        steps = int(self.args.plant_hours * 3600.0) if self.args.plant_hours else 1 << 62
        wall_s = float("inf") if self.args.plant_hours else self.args.duration
        settings = RunSettings(address, self.args.speed, wall_s, steps, START_WAIT_S)
        self.server = PlantServer(self.site, self.plant, self.args.seed, settings)
        self.server.run(self._each)
        if not self.server.leased_steps and not self.interrupted:
            say("the controller never leased a setpoint:")
            for name, _ in self.processes:
                say(f"--- {name}\n{self._log(name)}")
            return False
        return True

    def _each(self, server: Any) -> None:
        t, now_s = server.plant.truth, server.plant.t_s - 1.0
        if not self._begun_s:
            self._begun_s = time.monotonic()
            say("[3/4] the plant is running")
        if now_s >= SKIP_S:
            sat_c, ride_s = self.auditor.look(server.readings, now_s)
            self.account.add(t, 1.0, fallback=t.local, sat_min_c=sat_c, ride_through_s=ride_s)
        wall_s = time.monotonic()
        if wall_s - self._said_s >= PROGRESS_EVERY_S:
            self._said_s = wall_s
            cooling_w = t.chiller_w + t.tower_w + t.chw_pump_w + t.cw_pump_w + t.crah_fan_w
            held = "plant's own control" if t.local else "leased"
            rate = server.k / max(wall_s - self._begun_s, 1e-9)
            say(
                f"      plant {now_s / 3600.0:6.2f} h  {rate:4.0f}x  IT {t.it_w / 1e3:5.0f} kW  "
                f"cooling {cooling_w / 1e3:5.1f} kW  hottest rack {t.rack_inlet_c.max():5.2f} °C  wet bulb {t.oawb_c:4.1f} °C  "
                f"{held}"
            )

    def _table(self, seconds: float) -> None:
        accounts = {"ai": self.account}
        hours = seconds / 3600.0
        plant = None
        for name in BASELINES:
            plant = make_plant(self.site, self.args)
            accounts[name] = run(self.site, plant, RuleController(self.site, name), hours, self.args.seed)
        assert plant is not None
        labels = {
            "weather": plant.weather.name,
            "load": plant.load.name,
            "model_hash": load_policy(self.site.file.control.policy).model_hash,
        }
        ordered = {name: accounts[name] for name in (*BASELINES, "ai")}
        ledger = Ledger(self.site, round(hours, 4), self.args.seed, ordered, labels).as_dict()
        share = self.server.leased_steps / max(self.server.k, 1)
        ledger["demo"] = {
            "leased_ratio": round(share, 4),
            "missed_steps": self.server.missed,
            "broker": self.broker.kind if self.broker else "",
        }
        write_ledger(ledger, self.args.json)

    def _log(self, name: str) -> str:
        path = Path(self._folder.name) / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace")[-2000:] if path.exists() else ""

    def _stop_processes(self) -> None:
        for name, process in reversed(self.processes):
            if process.poll() not in (None, 0, -signal.SIGTERM):
                say(f"{name} ended by itself with {process.returncode}:\n{self._log(name)}")
            process.terminate()
        for _, process in self.processes:
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def close(self) -> None:
        """Whatever happened: no process and no folder stays behind."""
        self._stop_processes()
        if self.broker is not None:
            self.broker.close()
        self._folder.cleanup()
