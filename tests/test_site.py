"""The site file: what loads, and what is said about what does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SITE, TWO_HALLS

from coolctl.errors import ConfigError
from coolctl.points import Quality, Sample, SampleStore, u_names
from coolctl.site import load_site

Edit = Callable[..., Path]


def faults(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    assert caught.value.exit_code == 78
    return [str(f) for f in caught.value.faults]


def test_site_default_has_all_setpoints_and_points(site) -> None:  # type: ignore[no-untyped-def]
    assert site.accepted.all() and (site.u_point >= 0).all()
    assert len(site.table.by_role("rack_inlet", "hall1")) == 32
    assert site.u_names == u_names(("hall1",))
    assert 86e3 < site.pressure_pa < 89e3  # 1223 m


def test_site_two_halls_accepts_only_what_it_says() -> None:
    site = load_site(TWO_HALLS)
    assert site.halls == ("north", "south") and site.economizer is None
    accepted = {n for n, ok in zip(site.u_names, site.accepted, strict=True) if ok}
    assert accepted == {
        "chwst_sp",
        "chillers_on_sp",
        "cwst_sp",
        "north.sat_sp",
        "north.fan_speed_sp",
        "south.sat_sp",
        "south.fan_speed_sp",
    }
    inlet = site.table.points[site.table.by_role("rack_inlet", "north")[0]]
    assert inlet.decode(77.0) == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("old", "new", "line_text", "said"),
    [
        ("volume_m3 = 12.0", "volum_m3 = 12.0", "volum_m3", "did you mean 'volume_m3'"),
        ("count = 3\nredundant", "count = 0\nredundant", "count = 0", "greater than or equal to 1"),
        ("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 29.0", "rack_inlet_limit_c", "above rack_inlet_recommended_c"),
        ("rack_inlet_limit_c = 26.0", "sat_sp_max_c = 40.0", "sat_sp_max_c", "outside the gateway's own"),
        ('unit = "kW"', 'unit = "kw"', 'unit = "kw"', "unknown unit 'kw' (did you mean 'kW'?)"),
        ('unit = "kW"', 'unit = "degC"', 'unit = "degC"', "does not measure it_power"),
        ('role = "it_power"', 'role = "it_powr"', 'role = "it_powr"', "did you mean 'it_power'"),
        ('crah = "crah_120kw_ec"', 'crah = "crah_120kw"', 'crah = "crah_120kw"', "did you mean 'crah_120kw_ec'"),
        ('crah = "crah_120kw_ec"', 'crah = "servers_air"', 'crah = "servers_air"', "does not describe a crah"),
        ('"chwst_sp", "chw', '"chwst_spp", "chw', "accepts", "did you mean 'chwst_sp'"),
        ('inlet"\nmachine = "hall1.rack*"', 'inlet"\nmachine = "hall2.rack*"', 'machine = "hall2', "no machine 'hall2.rack*'"),
        ('role = "sat"\nmachine = "hall1"', 'role = "sat"\nmachine = "plant"', 'machine = "plant"', "belongs to a hall"),
    ],
)
def test_site_fault_names_line_key_and_cure(edited_site: Edit, old: str, new: str, line_text: str, said: str) -> None:
    path = edited_site((old, new))
    found = faults(path)
    assert any(said in f for f in found), found
    text = next(f for f in found if said in f)
    number = int(text.split(":")[1])
    lines = path.read_text().splitlines()
    # The fault's line is the key's own, or its table's or array's header just above.
    assert any(line_text in line for line in lines[number - 1 : number + 3]), text


def test_site_many_faults_are_all_told_at_once(edited_site: Edit) -> None:
    path = edited_site(
        ("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 29.0"),
        ('unit = "kW"', 'unit = "kw"'),
        ("volume_m3 = 12.0", "volum_m3 = 12.0"),
    )
    found = "\n".join(faults(path))
    assert "volum_m3" in found and "kw" in found and "rack_inlet_limit_c" in found


def test_site_not_accepted_setpoint_needs_a_rule(edited_site: Edit) -> None:
    path = edited_site(('"chwst_sp", "chw_dp_sp", ', '"chwst_sp", '))
    assert any("'chw_dp_sp' is not accepted, so say how" in f for f in faults(path))


def test_site_missing_measurement_is_a_fault(edited_site: Edit) -> None:
    path = edited_site(('role = "it_power"', 'role = "rat"'))
    assert any("'it_power'" in f for f in faults(path))


@pytest.mark.parametrize("content", [b"", b"\0\1\2", b"x = [", b"\xff\xfe", b"a = " + b"[" * 5000, b"format_version = 1"])
def test_site_nonsense_is_a_config_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(content)
    assert faults(path)


def test_site_missing_file_folder_and_huge_file(tmp_path: Path) -> None:
    assert "cannot be read" in faults(tmp_path / "none.toml")[0]
    assert faults(tmp_path)
    huge = tmp_path / "huge.toml"
    with huge.open("wb") as stream:
        os.truncate(stream.fileno(), 64 << 20)
    assert "larger than" in faults(huge)[0]


def test_site_hash_follows_records(edited_site: Edit, tmp_path: Path) -> None:
    path = edited_site()
    before = load_site(path).config_hash
    folder = tmp_path / "equipment"
    folder.mkdir()
    record = SITE.parent.parent / "equipment" / "tower_cell_18kgs.toml"
    (folder / record.name).write_text(record.read_text().replace("9000.0", "9100.0"))
    assert load_site(path).config_hash != before


def store_with(site) -> SampleStore:  # type: ignore[no-untyped-def]
    return SampleStore(site.table)


def test_store_stale_value_is_unknown(site) -> None:  # type: ignore[no-untyped-def]
    store = store_with(site)
    store.put_readings({"chwst": 12.0}, 100.0)
    i = site.table.index["chwst"]
    assert store.snapshot(105.0).value[i] == 12.0
    late = store.snapshot(105.1)
    assert np.isnan(late.value[i]) and late.quality[i] == Quality.STALE


def test_store_older_source_time_loses(site) -> None:  # type: ignore[no-untyped-def]
    store = store_with(site)
    i = site.table.index["chwst"]
    store.put([Sample(i, 12.0, 50.0, Quality.GOOD)], 1.0)
    store.put([Sample(i, 30.0, 49.0, Quality.GOOD)], 2.0)
    assert store.value[i] == 12.0 and store.rejects == {"older_than_newest": 1}


def test_store_out_of_range_is_not_used(site) -> None:  # type: ignore[no-untyped-def]
    store = store_with(site)
    store.put_readings({"chwst": 650.0, "nonsense": 1.0, "oawb": float("nan")}, 0.0)
    snap = store.snapshot(0.0)
    assert np.isnan(snap.value[site.table.index["chwst"]]) and store.rejects == {"out_of_range": 1, "unknown_point": 1}
