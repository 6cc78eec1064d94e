"use strict";
// The plant diagram: built once from the site's description, then only its texts and classes change.
const NS = "http://www.w3.org/2000/svg";
function el(parent, name, attributes, text) {
  const node = document.createElementNS(NS, name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}
function makeDiagram(svg, site) {
  svg.setAttribute("viewBox", "0 0 900 400");
  const text = {}, units = {};
  const label = (key, x, y, caption, anchor = "start") => {
    if (caption) el(svg, "text", { x, y: y - 14, class: "dim", "text-anchor": anchor }, caption);
    text[key] = el(svg, "text", { x, y, class: "v", "text-anchor": anchor }, "–");
  };
  const row = (key, count, x, y, width, height, mark) => {
    const step = Math.min(width / count, 58);
    units[key] = [];
    for (let i = 0; i < count; i++) {
      const box = el(svg, "rect", { x: x + i * step, y, width: step - 6, height, rx: 3, class: "unit" });
      const name = el(svg, "text", { x: x + i * step + (step - 6) / 2, y: y + height / 2 + 4, "text-anchor": "middle" }, step > 24 ? mark + (i + 1) : "");
      units[key].push([box, name]);
    }
  };
  const pipe = (d, kind, key) => { const p = el(svg, "path", { d, class: "pipe " + kind }); if (key) (units[key] = units[key] || []).push([p, p]); };
  // condenser water: towers above, machines below
  pipe("M150 120 V168 H70 V300 H250", "cold", "cw"); pipe("M370 330 H420 V150 H232 V120", "hot", "cw");
  // chilled water: machines to hall and back
  pipe("M370 262 H640", "cold"); pipe("M640 352 H500 V376 H180 V340", "hot");
  el(svg, "rect", { x: 20, y: 20, width: 230, height: 100, rx: 4, class: "box" });
  el(svg, "text", { x: 30, y: 38, class: "dim" }, "cooling towers");
  row("cells", site.cells, 30, 48, 210, 30, "T");
  label("tower_speed", 30, 110, ""); label("tower_power", 240, 110, "", "end");
  label("cwst", 80, 250, "CW supply"); label("cwrt", 412, 215, "CW return", "end"); label("cw_flow", 80, 292, "CW flow");
  el(svg, "rect", { x: 180, y: 230, width: 190, height: 130, rx: 4, class: "box" });
  el(svg, "text", { x: 190, y: 248, class: "dim" }, "chillers");
  row("chillers", site.chillers, 190, 256, 175, 30, "C");
  label("chiller_power", 360, 248, "", "end");
  if (site.economizer) {
    units.hx = [[el(svg, "rect", { x: 190, y: 304, width: 170, height: 26, rx: 3, class: "unit" }), el(svg, "text", { x: 275, y: 321, "text-anchor": "middle" }, "economizer")]];
  }
  label("chw_pump", 190, 352, ""); label("cw_pump", 360, 352, "", "end");
  label("chwst", 440, 254, "CHW supply"); label("chwrt", 620, 344, "CHW return", "end"); label("chw_flow", 530, 254, "CHW flow"); label("chw_dp", 440, 292, "");
  label("oadb", 300, 60, "outdoor"); label("oawb", 300, 100, "wet bulb");
  // halls with their racks
  const racks = {}, height = 340 / site.halls.length;
  site.halls.forEach((hall, h) => {
    const y = 20 + h * height;
    el(svg, "rect", { x: 640, y, width: 240, height: height - 8, rx: 4, class: "box" });
    el(svg, "text", { x: 652, y: y + 18, class: "dim" }, hall.name);
    label(hall.name + ".it", 868, y + 18, "", "end"); label(hall.name + ".sat", 652, y + 40, ""); label(hall.name + ".fan", 868, y + 40, "", "end");
    label(hall.name + ".valve", 652, y + 60, ""); label(hall.name + ".dew", 868, y + 60, "", "end");
    const columns = 8, size = Math.min(24, (height - 90) / Math.ceil(hall.racks.length / columns) - 4);
    hall.racks.forEach((rack, i) => {
      racks[rack] = el(svg, "rect", { x: 654 + (i % columns) * 27, y: y + 74 + Math.floor(i / columns) * (size + 4), width: 23, height: Math.max(size, 3), rx: 2, class: "r-none" });
      el(racks[rack], "title", {}, rack);
    });
  });
  return { text, units, racks };
}
function lightUnits(list, count) {
  (list || []).forEach(([box, name], i) => { const on = count !== null && i < count; box.classList.toggle("on", on); name.classList.toggle("on", on); });
}
function drawRacks(svg, site, inlets) {
  const { limit_c: limit, alarm_c: alarm, allowable_c: allow } = site.limits, low = 15, high = Math.max(allow + 1, 33), w = 580, h = 330, left = 34;
  const y = (c) => h - 22 - (Math.min(Math.max(c, low), high) - low) / (high - low) * (h - 34), step = (w - left - 92) / Math.max(inlets.length, 1);
  svg.replaceChildren(); svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  for (let c = 15; c <= high; c += 5) { el(svg, "line", { x1: left, x2: w - 88, y1: y(c), y2: y(c), class: "grid" }); el(svg, "text", { x: left - 6, y: y(c) + 4, class: "dim", "text-anchor": "end" }, c + "°"); }
  inlets.forEach(([rack, value], i) => {
    const kind = value === null ? "r-none" : value > limit ? "r-bad" : value > limit - 0.5 ? "r-near" : "r-ok", top = value === null ? y(20) : y(value);
    const bar = el(svg, "rect", { x: left + i * step + step * 0.14, y: top, width: step * 0.72, height: h - 22 - top, class: kind });
    el(bar, "title", {}, `${rack}: ${value === null ? "no value" : value.toFixed(1) + " °C"}`);
    if (step > 16 || i % Math.ceil(20 / step) === 0) el(svg, "text", { x: left + (i + 0.5) * step, y: h - 8, class: "dim", "text-anchor": "middle" }, rack.replace(/^.*rack0*/, ""));
  });
  for (const [c, name, kind] of [[limit, "limit", "lim"], [alarm, "alarm", "alarm"], [allow, "allowable", "allow"]]) {
    el(svg, "line", { x1: left, x2: w - 88, y1: y(c), y2: y(c), class: kind }); el(svg, "text", { x: w - 84, y: y(c) + 4, class: "dim" }, `${name} ${c}`);
  }
}
function drawChart(svg, history) {
  const w = 600, h = 220, left = 44, bottom = 24;
  svg.replaceChildren(); svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  if (history.length < 2) { el(svg, "text", { x: left, y: h / 2, class: "dim" }, "collecting …"); return; }
  const end = history[history.length - 1][0], start = Math.min(history[0][0], end - 60), values = history.flatMap((p) => [p[1], p[2]]).filter((v) => v !== null).map((v) => v / 1e3);
  const top = Math.max(10, ...values) * 1.1, x = (t) => left + (t - start) / (end - start) * (w - left - 90), y = (v) => h - bottom - v / top * (h - bottom - 12);
  const tick = [5, 10, 20, 25, 50, 100, 200, 500, 1000, 2000, 5000].find((s) => top / s <= 6) || 10000;
  for (let v = 0; v <= top; v += tick) { el(svg, "line", { x1: left, x2: w - 88, y1: y(v), y2: y(v), class: "grid" }); el(svg, "text", { x: left - 6, y: y(v) + 4, class: "dim", "text-anchor": "end" }, v); }
  el(svg, "text", { x: left, y: h - 6, class: "dim" }, `−${Math.round((end - start) / 60)} min`); el(svg, "text", { x: w - 90, y: h - 6, class: "dim", "text-anchor": "end" }, "now");
  el(svg, "text", { x: 2, y: 10, class: "dim" }, "kW");
  const ends = [];
  for (const [k, kind, name] of [[2, "base", "rules"], [1, "now", "now"]]) {
    const line = history.filter((p) => p[k] !== null).map((p) => `${x(p[0]).toFixed(1)},${y(p[k] / 1e3).toFixed(1)}`);
    if (!line.length) continue;
    el(svg, "polyline", { points: line.join(" "), class: kind });
    let at = Number(line[line.length - 1].split(",")[1]) + 4;
    if (ends.some((e) => Math.abs(e - at) < 14)) at = ends[0] + (at > ends[0] ? 14 : -14);
    ends.push(at);
    el(svg, "text", { x: w - 82, y: at }, `${name} ${(history[history.length - 1][k] / 1e3).toFixed(0)} kW`);
  }
}
