"""The only owner of onnxruntime: an exported policy, admitted by its passport and run on one thread.

The file is read once and the session made from those bytes: by path, the runtime would follow external data to other
files. The bytes must match the passport's hash, its features must be the ones that this version computes, and the
golden vectors must come out as they did when the policy was exported, one by one and each in time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import coolctl  # noqa: F401  sets ORT_DISABLE_TELEMETRY before the runtime is imported
from coolctl.control.policy import F32, FEATURES, OUTPUTS
from coolctl.errors import ModelError
from coolctl.onnx_graph import check_graph
from coolctl.paths import shared_folder

FILE_MAX_BYTES = 1 << 20
FORMAT_VERSION = 1
# A tick has 200 ms; the shipped network takes a tenth of a millisecond. The quickest of the golden vectors is what counts: a
# busy machine makes some late, a slow network all.
INFER_ADMIT_MAX_S, TIMED_MAX = 0.05, 16
GOLDEN_TOLERANCE = 1e-4  # float32 sums in another order; a wrong weight shows in the first digits


class OnnxPolicy:
    """An admitted network. `infer` takes and returns float32 rows."""

    def __init__(self, raw: bytes, passport: dict[str, Any]):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises many kinds; all of them mean a file that cannot be run
            raise ModelError(f"policy: onnxruntime refuses the file: {str(error)[:200]}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(f"policy: {len(inputs)} inputs and {len(outputs)} outputs instead of one each")
        self._input, self._output = inputs[0].name, [outputs[0].name]
        self._run = ort.RunOptions()
        self.model_hash = passport["sha256"]
        self.passport = passport

    def infer(self, features: F32) -> F32:
        """Network outputs for rows of features."""
        self._run.terminate = False
        result: F32 = self._session.run(self._output, {self._input: features}, self._run)[0]
        return result

    def give_up(self) -> None:
        """End the inference that another thread is in, at its next operator: it raises there."""
        self._run.terminate = True


def resolve(name: str | Path) -> Path:
    """The folder of a policy: a path as it is, else a name under `models/`."""
    path = Path(name)
    if path.suffix == ".onnx":
        return path.parent
    return path if path.is_dir() else shared_folder("models") / str(name)


def load_policy(name: str | Path) -> OnnxPolicy:
    """Admit the policy `name` (folder, file or name under `models/`). Raises `ModelError` saying what and where."""
    folder = resolve(name)
    passport = _passport(folder / "passport.json")
    raw = _read(folder / "policy.onnx")
    digest = hashlib.sha256(raw).hexdigest()
    if digest != passport["sha256"]:
        message = f"{folder / 'policy.onnx'}: sha256 {digest[:12]}… is not the passport's {str(passport['sha256'])[:12]}…"
        raise ModelError(message)
    check_graph(raw)
    policy = OnnxPolicy(raw, passport)
    _check_golden(policy, passport, folder)
    return policy


def _read(path: Path) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as stream:
            raw = stream.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > FILE_MAX_BYTES:
        raise ModelError(f"{path}: larger than {FILE_MAX_BYTES} bytes")
    return raw


def _passport(path: Path) -> dict[str, Any]:
    try:
        passport = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is not JSON: {error}") from error
    if not isinstance(passport, dict) or passport.get("format_version") != FORMAT_VERSION:
        raise ModelError(f"{path}: format_version is not {FORMAT_VERSION}")
    expected = [[f.name, f.low, f.high] for f in FEATURES]
    if passport.get("features") != expected or passport.get("outputs") != list(OUTPUTS):
        raise ModelError(f"{path}: its features or outputs are not those of this version")
    if not isinstance(passport.get("sha256"), str) or not isinstance(passport.get("golden"), dict):
        raise ModelError(f"{path}: sha256 or golden vectors are missing")
    return passport


def _check_golden(policy: OnnxPolicy, passport: dict[str, Any], folder: Path) -> None:
    import numpy as np

    try:
        x = np.array(passport["golden"]["features"], dtype=np.float32).reshape(-1, len(FEATURES))
        y = np.array(passport["golden"]["outputs"], dtype=np.float32).reshape(-1, len(OUTPUTS))
        seen = policy.infer(x)
        fastest_s = min(_seconds(policy, x[k : k + 1]) for k in range(min(len(x), TIMED_MAX)))
    except Exception as error:  # a shape or type that does not fit is as wrong as a wrong number
        raise ModelError(f"{folder}: golden vectors cannot be run: {str(error)[:200]}") from error
    if len(x) < 16 or seen.shape != y.shape or not np.abs(seen - y).max() <= GOLDEN_TOLERANCE:
        raise ModelError(f"{folder}: golden vectors do not come out as exported")
    if fastest_s > INFER_ADMIT_MAX_S:
        limit_ms = 1e3 * INFER_ADMIT_MAX_S
        raise ModelError(f"{folder}: an inference takes {1e3 * fastest_s:.0f} ms at best, more than {limit_ms:.0f} ms")


def _seconds(policy: OnnxPolicy, row: F32) -> float:
    began_s = time.perf_counter()
    policy.infer(row)
    return time.perf_counter() - began_s
