// Trends of the last hour and the last day. One cursor for all of them, moved by pointer or by the arrow keys; the legend
// is the read-out. A band shows the smallest and largest value of each bucket, a gap is a gap.
import { $, el, known, node, put, when } from "./dom.js";

const CHARTS = [
  { title: "Rack inlet and supply air", unit: "°C", lines: [["inlet", "a"], ["supply_air", "b"]], limits: true, least: 3 },
  { title: "Chilled water", unit: "°C", lines: [["chilled_water", "a"], ["chilled_water_sp", "c"]], least: 2 },
  { title: "Cooling power", unit: "kW", lines: [["cooling", "a"], ["baseline", "c"]], zero: true, least: 10 },
  { title: "IT power", unit: "kW", lines: [["it", "a"]], least: 10 },
  { title: "Partial PUE: (IT + cooling) / IT", unit: "", lines: [["pue", "a"]], least: 0.02 },
  { title: "Saving against rules (B2)", unit: "%", lines: [["saving", "a"]], zero: true, least: 10 },
];
const SPANS = { hour: ["last hour", 5000, [300, 600, 900, 1200]], day: ["last day", 30000, [7200, 10800, 14400, 21600]] };
const LEFT = 46, RIGHT = 12, TOP = 10, BOTTOM = 22, BAND = 26;
let site = null, span = "hour", data = {}, cursor_s = null, charts = [], band = null, printing = false;

export function startTrends(description) {
  site = description;
  band = makeFigure("Mode", "", "modes");
  charts = CHARTS.map((spec) => ({ ...spec, ...makeFigure(spec.title, spec.unit, "") }));
  $("charts").append(band.figure, ...charts.map((c) => c.figure));
  for (const input of document.querySelectorAll("input[name=span]")) {
    input.addEventListener("change", () => { span = input.value; cursor_s = null; draw(); load(span); });
  }
  new ResizeObserver(() => draw()).observe($("charts"));
  addEventListener("beforeprint", () => { printing = true; cursor_s = null; draw(); });
  addEventListener("afterprint", () => { printing = false; draw(); });
  for (const name in SPANS) {
    load(name);
    setInterval(() => (name === span || name === "hour") && load(name), SPANS[name][1]);
  }
}

async function load(name) {
  try {
    const answer = await fetch(`trends/${name}.json`);
    if (!answer.ok) return;
    data[name] = await answer.json();
  } catch { return; } // the server is gone: the banner says so, what was drawn stays with its own times
  for (const s of data[name].series) data[name][s.key] = s;
  if (name === shownSpan()) draw();
}
const shownSpan = () => (printing ? "hour" : span);
const current = () => data[shownSpan()];

function makeFigure(title, unit, kind) {
  const legend = node("p", "legend"), heading = node("h3", "", title, " ", node("span", "dim", unit)), at = node("span", "at"), svg = el(node("div"), "svg", {});
  const caption = kind ? node("figcaption", "", heading, legend, at) : node("figcaption", "", heading, at);
  const figure = node("figure", `trend ${kind}`, caption, svg, kind ? null : legend);
  svg.setAttribute("tabindex", "0");
  svg.setAttribute("role", "slider");
  svg.addEventListener("keydown", keys);
  const point = (e) => { cursor_s = timeAt(svg, e.clientX); mark(); };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", () => { cursor_s = null; mark(); });
  return { figure, svg, legend, at, title, marks: null };
}

function keys(event) {
  const d = current();
  if (!d || !buckets(d)) return;
  const last = buckets(d) - 1, i = cursorBucket(d), far = event.shiftKey ? 10 : 1;
  const to = { ArrowLeft: (i ?? last + 1) - far, ArrowDown: (i ?? last + 1) - far, ArrowRight: (i ?? last) + far, ArrowUp: (i ?? last) + far,
    PageDown: (i ?? last) - 30, PageUp: (i ?? last) + 30, Home: 0, End: last }[event.key];
  if (to !== undefined) cursor_s = d.start_s + (Math.min(Math.max(to, 0), last) + 0.5) * d.step_s;
  else if (event.key === "Escape") cursor_s = null;
  else return;
  event.preventDefault();
  mark();
}

const buckets = (d) => d.series[0].mean.length;
function cursorBucket(d) {
  if (cursor_s === null) return null;
  return Math.min(Math.max(Math.floor((cursor_s - d.start_s) / d.step_s), 0), buckets(d) - 1);
}
const inner = (svg) => [LEFT, Number(svg.dataset.width) - RIGHT];
function timeAt(svg, clientX) {
  const d = current(), box = svg.getBoundingClientRect(), [x0, x1] = inner(svg);
  if (!d) return null;
  const x = (clientX - box.left) / box.width * Number(svg.dataset.width);
  return endOf(d) - (1 - Math.min(Math.max((x - x0) / (x1 - x0), 0), 1)) * d.span_s;
}
const endOf = (d) => Math.max(d.now_s, d.start_s + buckets(d) * d.step_s);

function draw() {
  const d = current();
  for (const c of [band, ...charts]) {
    // A figure's own width, so that its letters are as large as the page's; on paper three of them share a line.
    const width = printing ? (c === band ? 726 : 232) : Math.max(240, Math.round(c.svg.clientWidth || c.figure.clientWidth));
    c.svg.dataset.width = width;
    c.height = c === band ? BAND + BOTTOM : printing ? 96 : 168;
    c.svg.setAttribute("viewBox", `0 0 ${width} ${c.height}`);
    c.svg.replaceChildren();
    c.marks = null;
    if (!d || !buckets(d)) { el(c.svg, "text", { x: LEFT, y: c.height / 2, class: "dim" }, "no data yet"); continue; }
    const end = endOf(d), [x0, x1] = inner(c.svg), x = (t) => x0 + (1 - (end - t) / d.span_s) * (x1 - x0);
    timeAxis(c, d, x, x0, x1);
    if (c === band) drawModes(c, d, x); else drawLines(c, d, x, x0, x1);
  }
  if (d && buckets(d)) summary(d);
  mark();
}

function timeAxis(c, d, x, x0, x1) {
  const bottom = c.height - BOTTOM, end = endOf(d), step = SPANS[d.span][2].find((s) => s / d.span_s * (x1 - x0) > (printing ? 36 : 58)) || d.span_s;
  // Ticks on round times of the clock that is shown: of the wall in this time zone, or since the plant's start.
  const zone = known(d.clock.wall_s) ? d.clock.wall_s - new Date(1e3 * (end + d.clock.wall_s)).getTimezoneOffset() * 60 : 0;
  for (let t = Math.ceil((end - d.span_s + zone) / step) * step - zone; t <= end; t += step) {
    if (!known(d.clock.wall_s) && t < 0) continue;
    el(c.svg, "line", { x1: x(t), x2: x(t), y1: c === band ? bottom : TOP, y2: bottom + 4, class: "grid" });
    const anchor = x(t) > x1 - 18 ? "end" : "middle";
    el(c.svg, "text", { x: Math.min(x(t), x1 + RIGHT), y: c.height - 5, class: "dim", "text-anchor": anchor }, when(t, d.clock, false));
  }
}

const POLICY = ["auto", "bounded"];
function drawModes(c, d, x) {
  for (const [from, to, name] of d.modes) {
    const a = x(d.start_s + from * d.step_s), b = Math.min(x(d.start_s + to * d.step_s), x(endOf(d)));
    el(c.svg, "rect", { x: a, y: 2, width: Math.max(b - a, 1), height: BAND - 4, class: `m m-${name}` });
    if (b - a > 8 * name.length + 8) el(c.svg, "text", { x: (a + b) / 2, y: BAND / 2 + 4, "text-anchor": "middle", class: `m-${name}` }, name);
  }
  el(c.svg, "line", { x1: LEFT, x2: x(endOf(d)), y1: BAND, y2: BAND, class: "axis" });
}

function drawLines(c, d, x, x0, x1) {
  const lines = c.lines.map(([key, kind]) => [d[key], kind]), bottom = c.height - BOTTOM;
  const limits = c.limits ? [[site.limits.limit_c, "limit", "lim"], [site.limits.alarm_c, "alarm", "alarm"]] : [];
  const all = lines.flatMap(([s]) => [...s.low, ...s.high]).filter(known);
  if (!all.length) { el(c.svg, "text", { x: (x0 + x1) / 2, y: c.height / 2, class: "dim", "text-anchor": "middle" }, "not known"); return; }
  if (limits.length) all.push(limits[0][0]);
  if (c.zero) all.push(0);
  let low = Math.min(...all), high = Math.max(...all);
  const slack = Math.max(c.least - (high - low), 0.2 * (high - low)) / 2;
  if (!(c.zero && low === 0)) low -= slack;
  if (!(c.zero && high === 0)) high += slack;
  // Room for the limit's name above its line.
  if (limits.length) high = Math.max(high, limits[0][0] + (high - low) * 18 / (bottom - TOP));
  const y = (v) => bottom - (v - low) / (high - low) * (bottom - TOP), step = roundStep((high - low) / (bottom < 90 ? 3 : 4.5));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), unit = lines[0][0].unit;
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) {
    el(c.svg, "line", { x1: x0, x2: x1, y1: y(v), y2: y(v), class: "grid" });
    el(c.svg, "text", { x: x0 - 6, y: y(v) + 4, class: "dim", "text-anchor": "end" }, v.toFixed(digits).replace("-0", "0").replace("-", "−"));
  }
  drawGaps(c, d, lines, x, bottom);
  for (const [value, name, kind] of limits) {
    if (value > high) continue;
    el(c.svg, "line", { x1: x0, x2: x1, y1: y(value), y2: y(value), class: kind });
    el(c.svg, "text", { x: x0 + 4, y: y(value) - 4, class: "dim" }, `${name} ${value} ${unit}`);
  }
  for (const [s, kind] of [...lines].reverse()) {
    const at = (i) => x(d.start_s + (i + 0.5) * d.step_s).toFixed(1);
    for (const [from, to] of stretches(s.mean)) {
      const range = (k) => Array.from({ length: to - from }, (_, j) => `${at(from + j)},${y(s[k][from + j]).toFixed(1)}`);
      el(c.svg, "polygon", { points: [...range("high"), ...range("low").reverse()].join(" "), class: `t-band t-${kind}` });
      const line = range("mean");
      if (line.length === 1) el(c.svg, "circle", { cx: at(from), cy: y(s.mean[from]), r: 1.5, class: `t-dot t-${kind}` });
      else el(c.svg, "polyline", { points: line.join(" "), class: `t-line t-${kind}` });
    }
  }
  el(c.svg, "line", { x1: x0, x2: x1, y1: bottom, y2: bottom, class: "axis" });
  c.y = y;
}

function roundStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((m) => m * power >= rough) * power;
}
// Runs of buckets that hold a value: first, one past the last.
function stretches(values) {
  const runs = [];
  values.forEach((v, i) => {
    if (!known(v)) return;
    if (runs.length && runs[runs.length - 1][1] === i) runs[runs.length - 1][1] = i + 1; else runs.push([i, i + 1]);
  });
  return runs;
}
function drawGaps(c, d, lines, x, bottom) {
  const count = buckets(d), heard = Array.from({ length: count }, (_, i) => (lines.some(([s]) => known(s.mean[i])) ? null : 1));
  for (const [from, to] of stretches(heard)) {
    // The newest bucket may just not have been heard yet.
    if (to === count && to - from < 2) continue;
    const a = x(d.start_s + from * d.step_s), b = x(Math.min(d.start_s + to * d.step_s, endOf(d)));
    el(c.svg, "rect", { x: a, y: TOP, width: Math.max(b - a, 1), height: bottom - TOP, class: "gap" });
    if (b - a > 52) el(c.svg, "text", { x: (a + b) / 2, y: (TOP + bottom) / 2 + 4, class: "dim", "text-anchor": "middle" }, "no data");
  }
}

const value = (s, v) => (known(v) ? `${v.toFixed(s.digits)}${s.unit ? ` ${s.unit}` : ""}` : "no data");
function reading(s, i) {
  const spread = known(s.low[i]) && (s.high[i] - s.low[i]).toFixed(s.digits) > 0;
  return [value(s, s.mean[i]), spread ? `${s.low[i].toFixed(s.digits)} … ${s.high[i].toFixed(s.digits)}` : ""];
}
function newest(s) {
  for (let i = s.mean.length - 1; i >= Math.max(0, s.mean.length - 2); i--) if (known(s.mean[i])) return i;
  return s.mean.length - 1;
}

// The cursor's line and what stood there, in all figures; without a cursor the newest values.
function mark() {
  const d = current();
  if (!d || !buckets(d)) return;
  const i = cursorBucket(d), t = i === null ? null : d.start_s + (i + 0.5) * d.step_s;
  for (const c of [band, ...charts]) {
    if (c.marks) c.marks.remove();
    c.marks = null;
    const [x0, x1] = inner(c.svg), px = t === null ? 0 : x0 + (1 - (endOf(d) - t) / d.span_s) * (x1 - x0);
    if (t !== null && px >= x0 - 1) {
      c.marks = el(c.svg, "g", { class: "cursor" });
      el(c.marks, "line", { x1: px, x2: px, y1: 2, y2: c.height - BOTTOM });
    }
    put(c.at, i === null ? "now" : when(d.start_s + i * d.step_s, d.clock));
    const spoken = c === band ? modeReadout(c, d, i) : lineReadout(c, d, i, px);
    c.svg.setAttribute("aria-label", `${c.title}, ${SPANS[d.span][0]}; arrow keys read values`);
    c.svg.setAttribute("aria-valuemin", "0");
    c.svg.setAttribute("aria-valuemax", String(buckets(d) - 1));
    c.svg.setAttribute("aria-valuenow", String(i ?? buckets(d) - 1));
    // Only where a person has moved it: new data is no news to be read out.
    if (i !== null || !c.svg.hasAttribute("aria-valuetext")) c.svg.setAttribute("aria-valuetext", `${i === null ? "now" : when(d.start_s + i * d.step_s, d.clock)}: ${spoken}`);
  }
}
function modeReadout(c, d, i) {
  const bucket = i ?? buckets(d) - 1, run = d.modes.find(([from, to]) => bucket >= from && bucket < to) || (i === null ? d.modes[d.modes.length - 1] : null);
  const text = run ? run[2] : "no data";
  // A stretch that reaches to the left edge may have begun before it.
  const whole = run && run[0] === 0 && d.start_s <= endOf(d) - d.span_s + d.step_s;
  const since = !run || i !== null ? "" : whole ? ` for the whole ${SPANS[d.span][0]}` : ` since ${when(d.start_s + run[0] * d.step_s, d.clock, false)}`;
  put(c.legend, text + since);
  return text;
}
function lineReadout(c, d, i, px) {
  const spoken = [];
  const items = c.lines.map(([key, kind]) => {
    const s = d[key], at = i ?? newest(s), [text, spread] = reading(s, at);
    spoken.push(`${s.name} ${text}`);
    if (c.marks && c.y && known(s.mean[at])) el(c.marks, "circle", { cx: px, cy: c.y(s.mean[at]), r: 3.5, class: `t-dot t-${kind}` });
    return node("span", "item", node("i", `key t-${kind}`), s.name, node("b", "", text), spread ? node("span", "spread", spread) : null);
  });
  c.legend.replaceChildren(...items);
  return spoken.join(", ");
}

function summary(d) {
  put("summary-of", `Figures of the ${SPANS[d.span][0]}`);
  $("summary-rows").replaceChildren(...d.series.map((s) => {
    const low = s.low.filter(known), high = s.high.filter(known), mean = s.mean.filter(known);
    const cells = [s.mean[newest(s)], low.length ? Math.min(...low) : null, mean.length ? mean.reduce((a, b) => a + b, 0) / mean.length : null, high.length ? Math.max(...high) : null];
    const head = node("th", "", s.name);
    head.scope = "row";
    return node("tr", "", head, ...cells.map((v) => node("td", "n", known(v) ? value(s, v) : "–")));
  }));
}
