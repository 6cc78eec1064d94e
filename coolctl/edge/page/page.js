// Listens to the state stream and shows it. Unknown values are a dash, never a zero; silence takes the colour out of the page.
import { $, known, lasting, node, price, put, setpointText, show, unitName, wallText, words } from "./dom.js";
import { drawRacks, lightUnits, makeDiagram } from "./diagram.js";
import { lists, startLists } from "./lists.js";
import { startTrends } from "./trends.js";

const STALE_S = 3;
const PEOPLE = {
  auto: "the policy is in charge", bounded: "the policy is in charge, within a band around the rules", fallback: "the rule baseline is in charge",
  emergency: "emergency: cooling moves only", release: "released: the plant controls itself", monitor: "watching only: the plant controls itself",
  shadow: "shadow: the plant controls itself", advise: "advising: the plant controls itself",
};
const MACHINES = { crah: "CRAH", chiller: "chiller", chw_pump: "chilled water pump", tower_cell: "tower cell" };
let site = null, diagram = null, heard = 0, state = null, byRole = {};

function role(name, machine = "plant") {
  const id = (byRole[machine] || {})[name];
  return id === undefined || !state ? undefined : state.values[id];
}
function unit(name, machine = "plant") {
  const id = (byRole[machine] || {})[name];
  return id === undefined ? "" : unitName(site.points[id].unit);
}
const shown = (name, digits, machine) => show(role(name, machine), digits, unit(name, machine));
const kw = (w, digits = 1) => show(known(w) ? w / 1e3 : null, digits, "kW");

function kpis(d) {
  const p = d.power || {}, baseline = state.baseline_w, it = d.it_w, inlet = d.rack_inlet || {}, ride = d.ride_through_s, weak = d.weakest;
  put("k-power", kw(p.measured_w));
  put("k-baseline", kw(baseline));
  put("k-saving", known(baseline) && baseline > 0 && known(p.measured_w) ? `${(100 * (1 - p.measured_w / baseline)).toFixed(0)} %` : "–");
  put("k-it", kw(it, 0));
  put("k-pue", known(it) && it > 0 && known(p.measured_w) ? (1 + p.measured_w / it).toFixed(3) : "–");
  const over = inlet.max_c > inlet.limit_c;
  put("k-inlet", known(inlet.max_c) && known(inlet.limit_c) ? `${inlet.max_c.toFixed(1)} / ${inlet.limit_c.toFixed(1)} °C` : "–", over ? "bad" : "");
  put("k-ride", known(ride) ? `${ride >= 3600 ? "≥ " : ""}${Math.round(ride / 60)} min` : "–", known(ride) && ride < site.limits.ride_through_s ? "bad" : "");
  put("k-weak", weak && known(weak.ratio) ? redundancy(weak.ratio) : "–", weak && known(weak.ratio) && weak.ratio < 1 ? "bad" : "");
  put("k-weak-of", weak && weak.ratio < 10 ? `left if a ${MACHINES[weak.machine] || words(weak.machine)} fails` : "left after any one failure");
  put("k-weather", `${show(role("oadb"), 1)} / ${show(role("oawb"), 1, unit("oawb"))}`);
}
// What would be left over what is needed; ten or more means that nothing of the kind is needed now.
const redundancy = (ratio) => (ratio >= 10 ? "ample" : `${(100 * ratio).toFixed(0)} %`);

function plant() {
  const t = diagram.text, set = (key, text) => { if (t[key]) put(t[key], text); };
  for (const key of ["cwst", "cwrt", "chwst", "chwrt", "oadb", "oawb", "cw_flow", "chw_flow"]) set(key, shown(key, 1));
  set("chw_dp", `Δp ${shown("chw_dp", 0)}`);
  set("tower_speed", `fans ${shown("tower_speed", 0)}`);
  for (const key of ["tower_power", "chiller_power"]) set(key, shown(key, 1));
  set("chw_pump", `CHW ${shown("chw_pump_power", 1)}`);
  set("cw_pump", `CW ${shown("cw_pump_power", 1)}`);
  const count = (name) => { const v = role(name); return known(v) ? v : null; };
  lightUnits(diagram.units.chillers, count("chillers_on"));
  lightUnits(diagram.units.cells, count("tower_cells_on"));
  lightUnits(diagram.units.hx, count("economizer_on"));
  (diagram.units.cw || []).forEach(([p]) => p.classList.toggle("idle", role("cw_flow") !== undefined && role("cw_flow") < 0.5));
  for (const { name: n } of site.halls) {
    set(`${n}.it`, `IT ${shown("it_power", 0, n)}`);
    set(`${n}.sat`, `supply ${shown("sat", 1, n)}`);
    set(`${n}.fan`, `fans ${shown("crah_fan_speed", 0, n)}`);
    set(`${n}.valve`, `valve ${shown("valve", 0, n)}`);
    set(`${n}.dew`, `dew point ${shown("room_dewpoint", 1, n)}`);
  }
}
function racks() {
  const inlets = [];
  for (const hall of site.halls) for (const rack of hall.racks) {
    const raw = role("rack_inlet", rack), value = !known(raw) ? null : unit("rack_inlet", rack) === "°F" ? (raw - 32) / 1.8 : raw;
    inlets.push([rack, value]);
    const { limit_c: limit } = site.limits, kind = value === null ? "r-none" : value > limit ? "r-bad" : value > limit - 0.5 ? "r-near" : "r-ok";
    diagram.racks[rack].setAttribute("class", kind);
  }
  drawRacks($("racks"), site, inlets);
  const hottest = inlets.filter(([, v]) => v !== null).sort((a, b) => b[1] - a[1])[0];
  $("racks").setAttribute("aria-label", `inlets of ${inlets.length} racks; the hottest is ${hottest ? `${hottest[0]} with ${hottest[1].toFixed(1)} °C` : "not known"}`);
}

function setpoints(d) {
  const held = d.overridden || {};
  $("sps").replaceChildren(...Object.entries(d.setpoints || {}).map(([id, s]) => {
    const head = node("th", "", id, id in held ? node("span", "tag", "held") : null);
    head.scope = "row";
    return node("tr", "", head, ...[s.value, s.proposed, s.baseline].map((v, i) => node("td", i ? "n dim" : "n", setpointText(v, s.unit))), node("td", "why", s.reason));
  }));
  const names = Object.keys(held), now = Date.now() / 1e3;
  $("held-table").hidden = !names.length;
  $("nobody-holds").hidden = names.length > 0;
  $("held").replaceChildren(...names.map((id) => {
    const h = (d.held || {})[id] || {}, s = (d.setpoints || {})[id] || {}, head = node("th", "", id);
    head.scope = "row";
    const end = known(h.until_s) ? `${wallText(1e3 * h.until_s, false)} (${h.until_s > now ? `in ${lasting(h.until_s - now)}` : "over"})` : "not said";
    return node("tr", "", head, node("td", "n", setpointText(held[id], s.unit)), node("td", "wrap", h.reason || "not said"), node("td", "n wrap", end));
  }));
}

function limits(d) {
  const inlet = d.rack_inlet || {}, l = site.limits, bound = new Set(d.plan_binding || []), weak = d.weakest;
  const priceOf = (name) => { const p = (d.limit_prices || []).find((x) => x.limit === name); return p ? (known(p.w) && p.w < 1 ? "nothing" : price(p)) : "–"; };
  const row = (name, now, bounds, cost, bad, held) => {
    const head = node("th", "", name, held ? node("span", "tag", "holds the plan") : null);
    head.scope = "row";
    return node("tr", "", head, node("td", bad ? "n bad" : "n", now), node("td", "n wrap", bounds), node("td", "n wrap", cost));
  };
  const rows = [
    row("rack inlet", show(inlet.max_c, 1, "°C"), `limit ${show(inlet.limit_c ?? l.limit_c, 1)}, alarm ${l.alarm_c}, allowable ${l.allowable_c} °C`,
      priceOf("rack_inlet"), inlet.max_c > inlet.limit_c, bound.has("rack_inlet")),
    row("ride-through without chillers", known(d.ride_through_s) ? lasting(d.ride_through_s) : "–", `≥ ${lasting(l.ride_through_s)}`, "–", d.ride_through_s < l.ride_through_s),
    row(weak && weak.ratio < 10 ? `N-1: a ${MACHINES[weak.machine] || words(weak.machine)} fails` : "N-1: any one machine fails", weak && known(weak.ratio) ? redundancy(weak.ratio) : "–", "≥ 100 % of what is needed", "–", weak && weak.ratio < 1),
  ];
  const others = (d.limit_prices || []).filter((p) => p.limit !== "rack_inlet" && (bound.has(p.limit) || p.w >= 1)).sort((a, b) => b.w - a.w);
  rows.push(...others.map((p) => row(words(p.limit), "", "", priceOf(p.limit), false, bound.has(p.limit))));
  $("limits").replaceChildren(...rows);
  const found = Object.entries(d.sick_loops || {}).map(([loop, text]) => `${loop} ${text}`);
  for (const [point, text] of Object.entries(d.doubted || {})) found.push(`${point} ${text}: not believed`);
  if (d.suspect) found.unshift(`${d.suspect.hall}: ${d.suspect.text}`);
  put("suspect", found.join("; "));
}

function outlook(rows) {
  const { limit_c: limit, allowable_c: allowable } = site.limits;
  $("outlook-table").hidden = !rows.length;
  $("no-outlook").hidden = rows.length > 0;
  put("outlook-hot", `hottest rack in ${Math.round(site.outlook_s / 60)} min`);
  put("outlook-limit", `over ${limit} °C after`);
  put("outlook-allowable", `over ${allowable} °C after`);
  const both = (middle, worst) => (middle === worst ? middle : `${middle} (${worst})`);
  const after = (middle, worst) => both(...[middle, worst].map((s) => (known(s) ? lasting(s) : "not")));
  $("outlook-rows").replaceChildren(...rows.map((p) => {
    const head = node("th", "", site.failures[p.failure] || words(p.failure));
    head.scope = "row";
    const hot = both(...[p.hottest_c, p.hottest_worst_c].map((c) => show(c, 1, "°C")));
    return node("tr", "", head, node("td", p.hottest_worst_c > allowable ? "n bad" : "n", hot), node("td", "n wrap", after(p.limit_s, p.limit_worst_s)),
      node("td", known(p.allowable_worst_s) ? "n wrap bad" : "n wrap", after(p.allowable_s, p.allowable_worst_s)));
  }));
}

function head(d) {
  const policy = d.mode === "auto" || d.mode === "bounded";
  put("mode", d.mode || "–", `badge ${policy ? "policy" : d.mode === "emergency" ? "bad" : d.mode === "fallback" || d.mode === "release" ? "warn" : ""}`);
  const asked = d.granted && d.granted !== d.mode ? ` (granted: ${d.granted})` : "";
  put("charge", d.mode ? `${PEOPLE[d.mode] || d.mode}${asked} — ${d.mode_reason}` : "no decision heard yet");
}
function ages() {
  const silent = (Date.now() - heard) / 1e3, add = silent > 1.5 ? silent : 0;
  const age = (v) => (state && known(v) ? v + add : null), t = age(state && state.telemetry_age_s), d = age(state && state.decision_age_s);
  put("ages", `telemetry ${show(t, 0, "s")} · decision ${show(d, 0, "s")} old`);
  const since = (s) => (s === null ? "nothing heard yet" : `no data since ${wallText(Date.now() - 1e3 * s)}`), lost = !heard || silent > 4;
  const problem = lost ? `The page has lost its server: ${since(heard ? silent : null)}.`
    : !state || !state.connected ? `No connection to the broker: ${since(t === null ? d : d === null ? t : Math.min(t, d))}.`
      : t === null ? "No telemetry heard yet."
        : t > STALE_S ? `Telemetry is stale: ${since(t)}.`
          : d === null || d > STALE_S ? `No decision from the controller, the plant controls itself: ${since(d)}.` : "";
  $("banner").hidden = !problem;
  put("banner", problem);
  document.body.classList.toggle("stale", lost || t === null || t > STALE_S);
  document.body.classList.toggle("undecided", d === null || d > STALE_S);
}
function refresh() {
  const d = state.decision || {};
  head(d); kpis(d); plant(); racks(); setpoints(d); limits(d); outlook(state.outlook || []); lists(state); ages();
}

async function start() {
  site = await (await fetch("site.json")).json();
  put("site", site.name + (site.simulated ? " (simulated)" : ""));
  document.title = `${site.name} – coolctl`;
  for (const [id, p] of Object.entries(site.points)) (byRole[p.machine] = byRole[p.machine] || {})[p.role] = id;
  diagram = makeDiagram($("plant"), site);
  startLists();
  startTrends(site);
  $("print").addEventListener("click", () => print());
  addEventListener("beforeprint", () => put("printed", `Handover sheet, printed ${new Date().toLocaleString()}`));
  const take = (next) => { heard = Date.now(); state = next; if (state.values) refresh(); };
  take(await (await fetch("state.json")).json());
  new EventSource("events").onmessage = (m) => take(JSON.parse(m.data));
  setInterval(ages, 1000);
}
start();
