"""What a policy's file may contain, before the runtime has seen it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from coolctl.errors import ModelError
from coolctl.onnx_graph import check_graph

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "models" / "default" / "policy.onnx"
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3])


def model(nodes: list[Any], weights: list[Any] = [], **graph: Any) -> Any:  # noqa: B006
    return helper.make_model(helper.make_graph(nodes, "g", [X], [Y], list(weights), **graph))


def constant_tensor(value: float = 1.0) -> Any:
    return numpy_helper.from_array(np.full(3, value, dtype=np.float32), "w")


def external(tensor: Any) -> Any:
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


def with_function() -> Any:
    made = model([helper.make_node("Identity", ["x"], ["y"])])
    made.functions.append(helper.make_function("d", "f", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], []))
    return made


def sparse() -> Any:
    values = numpy_helper.from_array(np.ones(1, dtype=np.float32), "s")
    at = numpy_helper.from_array(np.zeros(1, dtype=np.int64), "i")
    return model([helper.make_node("Identity", ["x"], ["y"])], sparse_initializer=[helper.make_sparse_tensor(values, at, [3])])


BRANCH = helper.make_graph([helper.make_node("Identity", ["x"], ["b"])], "b", [], [Y])
STRANGE: dict[str, Callable[[], Any]] = {
    "loop": lambda: model([helper.make_node("Loop", ["x", "x"], ["y"], body=BRANCH)]),
    "if": lambda: model([helper.make_node("If", ["x"], ["y"], then_branch=BRANCH, else_branch=BRANCH)]),
    "random": lambda: model([helper.make_node("RandomNormal", [], ["y"], shape=[1, 3])]),
    "memory bomb": lambda: model([helper.make_node("ConstantOfShape", ["x"], ["y"])]),
    "graph hidden in a known operator": lambda: model([helper.make_node("Add", ["x", "x"], ["y"], body=BRANCH)]),
    "other domain": lambda: model([helper.make_node("Add", ["x", "x"], ["y"], domain="com.evil")]),
    "external weights": lambda: model([helper.make_node("Add", ["x", "w"], ["y"])], [external(constant_tensor())]),
    "external attribute": lambda: model([helper.make_node("Identity", ["x"], ["y"], value=external(constant_tensor()))]),
    "sparse weights": sparse,
    "function of its own": with_function,
    "infinite weight": lambda: model([helper.make_node("Add", ["x", "w"], ["y"])], [constant_tensor(np.inf)]),
    "weight that is no number": lambda: model([helper.make_node("Add", ["x", "w"], ["y"])], [constant_tensor(np.nan)]),
    "huge weight": lambda: model([helper.make_node("Add", ["x", "w"], ["y"])], [constant_tensor(1e7)]),
    "thousand operators": lambda: model([helper.make_node("Identity", ["x"], ["y"])] * 1000),
}


@pytest.mark.parametrize("name", STRANGE)
def test_graph_that_no_policy_needs_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="policy: "):
        check_graph(STRANGE[name]().SerializeToString())


def test_graph_of_the_shipped_policy_and_a_plain_one_are_taken() -> None:
    check_graph(SHIPPED.read_bytes())
    check_graph(model([helper.make_node("Add", ["x", "w"], ["y"])], [constant_tensor()]).SerializeToString())


def test_reader_sees_every_node_and_weight_that_the_format_has() -> None:
    """The reader's own idea of the wire format against the library's: each operator renamed is found."""
    loaded = onnx.load_from_string(SHIPPED.read_bytes())
    for k in range(len(loaded.graph.node)):
        changed = onnx.load_from_string(SHIPPED.read_bytes())
        changed.graph.node[k].op_type = "Loop"
        with pytest.raises(ModelError, match="Loop"):
            check_graph(changed.SerializeToString())
    for k, tensor in enumerate(loaded.graph.initializer):
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE):
            changed = onnx.load_from_string(SHIPPED.read_bytes())
            values = numpy_helper.to_array(tensor).copy()
            values.flat[-1] = np.nan
            changed.graph.initializer[k].CopyFrom(numpy_helper.from_array(values, tensor.name))
            with pytest.raises(ModelError, match="weight"):
                check_graph(changed.SerializeToString())


def test_mutated_file_is_taken_or_refused_never_more() -> None:
    raw, rng = SHIPPED.read_bytes(), random.Random(5)
    refused = 0
    for _ in range(400):
        changed = bytearray(raw[: rng.choice((len(raw), rng.randrange(len(raw))))])
        for _ in range(rng.randint(1, 20)):
            if changed:
                changed[rng.randrange(min(len(changed), 4000))] = rng.randrange(256)
        try:
            check_graph(bytes(changed))
        except ModelError:
            refused += 1
    assert refused > 200
