// What the cameras saw, kept to tell what is unknown: how much, since when, and forgetting it.

import { get, post } from "./api.js";
import { isEngineer } from "./common.js";
import { ask } from "./dialogs.js";
import { button, byId, el, redraw, t, tn } from "./dom.js";
import { toast } from "./notices.js";

const EVERY_MS = 15000;

const day = (iso) => new Date(iso).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });

/** Show it in the element `cohort`, and keep it up to date. */
export async function watchCohort() {
  if (!document.hidden) {
    try {
      draw(await get("cohort"));
    } catch {
      // the page says by itself that the station does not answer
    }
  }
  setTimeout(watchCohort, EVERY_MS);
}

function draw(cohort) {
  const told = cohort.frames
    ? [el("p", {}, tn("cohort.frames", cohort.frames)), el("p", { class: "quiet" }, t("cohort.since", { since: day(cohort.since), n: cohort.stand_for }))]
    : [el("p", {}, t("cohort.none"))];
  if (!cohort.collecting) told.push(el("p", { class: "note" }, t("cohort.off")));
  told.push(el("p", { class: "quiet" }, t("cohort.why")));
  if (cohort.frames && isEngineer()) told.push(button(t("cohort.clear"), { icon: "remove", "data-key": "clear-cohort", run: clear }));
  redraw(byId("cohort"), ...told);
}

async function clear() {
  const done = await ask({
    title: t("cohort.clear-title"), confirm: t("cohort.clear"), kind: "danger",
    body: [el("p", {}, t("cohort.clear-text"))],
    run: () => post("cohort/clear"),
  });
  if (!done) return;
  toast(t("cohort.cleared"));
  draw(done);
}
