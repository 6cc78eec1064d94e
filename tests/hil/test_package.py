"""The Debian package's life in a fresh root: installed, running, upgraded with a changed site file, removed, purged.

Needs root, debootstrap and a package mirror; `make deb-test` runs it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest
from conftest import ROOT
from machine import Machine, booted, overlay, quieten, why_not

PACKAGES = "systemd,systemd-sysv,python3,libgomp1,mosquitto,mosquitto-clients,procps"
BUILT = sorted((ROOT / "build").glob("coolctl_*.deb"))
pytestmark = [pytest.mark.hil, pytest.mark.package, pytest.mark.timeout(900)]
SUITE, PACKAGE = "bookworm", "/srv/coolctl.deb"
SITE = "/etc/coolctl/simulated.toml"


def mirror() -> str:
    """Where this machine gets its packages from."""
    words = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)"]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return next(line.split()[1] for line in found if line.split()[0] == SUITE)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if why_not() or not shutil.which("debootstrap"):
        pytest.skip(why_not() or "debootstrap is not installed")
    assert BUILT, "run `make deb` first"
    base = ROOT / "build/fresh-root"
    if not (base / "usr/bin/python3").exists():
        words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(base), mirror()]
        made = subprocess.run(words, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout[-1500:]
    folder = tmp_path_factory.mktemp("fresh")
    with overlay(folder, base) as root:
        quieten(root)
        shutil.copy(BUILT[-1], root / "srv/coolctl.deb")
        with booted(root, folder) as machine:
            machine.run("systemctl", "start", "mosquitto")
            yield machine


def test_from_package_to_ready(fresh: Machine) -> None:
    begun_s = time.monotonic()
    fresh.run("dpkg", "-i", PACKAGE, timeout_s=300.0)
    installed_s = time.monotonic() - begun_s
    for unit in ("sim-plant@", "gateway@"):
        fresh.run("systemctl", "start", f"coolctl-{unit}simulated", timeout_s=200.0)
    fresh.run("systemctl", "start", "coolctl@simulated", timeout_s=200.0)
    ready_s = time.monotonic() - begun_s
    print(f"installed after {installed_s:.0f} s, ready after {ready_s:.0f} s")
    assert ready_s <= 300.0
    assert fresh.run("coolctl", "--version").startswith("coolctl ")
    assert "good" in fresh.run("coolctl", "check-config", SITE)
    assert (fresh.root / "usr/share/man/man1/coolctl.1.gz").exists()
    end_s = time.monotonic() + 60.0
    topic = "coolctl/v1/hall1mw/decision"
    while time.monotonic() < end_s:
        found = json.loads(fresh.run("mosquitto_sub", "-h", "127.0.0.1", "-t", topic, "-C", "1", "-W", "10"))
        if found["lease"]["remote"]:
            return
    raise AssertionError("no lease within a minute")


def test_nothing_names_where_it_was_built(fresh: Machine) -> None:
    assert fresh.run("grep", "-rlI", str(ROOT), "/opt/coolctl", check=False, timeout_s=120.0) == ""


def test_the_bill_of_materials_is_what_is_installed(fresh: Machine) -> None:
    bill = json.loads((fresh.root / "usr/share/doc/coolctl/coolctl.cdx.json").read_text())
    listed = {re.sub(r"[-_.]+", "-", part["name"]).lower(): part["version"] for part in bill["components"]}
    code = "from importlib.metadata import distributions as d; print(*(f'{x.name}=={x.version}' for x in d()))"
    there = dict(pin.split("==") for pin in fresh.run("/opt/coolctl/bin/python", "-c", code).split())
    assert listed == {re.sub(r"[-_.]+", "-", n).lower(): v for n, v in there.items() if n != "coolctl"}
    assert all(part["hashes"] for part in bill["components"]) and bill["metadata"]["component"]["name"] == "coolctl"
    lock = (fresh.root / "usr/share/doc/coolctl/requirements.lock").read_text()
    assert lock.count("--hash=sha256:") == len(listed) and "://" not in lock


def test_an_upgrade_keeps_a_changed_site_file_and_what_runs(fresh: Machine) -> None:
    site = fresh.root / SITE.lstrip("/")
    changed = site.read_text().replace("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 25.5")
    site.write_text(changed)
    before = fresh.show("coolctl@simulated", "MainPID")
    fresh.run("dpkg", "-i", "--force-confold", PACKAGE, timeout_s=300.0)
    assert site.read_text() == changed
    assert fresh.show("coolctl@simulated", "ActiveState") == "active" and fresh.show("coolctl@simulated", "MainPID") != before


def test_removal_hands_back_and_purge_leaves_nothing(fresh: Machine) -> None:
    fresh.run("dpkg", "-r", "coolctl", timeout_s=120.0)
    assert fresh.show("coolctl@simulated", "ActiveState") in ("inactive", "failed")
    assert (fresh.root / SITE.lstrip("/")).exists(), "a removal keeps what a person wrote"
    fresh.run("dpkg", "-P", "coolctl", timeout_s=120.0)
    left = fresh.run("find", "/", "-xdev", "-name", "*coolctl*", "-not", "-path", "/proc/*", "-not", "-path", "/sys/*")
    # Kernels that a person's own command compiled lie in that person's cache, which no package may touch; nothing else may stay.
    others = ("/run/", "/sys/", "/var/log/", "/var/lib/dpkg/", "/root/.cache/coolctl")
    kept = [p for p in left.split() if p != PACKAGE and not p.startswith(others)]
    assert kept == [], kept
