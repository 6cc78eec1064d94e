// Alarms, and the history of what was changed, with its reasons and prices. Rows stay the same elements while they stay
// in the list, so that a person who reads or has tabbed to one is not thrown out of it every second.
import { $, known, lasting, node, price, put, setpointText, when, words } from "./dom.js";

const KINDS = { mode: "mode", setpoint: "setpoints", machines: "machines", limits: "limits", person: "by a person", finding: "findings" };
const SIGNS = { critical: "■", warning: "▲", info: "●" };
let heard = -1, history = { changes: [], alarms: [], clock: {} }, hidden = new Set(), asked = 0, rows = new Map(), said = "";

export function startLists() {
  for (const [kind, name] of Object.entries(KINDS)) {
    const box = document.createElement("input"), count = node("span", "count");
    Object.assign(box, { type: "checkbox", checked: true, value: kind });
    box.addEventListener("change", () => { if (box.checked) hidden.delete(kind); else hidden.add(kind); changes(); });
    count.dataset.kind = kind;
    $("kinds").append(node("label", "", box, name, count));
  }
}

export function lists(state) {
  alarms(state);
  // At most every two seconds, and only what has changed.
  if (state.history !== heard && Date.now() - asked > 2000) load(state.history);
}
async function load(version) {
  asked = Date.now();
  try {
    const answer = await fetch("history.json");
    if (!answer.ok) return;
    history = await answer.json();
  } catch { return; }
  if (!history.changes) return;
  heard = version;
  changes();
  past();
}

function alarms(state) {
  const list = state.alarms || [], body = $("alarm-rows"), names = new Set(list.map((a) => a.name));
  for (const [name, row] of rows) if (!names.has(name)) { row.remove(); rows.delete(name); }
  list.forEach((a, i) => {
    if (!rows.has(a.name)) rows.set(a.name, alarmRow(a, state.clock));
    const row = rows.get(a.name);
    put(row.querySelector(".cause"), a.cause);
    if (known(state.now_s)) put(row.querySelector(".lasting"), `for ${lasting(Math.max(0, state.now_s - a.since_s))}`);
    if (body.children[i] !== row) body.insertBefore(row, body.children[i] || null);
  });
  $("alarm-table").hidden = !list.length;
  $("no-alarm").hidden = list.length > 0;
  $("alarms").className = list.length ? `alarms ${list[0].severity}` : "alarms";
  put("alarm-count", list.length ? String(list.length) : "");
  const words = list.map((a) => `${a.severity}: ${a.title}`).join("; ");
  if (words !== said) put("alarm-said", words || (said ? "no alarm" : ""));
  said = words;
}
function alarmRow(a, clock) {
  const link = node("a", "noprint", "runbook");
  link.href = a.runbook;
  link.setAttribute("aria-label", `runbook: ${a.title}`);
  return node("tr", "",
    node("td", `sev ${a.severity}`, node("b", "", `${SIGNS[a.severity] || "●"} ${a.severity}`), node("div", "n", `since ${when(a.since_s, clock)}`), node("div", "n dim lasting")),
    node("td", "", node("b", "", a.title), node("div", "cause", a.cause)),
    node("td", "", a.do, " ", link));
}
function past() {
  put("past-count", `Past alarms (${history.alarms.length})`);
  $("past-rows").replaceChildren(...history.alarms.map((a) => node("tr", "",
    node("td", "n", `${when(a.since_s, history.clock)} – ${when(a.until_s, history.clock)}`),
    node("td", "", `${SIGNS[a.severity] || "●"} ${a.severity}: ${a.title}`), node("td", "", a.cause))));
}

function changes() {
  const all = history.changes, shown = all.filter((c) => !hidden.has(c.kind));
  for (const count of document.querySelectorAll("#kinds .count")) put(count, String(all.filter((c) => c.kind === count.dataset.kind).length));
  put("shown", shown.length === all.length ? `${all.length} entries, newest first` : `${shown.length} of ${all.length} entries, newest first`);
  $("changes").replaceChildren(...shown.map(changeRow));
}
function changeRow(c) {
  const text = (v) => (typeof v === "number" ? setpointText(v, c.unit) : words(v ?? ""));
  const lasted = known(c.until_s) ? (c.until_s - c.t_s >= 90 ? ` over ${lasting(c.until_s - c.t_s)}` : "") : " and moving";
  const move = known(c.to) ? node("span", "", known(c.from) ? `${text(c.from)} → ` : "", node("b", "", text(c.to)), node("span", "dim", lasted)) : null;
  const costs = (c.stands_on || []).map((p) => `${words(p.limit)} (${price(p)})`).join(", ");
  return node("tr", `k-${c.kind}`,
    node("td", "n", when(c.t_s, history.clock)),
    node("td", "kind", KINDS[c.kind] || c.kind),
    node("td", "what", node("span", "name", c.what), " ", move),
    node("td", "why", c.why, costs ? node("div", "dim", c.kind === "limits" ? costs : `the plan stood on ${costs}`) : null));
}
