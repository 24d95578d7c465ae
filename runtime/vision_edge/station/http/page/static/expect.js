// Which product a source should show: the chooser, and a verdict's answer to "is it this one?".

import { get, post } from "./api.js";
import { failed, refreshStatus } from "./common.js";
import { show } from "./dialogs.js";
import { button, el, say, t } from "./dom.js";
import { clearError, showError, toast } from "./notices.js";

const BANDS = { right: "accept", wrong: "unknown", unsure: "review" };
const SHOWN = 60;

/** The answer of a verdict against an expected product, or null. */
export const answerOf = (record) => (record && record.verification) || null;

/** The band that a verdict is drawn in: that of its answer where there is one. */
export function bandOf(record) {
  if (answerOf(record)) return BANDS[answerOf(record).answer];
  const parts = record.parts || [];  // of several, the band that most needs a person
  if (parts.length < 2) return record.band;
  return ["unknown", "review", "accept"].find((band) => parts.some((part) => part.band === band));
}

/** The mark of a verdict: a wrong part is crossed out. */
export function markOf(record) {
  const told = answerOf(record);
  if (told && told.answer === "wrong") return "wrong";
  return bandOf(record) === "review" ? "check" : bandOf(record);
}

/** Why a part is not right, in words; empty where it is. */
export const reasonOf = ({ reason }) => (reason ? t(`expect.why.${reason}`) : "");

/** Why a verdict is not current: it was judged against something else than is expected now. */
export function judgedOtherwise(record, source) {
  if (!record || !source || !source.expected) return null;
  const told = answerOf(record);
  return (told ? told.expected : null) === source.expected.product ? null : t("stale.expected");
}

/** What stands at a source: the button that asks, and what speaks against what is expected. */
export class Expectation {
  constructor(node, name) {
    Object.assign(this, { name, node, now: null });
    this.button = node.querySelector("[data-expect]");
    this.problem = node.querySelector(".expected-problem");
    this.button.addEventListener("click", () => choose(name, this.now));
  }

  draw(source) {
    if (!source || !source.expected) return;
    this.now = source.expected;
    const { product, problem, note } = source.expected;
    say(this.button.querySelector("span"), product === null ? t("expect.none") : t("expect.is", { label: product }));
    this.button.toggleAttribute("data-set", product !== null);
    this.problem.hidden = !problem && !note;
    say(this.problem, [problem, note].filter(Boolean).join(" \u2013 "));
  }
}

/** Ask what a source should show: type to find, or touch. */
async function choose(source, now) {
  let labels;
  try {
    labels = (await get("products")).products.map((product) => product.label);
  } catch (error) {
    failed(error);
    return;
  }
  const input = el("input", { class: "input huge", id: "expect-find", type: "search", autocomplete: "off", spellcheck: "false", maxlength: 200 });
  const list = el("div", { class: "chips scroll expect-list", role: "group", "aria-label": t("expect.choose") });
  const none = el("p", { class: "quiet", hidden: true }, t(labels.length ? "expect.no-match" : "products.empty"));
  const problem = el("div", {});
  const any = button(t("expect.any"), { kind: "huge wide", run: () => take(null) });
  const close = show({
    title: t("expect.title", { source }),
    body: [el("label", { class: "field", for: "expect-find" }, t("expect.find")), input, list, none, problem],
    actions: now && now.product !== null ? [any] : [],
  });
  async function take(product) {
    clearError(problem);
    try {
      await post(`sources/${encodeURIComponent(source)}/expect`, { product });
    } catch (error) {
      showError(problem, error);
      return;
    }
    close();
    const before = now ? now.product : null;
    const undo = async () => {
      try {
        await post(`sources/${encodeURIComponent(source)}/expect`, { product: before });
      } catch (error) {
        failed(error);
      }
      refreshStatus();
    };
    toast(product === null ? t("expect.any-set", { source }) : t("expect.set", { source, label: product }), { actions: [[t("undo"), undo]] });
    refreshStatus();
  }
  function draw() {
    const wanted = input.value.trim().toLowerCase();
    const found = labels.filter((label) => label.toLowerCase().includes(wanted));
    none.hidden = found.length > 0;
    list.replaceChildren(...found.slice(0, SHOWN).map((label) =>
      button(label, { kind: "chip", run: () => take(label), "aria-pressed": String(Boolean(now && now.product === label)) })));
    if (found.length > SHOWN) list.append(el("p", { class: "quiet" }, t("products.more", { n: found.length - SHOWN })));
    return found;
  }
  input.addEventListener("input", draw);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const found = draw();
    const exact = found.find((label) => label.toLowerCase() === input.value.trim().toLowerCase());
    if (exact !== undefined || found.length === 1) take(exact ?? found[0]);
  });
  draw();
  input.focus();
}
