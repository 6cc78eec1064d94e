"""Does the 95 % interval of a switchback hold? Surrogate plants with a saving that is known, a thousand seeds a case.

    python -m tools.coverage_of_savings --seeds 1000 --out build/coverage.jsonl

Each seed is a line of the file as it comes; a run that was ended goes on where it stopped, a change of the estimator or of
the surrogate starts it anew. `--table` only writes what is known. The surrogate is described in docs/MEASUREMENT.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from coolctl.savings.measurement import normalise, paired, series
from coolctl.savings.measurement.paired import Interval, paired_saving
from coolctl.savings.measurement.series import Series
from coolctl.savings.switchback import Schedule

F64 = NDArray[np.float64]
ROOT = Path(__file__).resolve().parent.parent
STEP_H, BLOCK_H, WASHOUT_H = 0.5, 6, 1.0
COLUMNS = ("truth", "saving", "low", "high", "raw_low", "raw_high", "boot_low", "boot_high")
SAVINGS = (0.0, 0.05, 0.15, 0.30)


class Noise(NamedTuple):
    """What the model of weather and load does not know: AR(1) [ratio of the energy], correlation from hour to hour."""

    sd_ratio: float
    rho_h: float


NOISES = {"low": Noise(0.06, 0.92), "high": Noise(0.10, 0.95)}  # of a real chiller's hourly residuals


class Case(NamedTuple):
    days: int
    noise: str
    saving: float
    mixed: bool = False  # the policy saves in the cold and loses in the heat; on the whole it saves `saving`

    @property
    def name(self) -> str:
        return f"{self.days} d, {self.noise} noise, {self.saving:.0%}{' mixed' if self.mixed else ''}"


CASES = [Case(d, n, s) for d in (14, 28, 56) for n in NOISES for s in SAVINGS]
CASES += [Case(d, n, 0.0, True) for d in (14, 56) for n in NOISES]


def ar1(rng: np.random.Generator, count: int, sd: float, rho: float) -> F64:
    """A stationary first-order series."""
    shocks = rng.standard_normal(count) * sd * np.sqrt(1.0 - rho * rho)
    shocks[0] = rng.standard_normal() * sd
    return lfilter([1.0], [1.0, -rho], shocks)  # type: ignore[no-any-return]


class Surrogate:
    """A plant's energy step by step, with the policy, with the rules, or with both in turn."""

    def __init__(self, case: Case, rng: np.random.Generator):
        self.case = case
        self.n = n = round(case.days * 24 / STEP_H)
        t_h = np.arange(n) * STEP_H
        season, start = rng.uniform(3.0, 11.0), rng.uniform(0.0, 365.0)
        yearly = season * np.sin(2 * np.pi * (start + t_h / 24.0) / 365.0)
        daily = rng.uniform(1.0, 3.0) * np.sin(2 * np.pi * (t_h - 9.0) / 24.0)
        fronts = ar1(rng, n, 2.5, 0.985)
        self.oawb_c = rng.uniform(8.0, 17.0) + yearly + daily + fronts
        jobs = np.repeat(ar1(rng, n // 4 + 1, 0.09, 0.9), 4)[:n]  # a job of a cluster lasts hours, and ends at once
        habits = rng.uniform(0.0, 0.06) * np.sin(2 * np.pi * (t_h - 8.0) / 24.0)
        self.it_kwh = 1000.0 * STEP_H * np.clip(rng.uniform(0.45, 0.75) + jobs + habits, 0.2, 1.0)
        load = self.it_kwh / (1000.0 * STEP_H)
        # Free cooling ends softly between 6 and 16 °C, fans follow the cube of the load, machines step.
        mechanical = 0.14 / (1.0 + np.exp(-(self.oawb_c - 11.0) / 2.0)) + 0.004 * np.maximum(self.oawb_c, 0.0)
        machines = 0.006 * np.ceil(3.0 * load)
        self._clean = self.it_kwh * (0.05 + mechanical + 0.05 * load**2 + machines)
        noise = NOISES[case.noise]
        steps = ar1(rng, n, 1.0, noise.rho_h**STEP_H)
        uneven = 0.6 + 0.8 * (self.oawb_c - self.oawb_c.min()) / max(float(np.ptp(self.oawb_c)), 1e-9)  # hot days are noisier
        fouling = 1.0 + rng.uniform(0.0, 0.06) * t_h / max(t_h[-1], 1.0)
        self._common = np.maximum(1.0 + noise.sd_ratio * uneven * steps, 0.3) * fouling
        self._meter = 1.0 + 0.01 * rng.standard_normal((2, n))
        self._effect = self._saving(rng)
        self._tau_h, self._slow = rng.uniform(0.2, 0.6), 0.05

    def _saving(self, rng: np.random.Generator) -> F64:
        """What the policy saves at each step: more in the cold, nothing while it has been demoted (3 % of the time)."""
        weather = np.tanh((11.0 - self.oawb_c) / 6.0)
        demoted = ar1(rng, self.n, 1.0, 0.9) > 1.88
        weight = self._clean * self._common
        shape = (0.06 if self.case.mixed else 0.4 * self.case.saving) * weather
        free = np.where(demoted, 0.0, 1.0)
        level = (self.case.saving * weight.sum() - (shape * free * weight).sum()) / (free * weight).sum()
        return (level + shape) * free

    def energy_kwh(self, arm: F64) -> F64:
        """Metered energy with `arm` (1 = policy) in force; a change arrives by and by, a small part of it slowly."""
        fast = lag(arm, STEP_H / self._tau_h)
        slow = lag(arm, STEP_H / 2.0)
        share = (1.0 - self._slow) * fast + self._slow * slow
        noise = np.where(arm > 0.5, self._meter[1], self._meter[0])
        return self._clean * self._common * (1.0 - self._effect * share) * noise  # type: ignore[no-any-return]

    def truth(self) -> float:
        """Saving of the twin runs over the very window: all of it with the policy against all of it with the rules."""
        return 1.0 - float(self.energy_kwh(np.ones(self.n)).sum() / self.energy_kwh(np.zeros(self.n)).sum())


def lag(arm: F64, ratio: float) -> F64:
    """First-order lag sampled exactly, at rest at the start."""
    keep = float(np.exp(-ratio))
    moved = lfilter([1.0 - keep], [1.0, -keep], arm - arm[0]) + arm[0]
    # The mean over a step lies between the states at its ends.
    before = np.concatenate([[arm[0]], moved[:-1]])
    return arm + (before - arm) * (1.0 - keep) / ratio  # type: ignore[no-any-return]


def switchback(plant: Surrogate, seed: int) -> Series:
    """The test as the daemon would have run it."""
    case, n = plant.case, plant.n
    schedule = Schedule(seed, case.name, 0.0, 3600.0 * BLOCK_H, case.days * 24 // BLOCK_H)
    hours = np.arange(n, dtype=np.float64) * STEP_H
    block = (hours // BLOCK_H).astype(int)
    arms = np.array([schedule.arm_of(b) for b in range(schedule.blocks)], dtype=float)[block]
    pairs = np.array([schedule.pair_of(b) for b in range(schedule.blocks)], dtype=float)[block]
    return Series(STEP_H, plant.energy_kwh(arms), plant.it_kwh, plant.oawb_c, block.astype(float), pairs, arms, hours % BLOCK_H)


def play(case: Case, seed: int, checks: bool = False) -> dict[str, float]:
    """One seed of one case: the truth, and what the estimator says."""
    digest = hashlib.sha256(f"{case.name} {seed}".encode()).digest()
    plant = Surrogate(case, np.random.default_rng(int.from_bytes(digest[:8], "little")))
    r = paired_saving(switchback(plant, seed), WASHOUT_H, BLOCK_H, seed, checks)
    row = {"seed": seed, "truth": plant.truth(), "saving": r.t.saving, "low": r.t.low, "high": r.t.high}
    row |= {"raw_low": r.raw.low, "raw_high": r.raw.high, "cv": r.fit.cv_rmse}
    if checks:
        row |= {"boot_low": r.bootstrap_t.low, "boot_high": r.bootstrap_t.high, "p": r.p_randomisation}
    return row


class Summary(NamedTuple):
    """Of one case. `called` counts intervals wholly above nought."""

    seeds: int
    coverage: float
    boot_coverage: float
    raw_coverage: float
    called: int
    half_width: float
    bias: float


def summary(rows: list[dict[str, float]]) -> Summary:
    """Coverage and power over the seeds of a case."""
    get = {k: np.array([r.get(k, np.nan) for r in rows]) for k in COLUMNS}

    def covered(low: str, high: str) -> float:
        known = np.isfinite(get[low])
        inside = (get[low] <= get["truth"]) & (get["truth"] <= get[high])
        return float(inside[known].mean()) if known.any() else np.nan

    return Summary(
        len(rows), covered("low", "high"), covered("boot_low", "boot_high"), covered("raw_low", "raw_high"),
        int((get["low"] > 0.0).sum()), float(np.mean(get["high"] - get["low"]) / 2.0),
        float(np.mean(get["saving"] - get["truth"])),
    )  # fmt: skip


def source_hash() -> str:
    """Of the estimator, the schedule and the surrogate."""
    files = [Path(m.__file__ or "") for m in (normalise, paired, series, sys.modules[Interval.__module__])]
    files += [Path(__file__), ROOT / "coolctl" / "savings" / "switchback.py"]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def known(path: Path, key: str) -> dict[str, dict[int, dict[str, float]]]:
    """Lines of an earlier run of the same code, by case and seed; a torn last line is left out."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        if row.pop("source", "") == key:
            found.setdefault(row.pop("case"), {})[int(row["seed"])] = row
    return found


def run(path: Path, seeds: int, cases: list[Case]) -> dict[str, dict[int, dict[str, float]]]:
    """Play what is missing."""
    key = source_hash()
    have = known(path, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        for case in cases:
            mine = have.setdefault(case.name, {})
            started = time.monotonic()
            for seed in range(seeds):
                if seed not in mine:
                    mine[seed] = play(case, seed, checks=True)
                    stream.write(json.dumps({"source": key, "case": case.name, **mine[seed]}) + "\n")
            stream.flush()
            print(f"{case.name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return have


def table(have: dict[str, dict[int, dict[str, float]]], cases: list[Case]) -> Iterator[str]:
    """Lines of the page's table."""
    yield "| case | seeds | t covers | bootstrap-t covers | raw totals cover | called a saving | ± points | bias, points |"
    yield "|---|---|---|---|---|---|---|---|"
    for case in cases:
        if rows := list(have.get(case.name, {}).values()):
            s = summary(rows)
            yield (
                f"| {case.name} | {s.seeds} | {s.coverage:.1%} | {s.boot_coverage:.1%} | {s.raw_coverage:.1%} | {s.called} "
                f"| {100 * s.half_width:.1f} | {100 * s.bias:+.2f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "coverage.jsonl")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--table", action="store_true", help="play nothing")
    args = parser.parse_args()
    cases = [c for c in CASES if args.only in c.name]
    have = known(args.out, source_hash()) if args.table else run(args.out, args.seeds, cases)
    print("\n".join(table(have, cases)))


if __name__ == "__main__":
    main()
