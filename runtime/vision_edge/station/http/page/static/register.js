// Registration: a still picture, what of it counts, a name, and what speaks against it.

import { get, post, upload } from "./api.js";
import { start } from "./common.js";
import { Crop } from "./crop.js";
import { byId, button, el, icon, redraw, say, score, t, tn } from "./dom.js";
import { screenKeys } from "./keys.js";
import { clearError, showError, toastOnNextPage } from "./notices.js";

const CHECK_AFTER_MS = 250;
const CHIPS = 24;
const TURN_SECONDS = 4;
/** Of a warning so much must be seen, or it was not. */
const LINE_PX = 24;

const asked = new URLSearchParams(location.search);
const name = byId("name");
const confirm = byId("confirm");
const problem = byId("problem");
const crop = new Crop(byId("crop"), byId("crop-box"), () => checkSoon());

let source = asked.get("source");
let capture = null;
let products = [];
let warned = null;
let timer = null;
let turn = 0;

/** What a check was made of; its warnings are only accepted for the same. */
const subject = () => JSON.stringify([capture && capture.capture, label(), crop.size ? crop.value : null, catalogue()]);
const label = () => name.value.trim();
/** Whether it is a catalogue's picture; only a file can be. */
const catalogue = () => !byId("catalogue-row").hidden && byId("catalogue").checked;

async function freeze() {
  byId("catalogue-row").hidden = true;
  await take(() => post(`sources/${encodeURIComponent(source)}/freeze`));
}

/** Several views while the part is turned, counted down. */
async function turnPart() {
  let left = TURN_SECONDS;
  const count = () => say(byId("crop-wait"), t("register.turning", { n: left }));
  const clock = setInterval(() => { left = Math.max(0, left - 1); count(); }, 1000);
  byId("catalogue-row").hidden = true;
  byId("turn").disabled = true;
  await take(() => { count(); return post(`sources/${encodeURIComponent(source)}/burst`, { seconds: TURN_SECONDS }); });
  clearInterval(clock);
  byId("turn").disabled = false;
}

async function take(from) {
  clearError(problem);
  capture = null;
  turn += 1;  // what is still asked was of the picture before
  drawWarnings([], [], null);  // without a picture there is nothing to register
  crop.close();
  byId("part-choices").replaceChildren();
  byId("several").hidden = true;
  byId("crop").toggleAttribute("data-empty", true);
  byId("views").hidden = true;
  say(byId("crop-wait"), t("register.wait"));
  try {
    const taken = await from();
    await display(taken);
  } catch (error) {
    say(byId("crop-wait"), t("register.no-picture"));
    showError(problem, error);
  }
  for (const id of ["again", "turn"]) byId(id).hidden = source === null;
}

function display(taken) {
  const picture = byId("picture");
  return new Promise((resolve, reject) => {
    picture.onload = () => {
      capture = taken;
      byId("crop").toggleAttribute("data-empty", false);
      crop.open(taken.width, taken.height, taken.crop);
      drawParts(taken);
      byId("views").hidden = taken.pictures < 2;
      say(byId("views"), tn("register.views", taken.pictures));
      checkNow();
      resolve();
    };
    picture.onerror = () => reject(Object.assign(new Error(), { what: t("register.no-picture"), fix: t("register.again.fix") }));
    picture.src = `/api/v1/captures/${encodeURIComponent(taken.capture)}.jpg`;
  });
}

/** Several parts in view: each with its number, to be chosen by a tap. */
function drawParts({ parts = [], width, height }) {
  const several = parts.length > 1;
  byId("several").hidden = !several;
  say(byId("several"), several ? t("register.several", { n: parts.length }) : "");
  byId("part-choices").replaceChildren(...(several ? parts : []).map((part, index) => {
    const choice = button(String(index + 1), { kind: "part-choice", run: () => { crop.set(part); crop.suggested = null; chosenPart(index); checkNow(); } });
    choice.setAttribute("aria-label", t("register.part", { n: index + 1 }));
    choice.addEventListener("pointerdown", (event) => event.stopPropagation());
    Object.assign(choice.style, { left: `${(100 * (part.x + part.width / 2)) / width}%`, top: `${(100 * (part.y + part.height / 2)) / height}%` });
    return choice;
  }));
}

function chosenPart(index) {
  for (const [other, node] of [...byId("part-choices").children].entries()) node.setAttribute("aria-pressed", String(other === index));
}

function checkSoon() {
  drawName();
  clearTimeout(timer);
  timer = setTimeout(checkNow, CHECK_AFTER_MS);
}

/** Ask what speaks against it; an answer that came too late is left out. */
async function checkNow() {
  clearTimeout(timer);
  drawName();
  if (!capture) return;
  const [mine, about] = [(turn += 1), subject()];
  try {
    const found = await post(`captures/${encodeURIComponent(capture.capture)}/check`, { label: label() || null, crop: crop.value, catalogue: catalogue() });
    if (mine === turn) drawWarnings(found.problems || [], found.similar || [], about);
  } catch (error) {
    if (mine === turn) showError(problem, error);
  }
}

/** Show what speaks against it; `about` is what was looked at. */
function drawWarnings(problems, similar, about) {
  const others = similar.filter((item) => item.label !== label());
  warned = label() && (problems.length || others.length) ? about : null;
  const notes = problems.map(({ code, message, fix }) => (code === "several" ? note(byId("several").textContent) : note(message, fix)));
  if (others.length) {
    const [{ label: nearest, score: likeness }] = others;
    if (label()) notes.push(note(t("register.similar.what", { label: nearest, score: score(likeness) }), t("register.similar.fix")));
    else notes.push(el("p", { class: "field" }, t("register.similar")));
    notes.push(el("div", { class: "chips" }, ...others.slice(0, 3).map((item) => button(item.label, { kind: "chip", run: () => choose(item.label) }))));
  }
  byId("warnings").replaceChildren(...notes);
  drawName();
  if (warned !== null && document.activeElement === name) showWarnings();
}

/** Whether what speaks against it is on the screen; what is not seen cannot be accepted. */
function warningsSeen() {
  const { top, bottom } = byId("warnings").getBoundingClientRect();
  return top + LINE_PX < confirm.getBoundingClientRect().top && bottom > LINE_PX;
}

/** Bring them to the screen, with the button below them where there is room. */
function showWarnings() {
  for (const node of [confirm, byId("warnings")]) node.scrollIntoView({ block: "nearest" });
}

function note(message, fix) {
  const words = el("div", {}, el("p", { class: "what" }, message));
  if (fix) words.append(el("p", { class: "fix" }, fix));
  return el("div", { class: "note warn" }, icon("warn"), words);
}

function drawName() {
  const known = products.find((product) => product.label === label());
  const anyway = warned !== null && warned === subject();
  confirm.disabled = !capture || !label();
  confirm.classList.toggle("caution", anyway);
  const words = anyway ? "register.anyway" : known ? "register.add" : "register.confirm";
  say(confirm.querySelector("span"), t(words));
  say(byId("name-help"), known ? tn("register.known-as", known.snapshots.length) : t("register.name.help"));
  drawChips();
}

function drawChips() {
  const wanted = label().toLowerCase();
  const exact = products.some((product) => product.label === label());
  const fitting = products.filter((product) => exact || product.label.toLowerCase().includes(wanted));
  byId("known").hidden = fitting.length === 0;
  redraw(byId("chips"), ...fitting.slice(0, CHIPS).map((product) =>
    button(product.label, { kind: "chip", "data-key": product.label, run: () => choose(product.label), "aria-pressed": String(product.label === label()) })));
}

function choose(text) {
  name.value = text;
  checkNow();
}

async function submit() {
  if (confirm.disabled) return;
  const accept = warned !== null && warned === subject();
  if (accept && !warningsSeen()) {
    showWarnings();
    return;
  }
  const body = { label: label(), capture: capture.capture, crop: crop.value, accept_warnings: accept, catalogue: catalogue() };
  clearError(problem);
  confirm.disabled = true;
  try {
    const done = await post("products", body);
    leave(done);
  } catch (error) {
    turn += 1;
    const { problems, similar } = error.body || {};
    if (error.status === 409 && problems) {
      drawWarnings(problems, similar || [], subject());
      showWarnings();
    } else showError(problem, error);
    drawName();
  }
}

function leave(done) {
  toastOnNextPage({ kind: "registered", label: done.label, version: done.version, source });
  location.assign(asked.get("from") === "products" ? "/products" : "/");
}

/** A scanner types wherever the focus is: what it types belongs to the name. */
function catchTyping(event) {
  const plain = event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && !event.altKey;
  const busy = event.target.closest("input, textarea, select, dialog, [role=application]");
  if (plain && !busy) name.focus();
}

async function nameEntered(event) {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  if (!label()) return;
  await checkNow();
  confirm.focus();
}

async function loadProducts() {
  try {
    products = (await get("products")).products;
  } catch (error) {
    showError(problem, error);
  }
  drawName();
}

function chooseSource() {
  const choices = [...document.querySelectorAll(".choice")];
  if (source === null && choices.length === 1) source = choices[0].dataset.source;
  if (source !== null || !choices.length) return source !== null;
  byId("choose").hidden = false;
  byId("form").hidden = true;
  for (const choice of choices) {
    const image = choice.querySelector("img");
    image.addEventListener("error", () => image.toggleAttribute("data-broken", true));
    image.src = image.dataset.src;
    choice.addEventListener("click", () => {
      source = choice.dataset.source;
      byId("choose").hidden = true;
      byId("form").hidden = false;
      freeze();
      name.focus();
    });
  }
  return false;
}

start();
name.value = asked.get("label") || "";
name.addEventListener("input", checkSoon);
name.addEventListener("keydown", nameEntered);
document.addEventListener("keydown", catchTyping);
byId("form").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
byId("again").addEventListener("click", freeze);
byId("turn").addEventListener("click", turnPart);
byId("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  byId("catalogue-row").hidden = !file;
  if (file) take(() => upload("captures", "image", file));
});
byId("catalogue").addEventListener("change", checkNow);
screenKeys(byId("keys"), name, byId("keys-toggle"));
loadProducts();
if (chooseSource()) freeze();
else for (const id of ["again", "turn"]) byId(id).hidden = true;
if (!byId("form").hidden) name.focus();
