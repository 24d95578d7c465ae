// How many parts there were in this shift, by source and product.

import { get, post } from "./api.js";
import { failed } from "./common.js";
import { ask } from "./dialogs.js";
import { button, byId, clock, el, redraw, t, tn } from "./dom.js";

const POLL_MS = 2000;
const SHOWN = 6;
let timer = null;
let triggered = true;
let last = null;

/** A source's products, the most frequent first; then what was unsure, unknown or missed. */
function rows(source) {
  const products = Object.entries(source.products);
  const shown = products.slice(0, SHOWN).map(([label, n]) => [label, n]);
  const rest = products.slice(SHOWN).reduce((sum, [, n]) => sum + n, 0);
  if (rest) shown.push([t("counts.others", { n: products.length - SHOWN }), rest]);
  shown.push(...["unsure", "unknown", "missed"].map((kind) => [t(`counts.${kind}`), source[kind]]));
  return shown.map(([what, n]) => el("tr", {}, el("th", { scope: "row" }, what), el("td", {}, String(n))));
}

function table(source, total) {
  const caption = el("caption", {}, el("strong", {}, source.source),
    ` ${tn("counts.parts", source.parts)} · ${t("counts.total", { n: total })}`);
  return el("table", { class: "counts" }, caption, el("tbody", {}, ...rows(source)));
}

/** The shift's sources, and those that have a total but no part in this shift yet. */
function withTotals({ sources, total }) {
  const seen = new Set(sources.map(({ source }) => source));
  const none = { parts: 0, products: {}, unsure: 0, unknown: 0, missed: 0 };
  return [...sources, ...total.filter(({ source }) => !seen.has(source)).map(({ source }) => ({ ...none, source }))];
}

function draw(counts) {
  last = counts;
  const totals = new Map(counts.total.map((source) => [source.source, source.parts]));
  const since = counts.reset_by
    ? t("counts.since-reset", { time: clock(counts.since), who: counts.reset_by })
    : t("counts.since", { time: counts.shift });
  const nodes = [el("p", { class: "quiet" }, since)];
  if (counts.problem) nodes.push(el("p", { class: "note bad", role: "alert" }, counts.problem));
  if (!counts.sources.length) nodes.push(el("p", { class: "quiet" }, t(triggered ? "counts.none" : "counts.untriggered")));
  nodes.push(...withTotals(counts).map((source) => table(source, totals.get(source.source) ?? source.parts)));
  redraw(byId("counts"), ...nodes, actions());
}

function actions() {
  return el("div", { class: "row tight" },
    button(t("counts.reset"), { run: reset, "data-key": "reset" }),
    el("a", { class: "button", href: "/api/v1/counts.csv", download: "counts.csv", "data-key": "csv" }, t("counts.csv")));
}

async function reset() {
  const done = await ask({
    title: t("counts.reset.sure"), body: [el("p", {}, t("counts.reset.kept"))], confirm: t("counts.reset"),
    run: () => post("counts/reset"),
  });
  if (done) draw(done);
}

async function refresh() {
  clearTimeout(timer);
  try {
    draw(await get("counts"));
  } catch (error) {
    if (error.status) failed(error); // without an answer the page says so itself
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, POLL_MS);
}

/** Say of what cameras these are: those without a trigger have no parts. */
export function countsOf(sources) {
  const now = sources.some((source) => source.trigger !== "none");
  if (now === triggered) return;
  triggered = now;
  if (last) draw(last);
}

/** Show the counts, and keep them up to date. */
export function watchCounts() {
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  refresh();
}
