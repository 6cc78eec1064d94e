"""Do the intervals hold on whole plants? Twin runs of the simulated plant, the controller and the recorder, seed by seed.

    python -m tools.coverage_of_plants --seeds 100 --keep build/plants --out build/plants.jsonl

Each seed is a climate, a season, a load and a plant whose machines and sensors are not those of the site file. It is run
four times from the same start: all of it with the policy, all of it with the rules, a switchback, and in shadow beside the
plant's own control. The recordings of the last three are what `coolctl report` gets, and that of the rules is what `replay
--what-if` is asked about with the policy; the twin runs are the truth. A run that was ended goes on at the seed where it
stopped; `--estimate` reads the recordings kept anew, `--table` only writes what is known.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coolctl.control.decision import TERMS
from coolctl.control.tick import IN_PROCESS
from coolctl.controller import Controller
from coolctl.edge.onnx_policy import load_policy
from coolctl.edge.recorder import Recorder
from coolctl.savings.measurement.findings import saving_of
from coolctl.savings.measurement.gather import gather
from coolctl.savings.measurement.watched import watched
from coolctl.savings.measurement.whatif import Wanted, difference, tell
from coolctl.savings.switchback import Assigned, schedule_of
from coolctl.site import Site, load_site
from coolctl.trace import columns, header, open_recording, pack
from coolctl.web.heard import corrected_baseline_w
from sim_plant.load import synthetic
from sim_plant.plant import SimPlant
from sim_plant.weather import HOURS, Weather, from_statistics

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "config" / "sites" / "hall1mw.toml"
# Truth and recordings are of the same ticks, so that what a longer tick does to the energies is in both.
DAYS, BLOCK_H, TICK_S, MISMATCH = 8, 6, 60.0, 0.15
STATIONS = ("CHN_Guiyang", "CHN_Chongqing", "CHN_Lanzhou", "USA_CO_Golden_TMY3", "USA_VA_Sterling_TMY3", "CHN_Beijing",
            "CHN_Shanghai", "DEU_Frankfurt_TMYx2009-2023", "CHN_XiAn", "CHN_Chengdu")  # fmt: skip
ARMS = ("auto", "fallback", "switchback", "shadow")
KEPT = ("fallback", "switchback", "shadow")
POWERS = ("measured_w", "baseline_w", "model_w")
POWER_TERMS = [TERMS.index(name) for name in POWERS]


class Seeded(NamedTuple):
    """Everything that a seed stands for."""

    seed: int
    site: Site
    weather: Weather
    start_hour: int

    @property
    def label(self) -> dict[str, Any]:
        return {"seed": self.seed, "station": self.weather.name, "start_hour": self.start_hour}


def draw(seed: int, folder: Path) -> Seeded:
    """The site of a seed, with its climate's altitude and design wet bulb, written into `folder` and read from there."""
    rng = np.random.default_rng([seed, 77])
    weather = from_statistics(STATIONS[seed % len(STATIONS)], seed)
    start = int(rng.integers(0, HOURS))
    altitude_m = max(round(44330.0 * (1.0 - (weather.pressure_mean_pa / 101325.0) ** 0.1903)), 0)
    test = f"[switchback]\nenabled = true\nblock_h = {BLOCK_H}\ndays = {DAYS}\nseed = {seed}\n\n[weather]"
    text = SITE.read_text(encoding="utf-8").replace("[weather]", test, 1)
    text = text.replace("altitude_m = 1223", f"altitude_m = {altitude_m}")
    text = text.replace("wetbulb_design_c = 24.0", f"wetbulb_design_c = {math.ceil(np.percentile(weather.oawb_c, 99.6))}.0")
    path = folder / f"plant{seed}.toml"
    path.write_text(text, encoding="utf-8")
    return Seeded(seed, load_site(path), weather.starting(start), start)


class Run(NamedTuple):
    """Energies over the window [kWh]: true, of all cooling meters and of server fans beyond idle; and what the page said, tick
    for tick, that the rules would have taken."""

    kwh: float
    server_fans_kwh: float
    rules_said_kwh: float


def run(s: Seeded, arm: str, folder: Path | None, hours: float, tick_s: float = TICK_S) -> Run:
    """One run of a seed in ticks of `tick_s` [s], recorded into `folder`."""
    site, schedule = s.site, schedule_of(s.site)
    assert schedule is not None
    plant = SimPlant(site, s.weather, synthetic(s.seed), coarse=True, mismatch=MISMATCH, mismatch_seed=s.seed)
    policy = load_policy("default")
    controller = Controller(site, policy, granted(arm, schedule.at(0.0)))
    recorder = None
    if folder is not None:
        head = header(site, policy.model_hash, "default", granted(arm, schedule.at(0.0)))
        recorder = Recorder(folder, arm, columns(site), head, rotate_s=math.inf, block_rows=1440)
    readings: Any = plant.reset(s.seed)
    energy_j, fans_j, said_j, said_w, before = 0.0, 0.0, 0.0, 0.0, granted(arm, schedule.at(0.0))
    for k in range(round(hours * 3600.0 / tick_s)):
        now_s = k * tick_s
        assigned = schedule.at(now_s)
        wanted = granted(arm, assigned)
        anew, before = wanted if wanted != before else "", wanted
        if anew:
            controller.grant(anew, "the block's arm")
        controller.store.put_readings(readings, now_s)
        snap = controller.store.snapshot(now_s)
        decision = controller.tick_snapshot(snap)
        if recorder is not None:
            recorder.append(pack(snap, IN_PROCESS, anew, decision, now_s, shown(arm, assigned)))
        readings = plant.step(decision.setpoints, tick_s)
        t = plant.truth
        energy_j += (t.chiller_w + t.tower_w + t.chw_pump_w + t.cw_pump_w + t.crah_fan_w) * tick_s
        fans_j += (t.server_fan_w - t.server_fan_idle_w) * tick_s
        power = dict(zip(POWERS, decision.term_values[POWER_TERMS].tolist(), strict=True))
        said_w = corrected_baseline_w(power) or said_w  # nothing is said in the first moments
        said_j += said_w * tick_s
    if recorder is not None:
        recorder.close()
        if recorder.failed:
            raise OSError(recorder.failed)
    return Run(energy_j / 3.6e6, fans_j / 3.6e6, said_j / 3.6e6)


def granted(arm: str, assigned: Assigned) -> str:
    """What is granted in a run at a place of the schedule."""
    return ("fallback", "auto")[assigned.arm] if arm == "switchback" else arm


def shown(arm: str, assigned: Assigned) -> Assigned:
    """The arm that a row carries: the run with the rules alone stands for a site of which the true saving is nought."""
    return Assigned() if arm == "shadow" else assigned


def play(seed: int, keep: Path, hours: float = 24.0 * DAYS) -> dict[str, Any]:
    """The four runs of a seed: true energies [kWh], recordings under `keep`."""
    folder = keep / f"{seed:04d}"
    folder.mkdir(parents=True, exist_ok=True)
    s = draw(seed, folder)
    row = s.label
    for arm in ARMS:
        began = time.process_time()
        place = folder / arm if arm in KEPT else None
        if place is not None:
            place.mkdir(exist_ok=True)
            for old in place.iterdir():
                old.unlink()
        for name, value in run(s, arm, place, hours)._asdict().items():
            row[f"{arm}_{name}"] = round(value, 4)
        row[f"{arm}_cpu_s"] = round(time.process_time() - began, 1)
    return row


def truths(row: dict[str, Any]) -> dict[str, float]:
    """True saving of each study, from the twin runs."""
    auto = row["auto_kwh"]
    every = {arm: row[f"{arm}_kwh"] + row[f"{arm}_server_fans_kwh"] for arm in ("auto", "fallback")}
    return {"switchback": 1.0 - auto / row["fallback_kwh"], "fallback": 0.0, "shadow": 1.0 - auto / row["shadow_kwh"],
            "what_if": 1.0 - every["auto"] / every["fallback"]}  # fmt: skip


def estimates(row: dict[str, Any], keep: Path) -> dict[str, Any]:
    """What the report says of a seed's recordings: saving and 95 % interval of each study, beside its truth."""
    found: dict[str, Any] = {**row}
    for study, truth in truths(row).items():
        if study == "what_if":
            found[study] = {"truth": truth, **otherwise(keep / f"{row['seed']:04d}" / "fallback")}
            continue
        place = str(keep / f"{row['seed']:04d}" / study)
        group = gather([place])[0]
        if study == "shadow":
            w = watched([place], group.site.config_hash)
            low, middle, high = (w.saving.low, w.saving.saving, w.saving.high) if w else (math.nan,) * 3
            found["shadow_nmbe"] = w.model["hourly_nmbe_ratio"] if w else None
        else:
            s = saving_of(group)
            known = s["method"] == "switchback"
            low, middle, high = (s[k] if known else math.nan for k in ("low_ratio", "ratio", "high_ratio"))
        found[study] = {"truth": truth, "low": low, "saving": middle, "high": high}
    return found


def otherwise(place: Path) -> dict[str, float]:
    """What `replay --what-if` says that the policy would have saved of a recording of the rules."""
    recording, original, site = open_recording(str(place))
    wanted = Wanted(site, load_policy("default"), "", "auto")
    d = difference(tell(original, recording, wanted), wanted)
    return {"low": d["saved_low_ratio"], "saving": d["saved_ratio"], "high": d["saved_high_ratio"]}


def source_hash(*more: str) -> str:
    """Of everything that makes the runs: controller, model, plant, policy, what is drawn here, and `more` folders."""
    folders = ("coolctl/control", "coolctl/thermal", "sim_plant", *more)
    files = [f for name in folders for f in sorted((ROOT / name).rglob("*.py"))]
    digest = hashlib.sha256()
    for path in (*files, ROOT / "models" / "default" / "policy.onnx", SITE):
        digest.update(path.read_bytes())
    digest.update(repr((DAYS, BLOCK_H, TICK_S, MISMATCH, STATIONS)).encode())
    return digest.hexdigest()[:16]


def known(path: Path, key: str) -> dict[int, dict[str, Any]]:
    """Seeds that were played with the same code; a torn last line is left out. `key` empty: whatever code it was."""
    found: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not key or row.get("source") == key:
            found[int(row["seed"])] = row
    return found


def go_on(path: Path, key: str, seeds: Iterable[int], play_one: Callable[[int], dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """All rows of the code `key`: those that `path` has, and the `seeds` that it lacks, played now and written as they come."""
    have = known(path, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in (s for s in seeds if s not in have):
        began = time.process_time()
        have[seed] = play_one(seed) | {"source": key}
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(have[seed]) + "\n")
        print(f"seed {seed}: {time.process_time() - began:.0f} s of CPU", file=sys.stderr, flush=True)
    return have


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of the page's table."""
    yield "| study | seeds | covered | called a saving | true saving, % | ± points | bias, points |"
    yield "|---|---|---|---|---|---|---|"
    names = {"switchback": "switchback, policy and rules", "fallback": "the same schedule, rules in both arms",
             "shadow": "forecast from shadow", "what_if": "what if: the policy, from a record of the rules"}  # fmt: skip
    for study, name in names.items():
        of = [r[study] for r in rows if study in r and math.isfinite(r[study]["low"])]
        if not of:
            continue
        truth, low, middle, high = (np.array([r[k] for r in of]) for k in ("truth", "low", "saving", "high"))
        covered = int(((low <= truth) & (truth <= high)).sum())
        yield (
            f"| {name} | {len(of)} | {covered} | {int((low > 0.0).sum())} "
            f"| {100 * truth.min():.1f} to {100 * truth.max():.1f} | {50 * (high - low).mean():.1f} "
            f"| {100 * (middle - truth).mean():+.2f} |"
        )
    of = [r for r in rows if math.isfinite(r.get("auto_rules_said_kwh", math.nan))]
    if of:
        off = [r["auto_rules_said_kwh"] / r["fallback_kwh"] - 1.0 for r in of]
        yield ""
        yield (
            f"What the page said that the rules would take, against what they took: {100 * np.mean(off):+.1f} % in the mean of "
            f"{len(of)} seeds, {100 * min(off):+.1f} to {100 * max(off):+.1f} %."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "plants.jsonl")
    parser.add_argument("--keep", type=Path, help="recordings stay here, some 10 MB a seed (default: none is kept)")
    parser.add_argument("--estimate", action="store_true", help="play nothing, read the recordings kept anew")
    parser.add_argument("--table", action="store_true", help="play nothing, read nothing")
    args = parser.parse_args()
    if args.estimate:
        print("\n".join(table([estimates(row, args.keep) for row in known(args.out, "").values()])))
        return

    def play_one(seed: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as spare:
            keep = args.keep or Path(spare)
            return estimates(play(seed, keep), keep)

    seeds = () if args.table else range(args.seeds)
    print("\n".join(table(list(go_on(args.out, source_hash(), seeds, play_one).values()))))


if __name__ == "__main__":
    main()
