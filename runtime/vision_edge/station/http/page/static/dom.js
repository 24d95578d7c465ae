// Making elements and texts. Text only ever goes in as text: nothing here parses markup.

const TEXTS = JSON.parse(document.body.dataset.texts);
const RETRIES = 2;
const RETRY_MS = 1500;
const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** The text of a key, its {names} filled in. */
export function t(key, values = {}) {
  const text = TEXTS[key];
  if (text === undefined) throw new Error(`no text ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** The text of a key where it exists, else a fallback from the station. */
export const tOr = (key, fallback, values) => (key in TEXTS ? t(key, values) : fallback);

/** A text for one or for many. */
export const tn = (key, n) => t(`${key}.${n === 1 ? "one" : "many"}`, { n });

/** An element: attributes by name, `onclick` and the like as listeners, children as text or nodes. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** One of the page's icons; decoration only. */
export function icon(name, className = "icon") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export function setIcon(svg, name) {
  svg.firstElementChild.setAttribute("href", `#i-${name}`);
}

/** A picture that is asked for again if it does not come, since a station limits its requests. */
export function photo(src, attributes = {}, gone = () => {}) {
  let tries = 0;
  const again = () => { node.src = `${src}?try=${tries}`; };
  const failed = () => { if ((tries += 1) > RETRIES) gone(); else setTimeout(again, RETRY_MS * tries); };
  const node = el("img", { loading: "lazy", draggable: "false", ...attributes, onerror: failed });
  node.src = src;
  return node;
}

/** A button with an icon and words. */
export function button(text, { icon: name = null, kind = "", run, ...rest } = {}) {
  const node = el("button", { type: "button", class: `button ${kind}`.trim(), onclick: run, ...rest });
  if (name) node.append(icon(name));
  node.append(el("span", {}, text));
  return node;
}

/** Set text only where it differs, so that screen readers and layout are left in peace. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Put new children into a container; who had the focus by its `data-key` has it again. */
export function redraw(container, ...nodes) {
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  container.replaceChildren(...nodes);
  const again = focused && [...container.querySelectorAll("[data-key]")].find((node) => node.dataset.key === focused);
  if (again) again.focus();
}

/** Announce something once to a screen reader. */
export function announce(text) {
  say(byId("said"), text);
}

/** How long ago, in words; `seconds` may be null. */
export function ago(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "";
  if (seconds < 2) return t("ago.now");
  if (seconds < 90) return t("ago.seconds", { n: Math.round(seconds) });
  if (seconds < 5400) return t("ago.minutes", { n: Math.round(seconds / 60) });
  if (seconds < 129600) return t("ago.hours", { n: Math.round(seconds / 3600) });
  return t("ago.days", { n: Math.round(seconds / 86400) });
}

/** A time of day, with the date unless it is today. */
export function clock(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return String(iso);
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(document.documentElement.lang, today ? time : { dateStyle: "medium", timeStyle: "short" });
}

/** A number of two digits after the point, or a dash. */
export const score = (value) => (typeof value === "number" ? value.toFixed(2) : "–");
