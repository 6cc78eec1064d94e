"""TOML text into a pydantic model, with every fault told at once: file, line, key, what was found and what is allowed."""

from __future__ import annotations

import functools
import re
import tomllib
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from coolctl.errors import Fault, nearest
from coolctl.toml_lines import Lines, Path, key_lines, line_of

REPAIRS_MAX = 3
FAULTS_MAX = 200
M = TypeVar("M", bound=BaseModel)
_RANGE_ERRORS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_AT_LINE = re.compile(r"at line (\d+)")


def parse_toml(text: str, path: str) -> tuple[dict[str, Any] | None, list[Fault]]:
    """The file as nested dicts, or the fault that stopped the reader (TOML's own syntax ends at its first error)."""
    try:
        return tomllib.loads(text), []
    except RecursionError:
        return None, [Fault(path, None, "syntax", "is nested too deeply")]
    except ValueError as error:  # TOMLDecodeError, and the integer that is too long to read
        # tomllib tells the place in words: "… (at line 3, column 1)".
        place = _AT_LINE.search(str(error))
        line = int(place.group(1)) if place else len(text.splitlines()) if "end of document" in str(error) else None
        return None, [Fault(path, line, "syntax", str(error)[:200])]


def parse_model(text: str, path: str, model: type[M]) -> tuple[M | None, Lines, list[Fault]]:
    """The file as a `model` with the lines of its keys, or None with every fault found."""
    data, faults = parse_toml(text, path)
    if data is None:
        return None, {}, faults
    lines = key_lines(text)
    for _ in range(REPAIRS_MAX):
        try:
            return model.model_validate(data), lines, faults
        except ValidationError as error:
            items = error.errors(include_url=False)
            faults += [_fault(item, path, lines, model) for item in items[:FAULTS_MAX]]
            if len(items) > FAULTS_MAX:
                return None, lines, [*faults, Fault(path, None, "file", f"and {len(items) - FAULTS_MAX} more faults")]
            # Put aside what is wrong and look again, so that one misspelt key does not hide every other fault.
            items.sort(key=lambda item: item["type"] == "missing")  # a key given another name may be the missing one
            cured = [_set_aside(data, item, model) for item in items]
            if not all(cured):
                break
    return None, lines, faults


def _set_aside(data: Any, item: Any, model: type[BaseModel]) -> bool:
    """Take a faulty key out of `data`, or give an unknown one the name that was probably meant; False if it cannot be."""
    *parents, last = item["loc"] or ("",)
    node = data
    for part in parents:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return False
    if item["type"] == "missing" or not isinstance(node, dict) or last not in node:
        return item["type"] == "missing" and isinstance(node, dict) and last in node
    value = node.pop(last)
    meant = nearest(str(last), _keys_at(model, tuple(parents)))
    if item["type"] == "extra_forbidden" and meant:
        node.setdefault(meant.split("'")[1], value)
    return True


def _fault(item: Any, path: str, lines: Lines, model: type[BaseModel]) -> Fault:
    """One pydantic error as a fault: key path, line, the value found, the range allowed, the nearest valid key."""
    loc = tuple(item["loc"])
    message = item["msg"]
    if item["type"] == "extra_forbidden":
        message = "unknown key" + nearest(str(loc[-1]), _keys_at(model, loc[:-1]))
    elif item["type"] == "missing":
        message = "missing"
    elif not isinstance(item.get("input"), dict | list):
        message = f"{str(item['input'])[:80]!r}: {message}" if isinstance(item["input"], str) else f"{item['input']}: {message}"
    if item["type"] in _RANGE_ERRORS:
        message += _allowed(model, loc)
    return Fault(path, line_of(lines, loc), ".".join(map(str, loc)) or "file", message)


def _allowed(model: type[BaseModel], loc: Path) -> str:
    """The whole allowed range of the number at `loc`, in words."""
    schema = _schema(model)
    node = _resolve(schema, _node_at(schema, loc))
    options = [node, *node.get("anyOf", ())]
    bounds = {k: v for option in options for k, v in option.items() if isinstance(v, int | float)}
    low, high = bounds.get("minimum"), bounds.get("maximum")
    words = [f"at least {low:g}"] if low is not None else []
    words += [f"more than {bounds['exclusiveMinimum']:g}"] if "exclusiveMinimum" in bounds else []
    words += [f"at most {high:g}"] if high is not None else []
    words += [f"less than {bounds['exclusiveMaximum']:g}"] if "exclusiveMaximum" in bounds else []
    return f" (allowed: {', '.join(words)})" if words else ""


@functools.cache
def _schema(model: type[BaseModel]) -> Any:
    return model.model_json_schema()


def _keys_at(model: type[BaseModel], loc: Path) -> list[str]:
    """Valid keys of the table at `loc`, found by walking the schema."""
    schema = _schema(model)
    return list(_resolve(schema, _node_at(schema, loc)).get("properties", {}))


def _node_at(schema: Any, loc: Path) -> Any:
    node: Any = schema
    for part in loc:
        node = _resolve(schema, node)
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
            node = node if isinstance(node, dict) else {}
    return node


def _resolve(schema: Any, node: Any) -> Any:
    for option in node.get("anyOf", ()):
        if "$ref" in option:
            node = option
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node
