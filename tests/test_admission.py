"""What a policy's file may contain, before the runtime has seen it."""

from __future__ import annotations

import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import ROOT, SITE
from onnx import TensorProto, helper, numpy_helper

from coolctl.errors import ModelError
from coolctl.onnx_graph import check_graph

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


def test_nothing_that_is_planted_is_opened(tmp_path: Path) -> None:
    """Pickles beside policy, site file, recording and state: no file of them is ever opened, no class looked up in one."""
    shutil.copytree(ROOT / "models/default", tmp_path / "policy")
    shutil.copy(SITE, tmp_path / "site.toml")
    shutil.copytree(ROOT / "config/equipment", tmp_path / "equipment")
    names = ("policy.pkl", "policy.joblib", "scaler.pickle", "passport.pkl", "policy.onnx.pkl", "site.pkl", "gains.pkl")
    for folder in (tmp_path, tmp_path / "policy", tmp_path / "equipment", tmp_path / "state"):
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    program = f"""
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from coolctl.controller import Controller
from coolctl.daemon_state import GainsFile, GrantFile
from coolctl.edge.onnx_policy import load_policy
from coolctl.site import load_site
from sim_plant.plant import SimPlant
site = load_site({str(tmp_path / "site.toml")!r})
policy = load_policy({str(tmp_path / "policy")!r})
GainsFile(__import__("pathlib").Path({str(tmp_path / "state/gains.json")!r}), site.config_hash).read(0.0)
plant = SimPlant(site)
readings, controller = plant.reset(1), Controller(site, policy, "auto")
for k in range(5):
    readings = plant.step(controller.tick(readings, float(k)).setpoints, 1.0)
mine = [name for name in opened if name.startswith({str(tmp_path)!r})]
print(len(mine), [name for name in mine if name.endswith((".pkl", ".pickle", ".joblib"))])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-800:]
    count, planted = done.stdout.split(maxsplit=1)
    assert int(count) >= 4 and planted.strip() == "[]" and not (tmp_path / "exploded").exists()


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


# -- by hand, entry by entry


def number(value: int) -> bytes:
    """A whole number as the format has it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def entry(field: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return number(field << 3) + number(content)
    return number(field << 3 | 2) + number(len(content)) + content


PLAIN = entry(7, entry(1, entry(4, b"Add")))  # a graph of one operator


def refusal(raw: bytes) -> str:
    """Why a file is not taken; empty where it is."""
    try:
        check_graph(raw)
    except ModelError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "operator",
    ["Add", "Cast", "Clip", "Concat", "Div", "Gemm", "Identity", "MatMul", "Mul", "Relu", "Reshape", "Sigmoid", "Sub", "Tanh"],
)
@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_each_operator_of_a_small_network_is_taken(operator: str, domain: str) -> None:
    assert refusal(model([helper.make_node(operator, ["x"], ["y"], domain=domain)]).SerializeToString()) == ""
    assert operator in refusal(model([helper.make_node(operator, ["x"], ["y"], domain="ai.onnx.ml")]).SerializeToString())


def test_two_hundred_operators_are_taken_and_one_more_is_not() -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    assert refusal(model([node] * 200).SerializeToString()) == ""
    assert "201 operators are more than 200" in refusal(model([node] * 201).SerializeToString())


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("value", "taken"), [(1e6, True), (-1e6, True), (1.05e6, False), (-1.05e6, False), (np.inf, False), (np.nan, False)]
)
def test_weight_is_a_number_of_reasonable_size_wherever_it_stands(kind: int, raw: bool, value: float, taken: bool) -> None:
    values = np.array([1.0, value, 2.0], dtype=np.float32 if kind == TensorProto.FLOAT else np.float64)
    tensor = numpy_helper.from_array(values, "w") if raw else helper.make_tensor("w", kind, [3], values)
    for made in (
        model([helper.make_node("Add", ["x", "w"], ["y"])], [tensor]),
        model([helper.make_node("Add", ["x", "x"], ["y"], value=tensor)]),
    ):
        assert (refusal(made.SerializeToString()) == "") == taken


def test_whole_numbers_of_a_shape_are_not_judged_as_weights() -> None:
    shape = numpy_helper.from_array(np.array([-1, 2**62], dtype=np.int64), "s")
    assert refusal(model([helper.make_node("Reshape", ["x", "s"], ["y"])], [shape]).SerializeToString()) == ""


def test_training_is_refused() -> None:
    made = model([helper.make_node("Identity", ["x"], ["y"])])
    made.training_info.add()
    assert "training" in refusal(made.SerializeToString())


@pytest.mark.parametrize(
    ("field", "what"), [(6, "a graph"), (10, "tensors"), (11, "graphs"), (22, "a sparse tensor"), (23, "sparse tensors")]
)
def test_attribute_that_holds_more_than_a_value_is_refused_and_named(field: int, what: str) -> None:
    raw = entry(7, entry(1, entry(4, b"Add") + entry(5, entry(1, b"a") + entry(field, b""))))
    assert refusal(raw).endswith(f"an attribute holds {what}")


def test_weights_elsewhere_are_refused_by_either_mark() -> None:
    for tensor, taken in ((entry(13, b""), False), (entry(14, 1), False), (entry(14, 2), False), (entry(14, 0), True)):
        assert (refusal(entry(7, entry(1, entry(4, b"Add")) + entry(5, tensor))) == "") == taken
        assert (refusal(entry(7, entry(1, entry(4, b"Add") + entry(5, entry(5, tensor))))) == "") == taken


def test_letters_that_are_none_are_an_operator_or_domain_that_is_not_needed() -> None:
    for node in (entry(4, b"\xff\xfe"), entry(4, b"Add") + entry(7, b"\xff\xfe")):
        assert "not among those" in refusal(entry(7, entry(1, node)))


@pytest.mark.parametrize(
    ("more", "taken"),
    [
        (b"", True),
        (number(100 << 3 | 1) + b"\xff" * 8, True),  # numbers of fixed length are stepped over
        (number(100 << 3 | 1) + b"\xff" * 7, False),
        (number(100 << 3 | 5) + b"\xff" * 4, True),
        (number(100 << 3 | 5) + b"\xff" * 3, False),
        (number(100 << 3 | 5) + b"\xff" * 4 + entry(25, b""), False),  # and what stands behind them is seen
        (number(100 << 3 | 1) + b"\xff" * 8 + entry(25, b""), False),
        (number(100 << 3 | 6), False),
        (number(100 << 3 | 3), False),
        (number(100 << 3 | 2) + number(5) + b"1234", False),
        (number(100 << 3) + b"\xff" * 9 + b"\x01", True),  # the longest whole number, as every negative one is
        (number(100 << 3) + b"\xff" * 10 + b"\x01", False),
        (number(100 << 3) + b"\xff", False),
        (PLAIN, False),  # a second graph
    ],
)
def test_file_is_read_to_its_last_byte(more: bytes, taken: bool) -> None:
    assert (refusal(PLAIN + more) == "") == taken
