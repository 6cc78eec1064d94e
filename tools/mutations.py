"""What can be changed in a source file, one small thing at a time, each with a name that survives changes elsewhere.

Comparisons at their edge and turned round, `and` / `or`, operands of both left out, `not`, arithmetic, constants, keys and
reasons (texts of one word; prose is for people and may change), results left out, statements left out, arguments swapped.
Left alone are annotations, docstrings, asserts (they stand for the type checker) and imports.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

EDGE = {"Lt": "<=", "LtE": "<", "Gt": ">=", "GtE": ">"}
TURNED = {"Lt": ">=", "LtE": ">", "Gt": "<=", "GtE": "<", "Eq": "!=", "NotEq": "==", "In": "not in", "NotIn": "in",
          "Is": "is not", "IsNot": "is"}  # fmt: skip
COMPARED = {"Lt": "<", "LtE": "<=", "Gt": ">", "GtE": ">=", "Eq": "==", "NotEq": "!=", "In": r"in\b", "NotIn": r"not\s+in\b",
            "Is": r"is\b", "IsNot": r"is\s+not\b"}  # fmt: skip
ARITHMETIC = {"Add": ("+", "-"), "Sub": ("-", "+"), "Mult": ("*", "/"), "Div": ("/", "*"), "FloorDiv": ("//", "*"),
              "Mod": ("%", "+"), "Pow": ("**", "*"), "LShift": ("<<", ">>"), "RShift": (">>", "<<"), "BitAnd": ("&", "|"),
              "BitOr": ("|", "&"), "BitXor": ("^", "&")}  # fmt: skip
OPPOSITE = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "fmin": "fmax", "fmax": "fmin", "any": "all",
            "all": "any"}  # fmt: skip
NOT_SWAPPED = frozenset({"isinstance", "zip", "range", "getattr", "Rejected"})
WORD = re.compile(r"[\w.<>-]+")


class Mutant(NamedTuple):
    """One change of one file: `before` and `after` are the line where it begins."""

    id: str
    file: str
    line: int
    end: int
    place: str
    kind: str
    before: str
    after: str
    text: str


Edit = tuple[str, int, int, str, ast.AST]  # kind, first and last byte, what stands there instead, where


class Source:
    """A file as bytes, with the byte at which each line begins."""

    def __init__(self, text: str):
        self.raw = text.encode()
        self.tree = ast.parse(text)
        self.lines = [0]
        for line in self.raw.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def begin(self, node: ast.AST) -> int:
        return self.lines[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        return self.lines[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def of(self, node: ast.AST) -> str:
        return self.raw[self.begin(node) : self.end(node)].decode()

    def between(self, left: ast.AST, right: ast.AST, pattern: str) -> tuple[int, int] | None:
        """Where an operator stands between two operands."""
        begin = self.end(left)
        found = re.search(pattern, self.raw[begin : self.begin(right)].decode())
        return (begin + found.start(), begin + found.end()) if found else None


def mutants(path: Path, root: Path) -> list[Mutant]:
    """Every mutant of a file, in the order of its lines."""
    source, name = Source(path.read_text(encoding="utf-8")), path.relative_to(root).as_posix()
    seen: Counter[str] = Counter()
    found: list[Mutant] = []
    lines = source.raw.decode().splitlines()
    for place, (kind, begin, end, instead, node) in _walk(source, source.tree, ""):
        raw = source.raw[:begin] + instead.encode() + source.raw[end:]
        line = source.raw[:begin].count(b"\n")
        before, after = lines[line].strip(), raw.decode().splitlines()[line].strip()
        key = f"{place}\0{before}\0{after}"
        seen[key] += 1
        number = hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest()[:8]
        last = node.end_lineno or line + 1  # type: ignore[attr-defined]
        found.append(
            Mutant(f"{path.stem}:{place or 'module'}:{number}", name, line + 1, last, place, kind, before, after, raw.decode())
        )
    return sorted(found, key=lambda m: (m.line, m.id))


def _walk(source: Source, node: ast.AST, place: str) -> Iterator[tuple[str, Edit]]:
    """Edits of a node and of all under it, each with the name of the function it stands in."""
    for edit in _edits(source, node):
        yield place, edit
    for child in _children(node):
        inner = f"{place}.{child.name}".lstrip(".") if isinstance(child, ast.FunctionDef | ast.ClassDef) else place
        yield from _walk(source, child, inner)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """What may be changed under a node: no annotation, docstring, import, assert or text that is put together."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_params", "format_spec"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Import | ast.ImportFrom | ast.Assert | ast.JoinedStr):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            if not _is_type(child):
                yield child


def _is_type(node: ast.AST) -> bool:
    """`Field = tuple[int, int | bytes]` names a type."""
    value = node.value if isinstance(node, ast.Assign) else None
    return (
        isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name) and value.value.id in ("tuple", "dict", "NDArray")
    )


def _edits(source: Source, node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Compare):
        yield from _of_compare(source, node)
    elif isinstance(node, ast.BoolOp):
        yield from _of_bool(source, node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield "sign", source.begin(node), source.begin(node) + (3 if isinstance(node.op, ast.Not) else 1), "", node
    elif isinstance(node, ast.BinOp) and not any(isinstance(x, ast.JoinedStr) for x in (node.left, node.right)):
        old, new = ARITHMETIC[type(node.op).__name__]
        if at := source.between(node.left, node.right, re.escape(old)):
            yield "arithmetic", *at, new, node
    elif isinstance(node, ast.AugAssign):
        old, new = ARITHMETIC[type(node.op).__name__]
        if at := source.between(node.target, node.value, re.escape(old) + "="):
            yield "arithmetic", *at, new + "=", node
    elif isinstance(node, ast.Constant):
        yield from _of_constant(source, node)
    elif isinstance(node, ast.Call):
        yield from _of_call(source, node)
    elif isinstance(node, ast.If | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
        yield "turned", source.begin(node.test), source.end(node.test), f"not ({source.of(node.test)})", node.test
    elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "result", source.begin(node.value), source.end(node.value), "None", node
    if isinstance(node, ast.FunctionDef | ast.If | ast.For | ast.While | ast.Try | ast.With | ast.ExceptHandler):
        for block in (getattr(node, name, []) for name in ("body", "orelse", "finalbody")):
            yield from (("left out", source.begin(s), source.end(s), "pass", s) for s in block if _may_go(s))


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _may_go(node: ast.stmt) -> bool:
    """A statement whose absence leaves a program: effects on others, and ends."""
    if isinstance(node, ast.Assign):
        return any(isinstance(n, ast.Attribute | ast.Subscript) for t in node.targets for n in ast.walk(t))
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.target, ast.Attribute) and node.value is not None
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant | ast.Yield)
    return isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break) or (
        isinstance(node, ast.Return) and node.value is None
    )


def _of_compare(source: Source, node: ast.Compare) -> Iterator[Edit]:
    operands = [node.left, *node.comparators]
    for k, op in enumerate(node.ops):
        name = type(op).__name__
        if at := source.between(operands[k], operands[k + 1], COMPARED[name]):
            if name in EDGE:
                yield "edge", *at, EDGE[name], node
            yield "comparison", *at, TURNED[name], node


def _of_bool(source: Source, node: ast.BoolOp) -> Iterator[Edit]:
    word, other, neutral = ("and", "or", "True") if isinstance(node.op, ast.And) else ("or", "and", "False")
    for left, right in zip(node.values, node.values[1:], strict=False):
        if at := source.between(left, right, rf"\b{word}\b"):
            yield "boolean", *at, other, node
    for value in node.values:
        if not isinstance(value, ast.NamedExpr):
            yield "operand", source.begin(value), source.end(value), neutral, value


def _of_constant(source: Source, node: ast.Constant) -> Iterator[Edit]:
    value, text = node.value, ""
    if isinstance(value, bool):
        text = repr(not value)
    elif isinstance(value, int):
        text = repr(value + 1)
    elif isinstance(value, float):
        text = repr(value * 1.1 if value else 1.0)
    elif isinstance(value, str) and WORD.fullmatch(value):
        text = repr(value + "X")
    if text:
        yield "constant", source.begin(node), source.end(node), text, node


def _of_call(source: Source, node: ast.Call) -> Iterator[Edit]:
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    if name in OPPOSITE:
        yield "opposite", source.end(function) - len(name), source.end(function), OPPOSITE[name], function
    elif name not in NOT_SWAPPED:
        for left, right in zip(node.args, node.args[1:], strict=False):
            a, b = source.of(left), source.of(right)
            if a != b and not isinstance(left, ast.Starred) and not isinstance(right, ast.Starred):
                gap = source.raw[source.end(left) : source.begin(right)].decode()
                yield "swapped", source.begin(left), source.end(right), f"{b}{gap}{a}", left
