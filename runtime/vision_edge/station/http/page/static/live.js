// The live view: each source's picture and verdict, and the verdicts before it.
//
// A verdict is shown as current only while it is: once it is old, its camera is away or the station
// cannot be reached, it is greyed and says how old it is.

import { get, post } from "./api.js";
import { failed, refreshStatus, secondsSince, start, undoChange, watchStatus } from "./common.js";
import { correct } from "./correct.js";
import { ago, announce, byId, clock, el, icon, say, score, setIcon, t, tOr } from "./dom.js";
import { answerOf, bandOf, Expectation, judgedOtherwise, markOf, reasonOf } from "./expect.js";
import { toast } from "./notices.js";
import { Preview } from "./preview.js";
import { PartBoxes } from "./boxes.js";
import { VerdictStream } from "./stream.js";
import { band as bandText, verdictName } from "./words.js";

/** Seconds for which a verdict counts as current, by what asks for verdicts. */
const CURRENT_S = { none: 3, interval: 10, motion: 15, presence: 15, command: 15 };
const CAMERA_ICONS = { live: "camera", connecting: "wait", stale: "warn", lost: "cut" };
const ROWS = 12;
const SPEAK_MS = 3000;
/** Seconds for which a verdict stays large though its part has gone, or another has come. */
const READ_S = { gone: 4, next: 1 };
/** Seconds after which a verdict fades whose part nobody sees. */
const FADE_S = 5;

const tiles = new Map();
let streaming = false;
let products = null;

class Tile {
  constructor(node) {
    this.node = node;
    this.name = node.dataset.source;
    this.record = null;
    this.source = null;
    this.preview = new Preview(node.querySelector("[data-preview]"), this.name);
    this.boxes = new PartBoxes(node.querySelector("[data-boxes]"));
    this.verdict = node.querySelector(".verdict");
    this.expectation = new Expectation(node, this.name);
    this.trigger = node.querySelector("[data-trigger]");
    this.trigger.addEventListener("click", () => this.judge());
    this.wrong = node.querySelector("[data-wrong]");
    this.wrong.addEventListener("click", () => putRight(this.record));
  }

  async judge() {
    this.trigger.disabled = true;
    try {
      await post(`sources/${encodeURIComponent(this.name)}/trigger`);
    } catch (error) {
      failed(error);
    } finally {
      this.trigger.disabled = false;
    }
  }

  /** Why the verdict may not be called current, or null. */
  staleness(connected, scene = this.scene()) {
    if (!connected) return t("stale.offline");
    if (this.source && this.source.state !== "live") return t(`stale.${this.source.state}`);
    if (!this.record) return null;
    const otherwise = judgedOtherwise(this.record, this.source);
    if (otherwise) return otherwise;
    if (scene !== null) return null;
    const limit = CURRENT_S[(this.source && this.source.trigger) || "none"] ?? CURRENT_S.none;
    return secondsSince(this.record.time) > limit ? t("stale.old") : null;
  }

  /** What is before the camera, as far as it is known: "here", "next", "nothing" or null. */
  scene() {
    const { record, source } = this;
    if (record && record.in_view === false) return "nothing";
    if (!source || source.in_view === null || source.in_view === undefined) return null;
    const age = record ? secondsSince(record.time) : Infinity;
    const ofNow = record && Date.parse(record.time) >= Date.parse(source.view_since);
    if (source.in_view > 0) return ofNow || age < READ_S.next ? "here" : "next";
    return age < READ_S.gone ? "here" : "nothing";
  }

  draw(connected) {
    this.drawCamera(connected);
    this.boxes.tidy(connected);
    const doubt = this.source && this.source.doubt;
    this.node.querySelector("[data-doubt]").hidden = !doubt;
    say(this.node.querySelector("[data-doubt]"), doubt || "");
    const scene = this.scene();
    const why = this.staleness(connected, scene);
    const shown = products === 0 ? null : this.record;
    this.expectation.draw(this.source);
    const calm = products !== 0 && why === null && (scene === "nothing" || scene === "next");
    const kind = !shown || calm ? "none" : bandOf(shown);
    this.verdict.dataset.band = kind;
    this.verdict.toggleAttribute("data-old", why !== null);
    const faded = shown !== null && why === null && scene === null && this.fades() && secondsSince(shown.time) > FADE_S;
    this.verdict.toggleAttribute("data-faded", faded);
    const mark = calm ? (scene === "next" ? "old" : "nothing") : !shown ? "none" : why !== null ? "old" : markOf(shown);
    setIcon(this.verdict.querySelector(".mark"), mark);
    const label = calm ? t(`verdict.${scene}`) : shownName(shown);
    const field = this.verdict.querySelector(".label");
    say(field, label);
    field.dataset.length = calm ? "middle" : lengthOf(label);
    say(this.verdict.querySelector(".band"), calm ? t("band.nothing") : this.bandWord(shown, why));
    say(this.verdict.querySelector(".facts"), calm ? before(shown) : factsOf(shown));
    this.wrong.hidden = !shown || shown.in_view === false || !shown.nearest;
  }

  /** Whether a verdict is on a part that may have gone: all but those on every frame. */
  fades() {
    return Boolean(this.source) && this.source.trigger !== "none";
  }

  bandWord(record, why) {
    if (!record) return products === 0 ? t("verdict.no-products") : why ?? t("verdict.waiting");
    const told = answerOf(record);
    const band = bandOf(record);
    if (told) return why === null ? t("expect.asked", { label: told.expected }) : `${why} – ${t("expect.asked", { label: told.expected })}`;
    return why === null ? t(`band.${band}`) : `${why} – ${t(`was.${band}`)}`;
  }

  drawCamera(connected) {
    const state = !connected ? "offline" : this.source ? this.source.state : this.node.dataset.state;
    this.node.dataset.state = state;
    const line = this.node.querySelector(".state");
    setIcon(line.querySelector("svg"), CAMERA_ICONS[state] || "cut");
    say(line.querySelector("span"), tOr(`state.${state}`, state));
    const veil = this.node.querySelector(".veil");
    veil.hidden = state === "live";
    const reason = connected && this.source && this.source.message ? ` ${this.source.message}` : "";
    say(veil, state === "live" ? "" : tOr(`veil.${state}`, state) + reason);
  }
}

/** Longer names are drawn smaller, so that they fit. */
const lengthOf = (label) => (label.length > 60 ? "long" : label.length > 24 ? "middle" : label.length > 11 ? "short" : "tiny");

function factsOf(record) {
  if (!record) return "";
  const facts = [ago(secondsSince(record.time))];
  const told = answerOf(record);
  if (told) {
    if (told.reason) facts.push(reasonOf(told));
    else facts.push(t("fact.score", { score: score(told.score) }));
    if (record.nearest && record.nearest !== told.expected && (record.parts || []).length < 2) facts.push(t("fact.nearest", { label: record.nearest }));
    return facts.join(" · ");
  }
  if (record.parts && record.parts.length > 1) return facts[0];
  if (record.band === "unknown" && record.nearest) facts.push(t("fact.nearest", { label: record.nearest }));
  if (record.nearest) facts.push(t("fact.score", { score: score(record.score) }));
  return facts.join(" · ");
}

/** What was seen before nothing was, or the next part. */
function before(record) {
  return !record || record.in_view === false ? "" : t("fact.before", { label: shownName(record), ago: ago(secondsSince(record.time)) });
}

function shownName(record) {
  if (!record) return "";
  const told = record.in_view === false ? null : answerOf(record);
  return told ? t(`expect.${told.answer}`) : verdictName(record);
}

/** Open what is kept of this very verdict or of its passage; never another part's picture. */
async function putRight(record) {
  try {
    const query = new URLSearchParams({ source: record.source_name });
    await correct(await get(`kept/${encodeURIComponent(record.id)}?${query}`));
  } catch (error) {
    failed(error.status === 404 ? { what: t("correct.gone"), fix: t("correct.gone.fix") } : error);
  }
}

/** Same verdicts in a row are one line that counts. */
class Recent {
  constructor(list) {
    this.list = list;
    this.rows = [];
  }

  add(record) {
    if (record.in_view === false) return;
    const told = answerOf(record);
    const several = record.parts && record.parts.length > 1;
    const key = JSON.stringify([record.source_name, told && [told.expected, told.answer, record.nearest], several ? record.parts.map((part) => part.label) : record.label, record.band, record.nearest && record.band === "review" ? record.nearest : null]);
    const same = this.rows.find((row) => row.source === record.source_name);
    if (same && same.key === key) Object.assign(same, { record, times: same.times + 1 });
    else this.rows.unshift({ key, record, times: 1, source: record.source_name });
    this.rows.length = Math.min(this.rows.length, ROWS);
  }

  draw() {
    byId("recent-none").hidden = this.rows.length > 0;
    this.list.replaceChildren(...this.rows.map(({ record, times }) => recentRow(record, times)));
  }
}

function recentRow(record, times) {
  const told = answerOf(record);
  const line = el("button", { type: "button", class: "recent-row", "data-band": bandOf(record), title: t("correct.wrong"), onclick: () => putRight(record) });
  line.append(icon(markOf(record), "mark small"));
  const words = el("span", { class: "recent-words" }, el("span", { class: "recent-label" }, shownName(record)));
  const facts = [clock(record.time)];
  if (told) facts.unshift(told.answer === "right" || !record.nearest ? told.expected : t("fact.nearest", { label: record.nearest }));
  else if (record.nearest) facts.push(score(record.score));
  if (tiles.size > 1) facts.unshift(record.source_name);
  if (times > 1) facts.push(t("recent.times", { n: times }));
  words.append(el("span", { class: "quiet" }, el("span", { class: "unseen" }, told ? "" : `${bandText(record)}: `), facts.join(" · ")));
  line.append(words);
  return el("li", {}, line);
}

const recent = new Recent(byId("recent"));
let dirty = true;
let spoken = { text: "", at: 0 };

function take(record) {
  recent.add(record);
  const tile = tiles.get(record.source_name);
  if (tile) tile.record = record;
  dirty = true;
}

function draw() {
  const connected = streaming && !document.body.hasAttribute("data-offline");
  for (const tile of tiles.values()) tile.draw(connected);
  if (dirty) recent.draw();
  dirty = false;
  speak(connected);
}

/** Tell a screen reader what changed, at most every few seconds. */
function speak(connected) {
  if (products === 0) return;
  const parts = [...tiles.values()].filter((tile) => tile.record).map((tile) => {
    const why = tile.staleness(connected);
    const told = answerOf(tile.record);
    const verdict = why ?? (told ? `${shownName(tile.record)}: ${t("expect.asked", { label: told.expected })}` : `${bandText(tile.record)}: ${shownName(tile.record)}`);
    return tiles.size > 1 ? `${tile.name}: ${verdict}` : verdict;
  });
  const text = parts.join(". ");
  if (!text || text === spoken.text || Date.now() - spoken.at < SPEAK_MS) return;
  spoken = { text, at: Date.now() };
  announce(text);
}

async function catchUp() {
  try {
    const { verdicts } = await get("verdicts?limit=50");
    recent.rows = [];
    for (const record of verdicts.reverse()) take(record);
    draw();
  } catch (error) {
    if (error.status !== 0) failed(error);
  }
}

function onStatus({ status, connected }) {
  if (status) {
    products = status.gallery.products;
    for (const source of status.sources) {
      const tile = tiles.get(source.name);
      if (!tile) continue;
      tile.source = source;
      tile.trigger.hidden = source.trigger !== "command";
    }
  }
  for (const tile of tiles.values()) tile.preview.keep(connected, tile.source ? tile.source.state : null, tiles.size);
  draw();
}

/** Say what was just registered, with a way back and on. */
function welcome(notice) {
  if (!notice || notice.kind !== "registered") return;
  const another = `/register?source=${encodeURIComponent(notice.source || "")}&label=${encodeURIComponent(notice.label)}`;
  toast(t("registered", { label: notice.label }), {
    actions: [[t("undo"), () => undoChange(refreshStatus, notice.version)], [t("register.another"), () => location.assign(another)]],
  });
}

for (const node of document.querySelectorAll(".source")) tiles.set(node.dataset.source, new Tile(node));
watchStatus(onStatus);
welcome(start());
new VerdictStream({
  verdict: take,
  view: (told) => {
    const tile = tiles.get(told.source);
    if (tile && tile.source) Object.assign(tile.source, told);
    draw();
  },
  parts: (told) => tiles.get(told.source_name)?.boxes.show(told),
  changed: refreshStatus,
  connected: (now) => { streaming = now; if (now) catchUp(); draw(); },
});
setInterval(draw, 250);
