"""The recorder beside a control loop: kill -9, full and hanging disks, restarts. It never raises, never overwrites."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from recordings import bits, mixed_rows, read, write

from coolctl.edge.recorder import MAX_WAITING_BLOCKS, Recorder
from coolctl.recording import open_recording
from coolctl.recording_format import TAG_ROW

COLUMNS = ["now_s", "a", "b", "c"]
HEADER = {"site": "t"}


def row_of(number: int) -> np.ndarray:
    return np.array([number, np.sin(number), round(20 + number * 0.01, 2), -0.0])


def expected(count: int) -> np.ndarray:
    return np.array([row_of(i) for i in range(count)]).reshape(count, 4)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fork_writer(folder: Path) -> tuple[int, int]:
    """A process that records as fast as it can, with rotation, and tells each row's number once it was taken."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_fd)
        return pid, read_fd
    try:
        recorder = Recorder(folder, COLUMNS, HEADER, rotate_s=0.05, block_rows=7, wait_for_disk=True)
        number = 0
        while recorder.failed is None:
            recorder.append(row_of(number), [{"i": number}] if number % 5 == 0 else ())
            if recorder.failed is None:
                os.write(write_fd, struct.pack("<q", number))
            number += 1
    finally:
        os._exit(1)


def test_kill_9_at_random_20_times_loses_no_acknowledged_row(tmp_path: Path) -> None:
    chance = random.Random(12)
    left: dict[str, bytes] = {}
    for _ in range(20):
        pid, fd = fork_writer(tmp_path)
        stop_at = time.monotonic() + chance.uniform(0.0, 0.4)
        taken = b""
        while not taken or time.monotonic() < stop_at:
            taken += os.read(fd, 65536)
        os.kill(pid, signal.SIGKILL)
        while more := os.read(fd, 65536):
            taken += more
        os.close(fd)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        acknowledged = struct.unpack("<q", taken[-8:])[0]
        run = open_recording(tmp_path).runs[-1]
        rows = np.concatenate(list(run.rows()))
        # The row in flight may be there too, or torn; what was acknowledged is there, whole and in order.
        assert acknowledged + 1 <= len(rows) <= acknowledged + 2
        assert np.array_equal(bits(rows), bits(expected(len(rows))))
        assert [(n, e["i"]) for n, e in run.events()] == [(n, n) for n in range(0, len(rows), 5)]
        now = tree(tmp_path)
        assert {name: now[name] for name in left} == left, "an earlier run's file was touched"
        left = now
    assert len(open_recording(tmp_path).runs) == 20
    # Both write-ahead files and rotation were in use when the kills came, not only a first block.
    assert len(list(tmp_path.glob("*.cool"))) > 25


def test_crashed_run_is_left_alone_and_the_next_takes_a_new_number(tmp_path: Path) -> None:
    rows = mixed_rows(1, 30, 4)
    crashed = write(tmp_path, rows, close=False, block_rows=20)
    assert crashed.flush()
    before = tree(tmp_path)
    write(tmp_path, rows[:5])
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"t-000002.cool"}
    assert [run.row_count for run in open_recording(tmp_path).runs] == [30, 5]
    crashed.close()


def test_two_recorders_in_one_folder_do_not_share_a_file(tmp_path: Path) -> None:
    one, two = (Recorder(tmp_path, COLUMNS, HEADER) for _ in range(2))
    for i in range(10):
        one.append(row_of(i))
        two.append(row_of(i))
    one.close()
    two.close()
    assert [run.row_count for run in open_recording(tmp_path).runs] == [10, 10]


def test_append_before_any_disk_and_after_close_counts_and_does_not_raise(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recorder = Recorder(tmp_path / "file" / "below", COLUMNS, HEADER)
    assert recorder.failed is not None and "Not a directory" in recorder.failed
    recorder.append(row_of(0), [{"text": "lost"}])
    assert recorder.dropped_rows == 1 and not recorder.flush()
    recorder.close()
    recorder.append(row_of(1))
    recorder.close()
    assert recorder.dropped_rows == 2 and not recorder.flush(0.01)


def test_closed_recorder_says_so_and_an_unused_one_leaves_no_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, COLUMNS, HEADER)
    assert len(list(tmp_path.iterdir())) == 3
    recorder.close()
    assert recorder.failed == "closed" and list(tmp_path.iterdir()) == []


def test_wrong_row_is_a_bug_and_raises(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, COLUMNS, HEADER)
    with pytest.raises(ValueError, match=r"\(5,\)"):
        recorder.append(np.zeros(5))
    recorder.close()


def test_events_that_json_does_not_know_are_kept_as_text(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, COLUMNS, HEADER)
    recorder.append(row_of(0), [{"text": Path("/x"), "nan": float("nan"), ("a",): 1}, {"big": "x" * (17 << 20)}])
    recorder.append(row_of(1), [{"text": "after"}])
    recorder.close()
    events = [event for _, event in open_recording(tmp_path).events()]
    assert "not recorded" in events[0]["text"] and len(events) == 1


def test_folder_that_appears_later_is_used_from_then_on(tmp_path: Path) -> None:
    clock = [0.0]
    blocker = tmp_path / "records"
    blocker.write_text("in the way")
    recorder = Recorder(blocker, COLUMNS, HEADER, retry_s=60, clock=lambda: clock[0])
    recorder.append(row_of(0))
    blocker.unlink()
    recorder.append(row_of(1))
    assert recorder.failed is not None  # not before its time
    clock[0] = 61.0
    deadline = time.monotonic() + 10
    while recorder.failed is not None and time.monotonic() < deadline:
        recorder.append(row_of(0))
        time.sleep(0.005)
    recorder.append(row_of(1))
    recorder.close()
    rows, damage = read(blocker)
    assert np.array_equal(bits(rows), bits(expected(2))) and damage == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs root to mount a small tmpfs: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_stops_the_recorder_and_freed_space_starts_it_again(small_disk: Path) -> None:
    clock = [0.0]
    (small_disk / "ballast").write_bytes(bytes(120 << 10))
    recorder = Recorder(small_disk, COLUMNS, HEADER, block_rows=50, wait_for_disk=True, clock=lambda: clock[0])
    taken = 0
    while recorder.failed is None and taken < 50_000:
        recorder.append(row_of(taken), [{"noise": os.urandom(400).hex()}])
        taken += recorder.failed is None
    assert taken > 100 and recorder.failed in (
        "write-ahead file: disk full", "write-ahead file: No space left on device", "segment: No space left on device",
    )  # fmt: skip
    for i in range(100):
        recorder.append(row_of(i))
    assert recorder.dropped_rows >= 100
    rows, _ = read(small_disk)
    # A failing block shows a row or two later in `failed`: rows whose append returned with `failed` None are there.
    assert len(rows) >= taken and np.array_equal(bits(rows), bits(expected(len(rows))))

    (small_disk / "ballast").unlink()
    clock[0] += 61.0
    deadline = time.monotonic() + 10
    while recorder.failed is not None and time.monotonic() < deadline:
        recorder.append(row_of(0))
        time.sleep(0.005)
    recorder.append(row_of(1))
    recorder.close()
    assert recorder.failed == "closed"
    first, second = open_recording(small_disk).runs
    assert first.row_count >= taken and second.row_count == 2


def test_read_only_file_system_is_a_reason_and_not_an_exception(small_disk: Path) -> None:
    recorder = Recorder(small_disk, COLUMNS, HEADER)
    recorder.append(row_of(0))
    recorder.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    recorder = Recorder(small_disk, COLUMNS, HEADER)
    recorder.append(row_of(0))
    assert "Read-only" in str(recorder.failed) and recorder.dropped_rows == 1
    recorder.close()
    assert read(small_disk)[0].shape == (1, 4)


@pytest.mark.parametrize("block_rows", [50, 4000])
def test_file_size_limit_stops_the_recorder_with_the_reason(tmp_path: Path, block_rows: int) -> None:
    recorder = Recorder(tmp_path, COLUMNS, HEADER, block_rows=block_rows, wait_for_disk=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    taken = 0
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
        while recorder.failed is None and taken < 20_000:
            recorder.append(np.random.default_rng(taken).normal(size=4))
            taken += recorder.failed is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.strerror(errno.EFBIG) in str(recorder.failed) or "disk full" in str(recorder.failed)
    recorder.close()
    rows, _ = read(tmp_path)
    assert 100 < taken <= len(rows)
    assert np.array_equal(rows, [np.random.default_rng(i).normal(size=4) for i in range(len(rows))])


def test_hanging_disk_holds_up_no_tick_and_ends_the_run_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path, COLUMNS, HEADER, block_rows=10)
    disk, real = threading.Event(), os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (disk.wait(30), real(fd))[1])
    worst_s, taken = 0.0, 0
    while recorder.failed is None and taken < 1000:
        start_s = time.perf_counter()
        recorder.append(row_of(taken))
        worst_s = max(worst_s, time.perf_counter() - start_s)
        taken += recorder.failed is None
    assert "does not keep up" in str(recorder.failed)
    # One block in the disk's hands and the queue full; the last row is that which found it full, still safe.
    assert (MAX_WAITING_BLOCKS + 1) * 10 - 1 <= taken <= (MAX_WAITING_BLOCKS + 2) * 10
    assert worst_s < 1.0  # against 30 s of hanging; the rest is room for a busy machine
    assert np.array_equal(bits(read(tmp_path)[0][:taken]), bits(expected(taken)))
    disk.set()
    recorder.close()
    assert np.array_equal(bits(read(tmp_path)[0][:taken]), bits(expected(taken)))


def test_close_on_a_hanging_disk_returns_and_the_rows_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path, COLUMNS, HEADER, block_rows=10)
    disk, real = threading.Event(), os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (disk.wait(30), real(fd))[1])
    for i in range(25):
        recorder.append(row_of(i))
    start_s = time.monotonic()
    recorder.close(timeout_s=0.2)
    assert time.monotonic() - start_s < 5.0 and "hung" in str(recorder.failed)
    assert np.array_equal(bits(read(tmp_path)[0]), bits(expected(25)))
    disk.set()


def test_failing_sync_ends_the_run_and_keeps_its_write_ahead_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path, COLUMNS, HEADER, block_rows=10)

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    for i in range(15):
        recorder.append(row_of(i))
    assert not recorder.flush()
    assert "Input/output error" in str(recorder.failed)
    for path in tmp_path.glob("*.cool"):
        path.unlink()  # after a failed sync the segment's pages may be gone: the write-ahead files must still have all
    recorder.close()
    assert sum(path.read_bytes().count(TAG_ROW) for path in tmp_path.glob("*.wal")) == 15


def test_dead_writer_thread_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path, COLUMNS, HEADER, block_rows=10)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda fd: 1 / 0)
    deadline, taken = time.monotonic() + 10, 0
    while recorder.failed is None and time.monotonic() < deadline:
        recorder.append(row_of(taken))
        taken += recorder.failed is None
        time.sleep(0.002)
    assert recorder.failed == "the writer thread has died"
    assert np.array_equal(bits(read(tmp_path)[0][:taken]), bits(expected(taken)))
    recorder.close()
