"""Does `replay --what-if` hold its interval? Whole plants under rules and under the policy, in ticks short enough for fans.

    python -m tools.coverage_of_whatif --seeds 16 --out build/whatif.jsonl

Seeds are those of `coverage_of_plants`: a climate, a season, a load, a plant that is not the site file's. Each is run twice from
the same start, by the rules and by the policy; the recording of the rules is what the policy is asked about, the other run is
the truth. At ticks of a minute the true fans are a minute late at each step of the load, which the model is not: hence ten
seconds, and days instead of weeks. A run that was ended goes on where it stopped.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from coolctl.edge.onnx_policy import load_policy
from coolctl.savings.measurement.whatif import Wanted, difference, tell
from coolctl.trace import open_recording
from tools.coverage_of_plants import ROOT, draw, go_on, run, source_hash

TICK_S, DAYS = 10.0, 3
STUDIES = {"": "cooling and servers' fans", "cooling_": "cooling alone"}


def play(seed: int, days: int) -> dict[str, Any]:
    """Truths of a seed, and what is said of the recording of its rules."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "fallback"
        folder.mkdir()
        s = draw(seed, Path(name))
        auto = run(s, "auto", None, 24.0 * days, TICK_S)
        rules = run(s, "fallback", folder, 24.0 * days, TICK_S)
        recording, original, site = open_recording(str(folder))
        wanted = Wanted(site, load_policy("default"), "", "auto")
        said = difference(tell(original, recording, wanted), wanted)
    row: dict[str, Any] = s.label | {"days": days}
    row["truth"] = 1.0 - (auto.kwh + auto.server_fans_kwh) / (rules.kwh + rules.server_fans_kwh)
    row["cooling_truth"] = 1.0 - auto.kwh / rules.kwh
    for study in STUDIES:
        for word in ("low_", "", "high_"):
            row[f"{study}said_{word}".rstrip("_")] = said[f"{study}saved_{word}ratio"]
    return row


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of the page's table."""
    yield "| saving of | seeds | covered | true saving, % | ± points | bias, points |"
    yield "|---|---|---|---|---|---|"
    for study, name in STUDIES.items():
        truth, low, said, high = (
            np.array([r[f"{study}{k}"] for r in rows]) for k in ("truth", "said_low", "said", "said_high")
        )  # fmt: skip
        covered = int(((low <= truth) & (truth <= high)).sum())
        yield (
            f"| {name} | {len(rows)} | {covered} | {100 * truth.min():.1f} to {100 * truth.max():.1f} "
            f"| {50 * (high - low).mean():.1f} | {100 * (said - truth).mean():+.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "whatif.jsonl")
    args = parser.parse_args()
    key = source_hash("coolctl/savings/measurement")
    have = go_on(args.out, key, range(args.seeds), lambda seed: play(seed, args.days))
    print("\n".join(table(list(have.values()))))


if __name__ == "__main__":
    main()
