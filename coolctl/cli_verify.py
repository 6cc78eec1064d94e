"""`coolctl verify`: is this policy what its passport says, does it answer soundly everywhere, and does it fit a site?"""

from __future__ import annotations

import argparse
import itertools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.cli_args import emit_json, output
from coolctl.control.objective import Z_CHWST, Z_CW_FLOW, Z_CWST, Z_HALL
from coolctl.control.policy import F32, FEATURES, HIGH, LOW, decode, describe, outside
from coolctl.control.refine import AIRFLOW_MAX
from coolctl.edge.onnx_policy import OnnxPolicy, load_policy
from coolctl.errors import EXIT_CHECK_FAILED, EXIT_OK, ModelError
from coolctl.site import Site, load_site
from coolctl.thermal.params import hall_array, plant_params
from coolctl.thermal.room import HallParams

F64 = NDArray[np.float64]

DRAWN, CORNERS, SINGLES = 8_192, 2_048, 1_024
BATCH = 256
PARITY_MAX = 1e-5  # of an output's size, or of one
OUTPUT_MAX = 1e3
# Load, wet bulb, depression, inlet limit, water cap: the envelope that a site lives in, from end to end of what is trained.
GRID = {"load_ratio": 8, "oawb_c": 8, "wetbulb_depression_k": 3, "inlet_limit_c": 3, "chwst_cap_c": 3}
PLANT_FROM = next(k for k, f in enumerate(FEATURES) if f.name == "economizer_present")


class Check(NamedTuple):
    """One check: its name, whether it holds, and what was seen."""

    name: str
    ok: bool
    saw: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder, file or name under models/")
    parser.add_argument("--site", default="", metavar="FILE", help="does it fit this site?")
    parser.add_argument("--json", type=output, metavar="FILE|-")


def main(args: argparse.Namespace) -> int:
    checks = verify(args.model, load_site(args.site) if args.site else None)
    if emit_json([c._asdict() for c in checks], args.json):
        for c in checks:
            print(f"{'ok' if c.ok else 'FAILED':<8}{c.name:<12}{c.saw}")
    return EXIT_OK if all(c.ok for c in checks) else EXIT_CHECK_FAILED


def verify(model: str, site: Site | None) -> list[Check]:
    """Every check; a policy that is not admitted gets no others."""
    try:
        policy = load_policy(model)
    except ModelError as error:
        return [Check("admission", False, str(error))]
    checks = [
        Check("admission", True, f"sha256 {policy.model_hash[:12]}…, graph and golden vectors are the passport's"),
        batches(policy),
        envelope(policy, site),
    ]
    return [*checks, fit(policy, site)] if site is not None else checks


def states() -> F32:
    """Feature rows all over the trained range, and at corners of it."""
    rng = np.random.default_rng(2026)
    drawn = rng.uniform(LOW, HIGH, (DRAWN, LOW.size))
    corners = np.where(rng.random((CORNERS, LOW.size)) < 0.5, LOW, HIGH)
    return np.concatenate([drawn, corners]).astype(np.float32)


def batches(policy: OnnxPolicy) -> Check:
    """The same answers at batch 1, 4 and 256, all of them numbers of sane size."""
    x = states()
    y = np.concatenate([policy.infer(x[k : k + BATCH]) for k in range(0, len(x), BATCH)])
    fours = np.concatenate([policy.infer(x[k : k + 4]) for k in range(0, len(x), 4)])
    ones = np.concatenate([policy.infer(x[k : k + 1]) for k in range(len(x) - SINGLES, len(x))])
    if not (np.isfinite(y).all() and np.abs(y).max() <= OUTPUT_MAX):
        return Check("answers", False, f"of {len(x):,} states some give no number, or one beyond {OUTPUT_MAX:g}")
    size = np.maximum(np.abs(y), 1.0)
    apart = max(float((np.abs(fours - y) / size).max()), float((np.abs(ones - y[-SINGLES:]) / size[-SINGLES:]).max()))
    saw = f"{len(x):,} states, {CORNERS:,} of them corners: at most {np.abs(y).max():.0f};"
    saw += f" batches of 1, 4 and 256 {apart:.1e} apart"
    return Check("answers", apart <= PARITY_MAX, saw)


def grid(plant: tuple[float, ...] | None) -> F32:
    """Rows over `GRID`, the rest in the middle, the plant as `describe` gave it."""
    row = 0.5 * (LOW + HIGH)
    if plant is not None:
        row[PLANT_FROM:] = plant
    names = [f.name for f in FEATURES]
    axes = [np.linspace(FEATURES[names.index(n)].low, FEATURES[names.index(n)].high, count) for n, count in GRID.items()]
    rows = np.tile(row, (int(np.prod(list(GRID.values()))), 1))
    rows[:, [names.index(n) for n in GRID]] = list(itertools.product(*axes))
    return rows.astype(np.float32)


def envelope(policy: OnnxPolicy, site: Site | None) -> Check:
    """Proposals over the envelope: of a sane kind everywhere, and with a site how many its limits would have to move."""
    plant = describe(hall_array(site), plant_params(site)) if site is not None else None
    x = grid(plant)
    y = np.concatenate([policy.infer(x[k : k + BATCH]) for k in range(0, len(x), BATCH)])
    if not np.isfinite(y).all():
        return Check("envelope", False, "a state of the envelope gives no number")
    if site is None:
        spans = ", ".join(
            f"{n} {lo:.1f} … {hi:.1f}" for n, lo, hi in zip(policy.passport["outputs"], y.min(0), y.max(0), strict=True)
        )
        return Check("envelope", True, f"{len(x):,} states: {spans}")
    beyond, worst = crossings(x, y, site)
    name = max(worst, key=lambda n: worst[n])
    saw = f"{len(x):,} states: the site's limits move {100 * beyond:.1f} % of the proposals; most of all {name},"
    saw += f" by {worst[name]:.2f} of its span"
    return Check("envelope", True, saw)


def crossings(x: F32, y: F32, site: Site) -> tuple[float, dict[str, float]]:
    """Share of proposals with a setpoint beyond the site's limits, and by how much at most, in parts of each limit's span."""
    lim, p, halls = site.file.limits, plant_params(site), hall_array(site)
    spans = {
        "chilled water": (Z_CHWST, lim.chwst_sp_min_c, lim.chwst_sp_max_c),
        "tower water": (Z_CWST, lim.cwst_sp_min_c, lim.cwst_sp_max_c),
        "condenser flow": (Z_CW_FLOW, lim.cw_flow_sp_min_ratio, lim.cw_flow_sp_max_ratio),
        "supply air": (Z_HALL, lim.sat_sp_min_c, lim.sat_sp_max_c),
        "airflow": (Z_HALL + 1, lim.airflow_ratio_min, AIRFLOW_MAX),
    }
    it_w = float(halls[:, HallParams._fields.index("it_power_nom_w")].sum())
    worst, crossed = dict.fromkeys(spans, 0.0), 0
    for row, out in zip(x.astype(np.float64), y, strict=True):
        w = np.array([row[1] + row[2], row[1], row[3], row[0] * it_w])
        z, _, _ = decode(out, w, float(row[4]), 1, p)
        over = {n: max(lo - z[k], z[k] - hi, 0.0) / (hi - lo) for n, (k, lo, hi) in spans.items()}
        crossed += any(v > 0.0 for v in over.values())
        worst = {n: max(worst[n], v) for n, v in over.items()}
    return crossed / len(x), worst


def fit(policy: OnnxPolicy, site: Site) -> Check:
    """Whether the site's plant lies in what was trained."""
    x = grid(describe(hall_array(site), plant_params(site)))
    strange = outside(x[len(x) // 2 : len(x) // 2 + 1])
    known: dict[str, Any] = policy.passport.get("sites") or {}
    trained = (
        "trained on this very site file" if site.config_hash in known.values() else "trained on plants like it, not on this file"
    )
    return Check("site", not strange, f"{strange} is outside the trained range" if strange else f"{site.name}: {trained}")
