"""Shared fixtures: the shipped sites, and a closed loop of controller, audit and plant."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import pytest

from coolctl.audit import Audit
from coolctl.controller import Controller
from coolctl.edge.onnx_policy import OnnxPolicy, load_policy
from coolctl.site import Site, load_site
from sim_plant.load import Load, constant
from sim_plant.plant import SimPlant
from sim_plant.weather import from_statistics

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "config" / "sites" / "hall1mw.toml"
TWO_HALLS = ROOT / "config" / "sites" / "two_halls_no_economizer.toml"


@pytest.fixture(scope="session")
def site() -> Site:
    return load_site(SITE)


@pytest.fixture(scope="session")
def two_halls() -> Site:
    return load_site(TWO_HALLS)


@pytest.fixture(scope="session")
def policy() -> OnnxPolicy:
    return load_policy("default")


@pytest.fixture
def edited_site(tmp_path: Path) -> Callable[..., Path]:
    """A copy of the default site file with replacements, in a folder of its own."""

    def edit(*pairs: tuple[str, str], source: Path = SITE) -> Path:
        text = source.read_text()
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new, 1)
        path = tmp_path / "site.toml"
        path.write_text(text)
        return path

    return edit


class Loop:
    """Controller and plant in one process on virtual time, every tick audited."""

    def __init__(
        self, site: Site, policy: object, *, load: Load | None = None, start: str = "07-15T06", mode: str = "auto", seed: int = 1
    ):
        self.plant = SimPlant(site, from_statistics(site.file.weather.station).starting(start), load or constant(0.6))
        self.readings = self.plant.reset(seed)
        self.controller = Controller(site, policy, mode)  # type: ignore[arg-type]
        self.audit = Audit(site, self.controller.control)
        self.decision = None
        self.hottest_c = 0.0
        self.k = 0
        self.plant_fault = False

    def run(self, seconds: int, change: Callable[[dict[str, float]], dict[str, float]] | None = None) -> Loop:
        """Step for `seconds`; `change` may alter the readings on their way."""
        for _ in range(seconds):
            seen = change(dict(self.readings)) if change else self.readings
            now_s = float(self.k)
            self.controller.store.put_readings(seen, now_s)
            snap = self.controller.store.snapshot(now_s)
            self.decision = self.controller.tick_snapshot(snap)
            t = self.plant.truth
            hottest = float(t.rack_inlet_c.max())
            parts = (t.chiller_w, t.tower_w, t.chw_pump_w, t.cw_pump_w, t.crah_fan_w)
            self.audit.look(self.decision, snap, inlet_c=hottest, plant_fault=self.plant_fault, powers_w=(sum(parts), *parts))
            readings = self.plant.step(self.decision.setpoints, 1.0)
            assert readings is not None
            self.readings = readings
            self.hottest_c = max(self.hottest_c, hottest)
            self.k += 1
        return self


@pytest.fixture
def loop() -> type[Loop]:
    return Loop
