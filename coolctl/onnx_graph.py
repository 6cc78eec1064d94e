"""What a policy's file may contain, read from its bytes without the runtime and without the `onnx` package.

A small feed-forward network needs a dozen operators and its own weights. Everything else that the format can say is
refused before the runtime sees it: loops, randomness, other files, graphs within graphs, weights that are no numbers.
Field numbers are those of onnx.proto3; the wire format is protocol buffers'.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from coolctl.errors import ModelError

OPERATORS = frozenset({
    "Add", "Cast", "Clip", "Concat", "Div", "Gemm", "Identity", "MatMul", "Mul", "Relu", "Reshape", "Sigmoid", "Sub", "Tanh",
})  # fmt: skip
DOMAINS = ("", "ai.onnx")
NODES_MAX, WEIGHT_MAX = 200, 1e6
FLOAT, DOUBLE = 1, 11
WEIGHTS = {FLOAT: "<f4", DOUBLE: "<f8"}

MODEL_GRAPH, MODEL_TRAINING, MODEL_FUNCTIONS = 7, 20, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_SPARSE = 1, 5, 15
NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 4, 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_OTHERS = 5, {6: "a graph", 10: "tensors", 11: "graphs", 22: "a sparse tensor", 23: "sparse tensors"}
TENSOR_TYPE, TENSOR_FLOATS, TENSOR_RAW, TENSOR_DOUBLES, TENSOR_EXTERNAL, TENSOR_LOCATION = 2, 4, 9, 10, 13, 14

Field = tuple[int, int | bytes]


def check_graph(raw: bytes) -> None:
    """Raises `ModelError` with the first thing that no policy needs."""
    try:
        graphs = 0
        for field, value in _fields(raw):
            if field in (MODEL_TRAINING, MODEL_FUNCTIONS):
                raise ModelError("policy: it defines functions or training of its own")
            if field == MODEL_GRAPH:
                graphs += 1
                _check_graph(_bytes(value))
        if graphs != 1:
            raise ModelError("policy: the file has no graph")
    except (ValueError, IndexError) as error:
        raise ModelError(f"policy: the file is not a model: {error}") from error


def _check_graph(raw: bytes) -> None:
    nodes = 0
    for field, value in _fields(raw):
        if field == GRAPH_SPARSE:
            raise ModelError("policy: sparse weights are not taken")
        if field == GRAPH_INITIALIZER:
            _check_tensor(_bytes(value))
        elif field == GRAPH_NODE:
            nodes += 1
            _check_node(_bytes(value))
    if nodes > NODES_MAX:
        raise ModelError(f"policy: {nodes} operators are more than {NODES_MAX}")


def _check_node(raw: bytes) -> None:
    operator, domain = "", ""
    for field, value in _fields(raw):
        if field == NODE_OPERATOR:
            operator = _bytes(value).decode("utf-8", "replace")
        elif field == NODE_DOMAIN:
            domain = _bytes(value).decode("utf-8", "replace")
        elif field == NODE_ATTRIBUTE:
            for inner, content in _fields(_bytes(value)):
                if inner in ATTRIBUTE_OTHERS:
                    raise ModelError(f"policy: an attribute holds {ATTRIBUTE_OTHERS[inner]}")
                if inner == ATTRIBUTE_TENSOR:
                    _check_tensor(_bytes(content))
    if operator not in OPERATORS or domain not in DOMAINS:
        raise ModelError(
            f"policy: operator {domain + '.' if domain else ''}{operator[:40]!r} is not among those that a policy needs"
        )


def _check_tensor(raw: bytes) -> None:
    kind, blocks = 0, []
    for field, value in _fields(raw):
        if field == TENSOR_EXTERNAL or (field == TENSOR_LOCATION and value != 0):
            raise ModelError("policy: weights in another file are not taken")
        if field == TENSOR_TYPE:
            kind = value if isinstance(value, int) else 0
        elif field in (TENSOR_FLOATS, TENSOR_DOUBLES, TENSOR_RAW):
            blocks.append((field, _packed(value)))
    for field, block in blocks:
        code = {TENSOR_FLOATS: "<f4", TENSOR_DOUBLES: "<f8"}.get(field, WEIGHTS.get(kind, ""))
        if code and not bool(np.all(np.abs(np.frombuffer(block, dtype=code)) <= WEIGHT_MAX)):
            raise ModelError(f"policy: a weight is not a number or beyond {WEIGHT_MAX:g}")


def _packed(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a weight stands alone")
    return value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where a message should")
    return value


def _fields(raw: bytes) -> Iterator[Field]:
    """Field number and content of each entry of a message: an integer, or the bytes. Raises `ValueError`, `IndexError`."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(raw, at)
            yield key >> 3, value
            continue
        if wire == 2:
            length, at = _varint(raw, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(raw):
            raise ValueError("it ends too early")
        yield key >> 3, raw[at : at + length]
        at += length


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("an endless number")
