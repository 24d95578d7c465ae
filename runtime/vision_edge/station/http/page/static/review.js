// The queue of pictures that the station was not sure of.

import { get, post } from "./api.js";
import { refreshStatus, start, watchStatus } from "./common.js";
import { Decisions } from "./decisions.js";
import { ask, field } from "./dialogs.js";
import { band as bandOf } from "./words.js";
import { button, byId, clock, el, icon, photo, redraw, say, score, t, tn } from "./dom.js";
import { clearError, showError } from "./notices.js";

const LIMIT = 60;
const QUICK = 8;

const chosen = new Set();
let items = [];
let pending = 0;
let products = [];

const decisions = new Decisions(byId("problem"), refreshStatus);

async function load() {
  clearError(byId("problem"));
  try {
    const [queue, known] = await Promise.all([get(`review?limit=${LIMIT}`), get("products")]);
    items = queue.items;
    pending = queue.pending;
    products = known.products.map((product) => product.label);
    byId("newer").hidden = true;
  } catch (error) {
    showError(byId("problem"), error);
  }
  for (const id of chosen) if (!items.some((item) => item.id === id)) chosen.delete(id);
  draw();
}

function draw() {
  redraw(byId("items"), ...items.map(card));
  byId("empty").hidden = items.length > 0;
  say(byId("count"), pending > items.length ? t("review.of", { n: items.length, all: pending }) : items.length ? tn("review.count", items.length) : "");
  drawSelection();
}

function card(item) {
  const id = `item-${item.id}`;
  const box = el("input", { type: "checkbox", class: "unseen", id, "data-key": item.id, checked: chosen.has(item.id) });
  box.addEventListener("change", () => {
    if (box.checked) chosen.add(item.id);
    else chosen.delete(item.id);
    drawSelection();
  });
  const near = item.nearest ? t("review.nearest", { label: item.nearest, score: score(item.score) }) : t("verdict.unknown");
  const words = el("span", { class: "picture-words" },
    el("span", { class: "picture-band", "data-band": item.band }, icon(item.band === "review" ? "check" : "unknown", "mark small"), bandOf(item)),
    el("span", { class: "picture-near" }, near),
    el("span", { class: "quiet" }, `${item.source} · ${clock(item.time)}`),
    item.times > 1 ? el("span", { class: "quiet" }, tn("review.times", item.times)) : null);
  // A picture that somebody else has decided on is gone.
  const gone = () => { items = items.filter((other) => other !== item); chosen.delete(item.id); draw(); };
  return el("div", { class: "picture-card" }, box,
    el("label", { for: id }, photo(`/api/v1/review/${encodeURIComponent(item.id)}.jpg`, { alt: t("review.alt", { time: clock(item.time), source: item.source }) }, gone), el("span", { class: "tick" }, icon("done")), words));
}

function drawSelection() {
  const count = chosen.size;
  byId("bar").hidden = count === 0;
  byId("all").hidden = items.length === 0;
  say(byId("all"), count ? t("review.none") : t("review.all"));
  say(byId("selected"), tn("review.selected", count));
  const names = likely();
  const chips = names.slice(0, QUICK).map((label) => button(label, { kind: "chip", run: () => assign(label) }));
  chips.push(button(names.length > QUICK ? t("review.other") : t("review.new"), { kind: "chip quiet-chip", icon: "add", run: assignOther }));
  byId("assign").replaceChildren(...chips);
}

/** Products, those that the chosen pictures are nearest to first. */
function likely() {
  const votes = new Map();
  for (const item of items) if (chosen.has(item.id) && item.nearest) votes.set(item.nearest, (votes.get(item.nearest) || 0) + 1);
  return [...products].sort((a, b) => (votes.get(b) || 0) - (votes.get(a) || 0));
}

function assign(label) {
  decide("assign", { label }, `${tn("review.assigned", chosen.size)} ${label}`);
}

async function assignOther() {
  const { input, nodes } = field("other", t("register.name"), { maxlength: 200, list: "labels" });
  const list = el("datalist", { id: "labels" }, ...products.map((label) => el("option", { value: label })));
  await ask({
    title: tn("review.assign-title", chosen.size), body: [...nodes, list], confirm: t("review.assign-confirm"),
    run: async () => { if (input.value.trim()) assign(input.value.trim()); else throw { what: t("review.nameless"), fix: t("review.nameless.fix") }; },
  });
}

/** Take the chosen pictures out of sight; the station is told when it can no longer be undone. */
async function decide(what, more, words) {
  const ids = [...chosen];
  await decisions.settle();
  const taken = items.filter((item) => chosen.has(item.id));
  items = items.filter((item) => !chosen.has(item.id));
  chosen.clear();
  draw();
  decisions.take({
    words,
    commit: async (options) => { ({ pending } = await post(`review/${what}`, { ids, ...more }, options)); },
    restore: () => { items = [...taken, ...items]; draw(); },
  });
}

start();
byId("items").addEventListener("submit", (event) => event.preventDefault());
byId("reject").addEventListener("click", () => decide("reject", {}, tn("review.rejected", chosen.size)));
byId("dismiss").addEventListener("click", () => decide("dismiss", {}, tn("review.dismissed", chosen.size)));
byId("all").addEventListener("click", () => {
  if (chosen.size) chosen.clear();
  else for (const item of items) chosen.add(item.id);
  draw();
});
byId("newer").addEventListener("click", load);
// New pictures come when they are asked for: a grid that moves under a finger is no good.
watchStatus(({ status }) => {
  const now = status ? status.review.pending : pending;
  if (items.length === 0 && now > 0 && !decisions.open) load();
  byId("newer").hidden = now <= pending || decisions.open !== null;
  const answered = status ? status.review.answered : 0;
  byId("answered").hidden = answered === 0;
  say(byId("answered"), tn("review.answered", answered));
});
load();
