// Small helpers of the page: elements, numbers with their units, and the two ways of telling the time.
export const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

// An SVG element; its text, where there is any, is text and never markup.
export function el(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

// An HTML element of a class, holding texts and elements.
export function node(tag, kind, ...inside) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...inside.filter((x) => x !== null && x !== undefined && x !== ""));
  return made;
}

// Only what has changed is written: a reader of the screen is told of changes, not of every second.
export function put(target, text, kind) {
  const at = typeof target === "string" ? $(target) : target;
  if (at.textContent !== text) at.textContent = text;
  if (kind !== undefined && at.className !== kind) at.className = kind;
}

const UNITS = { degC: "°C", degF: "°F", percent: "%", bool: "", count: "" };
export const unitName = (unit) => (unit in UNITS ? UNITS[unit] : unit);
export const known = (v) => v !== undefined && v !== null;
export const show = (v, digits, unit) => (known(v) ? `${v.toFixed(digits)}${unit ? ` ${unit}` : ""}` : "–");
export const words = (name) => String(name).replaceAll("_", " ");

// A setpoint's or a limit's value as people write it.
export function setpointText(v, unit) {
  if (!known(v)) return "–";
  if (unit === "bool") return v > 0.5 ? "on" : "off";
  return show(v, unit === "count" ? 0 : 1, unitName(unit));
}
export function price(p) {
  if (!known(p.w)) return "not priced";
  const per = words(p.per).replace("percent", "%");
  return `${p.w >= 100 ? `${(p.w / 1e3).toFixed(2)} kW` : `${p.w.toFixed(0)} W`} per ${per}`;
}

const two = (n) => String(n).padStart(2, "0");
export function wallText(ms, seconds = true) {
  const d = new Date(ms), today = new Date().toDateString() === d.toDateString();
  const day = today ? "" : `${d.toLocaleDateString(undefined, { day: "numeric", month: "short" })} `;
  return `${day}${two(d.getHours())}:${two(d.getMinutes())}${seconds ? `:${two(d.getSeconds())}` : ""}`;
}
export function elapsed(s, seconds = true) {
  const t = Math.max(0, Math.round(s));
  return `${Math.floor(t / 3600)}:${two(Math.floor(t / 60) % 60)}${seconds ? `:${two(t % 60)}` : ""}`;
}
// A time of the page's lists: of the day where the clock is the wall's, since its start where the plant is simulated.
export function when(t_s, clock, seconds = true) {
  if (!known(t_s)) return "–";
  return known(clock.wall_s) ? wallText(1e3 * (t_s + clock.wall_s), seconds) : elapsed(t_s, seconds);
}
export function lasting(s) {
  if (s < 90) return `${Math.round(s)} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 90) return `${minutes} min`;
  return s < 172800 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.round(s / 86400)} days`;
}
