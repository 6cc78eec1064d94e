"""What the documents name exists: files, commands with their options, make targets, pictures."""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import all_blocks, blocks, unfenced

from coolctl import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
VERBS = {name: module for name, module, _ in cli.VERBS}
PATH = re.compile(r"`((?:coolctl|sim_plant|config|models|tests|docs|tools|systemd)/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)#:]+)\)")
COMMAND = re.compile(
    r"coolctl ((?:run|gateway|demo|web|mode|check-config|points|evaluate|replay|outlook|report|doctor|train|import|export|bench)\b[^`\n|)]*)"
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


# Hours of computing each, written down so that the figures can be made again; their options are checked above.
FIGURES = {"SAVINGS.md", "MEASUREMENT.md", "PERFORMANCE.md", "SAFETY.md"}
HELD_BY = re.compile(r"tests/[\w/]+\.py")


def test_every_command_is_run_or_says_why_not() -> None:
    """tests/hil/test_doc_commands.py runs what has no reason; a reason names the test that holds the commands instead."""
    found = all_blocks()
    assert len([b for b in found if not b.why_not]) >= 8, "the search itself finds them"
    for block in found:
        if block.why_not:
            assert len(block.why_not) > 20, f"{block.id}: say why"
            assert all((ROOT / name).is_file() for name in HELD_BY.findall(block.why_not)), block.id
    loose = {page.name: unfenced(page.read_text()) for page in PAGES if page.name not in FIGURES}
    assert not {name: lines for name, lines in loose.items() if lines}, "commands stand in ```sh blocks"


def test_the_search_for_commands_sees_a_block_without_its_reason() -> None:
    text = "a\n\n<!-- not run: needs a real plant, and root -->\n```sh\nx\n```\n\n```sh\ny  # z\n```\n```toml\nn = 1\n```\n"
    first, second = blocks("page", text)
    assert (first.text, first.why_not, first.line) == ("x\n", "needs a real plant, and root", 5)
    assert (second.text, second.why_not) == ("y  # z\n", "")
    assert unfenced("    make x\n") and unfenced("    sudo ls\n") and not unfenced("```sh\n    make x\n```\n    n = 1\n")


def test_site_builds_with_every_link_checked_and_fetches_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "-f", str(ROOT / "mkdocs.yml"), "-d", str(tmp_path / "site")]
    built = subprocess.run(words, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    pages = list((tmp_path / "site").rglob("*.html"))
    assert {p.stem for p in PAGES if p.parent.name == "docs"} <= {p.stem for p in pages}
    for page in pages:
        foreign = re.findall(r"""<(?:script|img|link|iframe)[^>]*(?:src|href)=["']?(?:https?:)?//[^"'> ]+""", page.read_text())
        assert not foreign, "a page fetches nothing from elsewhere"
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text())


def test_site_with_a_link_that_leads_nowhere_is_not_built(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# x\n\n[y](NOT_THERE.md)\n")
    settings = re.sub(r"^nav:.*", "", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "mkdocs.yml").write_text(settings)
    words = [sys.executable, "-m", "mkdocs", "build", "-f", str(tmp_path / "mkdocs.yml"), "-d", str(tmp_path / "site")]
    built = subprocess.run(words, capture_output=True, text=True)
    assert built.returncode != 0 and "NOT_THERE.md" in built.stdout + built.stderr
