"""Telemetry that another process hears: the values are whole, grow old by themselves, and stand beside our own."""

from __future__ import annotations

import math
import os
import threading
import time

import numpy as np
import pytest

from coolctl.points import GOOD, STALE, Sample, SampleStore
from coolctl.shared_telemetry import H_SEQUENCE, TEXT_BYTES, Segment, SharedStore, size_bytes
from coolctl.site import Site


@pytest.fixture
def segment(site: Site) -> Segment:
    fd = os.memfd_create("test")
    os.ftruncate(fd, size_bytes(len(site.table)))
    made = Segment(fd, len(site.table))
    made.begin()
    return made


def heard(site: Site, value: float, now_s: float) -> SampleStore:
    store = SampleStore(site.table)
    store.put([Sample(i, value, now_s, GOOD) for i in range(len(site.table))], now_s)
    return store


def test_what_is_written_is_read(site: Site, segment: Segment) -> None:
    empty = segment.read()
    assert empty is not None and np.isnan(empty.value).all() and empty.messages == 0 and empty.rejects == {}
    store = heard(site, 0.5, 7.0)
    segment.write(store, 42, 5, {"keys": 3}, {"chwst": "metadata_unit"})
    found = segment.read()
    assert found is not None and np.array_equal(found.value, store.value) and np.array_equal(found.t_seen_s, store.t_seen_s)
    assert np.array_equal(found.quality, store.quality) and (found.messages, found.dropped) == (42, 5)
    assert found.rejects == {"keys": 3} and found.faults == {"chwst": "metadata_unit"}


def test_reasons_without_end_cost_the_counts_only(site: Site, segment: Segment) -> None:
    segment.write(heard(site, 0.5, 7.0), 1, 0, {f"{k:0200d}": k for k in range(TEXT_BYTES // 100)}, {})
    found = segment.read()
    assert found is not None and found.rejects == {} and found.messages == 1


def test_a_writer_that_died_at_it_leaves_what_was(site: Site, segment: Segment) -> None:
    shared = SharedStore(site.table, segment)
    segment.write(heard(site, 0.5, 100.0), 1, 0, {}, {})
    i = site.table.one("valve", "hall1")
    assert shared.snapshot(100.5).value[i] == 0.5
    segment._head[H_SEQUENCE] += 1
    segment.value[:] = 9.0  # half of what it would have written
    assert segment.read() is None and shared.snapshot(100.7).value[i] == 0.5
    late = shared.snapshot(100.0 + site.table.age_max_s[i] + 1.0)
    assert math.isnan(late.value[i]) and late.quality[i] == STALE, "and it grows old"
    after = SampleStore(site.table)
    segment.take_over(after)  # the next writer begins with nothing: what is there may be half a value and half another's quality
    assert np.isnan(after.value).all() and math.isnan(shared.snapshot(100.8).value[i])


def test_the_next_writer_goes_on_where_the_last_one_ended(site: Site, segment: Segment) -> None:
    shared, after, i = SharedStore(site.table, segment), SampleStore(site.table), site.table.one("valve", "hall1")
    segment.write(heard(site, 0.5, 100.0), 1, 0, {}, {})
    segment.take_over(after)
    segment.write(after, 0, 0, {}, {})
    assert shared.snapshot(100.5).value[i] == 0.5 and shared.messages == 0
    assert math.isnan(shared.snapshot(100.0 + site.table.age_max_s[i] + 1.0).value[i]), "no younger than it is"


def test_our_own_values_stand_beside_them(site: Site, segment: Segment) -> None:
    shared, i = SharedStore(site.table, segment), site.table.one("valve", "hall1")
    shared.put([Sample(i, 0.75, 5.0, GOOD)], 5.0)
    segment.write(heard(site, 0.5, 5.0), 3, 1, {"late": 2}, {"chwst": "no_metadata"})
    snap = shared.snapshot(5.0)
    assert (
        snap.value[i] == 0.75 and (np.delete(snap.value, i)[snap.quality[np.arange(len(snap.value)) != i] == GOOD] == 0.5).all()
    )
    assert (shared.messages, shared.dropped, shared.rejects) == (3, 1, {"late": 2}) and shared.faults == {"chwst": "no_metadata"}


def test_nothing_is_read_half(site: Site, segment: Segment) -> None:
    """One thread writes whole vectors of one number each, the other sees no mixture, and sees many of them."""
    stores = [heard(site, 0.01 * k, float(k)) for k in range(1, 60)]
    until_s, seen = time.monotonic() + 1.0, set()

    def write() -> None:
        k = 0
        while time.monotonic() < until_s:
            segment.write(stores[k % len(stores)], k, k, {"n": k % len(stores)}, {})
            k += 1

    segment.write(stores[0], 0, 0, {"n": 0}, {})
    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        if (found := segment.read()) is not None:
            assert len(set(found.value.tolist())) == len(set(found.t_seen_s.tolist())) == 1
            assert found.rejects["n"] == found.messages % len(stores) == round(100.0 * found.value[0]) - 1
            seen.add(found.messages)
    writer.join()
    assert len(seen) > 20
