"""The report as one HTML page: no request, no script, readable on a phone, on paper and by keyboard."""

from __future__ import annotations

from typing import Any

from coolctl.savings.measurement.html import cell as _e
from coolctl.savings.measurement.html import number as _n
from coolctl.savings.measurement.html import percent as _p
from coolctl.savings.measurement.html import table as _table
from coolctl.savings.measurement.watched_page import section

STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:#1d2a30;background:#fff;max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid #ccd5d9}
.big{font-size:2.4rem;font-weight:600;margin:.2rem 0}.label{color:#3d4d55;margin:0 0 .5rem}
.warn{border-left:4px solid #b45309;background:#fff7ed;padding:.5rem .8rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;min-width:20rem;width:100%}
th,td{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #e3e9ec;vertical-align:top}td.n,th.n{text-align:right}
svg{max-width:100%;height:auto}figure{margin:1rem 0}figcaption{font-weight:600}
code{overflow-wrap:anywhere;font-size:.85em}a:focus-visible,.scroll:focus-visible,summary:focus-visible{outline:3px solid #2b6f8f}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem}
@media print{body{max-width:none;padding:0;font-size:11pt}details>*{display:block}h2,figure,tr{break-inside:avoid}.skip{display:none}}
"""


def render(found: dict[str, Any], pictures: list[tuple[str, str]]) -> str:
    """The page of a report."""
    body = "".join((
        _head(found), _saving(found["saving"]), section(found["shadow"]) if found["shadow"] else "", _service(found["service"], found["rack_inlet_limit_c"]), _figures(found["figures"]),
        _gaps(found["gaps"], found["damage"]), _envelope(found["envelope_relaxation"]),
        "".join(f"<figure><figcaption>{_e(title)}</figcaption>{svg}</figure>" for title, svg in pictures), _hours(found), _source(found),
    ))  # fmt: skip
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>coolctl report: {_e(found['site'])}</title><style>{STYLE}</style></head><body>"
        f'<a class="skip" href="#saving">To the saving</a><main>{body}</main></body></html>\n'
    )


def _head(f: dict[str, Any]) -> str:
    p = f["period"]
    return f"<h1>{_e(f['site'])}: what was saved</h1><p>{_e(p['from'])} to {_e(p['to'])}, {p['span_h']:.1f} h.</p>"


def _saving(s: dict[str, Any]) -> str:
    text = f'<h2 id="saving" tabindex="-1">Cooling energy saved</h2><p class="label">{_e(s["label"])}</p>'
    if s["method"] == "none":
        return text
    text += f'<p class="big">{_p(s["ratio"])}</p><p>95 % interval {_p(s["low_ratio"])} to {_p(s["high_ratio"])}, of the rule baseline\'s cooling energy.</p>'
    if s["method"] == "shadow":
        m = s["model"]
        return text + (
            f'<p class="warn">Not measured: it is as good as the model, whose CV(RMSE) against the meters is {_p(m["cv_rmse_ratio"])} and '
            f"NMBE {_p(m['nmbe_ratio'], True)}. The interval is widened by the NMBE. A switchback measures it.</p>"
        )
    if not s["called"]:
        text += '<p class="warn">The interval reaches nought: no saving is shown.</p>'
    if s["not_as_registered_h"]:
        text += f'<p class="warn">In {s["not_as_registered_h"]:.2f} h the arm recorded is not the one that was drawn.</p>'
    m, b, raw = s["normalisation"], s["bootstrap_t"], s["with_washout_not_normalised"]
    rows = [
        ["pairs of blocks, left out for gaps", f"{s['pairs']}, {s['pairs_left_out']}"],
        ["blocks, wash-out", f"{s['block_h']} h, {s['washout_h']:g} h"],
        ["bootstrap-t over pairs", f"{_p(b['low_ratio'])} to {_p(b['high_ratio'])}"],
        ["lots that would show as much (randomisation test)", _n(s["p_randomisation"], ".4f")],
        ["totals with wash-out, not normalised", f"{_p(raw['ratio'])} ({_p(raw['low_ratio'])} to {_p(raw['high_ratio'])})"],
        ["normalising model CV(RMSE), NMBE", f"{_p(m['cv_rmse_ratio'])}, {_p(m['nmbe_ratio'], True)}"],
    ]
    return text + _table(["", ""], rows, "How it was found")


def _service(s: dict[str, Any], limit_c: float) -> str:
    verdict = {True: "Equal: the policy's racks were served as well as the baseline's.", False: "NOT equal: the saving was partly paid for by the racks.", None: "Not comparable: there are not both arms."}[s["equal"]]  # fmt: skip
    rows = []
    for arm, a in s["arms"].items():
        for hall, over, hot in zip(s["halls"], a["over_limit_k_min_per_day"], a["inlet_p999_c"], strict=True):
            rows.append([f"{arm}, {hall}", f"{a['hours']:.1f}", f"{over:.2f}", _n(hot), f"{a['above_allowable_min']:.1f}"])
    head = ["arm, hall", "hours", f"K·min a day above {limit_c:g} °C", "99.9 % below, °C", "min above allowable"]
    return f"<h2>Service</h2><p>{_e(verdict)}</p>" + _table(head, rows, "Service by arm and hall")


def _figures(k: dict[str, Any]) -> str:
    note = (
        f"IT meter category {k['it_meter_category']} (ISO/IEC 30134-2). {k['metered_h']:.1f} h metered: {_p(k['coverage_of_span_ratio'])} of the "
        f"period, {_p(k['coverage_of_year_ratio'])} of a year; the standards' figures are of a whole year."
    )
    rows = [
        ["IT energy", f"{k['it_kwh']:,.0f} kWh"], ["cooling energy", f"{k['cooling_kwh']:,.0f} kWh"],
        ["pPUE (cooling), measured", _n(k["ppue"], ".3f")], ["MLC, measured", _n(k["mlc"], ".3f")],
        [f"PUE, with {_p(k.get('other_loss_ratio'))} of IT assumed for what is not metered", _n(k["pue"], ".3f")],
        ["CUE, kg/kWh", _n(k["cue_kg_per_kwh"], ".3f")],
        ["WUE, l/kWh: not metered; at most, if all heat were evaporated", _n(k["wue_max_l_per_kwh"])],
    ]  # fmt: skip
    limits = [[x["name"], f"{x['pue_max']:.2f}", f"{x['distance']:+.3f}", "met" if x["met"] else "not met"] for x in k["limits"]]
    return (
        f"<h2>Key figures</h2><p>{_e(note)}</p>" + _table(["", ""], rows, "Key figures")
        + "<h2>Distance to grades and limits</h2>" + _table(["", "PUE at most", "distance", ""], limits, "Distance to grades")
        + "<p>Of the period recorded, not of a year. Hold the limits against the standards' own text before they are quoted.</p>"
    )  # fmt: skip


def _gaps(g: dict[str, Any], damage: list[str]) -> str:
    text = "<h2>Data gaps</h2>"
    if not g["count"] and g["unmetered_h"] < 0.01 and not damage:
        return text + "<p>None.</p>"
    text += f'<p class="warn">{g["count"]} gaps, {g["hours"]:.2f} h without rows; {g["unmetered_h"]:.2f} h with rows but without every meter.</p>'
    rows = [[p["from"], p["to"], f"{p['hours']:.2f}"] for p in g["longest"]]
    return (
        text
        + (_table(["from", "to", "hours"], rows, "Longest gaps") if rows else "")
        + "".join(f"<p>Damage: <code>{_e(d)}</code></p>" for d in damage)
    )


def _envelope(found: list[dict[str, Any]]) -> str:
    rows = [
        [f"{e['from_limit_c']:g} → {e['to_limit_c']:g} °C", _p(e["ratio"]), f"{_p(e['low_ratio'])} to {_p(e['high_ratio'])}"]
        for e in found
    ]
    note = (
        "<p>Before and after, not by lot; apart from the saving above and never added to it.</p>"
        if rows
        else "<p>One rack limit was in force: nothing of the saving is a wider envelope.</p>"
    )
    return (
        "<h2>Envelope relaxation</h2>"
        + (_table(["rack limit", "saved", "95 % interval"], rows, "Envelope relaxation") if rows else "")
        + note
    )


def _hours(f: dict[str, Any]) -> str:
    modes = [[m, f"{h:.2f}"] for m, h in f["hours_by_mode"].items()]
    limits = [[n.replace("_", " "), f"{h:.2f}"] for n, h in f["interventions"].items()]
    return (
        "<h2>Hours by mode</h2>" + _table(["mode", "hours"], modes, "Hours by mode")
        + "<h2>Interventions: limits that bound</h2>" + _table(["limit", "hours"], limits, "Interventions")
    )  # fmt: skip


def _source(f: dict[str, Any]) -> str:
    others = "".join(
        f"<p>Another configuration, <code>{_e(o['config_hash'])}</code>: {_e(o['saving']['label'])}, {_p(o['saving'].get('ratio'))}.</p>"
        for o in f["other_configurations"]
    )
    files = "".join(f"<li><code>{_e(n)}</code></li>" for n in f["recordings"])
    return (
        f"<h2>Where it comes from</h2><p>Configuration <code>{_e(f['config_hash'])}</code>, policy "
        f"<code>{_e(', '.join(f['model_hashes']) or 'none')}</code>, coolctl {_e(f['coolctl_version'])}.</p>{others}"
        f"<details open><summary>{len(f['recordings'])} recording files</summary><ul>{files}</ul></details>"
    )
