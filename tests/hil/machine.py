"""A machine with a systemd of its own: `systemd-nspawn` over an overlay of this one's root, without a network.

Nothing that it does reaches the host: its writes go to a tmpfs, its /tmp, /run and loopback are its own. Needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import ROOT

BOOT_S, COMMAND_S = 40.0, 60.0
SOURCE = "/opt/coolctl-source"
# What empties folders, waits for hardware or talks to a network has no business in a test.
MASKED = (
    "systemd-tmpfiles-clean.timer", "systemd-tmpfiles-setup.service", "systemd-tmpfiles-setup-dev.service", "networking.service",
    "systemd-networkd.service", "systemd-timesyncd.service", "systemd-resolved.service", "apt-daily.timer",
    "apt-daily-upgrade.timer", "ssh.service", "prometheus.service", "prometheus-node-exporter.service",
)  # fmt: skip


def why_not() -> str:
    """Why no machine can be booted here; empty where one can."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    if not shutil.which("systemd-nspawn"):
        return "systemd-nspawn is not installed (package systemd-container)"
    version = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True
    )
    if version.stdout.strip() != str(tuple(map(int, os.sys.version_info[:2]))):  # type: ignore[attr-defined]
        return "the system's Python is not the one that the packages were installed for"
    return ""


class Machine:
    """A booted machine; `run` a command in it."""

    def __init__(self, root: Path, process: subprocess.Popen[bytes]):
        self.root, self._process = root, process
        self._leader = 0

    def wait_booted(self) -> None:
        end_s = time.monotonic() + BOOT_S
        while time.monotonic() < end_s:
            assert self._process.poll() is None, "the machine ended while booting"
            self._leader = self._leader or self._find_leader()
            if self._leader and self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"):
                return
            time.sleep(0.2)
        raise AssertionError("the machine did not boot")

    def _find_leader(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        found = [int(c) for c in children if Path(f"/proc/{c}/comm").read_text().strip() in ("systemd", "init")]
        return found[0] if found else 0

    def run(self, *command: str, check: bool = True, timeout_s: float = COMMAND_S) -> str:
        """What a command in the machine prints."""
        words = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "--", *command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout_s)
        assert not check or done.returncode == 0, (
            f"{command}: {done.stdout}{done.stderr}{self.run('journalctl', '-n', '15', '--no-pager', check=False)}"
        )
        return done.stdout

    def show(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", unit, "-p", key, "--value").strip()

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "-u", unit, "--no-pager", "-o", "cat")

    def poweroff(self) -> None:
        """End the machine, its own way first."""
        self.run("systemctl", "poweroff", "--force", "--force", check=False)
        try:
            self._process.wait(15.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def overlay(folder: Path, lower: Path = Path("/")) -> Iterator[Path]:
    """A root whose writes go to a tmpfs, over `lower`."""
    root, base = folder / "machine", folder / "overlay"
    root.mkdir()
    base.mkdir()
    mounts: list[Path] = []
    try:
        _sh("mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", str(base))
        mounts.append(base)
        for name in ("upper", "work"):
            (base / name).mkdir()
        _sh("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={base}/upper,workdir={base}/work", str(root))
        mounts.append(root)
        yield root
    finally:
        for place in reversed(mounts):
            _sh("umount", str(place))


@contextmanager
def booted(root: Path, folder: Path, *more: str) -> Iterator[Machine]:
    """A machine running from `root`; it is ended whatever happens."""
    words = ["systemd-nspawn", "-D", str(root), *more, "--register=no", "--keep-unit", "--quiet", "--console=pipe"]
    with (folder / "console").open("wb") as console:
        process = subprocess.Popen(
            [*words, "--private-network", "--boot"], stdin=subprocess.DEVNULL, stdout=console, stderr=console
        )
    try:
        made = Machine(root, process)
        made.wait_booted()
        yield made
        made.poweroff()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """This machine's system with coolctl in /opt/coolctl, its units, and a site called `hall`."""
    with overlay(folder) as root:
        _furnish(root)
        with booted(root, folder, f"--bind-ro={ROOT}:{SOURCE}") as made:
            yield made


def _furnish(root: Path) -> None:
    """What the package would install, but the checkout's own code through a bind mount."""
    units = root / "etc/systemd/system"
    quieten(root)
    _sh("/usr/bin/python3", "-m", "venv", "--without-pip", str(root / "opt/coolctl"))
    site_packages = next((root / "opt/coolctl/lib").glob("python3*")) / "site-packages"
    inside = next((ROOT / ".venv/lib").glob("python3*")).name
    (site_packages / "source.pth").write_text(f"{SOURCE}\n{SOURCE}/.venv/lib/{inside}/site-packages\n")
    program = root / "opt/coolctl/bin/coolctl"
    program.write_text("#!/opt/coolctl/bin/python\nimport sys\nfrom coolctl.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    for unit in (ROOT / "systemd").iterdir():
        shutil.copy(unit, units / unit.name)
    settings = root / "etc/coolctl"
    settings.mkdir()
    shutil.copy(ROOT / "config/sites/hall1mw.toml", settings / "hall.toml")
    shutil.copytree(ROOT / "config/equipment", settings / "equipment")


def quieten(root: Path) -> None:
    """Nothing starts by itself but what a boot needs."""
    units = root / "etc/systemd/system"
    for wants in units.glob("*.wants"):
        shutil.rmtree(wants)
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")


def _sh(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
