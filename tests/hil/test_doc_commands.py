"""Every command of the documents, typed as it stands there, beside one running stack of broker, plant, gateway, controller."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, SITE
from doc_blocks import Commands, all_blocks
from stack import Stack

RUN = [block for block in all_blocks() if not block.why_not]
pytestmark = [pytest.mark.hil, pytest.mark.nightly, pytest.mark.timeout(1200)]
SPEED, PLANT_S = 20.0, 1500.0


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder like that of a person who reads: the site file, trend logs, a recording, and a plant that runs."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("config", "models"):
        (folder / name).symlink_to(ROOT / name)
    for program in ("bin/coolctl", ".venv/bin/coolctl"):
        path = folder / program
        path.parent.mkdir(parents=True)
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -m coolctl "$@"\n')
        path.chmod(0o755)
    site = folder / "my-site.toml"
    stack = Stack(site, folder)
    try:
        site.write_text(f"{SITE.read_text()}\n[mqtt]\nhost = '127.0.0.1'\nport = {stack.broker.port}\n")
        (folder / "records").symlink_to(folder / "rec")
        for name in ("gateway", "daemon"):
            stack.start(name)
        stack.start_plant(SPEED)
        stack.wait("half an hour of the plant", lambda log: bool(log) and log[-1].t_s > PLANT_S, 240.0)
        (folder / "exports").mkdir()
        typed(folder, "coolctl export records --format csv --step 10 --out exports/plant.csv")
        yield folder
    finally:
        stack.close()


def typed(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What a shell in `folder` makes of it; any command that fails ends it."""
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "STATE_DIRECTORY": str(folder / "state"),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done


@pytest.mark.parametrize("block", RUN, ids=lambda b: b.id)
def test_commands_do_what_the_page_says(block: Commands, desk: Path) -> None:
    assert typed(desk, block.text).returncode == 0


def test_a_command_that_fails_is_noticed(desk: Path) -> None:
    with pytest.raises(AssertionError, match="no-such-file"):
        typed(desk, "coolctl check-config no-such-file.toml\ntrue")
