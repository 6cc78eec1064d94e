"""The bench itself: its statistics, its limits of time, what it says where something is missing, and the form of its JSON."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coolctl import cli_bench
from coolctl.bench import energyplus, inference, latency, machine, model, native, runner, train, wire
from coolctl.bench.feed import Listener, length, publish
from coolctl.bench.pairs import Pairs, growth, interleave, of_times, sized
from coolctl.bench.rows import Row, inverse, not_run, ratio_row
from coolctl.bench.table import ENTRIES, MODULES
from tools import performance

needs_gcc = pytest.mark.skipif("gcc" not in native.compilers(), reason="no gcc")


# -- statistics


def test_pairs_are_taken_in_turn_after_one_turn_for_the_caches() -> None:
    order: list[str] = []
    interleave(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert "".join(order) == "ab" * 4


def test_ratio_is_the_median_of_the_pairs_and_not_the_ratio_of_the_medians() -> None:
    # The machine slows down tenfold half way: every pair still says 2.
    b = [1.0, 1.0, 1.0, 10.0, 10.0]
    found = of_times([2.0 * t for t in b], b)
    assert found.ratio == found.low == found.high == 2.0
    assert of_times([1.0, 2.0, 9.0], [1.0, 1.0, 1.0])[:3] == (2.0, 1.5, 5.5)


def test_a_clock_can_be_told() -> None:
    now = iter(np.cumsum([0.0, 3.0, 0.0, 1.0, 0.0, 3.0, 0.0, 1.0]).tolist())
    assert interleave(lambda: None, lambda: None, 2, lambda: next(now)).ratio == 3.0


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], []), ([1.0, 2.0], [1.0])])
def test_times_that_are_no_pairs_are_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError):
        of_times(a, b)


def test_inverse_turns_the_spread_round() -> None:
    assert inverse(Pairs(2.0, 1.0, 4.0, 2.0, 1.0, 5))[:3] == (0.5, 0.25, 1.0)


def test_a_short_call_is_repeated_until_the_clock_can_tell() -> None:
    assert sized(lambda: None, 1e-3) > 1000 and sized(lambda: sum(range(200_000)), 1e-4) == 1


def test_growth_is_the_exponent() -> None:
    assert growth([1.0, 2.0, 4.0], [3.0, 12.0, 48.0]) == pytest.approx(2.0)


# -- rows


@pytest.mark.parametrize(
    ("value", "sense", "met"), [(1.0, "≤", True), (1.1, "≤", False), (1.0, "≥", True), (0.9, "≥", False), (math.nan, "≤", False)]
)
def test_target_is_met_on_its_side(value: float, sense: str, met: bool) -> None:
    assert Row("P1", "x", "what", value, "ratio", 1.0, sense).met is met


def test_row_without_a_figure_has_no_verdict() -> None:
    assert not_run("P1", "x", "what", "why").as_dict()["met"] is None
    assert Row("P1", "x", "what", 3.0).met is None


def test_rows_are_json_without_nan() -> None:
    row = ratio_row("P1", "x", "what", Pairs(math.inf, 1.0, math.nan, 1.0, 1.0, 3), 2.0, "≤", "a reference", more=math.nan)
    data = json.loads(json.dumps(row.as_dict(), allow_nan=False))
    assert data["value"] is None and data["met"] is False and data["spread"] == [1.0, None] and data["target"] == "≤ 2"


# -- processes and their time


def test_a_row_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    inner = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    line = json.dumps({"row": not_run("P1", "kept", "w", "y").as_dict()})
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"print({line!r}, flush=True)\nsubprocess.Popen([sys.executable, '-c', {inner!r}], start_new_session=True)\ntime.sleep(60)"
    )
    old, runner.GRACE_S = runner.GRACE_S, 0.3
    try:
        begun = time.monotonic()
        found = runner.run("P1", 1.5, [sys.executable, "-c", code])
    finally:
        runner.GRACE_S = old
    assert time.monotonic() - begun < 10.0
    assert found[0]["row"]["name"] == "kept"  # what was measured before stands
    assert found[1]["row"]["status"] == "not run" and "not finished within" in found[1]["row"]["why"]
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5.0
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
        assert time.monotonic() < deadline, "the process below lives on"
        time.sleep(0.05)


def test_a_row_that_breaks_says_so_without_paths() -> None:
    found = runner.run("P1", 10.0, [sys.executable, "-c", "raise RuntimeError('wrong /" + "home/me/x numbers')"])
    assert found[0]["row"]["status"] == "not run"
    assert "ended with code 1" in found[0]["row"]["why"] and "numbers" in found[0]["row"]["why"]
    assert "home" not in found[0]["row"]["why"]


def test_lines_that_are_no_rows_are_left_out() -> None:
    code = 'print(\'noise\'); print(\'{"row": {"id": 1}}\'); print(\'{"row": {"cut\')'
    assert [line for line in runner.run("P1", 10.0, [sys.executable, "-c", code]) if "row" in line] == [{"row": {"id": 1}}]


def test_descendants_are_found() -> None:
    assert os.getpid() in runner.descendants(os.getppid()) and os.getpid() not in runner.descendants(os.getpid())


# -- where something is missing


def all_not_run(rows: list[object]) -> str:
    assert rows and all(isinstance(r, Row) and r.status == "not run" for r in rows)
    return " ".join(r.why for r in rows if isinstance(r, Row))


def test_without_a_compiler_the_step_is_still_set_beside_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "COMPILERS", ())
    monkeypatch.setattr(native.shutil, "which", lambda *_a, **_k: None)
    native.twin.cache_clear()
    monkeypatch.setattr(model, "against_numpy", lambda _racks: (Pairs(0.05, 0.04, 0.06, 1.0, 20.0, 3), 0.0))
    rows = [r for r in model.p1() if isinstance(r, Row)]
    assert [r.why for r in rows[:2]] == ["no gcc on this machine", "no clang on this machine"]
    assert {r.name: r.met for r in rows[2:]} == {"numpy_256": True, "numpy_equal": True}
    native.twin.cache_clear()


def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(native.NoTwin, match="refuses"):
        native.twin("gcc" if "gcc" in native.compilers() else "cc", ("-not-an-option",))


def test_without_mosquitto_sub_or_a_second_core_the_wire_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.shutil, "which", lambda _name: None)
    monkeypatch.setattr(wire, "cores", lambda: 2)
    assert "no mosquitto_sub" in all_not_run(list(wire.p5()))
    monkeypatch.setattr(wire, "cores", lambda: 1)
    assert "needs 2 cores, here is 1" in all_not_run(list(wire.p5()))


def test_latency_says_why_it_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "mosquitto_path", lambda: None)
    assert "no mosquitto" in all_not_run(list(latency.p7()))
    monkeypatch.setattr(latency, "mosquitto_path", lambda: "mosquitto")
    monkeypatch.setattr(latency, "too_busy", lambda: "the machine is busy: others use 90 % of its cores")
    assert "busy" in all_not_run(list(latency.p7()))


def test_without_energyplus_the_plant_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energyplus.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(energyplus.NotHere, match="not installed"):
        energyplus.speed()


def test_energyplus_is_given_as_many_machines(site) -> None:  # type: ignore[no-untyped-def]
    text = energyplus.model(3)
    assert text.count("HVACTemplate:Plant:Chiller,") == site.file.chillers.count
    assert text.count("HVACTemplate:Plant:Tower,") == site.file.towers.cells
    assert text.count("HVACTemplate:Zone:FanCoil,") == site.file.halls[0].crahs
    assert "Timestep,60;" in text and ",7,3,2025," in text


def test_one_core_or_busy_neighbours_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 1)
    assert machine.too_busy() == "needs 2 cores, here is 1"
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(machine, "busy_ratio", lambda: 0.93)
    assert "93 %" in machine.too_busy(wait_s=0.0)
    monkeypatch.setattr(machine, "busy_ratio", lambda: 0.1)
    assert machine.too_busy() == ""


@pytest.mark.parametrize(("module", "measure", "package"), [(inference, inference.p4, "onnx"), (train, train.p16, "sklearn")])
def test_without_an_extra_its_rows_say_so(monkeypatch: pytest.MonkeyPatch, module, measure, package: str) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    assert "[train]" in all_not_run(list(measure()))


# -- what is measured


@needs_gcc
def test_states_of_product_and_twin_are_equal_and_a_difference_would_show() -> None:
    mine, theirs = model.scene(48), model.scene(48)
    run = model.in_c(native.twin("gcc"), theirs)
    start = mine.state()
    model.product(mine, 300)
    run(300)
    assert model.difference(mine.state(), start) > 0.01  # the plant moved
    assert model.difference(mine.state(), theirs.state()) <= 1e-9
    run(1)
    assert model.difference(mine.state(), theirs.state()) > 1e-9


@needs_gcc
def test_a_twin_of_another_record_is_refused() -> None:
    sc = model.scene(8)
    with pytest.raises(native.NoTwin, match="not the plant's"):
        model.in_c(native.twin("gcc"), sc._replace(p=sc.p[:-1]))  # type: ignore[arg-type]


def test_network_by_hand_is_the_policy() -> None:
    pytest.importorskip("onnx")
    from coolctl.edge.onnx_policy import load_policy

    layers = inference.weights()
    x = np.random.default_rng(3).uniform(inference.LOW, inference.HIGH, (5, inference.LOW.size)).astype(np.float32)
    y = np.zeros((5, layers[-1].size), dtype=np.float32)
    inference.by_hand(x, *layers, np.zeros_like(layers[1]), np.zeros_like(layers[3]), y)
    assert np.abs(y - load_policy("default").infer(x)).max() < 1e-3 < np.abs(y).max()


def test_feed_speaks_mqtt() -> None:
    assert length(127) == b"\x7f" and length(128) == b"\x80\x01" and length(16_384) == b"\x80\x80\x01"
    assert publish("a/b", b"xy") == b"\x30\x07\x00\x03a/bxy"
    assert publish("a/b", b"xy", 1, 258) == b"\x32\x09\x00\x03a/b\x01\x02xy"
    assert Listener.hear.__doc__


def test_batches_are_counted_only_when_all_was_stored() -> None:
    assert wire.batch_rate(50, 0.05) > 1e4


# -- command and page


def test_ids_are_taken_in_the_tables_order_and_unknown_ones_refused() -> None:
    assert cli_bench.ids("p4, P1") == ["P1", "P4"]
    for text in ("P99", "", "P1,x"):
        with pytest.raises(argparse.ArgumentTypeError):
            cli_bench.ids(text)


def test_every_id_has_a_module_that_measures_it() -> None:
    import importlib

    assert list(ENTRIES) == [f"P{k}" for k in range(1, 17)]
    for id, module in MODULES.items():
        assert callable(getattr(importlib.import_module(f"coolctl.bench.{module}"), id.lower()))


def test_json_has_rows_curves_and_the_machine_without_paths(monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    lines = [{"row": not_run("P1", "x", "w", "y").as_dict()}, {"curve": {"name": "c"}}, {"id": "P1", "seconds": 1.0}]
    monkeypatch.setattr(cli_bench.runner, "run", lambda *_a, **_k: lines)
    parser = argparse.ArgumentParser()
    cli_bench.add_arguments(parser)
    assert cli_bench.main(parser.parse_args(["--only", "P1", "--json"])) == 0
    text = capsys.readouterr().out
    data = json.loads(text)
    assert data["format_version"] == 1 and data["rows"][0]["id"] == "P1" and data["curves"][0]["id"] == "P1"
    assert {"cores", "python", "numba", "processor"} <= data["machine"].keys() and data["seconds"] == {"P1": 1.0}
    assert "/" not in json.dumps(data["machine"])
    assert cli_bench.main(parser.parse_args(["--only", "P1"])) == 0
    assert "0 of 0 targets met" in capsys.readouterr().out


def test_page_is_what_its_figures_say() -> None:
    assert performance.main(["--check"]) == 0, "python -m tools.performance"


def run_of(load: float, processor: str = "p", **values: float) -> dict[str, Any]:
    rows = [Row(id, "x", "w", v).as_dict() for id, v in values.items()]
    machine = {"load_before": load, "processor": processor}
    return {"machine": machine, "rows": rows, "curves": [], "seconds": dict.fromkeys(values, load)}


def test_runs_are_put_together_by_id() -> None:
    found = performance.merged([run_of(1.0, P10=1.0, P2=2.0), run_of(2.0, P2=3.0)])
    assert [(r["id"], r["value"]) for r in found["rows"]] == [("P2", 3.0), ("P10", 1.0)]
    assert found["machine"]["load_before"] == 2.0 and found["seconds"] == {"P2": 2.0, "P10": 1.0} and found["machines"] == {}


def test_what_another_machine_measured_is_said_so_as_long_as_it_stands() -> None:
    found = performance.merged([run_of(1.0, P10=1.0, P2=2.0), run_of(2.0, "q", P2=3.0)])
    assert found["machine"]["processor"] == "p" and found["machines"] == {"P2": {"load_before": 2.0, "processor": "q"}}
    again = performance.merged([found, run_of(3.0, P10=5.0)])
    assert again["machine"]["load_before"] == 3.0 and set(again["machines"]) == {"P2"}
    assert performance.merged([again, run_of(4.0, P2=5.0)])["machines"] == {}
    facts = {"cores": 2, "system": "s", "python": "3", "load_before": 0.0}
    data = {
        "machine": {**facts, "processor": "p"},
        "rows": found["rows"],
        "curves": [],
        "machines": {"P2": {**facts, "processor": "q"}},
    }
    text = performance.page(data)
    assert text.count("Measured on 2 cores (q).") == 1 and text.index("## P2") < text.index("(q)") < text.index("## P3")


def test_page_shows_what_is_missed_and_what_was_not_run() -> None:
    facts = {"cores": 2, "processor": "p", "system": "s", "python": "3", "load_before": 0.0}
    rows = [Row("P11", "cpu", "bytes", 1.0, "b", 0.5).as_dict(), not_run("P7", "all", "latency", "one core").as_dict()]
    text = performance.page({"machine": facts, "rows": rows, "curves": []})
    assert "**missed**" in text and "kill -9 lose nothing" in text and "not run: one core" in text and "0 of 1 targets" in text
    assert text.count("Not measured in this run.") == len(ENTRIES) - 2
