// How the station is doing: cameras, wires, model, versions.

import { post } from "./api.js";
import { startCameras } from "./cameras.js";
import { watchCohort } from "./cohort.js";
import { failed, isEngineer, refreshStatus, secondsSince, start, watchStatus } from "./common.js";
import { countsOf, watchCounts } from "./counts.js";
import { setUp } from "./setup.js";
import { drawStrict, startStrict } from "./strict.js";
import { ago, button, byId, el, icon, redraw, say, setIcon, t, tn, tOr } from "./dom.js";

const CAMERAS = { live: "good", connecting: "fair", stale: "fair", lost: "bad" };
const WIRES = { ok: "good", connecting: "fair", down: "bad" };
const SHOWN = 12;
const ICONS = { good: "done", fair: "wait", bad: "warn" };

/** A row: a sign, a name, a word, and facts beneath. */
function row(level, name, word, facts) {
  const sign = el("p", { class: "sign", "data-level": level });
  sign.append(icon(ICONS[level]), el("span", {}, word));
  return el("div", { class: "health-row" }, el("h3", {}, name), sign, ...facts.filter(Boolean).map((fact) => el("p", { class: "quiet" }, fact)));
}

function cameraRow(source) {
  const { change } = source;
  const facts = [
    source.message || null,
    change ? `${change.message}; ${change.fix}` : null,
    [t("health.frames", { n: source.frames }), source.age_ms === null || source.age_ms === undefined ? null : t("health.age", { n: Math.round(source.age_ms) }),
      source.reconnects ? tn("health.reconnects", source.reconnects) : null,
      source.lost_frames ? tn("health.lost-frames", source.lost_frames) : null].filter(Boolean).join(" · "),
    source.address,
  ];
  const level = change && source.state === "live" ? "fair" : CAMERAS[source.state] || "bad";
  const node = row(level, source.name, change ? t("change") : tOr(`state.${source.state}`, source.state), facts);
  const actions = el("div", { class: "row tight" });
  if (change) actions.append(button(t("change.acknowledge"), { "data-key": `acknowledge ${source.name}`, run: () => acknowledge(source.name) }));
  actions.append(button(t("setup"), { "data-setup": source.name, "data-key": `setup ${source.name}`, run: () => setUp(source.name) }));
  node.append(actions);
  return node;
}

async function acknowledge(source) {
  try {
    await post(`sources/${encodeURIComponent(source)}/acknowledge`);
  } catch (error) {
    failed(error);
  }
  await refreshStatus();
}

function wireRow(wire) {
  const counts = [wire.queued ? t("health.queued", { n: wire.queued }) : null, wire.dropped ? t("health.dropped", { n: wire.dropped }) : null];
  return row(WIRES[wire.state] || "bad", wire.name, tOr(`wire.${wire.state}`, wire.state), [wire.detail, counts.filter(Boolean).join(" · ")]);
}

function list(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", {}, ...shown.flatMap(([key, value]) => [el("dt", {}, t(key)), el("dd", {}, String(value))]));
}

function model({ bundle, provider, notes }) {
  const nodes = [list([
    ["health.bundle", bundle.name], ["health.precision", bundle.precision], ["health.provider", provider],
    ["health.dimension", bundle.embedding_dim], ["health.fingerprint", bundle.fingerprint.slice(0, SHOWN)],
  ])];
  for (const text of notes || []) nodes.push(el("p", { class: "note" }, text));
  return nodes;
}

function station(status) {
  return [list([
    ["health.name", status.station], ["health.version", status.version], ["health.products", status.gallery.products],
    ["health.gallery", status.gallery.version], ["health.pending", status.review.pending],
    ["health.clock", new Date(status.time).toLocaleString(document.documentElement.lang)],
  ])];
}

function draw({ status, connected }) {
  const ready = byId("ready");
  const good = Boolean(connected && status && status.ready);
  ready.dataset.level = good ? "good" : "bad";
  setIcon(ready.querySelector("svg"), good ? "done" : "warn");
  say(ready.querySelector("span"), !connected ? t("health.offline") : good ? t("health.ready") : t("health.not-ready"));
  if (!status) return;
  if (!connected) say(ready.querySelector("span"), `${t("health.offline")} (${ago(secondsSince(status.time))})`);
  redraw(byId("cameras"), ...status.sources.map(cameraRow));
  byId("wires").replaceChildren(...(status.wires.length ? status.wires.map(wireRow) : [el("p", { class: "quiet" }, t("health.no-wires"))]));
  byId("model").replaceChildren(...model(status));
  byId("station").replaceChildren(...station(status));
  drawStrict(status);
  countsOf(status.sources);
}

start();
startStrict();
startCameras(isEngineer());
watchStatus(draw);
watchCounts();
watchCohort();
