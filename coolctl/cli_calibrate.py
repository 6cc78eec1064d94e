"""`coolctl calibrate`: what a recording tells of the plant's machines, and what it cannot tell.

The online estimators run over the recording, and the chillers are fitted to the moments in which they carried the load
alone. The last third of those moments is kept back and judged with what the others gave.
"""

from __future__ import annotations

import argparse
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coolctl.cli_args import emit_json, output
from coolctl.control.calibrate import PRIOR_SD, STEADY_S, Calibrator
from coolctl.control.estimate import Estimate, Estimator
from coolctl.control.zones import Zones
from coolctl.errors import EXIT_OK
from coolctl.points import U_HALL
from coolctl.psychro import CP_WATER_JKGK
from coolctl.recording import Recording
from coolctl.site import Site
from coolctl.thermal.params import hall_array, plant_params
from coolctl.trace import Unpacker, imported, open_recording
from coolctl.training.chiller_fit import ROWS_MIN, fit_chiller, goodness, powers_w

F64 = NDArray[np.float64]

SAMPLE_S, HOLD_OUT_RATIO = 60.0, 1.0 / 3.0
TOLD_RATIO = 0.5  # of the prior's uncertainty: above it the recording has said little


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="FILE|FOLDER")
    parser.add_argument("--site", default="", metavar="FILE", help="default: the site that it was recorded with")
    parser.add_argument("--json", type=output, metavar="FILE|-", help="write the findings")


def main(args: argparse.Namespace) -> int:
    recording, original, site = open_recording(args.recording, args.site)
    found = Study(site).read(recording, original).findings()
    if emit_json(found, args.json):
        print(render(found))
    return EXIT_OK


def _supply_setpoints(recording: Recording, site: Site) -> list[int]:
    """Columns of each hall's supply air setpoint: as decided, or, in an imported recording, as the log has it."""
    if not imported(recording):
        return [recording.columns.index(f"sp:{name}") for name in site.u_names[U_HALL::2]]
    # `override` is never known there: what stands for a site whose setpoint is no point.
    return [1 + int(i) if i >= 0 else recording.columns.index(f"override:{name}")
            for i, name in zip(site.u_point[U_HALL::2], site.u_names[U_HALL::2], strict=True)]  # fmt: skip


class ChillerRow(NamedTuple):
    """One machine in a steady moment without economizer."""

    load_w: float
    chwst_c: float
    cwst_c: float
    flow_kgs: float
    power_w: float


class Study:
    """The estimators of one site and what they have gathered."""

    def __init__(self, site: Site):
        self.site, self.halls, self.p = site, hall_array(site), plant_params(site)
        self._estimator = Estimator(site, self.halls)
        self.calibrator, self.zones = Calibrator(site, self.halls, self.p), Zones(self.halls, self.p)
        self._meters, self._cw_flow = site.table.by_role("chiller_power"), site.table.one("cw_flow")
        self.rows: list[ChillerRow] = []
        self.ticks, self._sampled_s, self._last_s = 0, -math.inf, math.nan

    def read(self, recording: Recording, original: Site) -> Study:
        """Run over every tick of `recording`, made with `original`."""
        unpack = Unpacker(original)
        sat_sp, unsaid = _supply_setpoints(recording, original), np.full(len(self.halls), np.nan)
        for block in recording.rows():
            for row in block:
                snap = unpack.inputs(row)[0]
                dt_s = min(max(snap.now_s - self._last_s, 0.0), SAMPLE_S) if self._last_s == self._last_s else 1.0
                self._last_s = snap.now_s
                est = self._estimator.assess(snap)
                self.calibrator.observe(est, snap.value, dt_s)
                # Whether fans were followed is not recorded: their readings are neither doubted nor mended.
                self.zones.observe(est, row[sat_sp], unsaid, unsaid, dt_s)
                self._sample(est, snap.value)
                self.ticks += 1
        return self

    def _sample(self, est: Estimate, value: F64) -> None:
        steady = self.calibrator.steady_s >= STEADY_S and not 0.0 <= est.now_s - self._sampled_s < SAMPLE_S
        plant, n = est.plant, est.plant["chillers_on"]
        if not (steady and n > 0.5) or plant["economizer_on"] > 0.5 or self._cw_flow < 0 or not len(self._meters):
            return
        self._sampled_s = est.now_s
        load_w = plant["chw_flow"] * CP_WATER_JKGK * (plant["chwrt"] - plant["chwst"]) / n
        power_w, flow_kgs = float(value[self._meters].sum()) / n, float(value[self._cw_flow]) / n
        row = ChillerRow(load_w, plant["chwst"], plant["cwst"], flow_kgs, power_w)
        if all(map(math.isfinite, row)) and load_w > 0.0 and power_w > 0.0 and flow_kgs > 0.0:
            self.rows.append(row)

    def findings(self) -> dict[str, Any]:
        """Everything found, as JSON would have it."""
        suspect = self.zones.suspect()
        coil = dict(zip(self.site.halls, np.round(self.zones.coil_factors(), 3).tolist(), strict=True))
        return {
            "site": self.site.name,
            "config_hash": self.site.config_hash,
            "ticks": self.ticks,
            "gains": [
                {"name": g.name, "factor": round(g.factor, 4), "sd_ratio": round(g.sd_ratio, 4), "frozen": g.frozen,
                 "told": bool(g.sd_ratio < TOLD_RATIO * PRIOR_SD)}
                for g in self.calibrator.gains()
            ],
            "coil_factors": coil,
            "suspect": {"hall": self.site.halls[suspect.hall], "text": suspect.text()} if suspect else None,
            "chiller": self._chiller(),
        }  # fmt: skip

    def _chiller(self) -> dict[str, Any]:
        """The chillers' own figures, judged on moments that the fit has not seen."""
        kept = int(len(self.rows) * (1.0 - HOLD_OUT_RATIO))
        if kept < ROWS_MIN:
            return {
                "told": False,
                "why": f"{len(self.rows)} steady minutes with chillers alone: {int(1.5 * ROWS_MIN)} are needed",
            }
        data = np.array(self.rows).T
        load_w, chwst_c, cwst_c, flow_kgs, seen_w = data[:, :kept]
        fit = fit_chiller(load_w, chwst_c, cwst_c, flow_kgs, seen_w, self.p.chiller)
        load_w, chwst_c, cwst_c, flow_kgs, seen_w = data[:, kept:]
        cv, nmbe = goodness(powers_w(load_w, chwst_c, cwst_c, flow_kgs, fit.chiller), seen_w)
        names = ("eir_scale", "lift_exponent", "bend")
        return {
            "told": True,
            "rows": fit.rows,
            **{name: round(float(getattr(fit, name)), 4) for name in names},
            **{f"{name}_se": round(error, 4) for name, error in zip(names, fit.standard_error, strict=True)},
            "held_out_rows": len(self.rows) - kept,
            "held_out_cv_rmse": round(cv, 4),
            "held_out_nmbe": round(nmbe, 4),
            "seen": {name: [round(float(v), 2) for v in (column.min(), column.max())]
                     for name, column in zip(ChillerRow._fields, data, strict=True)},
        }  # fmt: skip


def render(found: dict[str, Any]) -> str:
    """The findings for people."""
    lines = [f"site {found['site']}, {found['ticks']} ticks", "", f"{'power over the record':<24}{'factor':>8}{'±':>8}"]
    for g in found["gains"]:
        note = "  frozen: its meter does not fit" if g["frozen"] else "" if g["told"] else "  not told by this recording"
        lines.append(f"{g['name']:<24}{g['factor']:>8.3f}{g['sd_ratio']:>8.3f}{note}")
    lines += ["", "coil conductance over the record (never above 1)"]
    lines += [f"{hall:<24}{factor:>8.3f}" for hall, factor in found["coil_factors"].items()]
    if found["suspect"]:
        lines += ["", f"{found['suspect']['hall']}: {found['suspect']['text']}"]
    c = found["chiller"]
    lines += ["", "chillers"]
    if not c["told"]:
        return "\n".join([*lines, f"not told: {c['why']}"])
    for name, text in (
        ("eir_scale", "input ratio over the record"),
        ("lift_exponent", "lift exponent"),
        ("bend", "part-load bend"),
    ):
        lines.append(f"{text:<32}{c[name]:>8.3f} ± {c[f'{name}_se']:.3f}")
    cv, nmbe = 100.0 * c["held_out_cv_rmse"], 100.0 * c["held_out_nmbe"]
    lines.append(f"on {c['held_out_rows']} minutes kept back: CV(RMSE) {cv:.1f} %, NMBE {nmbe:+.1f} %")
    low, high = c["seen"]["chwst_c"], c["seen"]["cwst_c"]
    lines.append(f"seen only from {low[0]:g} to {low[1]:g} °C chilled and {high[0]:g} to {high[1]:g} °C condenser water")
    return "\n".join(lines)
