// How good the products are: what each will be taken for, odd snapshots, and validation.

import { get, uploadForm } from "./api.js";
import { byId, el, icon, say, t, tn } from "./dom.js";
import { clearError, showError } from "./notices.js";

const BATCH = 10;
const MOST = 500;
const PICTURES = /\.(jpe?g|png|webp|bmp)$/i;
const percent = (share) => `${Math.round(100 * share)} %`;

let told = null;

/** What is told of one product on its card, as nodes. */
export function linesFor(label) {
  if (!told) return [];
  const lines = [];
  if (label in told.by_product) lines.push(el("p", { class: "foretold" }, t("check.product", { share: percent(told.by_product[label]) })));
  else lines.push(el("p", { class: "foretold quiet" }, t("check.lone")));
  for (const one of told.taken_for.filter((pair) => pair.product === label)) lines.push(warning(tn("check.taken-for", one.snapshots), one.taken_for));
  return lines;
}

/** What is wrong with a snapshot, in words; null if nothing is. */
export function faultOf(id) {
  if (!told) return null;
  const wrong = told.mislabelled.find((one) => one.snapshot === id);
  if (wrong) return t("check.mislabelled", { label: wrong.nearest });
  return told.odd.some((one) => one.snapshot === id) ? t("check.odd") : null;
}

function warning(text, label) {
  return el("p", { class: "sign", "data-level": "fair" }, icon("warn"), el("span", {}, `${text} ${label}`));
}

/** Ask for the check, and have `draw` show it; without products nothing is shown. */
export async function loadCheck(count, draw) {
  byId("quality").hidden = count === 0;
  told = null;
  if (count === 0) return;
  try {
    told = await get("check", { patience: 120000 });
  } catch (error) {
    say(byId("foretold"), error.what ?? "");
    if (!error.what) throw error;
    return;
  }
  say(byId("foretold"), told.named === null ? t("check.nothing") : t("check.named", { share: percent(told.named), rate: rateWord(told.false_accept_rate) }));
  const suspects = told.mislabelled.length + told.odd.length;
  const lone = told.one_snapshot.length;
  byId("suspects").replaceChildren(
    ...(suspects ? [el("p", { class: "sign", "data-level": "bad" }, icon("warn"), el("span", {}, tn("check.suspects", suspects)))] : []),
    ...(lone ? [el("p", { class: "quiet" }, tn("check.lone-products", lone))] : []),
    ...(told.looked_at < told.snapshots ? [el("p", { class: "quiet" }, t("check.sample", { n: told.looked_at, all: told.snapshots }))] : []));
  draw();
}

/** A share of strangers in words. */
export const rateWord = (rate) => `${Number((100 * rate).toPrecision(2))} %`;

/** Judge the station's own pictures: all of them, or those decided on in the review. */
async function own(reviewed) {
  await tell(async () => get(`validation?reviewed=${reviewed}`, { patience: 120000 }));
}

/** Judge the pictures of a folder with one folder a product; any other folder shows strangers. */
async function chosen(files) {
  const pictures = [...files].filter((file) => PICTURES.test(file.name)).slice(0, MOST);
  await tell(async () => {
    if (!pictures.length) throw { what: t("validate.none"), fix: t("validate.none.fix") };
    let sum = null;
    for (let at = 0; at < pictures.length; at += BATCH) {
      say(byId("validate-state"), t("validate.progress", { n: at, all: pictures.length }));
      const form = new FormData();
      for (const file of pictures.slice(at, at + BATCH)) {
        form.append("images", file, file.name);
        form.append("shows", folderOf(file));
      }
      sum = merged(sum, await uploadForm("validation", form));
    }
    return sum;
  });
}

const folderOf = (file) => (file.webkitRelativePath || "").split("/").slice(-2, -1)[0] || "";

/** The sum of two answers: only counts are shown, so only they are summed. */
function merged(sum, more) {
  if (!sum) return more;
  const answers = [...sum.answers];
  for (const row of more.answers) {
    const same = answers.findIndex((one) => one.shows === row.shows && one.said === row.said);
    if (same < 0) answers.push(row);
    else answers[same] = { ...row, pictures: answers[same].pictures + row.pictures };
  }
  const seen = new Set(answers.map((row) => row.shows));
  const notes = [...new Set([...sum.notes, ...more.notes])].filter((note) => note.includes("not registered"));
  if (!seen.has(null)) notes.push(more.notes.find((note) => note.includes("strangers: ")) ?? t("validate.no-strangers"));
  return { ...more, answers, notes, pictures: sum.pictures + more.pictures, strangers: sum.strangers + more.strangers };
}

async function tell(ask) {
  clearError(byId("validate-problem"));
  byId("validation").replaceChildren();
  for (const node of document.querySelectorAll("[data-validate]")) node.disabled = true;
  say(byId("validate-state"), t("validate.wait"));
  try {
    byId("validation").replaceChildren(...table(await ask()));
  } catch (error) {
    showError(byId("validate-problem"), error);
  } finally {
    say(byId("validate-state"), "");
    for (const node of document.querySelectorAll("[data-validate]")) node.disabled = false;
  }
}

function table({ answers, notes, pictures, strangers }) {
  const shows = unique(answers.map((row) => row.shows));
  const said = unique(answers.map((row) => row.said));
  const count = (a, b) => (answers.find((row) => row.shows === a && row.said === b) || { pictures: 0 }).pictures;
  const good = answers.filter((row) => row.shows !== null && row.shows === row.said).reduce((sum, row) => sum + row.pictures, 0);
  const wrong = answers.filter((row) => row.said !== null && row.shows !== null && row.shows !== row.said).reduce((sum, row) => sum + row.pictures, 0);
  const let_in = answers.filter((row) => row.said !== null && row.shows === null).reduce((sum, row) => sum + row.pictures, 0);
  const head = el("tr", {}, el("th", { scope: "col" }, t("validate.shows")), ...said.map((name) => el("th", { scope: "col" }, name ?? t("band.unknown"))));
  const rows = shows.map((name) => el("tr", {}, el("th", { scope: "row" }, name ?? t("validate.stranger")),
    ...said.map((other) => cell(name, other, count(name, other)))));
  return [
    el("p", { class: "foretold" }, t("validate.shares", { good, wrong, pictures, let_in, strangers })),
    el("div", { class: "scroll-x", tabindex: "0", role: "region", "aria-label": t("validate.matrix") },
      el("table", { class: "matrix" }, el("caption", { class: "quiet" }, t("validate.matrix")), el("thead", {}, head), el("tbody", {}, ...rows))),
    ...notes.map((note) => el("p", { class: "note" }, note)),
  ];
}

function cell(shows, said, count) {
  const level = count === 0 ? null : said === null ? (shows === null ? "good" : "fair") : shows === said ? "good" : "bad";
  return el("td", { "data-level": level }, count === 0 ? "" : String(count));
}

/** Names in order, the nameless last. */
const unique = (names) => [...new Set(names)].sort((a, b) => (a === null) - (b === null) || String(a).localeCompare(String(b)));

export function startCheck() {
  byId("validate-own").addEventListener("click", () => own(false));
  byId("validate-reviewed").addEventListener("click", () => own(true));
  const input = byId("validate-files");
  byId("validate-folder").addEventListener("click", () => input.click());
  input.addEventListener("change", () => { const files = [...input.files]; input.value = ""; chosen(files); });
}
