"""`coolctl train`: expert labels → MLP → ONNX and passport. Same seed, same versions, same bytes; resumable."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from coolctl import backend
from coolctl.site import Site, load_site

VERSIONS = ("scikit-learn", "skl2onnx", "onnx", "numpy", "numba")
SCORE_STATES = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", required=True, action="append", metavar="FILE", help="site to train for; repeatable")
    parser.add_argument("--out", required=True, metavar="models/NAME", help="folder for policy.onnx and passport.json")
    parser.add_argument("--examples", type=int, default=6000, help="expert labels (default 6000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--workers",
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes of this machine (default: its cores)",
    )
    backend.add_arguments(parser)
    parser.add_argument("--cache", metavar="DIR", help="where finished labels are kept (default: the user's cache folder)")


def main(args: argparse.Namespace) -> int:
    from coolctl.training import export
    from coolctl.training.dataset import make
    from coolctl.training.fit import fit
    from coolctl.training.score import regret

    sites = [load_site(path) for path in args.site]
    cache = Path(args.cache) if args.cache else _cache_folder(sites)
    with backend.sweep(args, args.workers) as sweep:
        x, y = make(args.site, args.examples, args.seed, cache, sweep)
    print(f"{len(x)} labels; fitting", file=sys.stderr)
    model = fit(x, y, args.seed)
    raw = export.to_onnx(model)
    policy = export.OnnxPolicy(raw, {"sha256": ""})
    difference = export.parity(model, policy, args.seed)
    if not difference <= export.PARITY_MAX:
        print(f"export refused: outputs differ by {difference:.2e} > {export.PARITY_MAX:.0e}", file=sys.stderr)
        return 1
    score = regret(sites, policy, SCORE_STATES, args.seed + 1)
    golden = x[np.linspace(0, len(x) - 1, export.GOLDEN).astype(int)]
    passport = {
        "sites": {site.name: site.config_hash for site in sites},
        "examples": len(x),
        "seed": args.seed,
        "versions": {name: version(name) for name in VERSIONS},
        "parity_max_abs": float(f"{difference:.3g}"),
        "scores": score,
    }
    full = export.write(Path(args.out), raw, passport, golden)
    print(f"{args.out}: sha256 {full['sha256'][:12]}…, parity {difference:.1e}, {score}")
    return 0


def _cache_folder(sites: list[Site]) -> Path:
    """One folder per sites and source: labels of another model must not be taken for this one's."""
    from coolctl.jit import source_hash

    digest = hashlib.sha256("".join(s.config_hash for s in sites).encode()).hexdigest()[:12]
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "coolctl" / "labels" / f"{digest}-{source_hash()}"
