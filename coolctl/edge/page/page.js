"use strict";
// Listens to the state stream and shows it. Unknown values are a dash, never a zero; silence greys the page out.
const $ = (id) => document.getElementById(id);
const STALE_S = 3, UNIT = { degC: "°C", degF: "°F", percent: "%", bool: "", count: "" };
const PEOPLE = { auto: "the policy is in charge", bounded: "the policy is in charge, within a band around the rules", fallback: "the rule baseline is in charge",
  emergency: "emergency: cooling moves only", release: "released: the plant controls itself", monitor: "watching only: the plant controls itself",
  shadow: "shadow: the plant controls itself", advise: "advising: the plant controls itself" };
let site = null, diagram = null, heard = 0, state = null, byRole = {};
const known = (v) => v !== undefined && v !== null;
const show = (v, digits, unit) => known(v) ? `${v.toFixed(digits)}${unit ? " " + unit : ""}` : "–";
const put = (id, value, kind) => { const node = $(id); node.textContent = value; node.className = kind || ""; };
function role(name, machine = "plant") {
  const id = (byRole[machine] || {})[name];
  return id === undefined || !state ? undefined : state.values[id];
}
function unit(name, machine = "plant") {
  const id = (byRole[machine] || {})[name], u = id === undefined ? "" : site.points[id].unit;
  return u in UNIT ? UNIT[u] : u;
}
const shown = (name, digits, machine) => show(role(name, machine), digits, unit(name, machine));
const clock = (s) => { const t = Math.max(0, Math.round(s)); return `${Math.floor(t / 3600)}:${String(Math.floor(t / 60) % 60).padStart(2, "0")}:${String(t % 60).padStart(2, "0")}`; };
function kpis(d) {
  const p = d.power || {}, kw = (w) => show(known(w) ? w / 1e3 : null, 1, "kW"), last = state.history[state.history.length - 1], baseline = last ? last[2] : null;
  put("k-power", kw(p.measured_w)); put("k-baseline", kw(baseline));
  put("k-saving", known(baseline) && baseline > 0 ? `${(100 * (1 - p.measured_w / baseline)).toFixed(0)} %` : "–");
  const it = d.terms ? d.terms.it_w : null, inlet = d.rack_inlet || {};
  put("k-it", show(known(it) ? it / 1e3 : null, 0, "kW"));
  put("k-inlet", known(inlet.max_c) ? `${inlet.max_c.toFixed(1)} / ${inlet.limit_c.toFixed(1)} °C` : "–", inlet.max_c > inlet.limit_c ? "bad" : "");
  const ride = d.ride_through_s;
  put("k-ride", known(ride) ? `${ride >= 3600 ? "≥ " : ""}${Math.round(ride / 60)} min` : "–", known(ride) && ride < site.limits.ride_through_s ? "bad" : "");
  put("k-weather", `${show(role("oadb"), 1)} / ${show(role("oawb"), 1, unit("oawb"))}`);
}
function plant() {
  const t = diagram.text, set = (key, text) => { if (t[key]) t[key].textContent = text; };
  for (const key of ["cwst", "cwrt", "chwst", "chwrt", "oadb", "oawb"]) set(key, shown(key, 1));
  set("cw_flow", shown("cw_flow", 1)); set("chw_flow", shown("chw_flow", 1)); set("chw_dp", "Δp " + shown("chw_dp", 0));
  set("tower_speed", "fans " + shown("tower_speed", 0)); set("tower_power", shown("tower_power", 1)); set("chiller_power", shown("chiller_power", 1));
  set("chw_pump", "CHW " + shown("chw_pump_power", 1)); set("cw_pump", "CW " + shown("cw_pump_power", 1));
  const count = (name) => { const v = role(name); return known(v) ? v : null; };
  lightUnits(diagram.units.chillers, count("chillers_on")); lightUnits(diagram.units.cells, count("tower_cells_on")); lightUnits(diagram.units.hx, count("economizer_on"));
  (diagram.units.cw || []).forEach(([p]) => p.classList.toggle("idle", role("cw_flow") !== undefined && role("cw_flow") < 0.5));
  for (const hall of site.halls) {
    const n = hall.name;
    set(n + ".it", "IT " + shown("it_power", 0, n)); set(n + ".sat", "supply " + shown("sat", 1, n)); set(n + ".fan", "fans " + shown("crah_fan_speed", 0, n));
    set(n + ".valve", "valve " + shown("valve", 0, n)); set(n + ".dew", "dew point " + shown("room_dewpoint", 1, n));
  }
}
function racks() {
  const inlets = [];
  for (const hall of site.halls) for (const rack of hall.racks) {
    const raw = role("rack_inlet", rack), value = !known(raw) ? null : unit("rack_inlet", rack) === "°F" ? (raw - 32) / 1.8 : raw;
    inlets.push([rack, value]);
    diagram.racks[rack].setAttribute("class", value === null ? "r-none" : value > site.limits.limit_c ? "r-bad" : value > site.limits.limit_c - 0.5 ? "r-near" : "r-ok");
  }
  drawRacks($("racks"), site, inlets);
}
function setpoints(d) {
  const rows = Object.entries(d.setpoints || {}).map(([id, s]) => {
    const tr = document.createElement("tr"), u = s.unit in UNIT ? UNIT[s.unit] : s.unit, digits = s.unit === "count" || s.unit === "bool" ? 0 : 1;
    const number = (v) => s.unit === "bool" && known(v) ? (v > 0.5 ? "on" : "off") : show(v, digits, u);
    for (const [text, kind] of [[id, ""], [number(s.value), "n"], [number(s.proposed), "n dim"], [number(s.baseline), "n dim"], [String(s.reason).split("; the plan stands on")[0], ""]]) {
      const td = document.createElement("td"); td.textContent = text; td.className = kind; tr.appendChild(td);
    }
    return tr;
  });
  $("sps").replaceChildren(...rows);
}
function prices(d) {
  const bound = new Set(d.plan_binding || []), priced = (d.limit_prices || []).filter((p) => bound.has(p.limit) || p.w >= 1).sort((a, b) => b.w - a.w);
  const rows = priced.map((p) => {
    const tr = document.createElement("tr");
    for (const [text, kind] of [[p.limit.replaceAll("_", " "), ""], [show(known(p.w) ? p.w / 1e3 : null, 2, "kW"), "n"], ["per " + p.per.replaceAll("_", " ").replace("percent", "%"), "dim"]]) {
      const td = document.createElement("td"); td.textContent = text; td.className = kind; tr.appendChild(td);
    }
    return tr;
  });
  if (!rows.length) { const tr = document.createElement("tr"), td = document.createElement("td"); td.textContent = (d.limit_prices || []).length ? "no limit stands in the way" : "not priced yet"; tr.appendChild(td); rows.push(tr); }
  $("prices").replaceChildren(...rows);
  const found = Object.entries(d.sick_loops || {}).map(([loop, text]) => `${loop} ${text}`);
  for (const [point, text] of Object.entries(d.doubted || {})) found.push(`${point} ${text}: not believed`);
  if (d.suspect) found.unshift(`${d.suspect.hall}: ${d.suspect.text}`);
  $("suspect").textContent = found.join("; ");
}
function events() {
  $("events").replaceChildren(...state.events.map((e) => {
    const li = document.createElement("li"), time = document.createElement("time");
    time.textContent = clock(Number(e.t_s)); li.append(time, String(e.text)); return li;
  }));
}
function head(d) {
  const held = d.mode === "auto" || d.mode === "bounded";
  put("mode", d.mode || "–", "badge " + (held ? "policy" : d.mode === "emergency" ? "bad" : d.mode === "fallback" || d.mode === "release" ? "warn" : ""));
  const asked = d.granted && d.granted !== d.mode ? ` (granted: ${d.granted})` : "";
  $("charge").textContent = d.mode ? `${PEOPLE[d.mode] || d.mode}${asked} — ${d.mode_reason}` : "no decision heard yet";
}
function ages() {
  const silent = (Date.now() - heard) / 1e3, add = silent > 1.5 ? silent : 0, t = state && known(state.telemetry_age_s) ? state.telemetry_age_s + add : null, d = state && known(state.decision_age_s) ? state.decision_age_s + add : null;
  $("ages").textContent = `telemetry ${show(t, 0, "s")} · decision ${show(d, 0, "s")} old`;
  const problem = !heard || silent > 4 ? "The page has lost its server." : !state || !state.connected ? "No connection to the broker." : t === null ? "No telemetry heard yet." : t > STALE_S ? `Telemetry is stale: ${t.toFixed(0)} s old.` : d === null || d > STALE_S ? "No decision from the controller: the plant controls itself." : "";
  $("banner").hidden = !problem; $("banner").textContent = problem;
  document.body.classList.toggle("stale", !heard || silent > 4 || t === null || t > STALE_S);
}
function refresh() { const d = state.decision || {}; head(d); kpis(d); plant(); racks(); drawChart($("chart"), state.history); setpoints(d); prices(d); events(); ages(); }
async function start() {
  site = await (await fetch("site.json")).json();
  $("site").textContent = site.name + (site.simulated ? " (simulated)" : "");
  document.title = `${site.name} – coolctl`;
  for (const [id, p] of Object.entries(site.points)) (byRole[p.machine] = byRole[p.machine] || {})[p.role] = id;
  diagram = makeDiagram($("plant"), site);
  const take = (next) => { heard = Date.now(); state = next; if (state.values) refresh(); };
  take(await (await fetch("state.json")).json());
  new EventSource("events").onmessage = (m) => take(JSON.parse(m.data));
  setInterval(ages, 1000);
}
start();
