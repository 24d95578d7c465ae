// How strict the station is: what another share of strangers would change, before it is taken.

import { get, post } from "./api.js";
import { isEngineer, refreshStatus } from "./common.js";
import { byId, el, photo, say, t, tn } from "./dom.js";
import { clearError, showError, toast } from "./notices.js";

const STEPS = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5];
const SHOWN = 12;
const WAIT_MS = 200;
const KINDS = ["named", "wrong", "stranger", "review", "unknown"];
const word = (rate) => `${Number((100 * rate).toPrecision(3))} %`;

let held = null;
let products = 0;
let moved = false;
let timer = null;
let asked = 0;

const nearest = (rate) => STEPS.reduce((best, step, i) => (Math.abs(Math.log(step / rate)) < Math.abs(Math.log(STEPS[best] / rate)) ? i : best), 0);
/** The rate that the slider stands at: the held one where it has not been moved. */
const wanted = () => (moved ? STEPS[Number(byId("far").value)] : held.false_accept_rate);

export function startStrict() {
  byId("far").max = String(STEPS.length - 1);
  byId("far").addEventListener("input", () => { moved = true; draw(); clearTimeout(timer); timer = setTimeout(preview, WAIT_MS); });
  byId("far-take").addEventListener("click", take);
  byId("far-undo").addEventListener("click", undo);
}

/** Take in what the station asks for now. */
export function drawStrict(status) {
  const changed = !held || held.false_accept_rate !== status.scoring.false_accept_rate || products !== status.gallery.products;
  held = status.scoring;
  products = status.gallery.products;
  byId("strict").hidden = false;
  if (changed && !moved) byId("far").value = String(nearest(held.false_accept_rate));
  draw();
  if (changed) preview();
}

function draw() {
  const fixed = held.threshold !== null;
  byId("far").disabled = fixed;
  say(byId("far-now"), fixed ? t("strict.fixed", { score: held.threshold }) : t("strict.now", { rate: word(held.false_accept_rate), by: held.by }));
  say(byId("far-settings"), [held.by !== t("strict.settings") && !fixed ? t("strict.configured", { rate: word(held.configured) }) : "", held.note].filter(Boolean).join(" "));
  say(byId("far-wanted"), word(wanted()));
  byId("far").setAttribute("aria-valuetext", word(wanted()));
  const same = wanted() === held.false_accept_rate;
  byId("far-take").hidden = fixed || same || !isEngineer();
  byId("far-undo").hidden = fixed || !held.can_undo || !isEngineer();
  byId("far-engineer").hidden = fixed || same || isEngineer();
}

/** Show what would change; an answer that comes too late is dropped. */
async function preview() {
  if (!held || held.threshold !== null) return;
  const number = (asked += 1);
  if (products === 0) {
    byId("far-effect").replaceChildren(el("p", { class: "quiet" }, t("strict.nothing")));
    return;
  }
  try {
    const effect = await get(`scoring?false_accept_rate=${wanted()}`, { patience: 120000 });
    if (number !== asked) return;
    clearError(byId("far-problem"));
    byId("far-effect").replaceChildren(...shown(effect));
  } catch (error) {
    if (number !== asked) return;
    byId("far-effect").replaceChildren();
    if (error.code === "nothing_to_judge") byId("far-effect").append(el("p", { class: "quiet" }, t("strict.nothing")));
    else showError(byId("far-problem"), error);
  }
}

function shown({ pictures, reviewed, now, then, flips, more_flips: more }) {
  if (!pictures) return [el("p", { class: "quiet" }, t("strict.nothing"))];
  const rows = KINDS.map((kind) => el("tr", {}, el("th", { scope: "row" }, t(`strict.${kind}`)), el("td", {}, String(now[kind])), el("td", {}, String(then[kind]))));
  const nodes = [
    el("p", { class: "quiet" }, t("strict.pictures", { n: pictures, reviewed })),
    el("table", { class: "effect" }, el("thead", {}, el("tr", {}, el("td", {}), el("th", { scope: "col" }, t("strict.today")), el("th", { scope: "col" }, t("strict.then")))), el("tbody", {}, ...rows)),
  ];
  if (flips.length) nodes.push(el("p", { class: "field" }, tn("strict.flips", flips.length + more)), el("ul", { class: "flips" }, ...flips.slice(0, SHOWN).map(flip)));
  if (flips.length + more > SHOWN) nodes.push(el("p", { class: "quiet" }, t("products.more", { n: flips.length + more - SHOWN })));
  return nodes;
}

function flip({ snapshot, product, nearest: near, now, then }) {
  const name = product ?? t("validate.stranger");
  const worse = ["wrong", "stranger"].includes(then) || now === "named";
  const better = then === "named" || ["wrong", "stranger"].includes(now);
  return el("li", { "data-level": worse ? "bad" : better ? "good" : "fair" },
    photo(`/api/v1/snapshots/${encodeURIComponent(snapshot)}.jpg`, { alt: t("snapshot.alt", { id: snapshot, label: name }) }),
    el("span", {}, el("strong", {}, name), ` ${t(`strict.${now}`)} → ${t(`strict.${then}`)}`, near !== product && (then === "wrong" || then === "stranger") ? ` (${near})` : ""));
}

async function take() {
  const rate = wanted();
  try {
    await post("scoring", { false_accept_rate: rate });
    moved = false;
    toast(t("strict.taken", { rate: word(rate) }), { actions: [[t("undo"), undo]] });
  } catch (error) {
    showError(byId("far-problem"), error);
  }
  refreshStatus();
}

async function undo() {
  clearTimeout(timer);
  try {
    const { false_accept_rate: rate } = await post("scoring/undo");
    moved = false;
    held = null;
    toast(t("strict.undone", { rate: word(rate) }));
  } catch (error) {
    showError(byId("far-problem"), error);
  }
  refreshStatus();
}
