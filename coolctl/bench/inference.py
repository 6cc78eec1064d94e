"""P4: the shipped policy in its engine, beside the same network compiled by hand and in scikit-learn."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coolctl.bench.pairs import interleave, repeated, sized
from coolctl.bench.rows import Curve, Row, inverse, not_run, ratio_row
from coolctl.control.policy import F32, HIGH, LOW
from coolctl.edge.onnx_policy import load_policy, resolve
from coolctl.jit import kernel

ROUNDS = 31
BATCHES = (1, 4, 16, 64, 256)
PARITY_AT = (1, 4, 256)
F64 = NDArray[np.float64]


@kernel
def by_hand(x: F32, w1: F32, b1: F32, w2: F32, b2: F32, w3: F32, b3: F32, a: F32, b: F32, y: F32) -> None:
    """Two hidden layers of rectifiers for the rows of `x` into `y`; `a` and `b` are scratch."""
    for row in range(x.shape[0]):
        a[:] = b1
        for i in range(w1.shape[0]):
            xi = x[row, i]
            for j in range(w1.shape[1]):
                a[j] += xi * w1[i, j]
        b[:] = b2
        for i in range(w2.shape[0]):
            if a[i] > 0.0:
                for j in range(w2.shape[1]):
                    b[j] += a[i] * w2[i, j]
        y[row] = b3
        for i in range(w3.shape[0]):
            if b[i] > 0.0:
                for j in range(w3.shape[1]):
                    y[row, j] += b[i] * w3[i, j]


def weights() -> list[F32]:
    """Matrices and offsets of the shipped network, layer by layer, from its file. Raises `ValueError` for another shape."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(resolve("default") / "policy.onnx")).graph
    tensors = [np.asarray(numpy_helper.to_array(t), dtype=np.float32) for t in graph.initializer]
    matrices = [t for t in tensors if t.ndim == 2 and min(t.shape) > 1]
    width = LOW.size
    found: list[F32] = []
    while matrices:
        matrix = next(m for m in matrices if m.shape[0] == width)
        matrices = [m for m in matrices if m is not matrix]
        width = matrix.shape[1]
        offset = next(t for t in tensors if t.size == width and t.ndim < 3 and t.size == max(t.shape, default=0))
        tensors = [t for t in tensors if t is not offset]
        found += [np.ascontiguousarray(matrix), np.ascontiguousarray(offset.ravel())]
    if len(found) != 6:
        raise ValueError(f"a network of {len(found) // 2} layers is not the one that is written by hand here")
    return found


def exact(x: F32, layers: list[F32]) -> F64:
    """The network in double precision."""
    a: F64 = x.astype(float)
    for k in range(0, len(layers), 2):
        a = a @ layers[k].astype(float) + layers[k + 1].astype(float)
        a = np.maximum(a, 0.0) if k < len(layers) - 2 else a
    return a


def regressor(layers: list[F32]) -> Any:
    """scikit-learn's regressor with these weights; parallel threads would only cost it time."""
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(hidden_layer_sizes=(layers[0].shape[1], layers[2].shape[1]), max_iter=1)
    rng = np.random.default_rng(1)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(rng.random((32, layers[0].shape[0])), rng.random((32, layers[-1].size)))
    model.coefs_, model.intercepts_ = list(layers[::2]), list(layers[1::2])
    return model


def p4() -> Iterator[Row | Curve]:
    """Rows of P4."""
    policy = load_policy("default")
    rng = np.random.default_rng(4)
    inputs = {n: rng.uniform(LOW, HIGH, (n, LOW.size)).astype(np.float32) for n in BATCHES}
    if importlib.util.find_spec("onnx") is None:
        yield not_run("P4", "all", "policy inference", "needs the package onnx (coolctl[train]) to read the weights")
        return
    layers = weights()
    a, b = np.zeros_like(layers[1]), np.zeros_like(layers[3])

    def hand(x: F32) -> F32:
        y = np.empty((len(x), layers[-1].size), dtype=np.float32)
        by_hand(x, *layers, a, b, y)  # type: ignore[call-arg]
        return y

    for n in PARITY_AT:
        truth = exact(inputs[n], layers)
        apart = max(float(np.max(np.abs(f(inputs[n]) - truth) / np.maximum(np.abs(truth), 1.0))) for f in (policy.infer, hand))
        yield Row("P4", f"parity_{n}", f"policy outputs at batch {n}, largest difference", apart, "relative", 1e-5,
                  reference="double precision")  # fmt: skip
    costs: dict[str, list[float]] = {"onnxruntime": [], "by hand": []}
    for n in BATCHES:
        x = inputs[n]
        count = sized(lambda x=x: policy.infer(x))  # type: ignore[misc]
        pairs = interleave(repeated(lambda x=x: policy.infer(x), count), repeated(lambda x=x: hand(x), count), ROUNDS)  # type: ignore[misc]
        costs["onnxruntime"].append(1e6 * pairs.a_s / count)
        costs["by hand"].append(1e6 * pairs.b_s / count)
        if n == 1:
            each = pairs._replace(a_s=pairs.a_s / count, b_s=pairs.b_s / count)
            yield ratio_row("P4", "hand", "policy inference, batch 1, over a network compiled by hand", each, 2.0, "≤",
                            "numba, one loop nest, called from Python")  # fmt: skip
    yield Curve("inference", "batch", "µs a call", [float(n) for n in BATCHES], costs)
    yield from _against_sklearn(policy, inputs[1], layers)


def _against_sklearn(policy: Any, x: F32, layers: list[F32]) -> Iterator[Row]:
    if importlib.util.find_spec("sklearn") is None:
        yield not_run("P4", "sklearn", "policy inference against scikit-learn", "scikit-learn is not installed (coolctl[train])")
        return
    model = regressor(layers)
    apart = float(np.max(np.abs(model.predict(x) - exact(x, layers))))
    count = sized(lambda: policy.infer(x))
    pairs = interleave(repeated(lambda: policy.infer(x), count), repeated(lambda: model.predict(x), max(count // 8, 1)), ROUNDS)
    each = pairs._replace(a_s=pairs.a_s / count, b_s=pairs.b_s / max(count // 8, 1))
    scale = max(count // 8, 1) / count
    each = each._replace(ratio=pairs.ratio * scale, low=pairs.low * scale, high=pairs.high * scale)
    what = "policy inference, batch 1: scikit-learn's time over the product's"
    yield ratio_row(
        "P4", "sklearn", what, inverse(each), 4.0, "≥", "scikit-learn MLPRegressor.predict, same weights", apart=apart
    )
