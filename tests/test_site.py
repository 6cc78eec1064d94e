"""The site file: what loads, and what is said about what does not."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SITE, TWO_HALLS

from coolctl import paths
from coolctl.equipment_schema import RECORDS
from coolctl.errors import ConfigError, nearest
from coolctl.points import ROLES, u_names
from coolctl.site import Site, load_site
from coolctl.toml_lines import key_lines, line_of

Edit = Callable[..., Path]
EQUIPMENT = SITE.parent.parent / "equipment"


def faults(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    assert caught.value.exit_code == 78
    return [str(f) for f in caught.value.faults]


# -- what loads


def test_site_default_has_all_setpoints_and_points(site: Site) -> None:
    assert site.accepted.all() and (site.u_point >= 0).all()
    assert len(site.table.by_role("rack_inlet", "hall1")) == 32
    assert site.u_names == u_names(("hall1",))
    assert {p.role for p in site.table.points} == set(ROLES) - {"energy_price", "energy_price_ahead", "carbon_factor"}, "optional"
    assert site.topic("sp") == "coolctl/v1/hall1mw/sp"


def test_site_pressure_comes_from_altitude_unless_given(site: Site) -> None:
    # ISO 2533 at 1223 m is 87 470 Pa; the second site gives its own.
    assert site.pressure_pa == pytest.approx(87470.0, abs=50.0)
    assert load_site(TWO_HALLS).pressure_pa == 82e3


def test_site_point_ids_units_and_u_index(site: Site) -> None:
    ids = site.table.index
    assert {"chwst", "hall1.it_power", "hall1.rack03.rack_inlet", "chwst_sp", "hall1.sat_sp"} <= set(ids)
    for k, name in enumerate(site.u_names):
        assert site.table.points[site.u_point[k]].id == name
    assert site.u_point.dtype == np.int64 and site.accepted.dtype == np.bool_


def test_site_two_halls_accepts_only_what_it_says() -> None:
    site = load_site(TWO_HALLS)
    assert site.halls == ("north", "south") and site.economizer is None
    accepted = {n for n, ok in zip(site.u_names, site.accepted, strict=True) if ok}
    halls = {f"{hall}.{role}" for hall in site.halls for role in ("sat_sp", "fan_speed_sp")}
    assert accepted == {"chwst_sp", "chillers_on_sp", "cwst_sp"} | halls
    inlet = site.table.points[site.table.by_role("rack_inlet", "north")[0]]
    assert inlet.decode(77.0) == pytest.approx(25.0)
    assert site.table.points[site.table.one("chw_flow")].decode(15.85032) == pytest.approx(1.0, rel=1e-6)
    rule = site.file.plant.rule_for("chw_dp_sp")
    assert rule is not None and (rule.rule, rule.value) == ("fixed", 140e3)


@pytest.mark.parametrize("record", sorted(EQUIPMENT.glob("*.toml")), ids=lambda p: p.stem)
def test_record_says_what_it_is_and_where_it_is_from(record: Path) -> None:
    text = record.read_text()
    kind = re.search(r'^kind = "(\w+)"', text, re.M)
    assert kind and kind.group(1) in RECORDS
    source = re.search(r'^source = "(.+)"', text, re.M)
    # Either a document that can be looked up, or the honest word.
    assert source and re.search(r"estimate|EnergyPlus|ASHRAE", source.group(1))


def test_tower_record_approach_is_what_its_comment_says(site: Site) -> None:
    from coolctl.thermal import tower
    from coolctl.thermal.params import plant_params

    figures = re.findall(r"([\d.]+) K at ([\d.]+) MW", (EQUIPMENT / "tower_cell_18kgs.toml").read_text())
    assert len(figures) == 3
    for approach_k, heat_mw in figures:
        leaving_c = tower.leaving_water_c(1.0, 62.0 / 3.0, float(heat_mw) * 1e6 / 3.0, 26.0, 101325.0, plant_params(site).tower)
        # The comment gives one digit after the point.
        assert leaving_c - 26.0 == pytest.approx(float(approach_k), abs=0.06)


def test_site_hash_follows_records(edited_site: Edit, tmp_path: Path) -> None:
    path = edited_site()
    before = load_site(path).config_hash
    folder = tmp_path / "equipment"
    folder.mkdir()
    record = EQUIPMENT / "tower_cell_18kgs.toml"
    (folder / record.name).write_text(record.read_text().replace("9000.0", "9100.0"))
    assert load_site(path).config_hash != before and re.fullmatch("[0-9a-f]{64}", before)


def test_shared_folder_prefers_the_checkout() -> None:
    assert paths.shared_folder("config") == SITE.parent.parent
    assert (paths.shared_folder("models") / "default" / "policy.onnx").is_file()


# -- what is said about what does not


@pytest.mark.parametrize(
    ("old", "new", "line_text", "said"),
    [
        ("volume_m3 = 12.0", "volum_m3 = 12.0", "volum_m3", "did you mean 'volume_m3'"),
        ("volume_m3 = 12.0", "Volume_M3 = 12.0", "Volume_M3", "did you mean 'volume_m3'"),
        ("[tariff]", "[tarif]", "[tarif]", "did you mean 'tariff'"),
        ("racks = 32\n", "", "[[halls]]", "halls.0.racks: missing"),
        ("count = 3\nredundant", "count = 0\nredundant", "count = 0", "0: Input should be greater than or equal to 1 (allowed: at least 1, at most 1000)"),
        ("altitude_m = 1223", "altitude_m = 12230", "altitude_m", "(allowed: at least -430, at most 5500)"),
        ("volume_m3 = 12.0", "volume_m3 = nan", "volume_m3 = nan", "finite"),
        ("volume_m3 = 12.0", "volume_m3 = inf", "volume_m3 = inf", "finite"),
        ("volume_m3 = 12.0", 'volume_m3 = "12"', "volume_m3", "'12': Input should be a valid number"),
        ("volume_m3 = 12.0", "volume_m3 = true", "volume_m3", "True: Input should be a valid number"),
        ("count = 3\nredundant", "count = 3.0\nredundant", "count = 3.0", "valid integer"),
        ("redundant = 1", "redundant = 3", "redundant = 3", "3 of 3 leaves none on duty"),
        ('timezone = "Asia/Shanghai"', 'timezone = "Asia/Shanghay"', "timezone", "did you mean 'Asia/Shanghai'"),
        ("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 29.0", "rack_inlet_limit_c", "above rack_inlet_recommended_c"),
        ("rack_inlet_limit_c = 26.0", "sat_sp_min_c = 26.5", "sat_sp_min_c", "is not below sat_sp_max_c = 26.0"),
        ("rack_inlet_limit_c = 26.0", "sat_sp_max_c = 40.0", "sat_sp_max_c", "outside the gateway's own"),
        ("rack_inlet_limit_c = 26.0", "cwst_sp_min_c = 5.5", "cwst_sp_min_c", "ice"),
        ("[control]", "[gateway]\nchwst_sp_min_c = 22.0\n[control]", "chwst_sp_min_c = 22.0", "is not below chwst_sp_max_c = 21.0"),
        ('role = "sat_sp"', 'role = "sat_sp"\nhigh = 24.0', "[limits]", "outside the range of point 'hall1.sat_sp', which ends at 24"),
        ('role = "chillers_on_sp"', 'role = "chillers_on_sp"\nhigh = 2', "[[points]]", "0 … 2, but there are 0 … 3 to run"),
        ('unit = "kW"', 'unit = "kw"', 'unit = "kw"', "unknown unit 'kw' (did you mean 'kW'?)"),
        ('unit = "kW"', 'unit = "degC"', 'unit = "degC"', "does not measure it_power; allowed: W, kW, MW"),
        ('role = "it_power"', 'role = "it_powr"', 'role = "it_powr"', "did you mean 'it_power'"),
        ('role = "it_power"', 'role = "it_power"\ndialect = "jsn"', 'dialect = "jsn"', "did you mean 'json'"),
        ('role = "it_power"', 'role = "it_power"\nlow = 9.0\nhigh = 1.0', "low = 9.0", "the range is empty"),
        ('role = "it_power"', 'role = "it_power"\ntopic = "a/#"', 'topic = "a/#"', "is no topic"),
        ('role = "it_power"', 'role = "it_power"\ntopic = "a/{sight}"', "{sight}", "did you mean 'site'"),
        ('role = "it_power"', 'role = "it_power"\ntopic = "coolctl/v1/{site}/sp"', "topic =", "a topic of coolctl's own"),
        ('role = "sat"', 'role = "sat"\ndialect = "scalar"', "dialect =", "speaks 'json' since row 0"),
        ('role = "sat"', 'role = "sat"\nfield = "hall1.it_power"', "field =", "already read by row 0"),
        ('role = "rack_inlet"', 'role = "rack_inlet"\ndialect = "scalar"\ntopic = "racks"', "topic =", "a scalar carries one value"),
        ('role = "rack_inlet"', 'role = "rack_inlet"\nid = "inlet"', "id =", "`rack*` gives each rack its own"),
        ('role = "sat"', 'role = "sat"\nid = "hall1.it_power"', "id =", "'hall1.it_power' is already the point of row 0"),
        ('role = "rat"', 'role = "sat"\nid = "second"', 'role = "sat"', "sat of hall1 is already the point of row 2"),
        ('crah = "crah_120kw_ec"', 'crah = "crah_120kw"', 'crah = "crah_120kw"', "did you mean 'crah_120kw_ec'"),
        ('crah = "crah_120kw_ec"', 'crah = "servers_air"', 'crah = "servers_air"', "does not describe a crah but a servers"),
        ('crah = "crah_120kw_ec"', 'crah = "../../etc"', "crah =", "String should match pattern"),
        ('"chwst_sp", "chw', '"chwst_spp", "chw', "accepts", "did you mean 'chwst_sp'"),
        ('"chwst_sp", "chw', '"chwst_sp", "chwst_sp", "chw', "accepts", "'chwst_sp' is named twice"),
        ('role = "chwst_sp"', 'role = "chwst"\nid = "twin"', "accepts", "'chwst_sp' has no row in [[points]] for 'plant'"),
        ('[economizer]\nrecord = "plate_hx_420kwk"\n', "", "accepts", "there is no [economizer]"),
        ("[weather]", "[plant.rules]\nchwst = {rule = \"fixed\", value = 12}\n[weather]", "chwst =", "is accepted too"),
        ("[weather]", "[plant.rules]\nchwst_s = {rule = \"fixed\", value = 12}\n[weather]", "chwst_s", "did you mean 'chwst_sp'"),
        ('inlet"\nmachine = "hall1.rack*"', 'inlet"\nmachine = "hall2.rack*"', 'machine = "hall2', "no machine 'hall2.rack*'"),
        ('inlet"\nmachine = "hall1.rack*"', 'inlet"\nmachine = "hall1.rack01"', "[[points]]", "has 1 'rack_inlet': at least 2"),
        ('role = "sat"\nmachine = "hall1"', 'role = "sat"\nmachine = "plant"', 'machine = "plant"', "belongs to a hall"),
        ('name = "hall1"', 'name = "plant"', 'name = "plant"', "'plant' is already taken"),
        ("capacity_nom_w = 650e3", "capacity_nom_w = 650", "flow_nom_kgs", "the evaporator's range [K] comes to"),
        ("it_power_nom_w = 1e6", "it_power_nom_w = 1e9", "capacity_nom_w", "all chillers carry 0.195 %"),
        ("crahs = 10", "crahs = 1", "crahs = 1", "of the air that the servers draw"),
        ("evaporator_flow_nom_kgs = 22.5", "evaporator_flow_nom_kgs = 81.0", "evaporator_flow_nom_kgs", "outside 2 … 20"),
        ("[weather]", "[web]\nport = 9464\n[weather]", "port = 9464", "the port of [metrics]"),
        ("format_version = 1", "format_version = 2", "format_version", "Input should be 1"),
    ],
)  # fmt: skip
def test_site_fault_names_line_key_and_cure(edited_site: Edit, old: str, new: str, line_text: str, said: str) -> None:
    path = edited_site((old, new))
    found = faults(path)
    text = next((f for f in found if said in f), None)
    assert text is not None, found
    number = re.match(r".*site\.toml:(\d+): \S+: ", text)
    assert number, text
    lines = path.read_text().splitlines()
    at = int(number.group(1)) - 1
    # The fault's line is the key's own, or its table's header or array's head just above.
    assert any(line_text in line for line in lines[at : at + 4]), (text, lines[at])


def test_site_many_faults_are_all_told_at_once(edited_site: Edit) -> None:
    path = edited_site(
        ("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 29.0"),
        ('unit = "kW"', 'unit = "kw"'),
        ("volume_m3 = 12.0", "volum_m3 = 12.0"),
        ("altitude_m = 1223", "altitude_m = -1e9"),
    )
    found = "\n".join(faults(path))
    assert all(said in found for said in ("volum_m3", "altitude_m"))
    # Those that need a well-formed file follow as soon as it is one.
    found = "\n".join(
        faults(edited_site(("rack_inlet_limit_c = 26.0", "rack_inlet_limit_c = 29.0"), ('unit = "kW"', 'unit = "kw"')))
    )
    assert "kw" in found and "rack_inlet_limit_c" in found


def test_site_misspelt_key_does_not_hide_the_other_checks(edited_site: Edit) -> None:
    path = edited_site(("volume_m3 = 12.0", "volum_m3 = 12.0"), ('unit = "kW"', 'unit = "kw"'))
    found = "\n".join(faults(path))
    assert "volum_m3" in found and "unknown unit 'kw'" in found


def test_site_endless_faults_are_counted_not_listed(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(SITE.read_text() + "\n[x]\n" + "".join(f"[y{k}]\n" for k in range(5000)))
    begun_s = time.monotonic()
    found = faults(path)
    assert "more faults" in found[-1] and len(found) < 300
    assert time.monotonic() - begun_s < 20.0  # a near miss is looked up for the listed ones only


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("", "'chw_dp_sp' is not accepted, so say how the plant handles it: fixed, demand"),
        ('chw_dp = {rule = "fixed"}', "'fixed' needs value = 0 … 1e+06"),
        ('chw_dp = {rule = "fixed", value = 2e6}', "'fixed' needs value = 0 … 1e+06"),
        ('chw_dp = {rule = "integrated"}', "'integrated' is no rule for 'chw_dp_sp'; allowed: fixed, demand"),
        ('chw_dp = {rule = "fixd", value = 1e5}', "Input should be 'fixed'"),
    ],
)
def test_site_setpoint_not_accepted_needs_a_rule_that_fits(edited_site: Edit, rule: str, said: str) -> None:
    path = edited_site(('"chwst_sp", "chw_dp_sp", ', '"chwst_sp", '), ("[weather]", f"[plant.rules]\n{rule}\n[weather]"))
    assert any(said in f for f in faults(path)), faults(path)


@pytest.mark.parametrize(
    ("setpoint", "rule", "said"),
    [
        ("chillers_on_sp", 'chiller_staging = {rule = "load_ratio", up = 0.9, down = 0.4, dwell_s = 1800}', ""),
        ("chillers_on_sp", 'chiller_staging = {rule = "load_ratio", up = 0.4, down = 0.9}', "'load_ratio' needs 0 < down < up"),
        ("chillers_on_sp", 'chiller_staging = {rule = "load_ratio", up = 0.4}', "'load_ratio' needs 0 < down < up"),
        ("cw_flow_sp", 'cw_pumps = {rule = "per_chiller"}', ""),
        ("economizer_on_sp", 'economizer = {rule = "integrated"}', ""),
        ("cwst_sp", 'cwst_sp = {rule = "approach", value = 4.0}', ""),
        ("cwst_sp", 'cwst_sp = {rule = "approach"}', "'approach' needs value"),
    ],
)
def test_site_rules_by_the_names_of_the_trade(edited_site: Edit, setpoint: str, rule: str, said: str) -> None:
    path = edited_site((f'"{setpoint}",', ""), ("[weather]", f"[plant.rules]\n{rule}\n[weather]"))
    if said:
        assert any(said in f for f in faults(path))
    else:
        site = load_site(path)
        assert site.file.plant.rule_for(setpoint) and not site.accepted[site.u_names.index(setpoint)]


def test_site_setpoint_of_one_hall_without_a_point_is_a_fault(edited_site: Edit) -> None:
    row = '[[points]]\nrole = "sat_sp"\nmachine = "south"\nunit = "degF"\n'
    path = edited_site((row, ""), source=TWO_HALLS)
    assert any("'sat_sp' has no row in [[points]] for 'south'" in f for f in faults(path))


def test_site_missing_measurement_is_a_fault(edited_site: Edit) -> None:
    path = edited_site(('role = "it_power"', 'role = "chiller_power"\nid = "x"'))
    assert any("'it_power'" in f for f in faults(path))


@pytest.mark.parametrize(
    ("record", "old", "new", "said"),
    [
        ("chiller_19xr_1801kw_vsd", "0.6174861", "6.174861", ": capacity_ft: the curve at its reference comes to 6.59"),
        ("chiller_19xr_1801kw_vsd", "[0.1040764, 0.2818752", "[0.2818752, 0.2818752", ": eir_fplr: the curve"),
        ("chiller_19xr_1801kw_vsd", "[6.67, 12.22]", "[12.22, 6.67]", ": chwst_fit_c: 12.22 is not below 6.67"),
        ("chiller_19xr_1801kw_vsd", "chwst_ref_c = 7.22", "chwst_ref_c = 45.0", "lies outside chwst_fit_c"),
        ("chiller_19xr_1801kw_vsd", "[6.67, 12.22]", "[6.67, nan]", "finite"),
        ("chiller_19xr_1801kw_vsd", "0.6174861, ", "", "at least 6 items"),
        ("chiller_19xr_1801kw_vsd", 'kind = "chiller"', 'kind = "chiler"', "did you mean 'chiller'"),
        ("chiller_19xr_1801kw_vsd", 'kind = "chiller"', 'kind = "chiller', ":1: syntax: "),
        ("tower_cell_18kgs", "fan_power_nom_w = 9000.0", "fan_power_nom_w = 9.0", "fan power over air flow [Pa] comes to 0.6"),
        ("tower_cell_18kgs", "fan_power_nom_w", "fan_power_w", "did you mean 'fan_power_nom_w'"),
        ("pump_cw_31kgs", "efficiency_ratio = 0.66", "efficiency_ratio = 66.0", "less than or equal to 1"),
        ("servers_air", 'source = "', 'sorce = "', "did you mean 'source'"),
    ],
)  # fmt: skip
def test_record_fault_names_the_records_own_file_and_line(
    edited_site: Edit, tmp_path: Path, record: str, old: str, new: str, said: str
) -> None:
    path = edited_site()
    folder = tmp_path / "equipment"
    folder.mkdir()
    text = (EQUIPMENT / f"{record}.toml").read_text()
    assert old in text
    (folder / f"{record}.toml").write_text(text.replace(old, new, 1))
    found = faults(path)
    assert any(said in f and re.search(rf"equipment/{record}\.toml:\d+: ", f) for f in found), found


# -- nonsense


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\1\2", b"\xff\xfe", b"a = " + b"[" * 5000, b"format_version = 1", b"\xef\xbb\xbf[site]", b"x = " + b"9" * 5000, b"[site]\n[site]\n"],
)  # fmt: skip
def test_site_nonsense_is_a_config_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(content)
    assert faults(path)


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = [\n", 2), ("a = 1\n\nb = = 2\n", 3), ("a = 1\na = 2\n", 2), ("x = \udcff", 1)]
)
def test_site_syntax_fault_has_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert faults(path)[0].startswith(f"{path}:{line}: ")


def test_site_missing_file_folder_huge_file_and_impossible_name(tmp_path: Path) -> None:
    assert "cannot be read" in faults(tmp_path / "none.toml")[0]
    assert "cannot be read" in faults(tmp_path)[0]
    assert "cannot be read" in faults(Path("a\0b"))[0]
    huge = tmp_path / "huge.toml"
    with huge.open("wb") as stream:
        os.truncate(stream.fileno(), 64 << 20)
    assert "larger than" in faults(huge)[0]


def test_site_damaged_anywhere_is_loaded_or_refused_never_more(tmp_path: Path) -> None:
    source, path, rng = SITE.read_bytes(), tmp_path / "site.toml", random.Random(7)
    pieces = [
        b"nan",
        b"inf",
        b"-1",
        b"1e308",
        b"[",
        b"]",
        b'"',
        b"=",
        b"\n",
        b"{}",
        b"true",
        b"9" * 30,
        b"'''",
        b"\0",
        b"\xff",
        b"[[halls]]\n",
    ]
    refused = 0
    for _ in range(400):
        damaged = bytearray(source)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.randint(0, 6)] = rng.choice(pieces)
        path.write_bytes(damaged)
        try:
            load_site(path)
        except ConfigError as error:
            refused += 1
            assert error.faults
    assert refused > 200  # most damage is seen; the rest hit comments and names


@pytest.mark.parametrize(
    "value", ["nan", "-inf", "-1", "0", "1e300", '"x"', "true", "[]", "{}", "1979-05-27", "99999999999999999999"]
)
def test_site_every_value_replaced_is_loaded_or_refused_never_more(tmp_path: Path, value: str) -> None:
    lines, path = SITE.read_text().split("[[points]]")[0].splitlines(), tmp_path / "site.toml"
    rest = SITE.read_text().partition("[[points]]")
    for at, line in enumerate(lines):
        key, equals, _ = line.partition(" = ")
        if equals and not line.endswith("["):
            changed = [*lines[:at], f"{key} = {value}", *lines[at + 1 :]]
            path.write_text("\n".join(changed) + "\n" + rest[1] + rest[2])
            try:
                load_site(path)
            except ConfigError as error:
                assert error.faults


# -- lines of keys


def test_key_lines_tables_arrays_and_long_strings() -> None:
    text = (
        '[a]\nx = 1\ns = """\n[b]\ny = 2\n"""\n[[p]]\nr = 1\n[[p]]\nr = 2\n[c."d.e"]\nrows = [\n {k = 1},\n {k = 2},\n]\nz = 3\n'
    )
    lines = key_lines(text)
    assert lines[("a", "x")] == 2 and lines[("p", 0, "r")] == 8 and lines[("p", 1, "r")] == 10
    assert ("b",) not in lines and ("a", "y") not in lines
    rows = [path for path in lines if "rows" in path]
    assert sorted(lines[path] for path in rows) == [12, 13, 14]
    assert line_of(lines, ("p", 1, "nothing")) == 9 and line_of(lines, ("nowhere", "x")) is None


@pytest.mark.parametrize("line", ["[" + " " * 400_000 + "x", "a" * 400_000, "[a" + " " * 400_000 + "] x", " " * 400_000 + "="])
def test_key_lines_long_line_costs_no_time(line: str) -> None:
    begun_s = time.monotonic()
    key_lines(line)
    assert time.monotonic() - begun_s < 2.0  # linear: milliseconds; a backtracking pattern needs hours


def test_nearest_names_a_close_word_only() -> None:
    assert nearest("chwst_spp", ["chwst_sp", "cwst_sp"]) == " (did you mean 'chwst_sp'?)"
    assert nearest("KW", ["kW", "W"]) == " (did you mean 'kW'?)"
    assert nearest("zebra", ["chwst_sp"]) == ""
