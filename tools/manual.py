"""Manual page and shell completion from the commands' own parsers: `python -m tools.manual --out build/manual`."""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from coolctl import __version__
from coolctl.cli import VERBS

DATE = "2026"


def parser_of_all() -> argparse.ArgumentParser:
    """One parser with a subparser for each verb; the command line itself builds only the one that was asked for."""
    parser = argparse.ArgumentParser("coolctl", description="AI-driven cooling controller for data centres")
    parser.add_argument("--version", action="version", version=f"coolctl {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, module_name, text in VERBS:
        module = importlib.import_module(module_name)
        verb = verbs.add_parser(name, help=text, description=(module.__doc__ or "").split("\n\n")[0])
        module.add_arguments(verb)
    return parser


def manual(parser: argparse.ArgumentParser) -> str:
    """coolctl(1), in roff."""
    # The page must not change with the day or the terminal that it is made on.
    os.environ.setdefault("SOURCE_DATE_EPOCH", "1767225600")
    data = {
        "project_name": "coolctl", "prog": "coolctl", "version": __version__, "manual_title": "User commands",
        "description": "AI-driven cooling controller for data centres", "url": "", "authors": [], "manual_section": 1,
    }  # fmt: skip
    return str(Manpage(parser, data, format="single-commands-section")) + "\n"


def main() -> int:
    """Write coolctl.1 and the bash completion into a folder."""
    arguments = argparse.ArgumentParser("python -m tools.manual")
    arguments.add_argument("--out", type=Path, required=True)
    out: Path = arguments.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    parser = parser_of_all()
    (out / "coolctl.1").write_text(manual(parser), encoding="utf-8")
    (out / "coolctl.bash").write_text(shtab.complete(parser, "bash"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
