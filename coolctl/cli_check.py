"""`coolctl check-config`: every fault of a site file at once, or the effective configuration with secrets left out."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from coolctl.cli_args import emit_json, output
from coolctl.errors import EXIT_CONFIG, EXIT_OK, ConfigError
from coolctl.site import load_site

SECRET_KEYS = ("password_file", "username")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the site file")
    parser.add_argument("--json", type=output, metavar="FILE|-", help="write faults or the effective configuration")


def main(args: argparse.Namespace) -> int:
    try:
        site = load_site(args.file)
    except ConfigError as error:
        faults = [{"file": f.file, "line": f.line, "key": f.key, "message": f.message} for f in error.faults]
        if emit_json({"ok": False, "faults": faults}, args.json):
            print(f"{error}\n{len(faults)} fault{'s' if len(faults) > 1 else ''}", file=sys.stderr)
        return EXIT_CONFIG
    effective = redact(site.file.model_dump())
    if emit_json({"ok": True, "config_hash": site.config_hash, "effective": effective}, args.json):
        _print(effective)
        print(f"# {args.file}: good; {len(site.table)} points, config hash {site.config_hash[:12]}")
    return EXIT_OK


def redact(value: Any) -> Any:
    """The configuration with secrets replaced."""
    if isinstance(value, dict):
        return {k: "(redacted)" if k in SECRET_KEYS and v else redact(v) for k, v in value.items()}
    return [redact(v) for v in value] if isinstance(value, list) else value


def _print(effective: dict[str, Any]) -> None:
    for table, content in effective.items():
        if table == "points":
            print(f"# {len(content)} rows of [[points]]: see `coolctl points`")
        elif isinstance(content, dict):
            print(f"[{table}]")
            for key, value in content.items():
                print(f"{key} = {json.dumps(value)}")
        else:
            print(f"{table} = {json.dumps(content)}")
