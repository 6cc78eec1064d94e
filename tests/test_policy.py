"""The shipped policy: admitted only as it was exported, silent towards the outside, better than good fixed setpoints."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SITE

from coolctl.control.policy import FEATURES, HIGH, LOW, OUTPUTS, decode, labels, outside, usable
from coolctl.edge.onnx_policy import load_policy
from coolctl.errors import ModelError
from coolctl.paths import shared_folder
from coolctl.site import Site
from coolctl.thermal.params import plant_params


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared_folder("models") / "default", tmp_path / "policy"))


def test_policy_ships_for_the_default_site(site: Site, policy) -> None:  # type: ignore[no-untyped-def]
    assert policy.passport["sites"]["hall1mw"] == site.config_hash
    assert policy.passport["parity_max_abs"] <= 1e-5 and policy.passport["examples"] >= 5000


def test_policy_batches_agree(policy) -> None:  # type: ignore[no-untyped-def]
    x = np.random.default_rng(1).uniform(LOW, HIGH, (256, len(FEATURES))).astype(np.float32)
    whole = policy.infer(x)
    assert whole.shape == (256, len(OUTPUTS))
    for batch in (1, 4):
        parts = np.concatenate([policy.infer(x[k : k + batch]) for k in range(0, 256, batch)])
        # Float32 sums may be taken in another order at another batch size.
        assert np.abs(parts - whole).max() < 1e-4


def test_policy_every_bit_flip_is_refused(copied: Path) -> None:
    path, rng = copied / "policy.onnx", random.Random(4)
    raw = path.read_bytes()
    for _ in range(200):
        changed = bytearray(raw)
        changed[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(changed))
        with pytest.raises(ModelError, match="sha256"):
            load_policy(copied)
    path.write_bytes(raw[:-1])
    with pytest.raises(ModelError, match="sha256"):
        load_policy(copied)


def edit(folder: Path, **changes: object) -> None:
    passport = json.loads((folder / "passport.json").read_text())
    (folder / "passport.json").write_text(json.dumps({**passport, **changes}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format_version": 2}, "format_version"),
        ({"features": [["load_ratio", 0.0, 1.0]]}, "features"),
        ({"outputs": ["x"]}, "features or outputs"),
        ({"golden": {"features": [], "outputs": []}}, "golden"),
        ({"golden": {"features": [[1.0]], "outputs": [[1.0]]}}, "golden"),
        ({"sha256": None}, "sha256"),
    ],
)
def test_policy_wrong_passport_is_refused(copied: Path, changes: dict, said: str) -> None:  # type: ignore[type-arg]
    edit(copied, **changes)
    with pytest.raises(ModelError, match=said):
        load_policy(copied)


def test_policy_wrong_golden_number_is_refused(copied: Path) -> None:
    passport = json.loads((copied / "passport.json").read_text())
    passport["golden"]["outputs"][5][0] += 0.01
    (copied / "passport.json").write_text(json.dumps(passport))
    with pytest.raises(ModelError, match="do not come out"):
        load_policy(copied)


def test_policy_links_and_missing_files_are_refused(copied: Path) -> None:
    real = copied / "real.onnx"
    (copied / "policy.onnx").rename(real)
    (copied / "policy.onnx").symlink_to(real)
    with pytest.raises(ModelError, match="cannot be read"):
        load_policy(copied)
    with pytest.raises(ModelError, match="cannot be read"):
        load_policy(copied / "none")


def test_policy_outside_its_range_is_noticed() -> None:
    middle = ((LOW + HIGH) / 2.0)[None, :].astype(np.float32)
    assert outside(middle) == ""
    for k, feature in enumerate(FEATURES):
        far = middle.copy()
        far[0, k] = HIGH[k] + 0.2 * (HIGH[k] - LOW[k])
        assert outside(far) == feature.name
        far[0, k] = np.nan
        assert outside(far) == feature.name


def test_an_answer_that_cannot_be_meant_is_not_used() -> None:
    fine = np.full(len(OUTPUTS), -1e3, dtype=np.float32)
    assert usable(fine) and not usable(fine[1:]) and not usable(fine[None, :])
    for wrong in (np.nan, np.inf, -np.inf, 1.1e3):
        y = fine.copy()
        y[3] = wrong
        assert not usable(y), wrong


def test_policy_decode_inverts_labels(site: Site) -> None:
    p, w = plant_params(site), np.array([20.0, 15.0, 9e4, 6e5])
    z = np.array([16.0, 19.0, 0.8, 24.0, 1.06])
    y = labels(z, 2.0, 1.0, w, 26.0, 6e5, p)
    back, chillers, economizer = decode(y, w, 26.0, 1, p)
    assert back == pytest.approx(z, abs=1e-5) and (chillers, economizer) == (2.0, 1.0)


QUIET = """
import os, socket, sys
made = []
real = socket.socket.connect
def connect(self, *a):
    made.append(a)
    return real(self, *a)
socket.socket.connect = connect
from coolctl.edge.onnx_policy import load_policy
import numpy as np
p = load_policy("default")
for _ in range(50): p.infer(np.zeros((1, len(p.passport["features"])), dtype=np.float32))
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
assert not made, made
"""


def test_policy_runtime_leaves_no_file_and_opens_no_connection(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment.update(HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"), NUMBA_CACHE_DIR=str(tmp_path / "numba"))
    done = subprocess.run([sys.executable, "-c", QUIET], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    written = [p for p in tmp_path.rglob("*") if p.is_file() and "numba" not in p.parts and "coolctl" not in p.parts]
    assert not written


def test_daemon_imports_nothing_of_training_or_plant() -> None:
    code = "import sys, coolctl.daemon; bad = {'sklearn','onnx','skl2onnx','joblib','sim_plant'} & set(sys.modules); assert not bad, bad"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def train(out: Path, cache: Path) -> str:
    command = [
        sys.executable,
        "-m",
        "coolctl",
        "train",
        "--site",
        str(SITE),
        "--out",
        str(out),
        "--examples",
        "100",
        "--workers",
        "1",
        "--cache",
        str(cache),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "passport.json").read_text())["sha256"]


@pytest.mark.slow
def test_training_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = train(tmp_path / "a", tmp_path / "cache")
    second = train(tmp_path / "b", tmp_path / "cache")  # resumed: labels are taken from the cache
    assert first == second
    assert load_policy(tmp_path / "b").model_hash == first
