"""scikit-learn → ONNX, plain operators only, with parity checked at several batch sizes before anything is written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.neural_network import MLPRegressor

from coolctl.control.policy import F32, FEATURES, HIGH, LOW, OUTPUTS
from coolctl.edge.onnx_policy import FORMAT_VERSION, OnnxPolicy
from coolctl.errors import ModelError

OPSET, IR_VERSION = 17, 8
ALLOWED = {"MatMul", "Gemm", "Add", "Mul", "Relu", "Tanh", "Sub", "Div", "Cast", "Identity", "Clip"}
PARITY_MAX = 1e-5  # absolute on outputs of order 1–10: they are rounded to float32
PARITY_STATES = 10_000
BATCHES = (1, 4, 256)
GOLDEN = 64


def to_onnx(model: MLPRegressor) -> bytes:
    """The network's bytes. Raises `ModelError` when the converter used an operator that is not allowed."""
    proto = convert_sklearn(
        model, initial_types=[("features", DoubleTensorType([None, len(FEATURES)]))],
        target_opset={"": OPSET, "ai.onnx.ml": 3},
    )  # fmt: skip
    _drop_reshape(proto)
    _float_outside(proto)
    used = {node.op_type for node in proto.graph.node}
    if not used <= ALLOWED:
        raise ModelError(f"export: operators {sorted(used - ALLOWED)} are not allowed")
    proto.ir_version = IR_VERSION
    proto.graph.name = "coolctl-policy"
    kept = [entry for entry in proto.opset_import if entry.domain == ""]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def _drop_reshape(proto: onnx.ModelProto) -> None:
    """The converter ends multi-output regressors with Reshape(-1, 1), which flattens a batch: take it out."""
    graph = proto.graph
    last = graph.node[-1]
    if last.op_type != "Reshape":
        return
    source, target = last.input[0], last.output[0]
    shape_name = last.input[1]
    graph.node.remove(last)
    for node in graph.node:
        for k, name in enumerate(node.output):
            if name == source:
                node.output[k] = target
    for item in [i for i in graph.initializer if i.name == shape_name]:
        graph.initializer.remove(item)
    dims = graph.output[0].type.tensor_type.shape.dim
    dims[1].dim_value = len(OUTPUTS)


def _float_outside(proto: onnx.ModelProto) -> None:
    """Float32 in and out, float64 between: with the scalings folded in, a pressure of 1e5 Pa leaves float32 too few digits."""
    graph = proto.graph
    for value, cast_to, first in ((graph.input[0], TensorProto.DOUBLE, True), (graph.output[0], TensorProto.FLOAT, False)):
        inside = f"{value.name}_f64"
        for node in graph.node:
            names = node.input if first else node.output
            names[:] = [inside if name == value.name else name for name in names]
        source, target = (value.name, inside) if first else (inside, value.name)
        cast = onnx.helper.make_node("Cast", [source], [target], f"cast_{value.name}", to=cast_to)
        graph.node.insert(0 if first else len(graph.node), cast)
        value.type.tensor_type.elem_type = TensorProto.FLOAT


def parity(model: MLPRegressor, policy: OnnxPolicy, seed: int) -> float:
    """Largest absolute difference over random and boundary states at every batch size."""
    rng = np.random.default_rng(seed)
    inside = rng.uniform(LOW, HIGH, (PARITY_STATES, len(FEATURES)))
    edge = rng.random(inside.shape) < 0.3
    x: F32 = np.where(edge, np.where(rng.random(inside.shape) < 0.5, LOW, HIGH), inside).astype(np.float32)
    expected = model.predict(x.astype(float))
    worst = 0.0
    for batch in BATCHES:
        count = len(x) if batch > 1 else 2000
        parts = [policy.infer(x[k : k + batch]) for k in range(0, count, batch)]
        worst = max(worst, float(np.abs(np.concatenate(parts) - expected[:count]).max()))
    return worst


def write(folder: Path, raw: bytes, passport: dict[str, Any], golden_x: F32) -> dict[str, Any]:
    """Write `policy.onnx` and `passport.json`; returns the passport."""
    digest = hashlib.sha256(raw).hexdigest()
    policy = OnnxPolicy(raw, {"sha256": digest})
    full = {
        "format_version": FORMAT_VERSION,
        "sha256": digest,
        "features": [[f.name, f.low, f.high] for f in FEATURES],
        "outputs": list(OUTPUTS),
        **passport,
        "golden": {
            "features": [[float(v) for v in row] for row in golden_x],
            "outputs": [[float(v) for v in row] for row in policy.infer(golden_x)],
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("policy.onnx", raw), ("passport.json", (json.dumps(full, indent=1) + "\n").encode())):
        part = folder / f".{name}.part"
        part.write_bytes(data)
        part.rename(folder / name)
    return full
