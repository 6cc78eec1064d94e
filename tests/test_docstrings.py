"""Public things say what they are: modules, classes and functions, in sentences, with units where there is a quantity."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*ROOT.glob("coolctl/**/*.py"), *ROOT.glob("sim_plant/**/*.py")])
# Names that the caller's side defines, and the two functions that every verb's module has.
KNOWN_BY_NAME = {"main", "add_arguments", "do_GET", "log_message", "process_request", "process_request_thread", "handle_error"}
# A number that stands for a quantity, by the end of a kernel's name: its docstring names the unit in brackets.
QUANTITY = re.compile(r"_(c|k|w|pa|kgs|s|j|kgm3|jkgk|kgkg)$")


def gaps(source: str) -> list[str]:
    """Public names without a proper docstring."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else ["module"]
    for parent in (tree, *(n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))):
        for node in parent.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                found += _gaps_of(node, inside=parent is not tree)
    return found


def _gaps_of(node: ast.ClassDef | ast.FunctionDef, inside: bool) -> list[str]:
    text = ast.get_docstring(node) or ""
    if not text:
        return [] if _explains_itself(node, inside) else [f"{node.name}: none"]
    first = text.split("\n\n")[0]
    if not first.rstrip("`").endswith((".", ":", "]")):
        return [f"{node.name}: no sentence"]
    kernel = any(isinstance(d, ast.Name) and d.id == "kernel" for d in node.decorator_list)
    if kernel and QUANTITY.search(node.name) and "[" not in text:
        return [f"{node.name}: no unit"]
    return []


def _explains_itself(node: ast.ClassDef | ast.FunctionDef, inside: bool) -> bool:
    """What a base class or the schema documents, encoders beside their message, and one-line methods."""
    if node.name in KNOWN_BY_NAME or (isinstance(node, ast.ClassDef) and node.name.endswith(("Table", "Row", "Record", "File"))):
        return True
    short = (node.end_lineno or 0) - node.body[0].lineno <= 1
    return short and (inside or node.name.startswith(("encode_", "decode_"))) and isinstance(node, ast.FunctionDef)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_names_are_explained(path: Path) -> None:
    assert gaps(path.read_text()) == []


def test_check_sees_what_is_missing() -> None:
    assert gaps("x = 1") == ["module"]
    body = "    a = 1\n    b = 2\n    c = 3\n    return a + b + c\n"
    assert gaps(f'"""M."""\ndef f():\n{body}') == ["f: none"]
    assert gaps(f'"""M."""\ndef f():\n    """words"""\n{body}') == ["f: no sentence"]
    assert gaps('"""M."""\n@kernel\ndef dew_point_c(x):\n    """Dew point."""\n    return x\n') == ["dew_point_c: no unit"]
    assert gaps('"""M."""\n@kernel\ndef dew_point_c(x):\n    """Dew point [°C]."""\n    return x\n') == []
