// Products and their history: look, rename, remove, go back.

import { get, post } from "./api.js";
import { isEngineer, start, undoChange } from "./common.js";
import { faultOf, linesFor, loadCheck, startCheck } from "./check.js";
import { ask, field, show } from "./dialogs.js";
import { button, byId, clock, el, icon, photo, redraw, say, t, tn, tOr } from "./dom.js";
import { clearError, showError, toast } from "./notices.js";

const THUMBS = 6;
const SEARCH_FROM = 9;
const EVENTS = 30;

let products = [];
let events = [];
let version = 0;

async function load() {
  clearError(byId("problem"));
  try {
    const [known, past] = await Promise.all([get("products"), get(`history?limit=${EVENTS}`)]);
    ({ products, version } = known);
    ({ events } = past);
  } catch (error) {
    showError(byId("problem"), error);
  }
  draw();
  loadCheck(products.length, draw);
}

function draw() {
  const wanted = byId("search").value.trim().toLowerCase();
  const fitting = products.filter((product) => product.label.toLowerCase().includes(wanted));
  byId("search-row").hidden = products.length < SEARCH_FROM;
  byId("empty").hidden = products.length > 0;
  say(byId("count"), products.length ? tn("products.count", products.length) : "");
  redraw(byId("products"), ...fitting.map(card));
  byId("undo").hidden = version < 1;
  redraw(byId("events"), ...events.map(eventRow));
}

function card({ label, snapshots, code }) {
  const thumbs = snapshots.slice(0, THUMBS).map((id) =>
    el("button", { type: "button", class: "thumb", "data-key": `thumb ${id}`, onclick: () => enlarge(label, id), "data-fault": faultOf(id) !== null, title: faultOf(id), "aria-label": [t("snapshot.open", { id, label }), faultOf(id)].filter(Boolean).join(": ") },
      photo(picture(id), { alt: "" })));
  const more = snapshots.length > THUMBS ? el("span", { class: "quiet" }, t("products.more", { n: snapshots.length - THUMBS })) : null;
  const actions = [
    link("add", t("products.add-snapshot"), `/register?label=${encodeURIComponent(label)}&from=products`),
    button(t("products.rename"), { icon: "rename", "data-key": `rename ${snapshots[0]}`, run: () => rename(label) }),
  ];
  if (isEngineer()) actions.push(button(t("products.remove"), { icon: "remove", "data-key": `remove ${snapshots[0]}`, run: () => remove(label, snapshots.length) }));
  return el("li", { class: "card product" },
    el("h2", { class: "product-name" }, label),
    el("p", { class: "quiet" }, [tn("products.snapshots", snapshots.length), code === null || code === undefined ? null : t("products.code", { code })].filter(Boolean).join(" · ")),
    ...linesFor(label),
    el("div", { class: "thumbs" }, ...thumbs, more),
    el("div", { class: "row tight" }, ...actions));
}

const picture = (id) => `/api/v1/snapshots/${encodeURIComponent(id)}.jpg`;

function link(name, text, href) {
  const node = el("a", { class: "button", href });
  node.append(icon(name), el("span", {}, text));
  return node;
}

function enlarge(label, id) {
  const close = show({
    title: label,
    body: [photo(picture(id), { class: "large", alt: t("snapshot.alt", { id, label }) }), faultOf(id) && el("p", { class: "note warn" }, faultOf(id))].filter(Boolean),
    actions: !isEngineer() ? [] : [button(t("snapshot.drop"), { kind: "huge", icon: "remove", run: () => { close(); drop(label, id); } })],
  });
}

async function drop(label, id) {
  const done = await ask({
    title: t("snapshot.drop-title"), confirm: t("snapshot.drop"), kind: "danger",
    body: [photo(picture(id), { class: "large", alt: t("snapshot.alt", { id, label }) }), el("p", {}, t("snapshot.drop-text", { label }))],
    run: () => post(`snapshots/${encodeURIComponent(id)}/drop`),
  });
  if (done) changed(t("snapshot.dropped", { label }), done);
}

async function rename(label) {
  const { input, nodes } = field("new-name", t("products.new-name"), { maxlength: 200, value: label });
  const done = await ask({
    title: t("products.rename-title"), body: nodes, confirm: t("products.rename"),
    run: () => post("products/rename", { label, new: input.value.trim() }),
  });
  if (done) changed(t("products.renamed", { label: input.value.trim() }), done);
}

async function remove(label, count) {
  const done = await ask({
    title: t("products.remove-title"), confirm: t("products.remove"), kind: "danger",
    body: [el("p", { class: "product-name" }, label), el("p", {}, tn("products.remove-text", count))],
    run: () => post("products/remove", { label }),
  });
  if (done) changed(t("products.removed", { label }), done);
}

function changed(words, done) {
  toast(words, { actions: [[t("undo"), () => undoChange(load, done.version)]] });
  load();
}

function eventRow(event) {
  const row = el("li", { class: "event" },
    el("p", { class: "event-words" }, words(event)),
    el("p", { class: "quiet" }, t("history.by", { version: event.version, author: event.author, time: clock(event.time) })));
  if (event.version === version) row.append(el("p", { class: "event-now" }, t("history.now")));
  else if (isEngineer()) row.append(button(t("history.back"), { icon: "undo", "data-key": `back ${event.version}`, run: () => rollback(event) }));
  return row;
}

function words({ kind, label, argument }) {
  const shown = kind === "negative" && !label ? "event.negative.none" : `event.${kind}`;
  return tOr(shown, kind, { label: label ?? "", argument: argument ?? "" });
}

async function rollback(event) {
  const done = await ask({
    title: t("history.back-title", { version: event.version }), confirm: t("history.back"),
    body: [el("p", {}, t("history.back-text", { n: version - event.version, version: event.version }))],
    run: () => post("rollback", { version: event.version }),
  });
  if (done) changed(t("history.went-back", { version: event.version }), done);
}

const notice = start();
if (notice && notice.kind === "registered") {
  toast(t("registered", { label: notice.label }), { actions: [[t("undo"), () => undoChange(load, notice.version)]] });
}
byId("search").addEventListener("input", draw);
startCheck();
byId("undo").addEventListener("click", () => undoChange(load));
load();
