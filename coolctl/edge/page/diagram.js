// The plant diagram: built once from the site's description, then only its texts and classes change.
import { el } from "./dom.js";

export function makeDiagram(svg, site) {
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
  label("chw_pump", 188, 352, ""); label("cw_pump", 363, 352, "", "end");
  for (const key of ["chw_pump", "cw_pump"]) text[key].classList.add("small");
  label("chwst", 440, 254, "CHW supply"); label("chwrt", 620, 344, "CHW return", "end"); label("chw_flow", 530, 254, "CHW flow"); label("chw_dp", 440, 292, "");
  label("oadb", 300, 60, "outdoor"); label("oawb", 300, 100, "wet bulb");
  // halls with their racks; many halls are drawn closer, without what a glance does not need
  const racks = {}, close = site.halls.length > 2, columns = close ? 24 : 8, step = 216 / columns;
  const rows = Math.max(...site.halls.map((hall) => Math.ceil(hall.racks.length / columns)));
  const top = close ? 44 : 74, height = close ? Math.max(340 / site.halls.length, top + 9 * rows + 12) : 340 / site.halls.length;
  svg.setAttribute("viewBox", `0 0 900 ${Math.max(400, Math.ceil(20 + height * site.halls.length))}`);
  site.halls.forEach((hall, h) => {
    const y = 20 + h * height, n = hall.name;
    el(svg, "rect", { x: 640, y, width: 240, height: height - 8, rx: 4, class: "box" });
    el(svg, "text", { x: 652, y: y + 18, class: "dim" }, n);
    label(n + ".it", 868, y + 18, "", "end");
    label(n + ".sat", 652, y + (close ? 36 : 40), "");
    label(n + ".fan", 868, y + (close ? 36 : 40), "", "end");
    if (!close) { label(n + ".valve", 652, y + 60, ""); label(n + ".dew", 868, y + 60, "", "end"); }
    const size = Math.min(24, (height - top - 16) / Math.ceil(hall.racks.length / columns) - (close ? 1.5 : 4));
    hall.racks.forEach((rack, i) => {
      const place = { x: 654 + (i % columns) * step, y: y + top + Math.floor(i / columns) * (size + (close ? 2 : 4)) };
      racks[rack] = el(svg, "rect", { ...place, width: step - (close ? 1.5 : 4), height: Math.max(size, 3), rx: close ? 1 : 2, class: "r-none" });
      el(racks[rack], "title", {}, rack);
    });
  });
  return { text, units, racks };
}
export function lightUnits(list, count) {
  (list || []).forEach(([box, name], i) => { const on = count !== null && i < count; box.classList.toggle("on", on); name.classList.toggle("on", on); });
}
export function drawRacks(svg, site, inlets) {
  const { limit_c: limit, alarm_c: alarm, allowable_c: allow } = site.limits, low = 15, high = Math.max(allow + 1, 33);
  const w = Math.max(280, svg.clientWidth || 580), h = Math.round(Math.min(380, Math.max(230, w * 0.69))), left = 32, right = w - 86;
  const y = (c) => h - 22 - (Math.min(Math.max(c, low), high) - low) / (high - low) * (h - 34);
  const step = (right - left) / Math.max(inlets.length, 1);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  for (let c = 15; c <= high; c += 5) {
    el(svg, "line", { x1: left, x2: right, y1: y(c), y2: y(c), class: "grid" });
    el(svg, "text", { x: left - 6, y: y(c) + 4, class: "dim", "text-anchor": "end" }, `${c}°`);
  }
  inlets.forEach(([rack, value], i) => {
    const kind = value === null ? "r-none" : value > limit ? "r-bad" : value > limit - 0.5 ? "r-near" : "r-ok";
    const top = value === null ? y(20) : y(value);
    const bar = el(svg, "rect", { x: left + (i + 0.14) * step, y: top, width: step * 0.72, height: h - 22 - top, class: kind });
    el(bar, "title", {}, `${rack}: ${value === null ? "no value" : `${value.toFixed(1)} °C`}`);
    const shown = step > 16 ? (inlets.length > 20 ? i % 2 === 0 : true) : i % Math.ceil(24 / step) === 0;
    if (shown) el(svg, "text", { x: left + (i + 0.5) * step, y: h - 7, class: "dim", "text-anchor": "middle" }, rack.replace(/^.*rack0*/, ""));
  });
  for (const [c, name, kind] of [[limit, "limit", "lim"], [alarm, "alarm", "alarm"], [allow, "allowable", "allow"]]) {
    el(svg, "line", { x1: left, x2: right, y1: y(c), y2: y(c), class: kind });
    el(svg, "text", { x: right + 5, y: y(c) + 4, class: "dim" }, `${name} ${c}`);
  }
}
