"""Power loss for the recorder: a file system of its own is shut down under it, as ext4 does where root asks for it."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from coolctl.edge.recorder import Recorder
from coolctl.recording import Recording

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2  # the journal is not written either: what a lost supply leaves
BLOCK_ROWS = 60


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A mounted ext4 image (image, mount point); skipped where this machine cannot."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4")
    image, mount = tmp_path / "disk.img", tmp_path / "disk"
    image.write_bytes(b"")
    os.truncate(image, 64 << 20)
    mount.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    done = subprocess.run(["mount", "-o", "loop", str(image), str(mount)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine mounts no loop device: {done.stderr.strip()}")
    try:
        yield image, mount
    finally:
        subprocess.run(["umount", str(mount)], check=False)


def cut_power(mount: Path) -> None:
    fd = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    except OSError as error:
        pytest.skip(f"this kernel shuts no ext4 down: {error.strerror}")
    finally:
        os.close(fd)


@pytest.mark.nightly
def test_recorder_loses_at_most_a_second_when_the_power_goes(ext4: tuple[Path, Path]) -> None:
    """Rows once a second, a minute and a half of them at ten times the pace; after the loss all but the last second are read."""
    image, mount = ext4
    recorder = Recorder(mount, "run", ["a", "b", "c"], {}, block_rows=BLOCK_ROWS)
    for k in range(90):
        recorder.append(np.full(3, float(k)))
        time.sleep(0.1)
    time.sleep(1.0)  # the second that may be lost has passed
    cut_power(mount)
    recorder.append(np.full(3, 90.0))
    recorder.close()
    assert recorder.failed, "a disk that is gone is said, and the caller goes on"
    subprocess.run(["umount", str(mount)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    rows = Recording(mount).read()
    assert (rows[:, 0] == np.arange(len(rows))).all() and len(rows) >= 90, f"{len(rows)} of 90 rows"
