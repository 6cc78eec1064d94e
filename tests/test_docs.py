"""What the documents name exists: files, commands with their options, make targets, pictures."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

import pytest

from coolctl import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
VERBS = {name: module for name, module, _ in cli.VERBS}
PATH = re.compile(r"`((?:coolctl|sim_plant|config|models|tests|docs|tools|systemd)/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)#:]+)\)")
COMMAND = re.compile(
    r"coolctl ((?:run|gateway|demo|web|mode|check-config|points|evaluate|replay|report|doctor|train|import|export|bench)\b[^`\n|)]*)"
)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
TARGET = re.compile(r"\bmake ([a-z]+)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_and_links_exist(page: Path) -> None:
    text = page.read_text()
    named = [ROOT / m for m in PATH.findall(text)] + [page.parent / m for m in LINK.findall(text)]
    assert not [str(p) for p in named if not p.exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    for words in COMMAND.findall(page.read_text()):
        verb = words.split()[0]
        parser = argparse.ArgumentParser()
        importlib.import_module(VERBS[verb]).add_arguments(parser)
        known = set(parser._option_string_actions)
        assert set(OPTION.findall(words)) <= known, words


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    code = "\n".join(re.findall(r"`[^`]+`|^    .*$|```.*?```", page.read_text(), re.MULTILINE | re.DOTALL))
    for target in TARGET.findall(code):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_readme_shows_the_page_and_the_commands_a_newcomer_types() -> None:
    text = (ROOT / "README.md").read_text()
    assert "docs/page.png" in text and "make demo" in text and "make test" in text
