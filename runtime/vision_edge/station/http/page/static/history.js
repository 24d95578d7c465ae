// The history: every recent verdict with its picture, looked for and put right.

import { get } from "./api.js";
import { start } from "./common.js";
import { correct } from "./correct.js";
import { byId, clock, el, icon, photo, redraw, say, score, t, tn } from "./dom.js";
import { clearError, showError } from "./notices.js";
import { band, verdictName } from "./words.js";

const LIMIT = 40;
const FIELDS = ["product", "source", "band", "until"];
let items = [];
let asked = 0;

function query(before) {
  const values = new URLSearchParams({ limit: LIMIT });
  for (const name of FIELDS) {
    const { value } = byId(name);
    if (!value) continue;
    if (name === "until") values.set(name, new Date(value).toISOString());
    else if (value === "corrected") values.set("corrected", "true");
    else values.set(name, name === "product" ? value.trim() : value);
  }
  if (before) values.set("before", before);
  return values;
}

async function load(more = false) {
  const now = (asked += 1);
  clearError(byId("problem"));
  try {
    const answer = await get(`kept?${query(more && items.length ? items[items.length - 1].id : null)}`);
    if (now !== asked) return; // somebody typed on
    items = more ? [...items, ...answer.verdicts] : answer.verdicts;
    byId("older").hidden = answer.verdicts.length < LIMIT;
    say(byId("count"), answer.kept ? tn("kept.count", answer.kept) : "");
  } catch (error) {
    showError(byId("problem"), error);
  }
  byId("empty").hidden = items.length > 0;
  redraw(byId("items"), ...items.map(card));
}

function card(item) {
  const right = item.decided === null ? null : el("span", { class: "picture-right" }, t("kept.right", { label: item.right || t("review.reject"), author: item.author }));
  const words = el("span", { class: "picture-words" },
    el("span", { class: "picture-band", "data-band": item.band }, icon(item.band === "review" ? "check" : item.band, "mark small"), band(item)),
    el("span", { class: "picture-near" }, `${verdictName(item)} ${score(item.score)}`), right,
    el("span", { class: "quiet" }, `${item.source} · ${clock(item.time)}`));
  const open = () => correct(item, () => load()).catch((error) => showError(byId("problem"), error));
  return el("li", { class: "picture-card" },
    el("button", { type: "button", class: "kept", "data-key": item.id, "aria-label": t("kept.open", { label: verdictName(item), time: clock(item.time) }), onclick: open },
      photo(`/api/v1/kept/${encodeURIComponent(item.id)}.jpg`, { alt: "" }), words));
}

async function suggest() {
  try {
    const { products } = await get("products");
    byId("labels").replaceChildren(...products.map(({ label }) => el("option", { value: label })));
  } catch {
    // nothing is suggested; names can still be typed
  }
}

start();
const given = new URLSearchParams(location.search);
for (const name of FIELDS) if (given.get(name)) byId(name).value = given.get(name);
byId("filter").addEventListener("input", () => load());
byId("filter").addEventListener("submit", (event) => { event.preventDefault(); load(); });
byId("newer").addEventListener("click", () => load());
byId("older").addEventListener("click", () => load(true));
suggest();
load();
