"""Roles, the point table, the setpoint vector, and the store that decides which values a tick may see."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from coolctl.points import (
    HALL_SETPOINTS,
    PLANT_SETPOINTS,
    ROLES,
    U_CELLS,
    U_CHILLERS,
    U_CHW_DP,
    U_CHWST,
    U_CW_FLOW,
    U_CWST,
    U_ECONOMIZER,
    U_HALL,
    Batch,
    Point,
    PointTable,
    Quality,
    Sample,
    SampleStore,
    each,
    u_names,
    u_size,
)

NAN, INF = math.nan, math.inf
CHWST = Point("chwst", "chwst", "plant", "degC", "t", "json", "chwst", 5.0, -5.0, 60.0)
IT = Point("h1.it_power", "it_power", "h1", "kW", "t", "json", "h1.it_power", 5.0, 0.0, 1e9)
RACKS = [
    replace(CHWST, id=f"h{h}.rack0{r}.rack_inlet", role="rack_inlet", machine=f"h{h}.rack0{r}") for h in (1, 2) for r in (1, 2)
]


@pytest.fixture
def store() -> SampleStore:
    return SampleStore(PointTable([CHWST, IT]))


def test_roles_have_a_range_a_level_and_words() -> None:
    for name, role in ROLES.items():
        assert role.name == name and role.low < role.high and role.description, name
        assert role.level in ("plant", "hall", "rack"), name
        assert role.writable == name.endswith("_sp"), name


def test_setpoint_vector_layout_follows_the_roles() -> None:
    names = u_names(("a", "b"))
    assert len(names) == u_size(2) == U_HALL + 4
    places = {U_CHWST: "chwst_sp", U_CHW_DP: "chw_dp_sp", U_CHILLERS: "chillers_on_sp", U_CWST: "cwst_sp"}
    places |= {U_CELLS: "tower_cells_on_sp", U_CW_FLOW: "cw_flow_sp", U_ECONOMIZER: "economizer_on_sp"}
    assert {k: names[k] for k in places} == places and len(PLANT_SETPOINTS) == U_HALL
    assert names[U_HALL:] == ("a.sat_sp", "a.fan_speed_sp", "b.sat_sp", "b.fan_speed_sp")
    assert HALL_SETPOINTS == ("sat_sp", "fan_speed_sp")


def test_point_converts_at_the_border_only() -> None:
    assert IT.decode(620.0) == 620e3 and IT.encode(620e3) == 620.0
    assert not IT.writable and replace(IT, role="sat_sp").writable


def test_table_finds_points_at_a_machine_and_below() -> None:
    table = PointTable([CHWST, IT, *RACKS, replace(RACKS[0], id="other", machine="h12.rack01")])
    assert table.by_role("rack_inlet", "h1").tolist() == [2, 3]  # h12 is not below h1
    assert table.by_role("rack_inlet").tolist() == [2, 3, 4, 5, 6]
    assert (table.one("chwst"), table.one("it_power", "h1"), table.one("oawb")) == (0, 1, -1)
    assert len(table) == 7 and table.index["chwst"] == 0


def test_store_never_heard_is_unknown(store: SampleStore) -> None:
    snap = store.snapshot(0.0)
    assert np.isnan(snap.value).all() and (snap.quality == Quality.NEVER).all() and (snap.age_s == INF).all()


def test_store_stale_value_is_unknown_and_says_why(store: SampleStore) -> None:
    store.put_readings({"chwst": 12.0}, 100.0)
    at_limit, late = store.snapshot(105.0), store.snapshot(105.1)
    assert at_limit.value[0] == 12.0 and at_limit.quality[0] == Quality.GOOD and at_limit.age_s[0] == 5.0
    assert np.isnan(late.value[0]) and late.quality[0] == Quality.STALE


def test_store_snapshot_does_not_change_afterwards(store: SampleStore) -> None:
    store.put_readings({"chwst": 12.0}, 0.0)
    snap = store.snapshot(0.0)
    store.put_readings({"chwst": 14.0}, 1.0)
    assert snap.value[0] == 12.0 and snap.quality[0] == Quality.GOOD


def test_store_readings_unknown_point_and_unknown_value(store: SampleStore) -> None:
    store.put_readings({"chwst": 12.0, "h1.it_power": 600.0}, 0.0)
    store.put_readings({"chwst": NAN, "nonsense": 1.0}, 3.0)
    snap = store.snapshot(3.0)
    assert snap.value.tolist() == [12.0, 600e3] and snap.age_s.tolist() == [3.0, 3.0]
    assert store.rejects == {"unknown_point": 1}


@pytest.mark.parametrize("wire", [650.0, -5.1, 60.1, INF, -INF])
def test_store_out_of_range_takes_the_place_of_the_good_value(store: SampleStore, wire: float) -> None:
    # The newest word of a sensor that has gone mad must not be hidden by its last sane one.
    store.put_readings({"chwst": 12.0}, 0.0)
    store.put_readings({"chwst": wire}, 1.0)
    snap = store.snapshot(1.0)
    assert np.isnan(snap.value[0]) and snap.quality[0] == Quality.OUT_OF_RANGE and store.rejects == {"out_of_range": 1}


def test_store_sample_without_a_value_is_out_of_range(store: SampleStore) -> None:
    store.put([Sample(0, NAN, NAN, Quality.GOOD)], 0.0)
    assert store.snapshot(0.0).quality[0] == Quality.OUT_OF_RANGE


def test_store_bad_source_quality_is_kept(store: SampleStore) -> None:
    store.put([Sample(0, 12.0, 1.0, Quality.SOURCE_BAD)], 0.0)
    snap = store.snapshot(0.0)
    assert np.isnan(snap.value[0]) and snap.quality[0] == Quality.SOURCE_BAD and not store.rejects


def test_store_older_source_time_loses(store: SampleStore) -> None:
    store.put([Sample(0, 12.0, 50.0, Quality.GOOD)], 1.0)
    store.put([Sample(0, 30.0, 49.0, Quality.GOOD), Sample(0, 31.0, 49.5, Quality.GOOD)], 2.0)
    assert store.snapshot(2.0).value[0] == 12.0 and store.rejects == {"older_than_newest": 2}
    store.put([Sample(0, 13.0, 50.0, Quality.GOOD), Sample(0, 14.0, NAN, Quality.GOOD)], 3.0)
    assert store.snapshot(3.0).value[0] == 14.0  # the same time again, or none at all, is not older


def test_store_source_clock_set_back_is_believed_again_once_stale(store: SampleStore) -> None:
    store.put([Sample(0, 12.0, 86_400.0, Quality.GOOD)], 0.0)  # a day ahead, then corrected
    seen = []
    for k in range(1, 10):
        store.put([Sample(0, 13.0, float(k), Quality.GOOD)], float(k))
        seen.append(store.snapshot(float(k)).value[0] == 13.0)
    assert seen == [False] * 5 + [True] * 4
    assert store.rejects == {"older_than_newest": 5, "source_clock_set_back": 1}


def test_store_old_message_replayed_for_ever_is_never_believed(store: SampleStore) -> None:
    store.put([Sample(0, 12.0, 100.0, Quality.GOOD)], 0.0)
    for k in range(1, 60):
        store.put([Sample(0, 13.0, 40.0, Quality.GOOD)], float(k))
    assert np.isnan(store.snapshot(59.0).value[0]) and store.rejects == {"older_than_newest": 59}


def test_store_what_was_long_on_its_way_is_as_old_as_that(store: SampleStore) -> None:
    """A link that delivers ten seconds late, in order: each value is newer than the one before, and none is of this moment."""
    for k in range(10):
        store.put([Sample(0, 12.0, 1e9 + k, Quality.GOOD)], k + 0.5 * (k % 3))  # whatever the clocks are apart
    assert store.snapshot(9.0).value[0] == 12.0 and not store.rejects
    for k in range(20, 40):
        store.put([Sample(0, 13.0, 1e9 + k - 10.0, Quality.GOOD)], float(k))
        snap = store.snapshot(float(k))
        assert np.isnan(snap.value[0]) and snap.quality[0] == Quality.STALE and 9.9 < snap.age_s[0] <= 10.0
    assert store.rejects == {"late": 20}
    store.put([Sample(0, 14.0, 1e9 + 38.0, Quality.GOOD)], 40.0)
    assert store.snapshot(40.0).value[0] == 14.0 and store.snapshot(40.0).age_s[0] == pytest.approx(2.0, abs=0.05)
    store.put([Sample(0, 15.0, 1e9 + 41.0, Quality.GOOD)], 41.0)
    assert store.snapshot(41.0).age_s[0] < 0.05


@pytest.mark.parametrize(
    ("stamps", "why"),
    [
        ([100.0, 100.0, 100.0, 100.0], "it repeats the stamp of the last change"),
        ([NAN, NAN, NAN, NAN], "it has no stamps"),
        ([100.0, 130.0, 160.0, 190.0], "clock and stamps go alike"),
        ([100.0, 129.98, 159.96, 189.94], "its clock is slow, as a free-running one may be"),
        ([100.0, 200.0, 300.0, 400.0], "its clock was set forward: what was quick is quicker now"),
    ],
)
def test_store_is_misled_by_no_honest_stamp(store: SampleStore, stamps: list[float], why: str) -> None:
    for k, stamp in enumerate(stamps):
        store.put([Sample(0, 12.0, stamp, Quality.GOOD)], 30.0 * k)
        assert store.snapshot(30.0 * k).age_s[0] == pytest.approx(0.0, abs=0.01), why


def test_store_a_clock_that_is_set_back_begins_anew_and_then_tells_again(store: SampleStore) -> None:
    store.put([Sample(0, 12.0, 5000.0, Quality.GOOD)], 0.0)
    for k in range(1, 9):
        store.put([Sample(0, 13.0, float(k), Quality.GOOD)], float(k))
    assert store.snapshot(8.0).value[0] == 13.0 and store.snapshot(8.0).age_s[0] == 0.0
    store.put([Sample(0, 14.0, 9.0, Quality.GOOD)], 20.0)
    assert store.snapshot(20.0).age_s[0] == pytest.approx(11.0, abs=0.05)


def test_store_stamps_of_changes_say_nothing_of_the_way() -> None:
    """Of a point that speaks on change, what comes first may have changed last an hour ago."""
    store = SampleStore(PointTable([replace(CHWST, dialect="sparkplug-b")]))
    for now_s, stamp in ((0.0, 5000.0), (10.0, 5010.0), (60.0, 5020.0)):
        store.put([Sample(0, 12.0, stamp, Quality.GOOD)], now_s)
        assert store.snapshot(now_s).age_s[0] == 0.0


def test_store_after_a_lost_link_the_buffered_past_is_not_the_present(store: SampleStore) -> None:
    store.put([Sample(0, 12.0, 100.0, Quality.GOOD)], 0.0)
    store.forget(np.array([0]))
    store.put([Sample(0, 13.0, 130.0, Quality.GOOD)], 60.0)
    assert np.isnan(store.snapshot(60.0).value[0])
    store.restart()  # a plant that begins anew: nothing of it is known
    store.put([Sample(0, 13.0, 7.0, Quality.GOOD)], 100.0)
    assert store.snapshot(100.0).value[0] == 13.0 and store.snapshot(100.0).age_s[0] == 0.0


def test_store_points_do_not_touch_each_other(store: SampleStore) -> None:
    store.put([Sample(0, 12.0, 50.0, Quality.GOOD), Sample(1, 6e5, 10.0, Quality.GOOD)], 1.0)
    store.put([Sample(0, 1.0, 49.0, Quality.GOOD), Sample(1, 7e5, 11.0, Quality.GOOD)], 2.0)
    assert store.snapshot(2.0).value.tolist() == [12.0, 7e5]


def test_store_takes_a_batch_as_its_samples_one_by_one() -> None:
    rng = np.random.default_rng(5)
    table = PointTable([CHWST, IT, *RACKS])
    whole, single = SampleStore(table), SampleStore(table)
    for k in range(4000):
        i = rng.permutation(len(table))[: rng.integers(1, len(table) + 1)]
        value = rng.choice([12.0, 25.0, -50.0, 1e12], len(i))
        t_source_s = float(rng.choice([k, k - 2, k - 7, k + 3600.0 * (k % 300 == 0), 5.0, NAN]))
        batch = Batch(i, value, t_source_s)
        whole.put([batch], float(k))
        single.put(list(each([batch])), float(k))
        for a, b in zip(whole.snapshot(float(k)), single.snapshot(float(k)), strict=True):
            assert np.array_equal(a, b, equal_nan=True)
    assert whole.rejects == single.rejects
    assert set(whole.rejects) == {"older_than_newest", "source_clock_set_back", "late", "out_of_range"}
