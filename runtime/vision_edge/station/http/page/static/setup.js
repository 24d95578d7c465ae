// The camera assistant: meters of one source, while its dialog is open.

import { get } from "./api.js";
import { show } from "./dialogs.js";
import { el, icon, t, tOr } from "./dom.js";

const PAUSE_MS = 300;
const SIGNS = { good: "done", fair: "wait", bad: "warn" };

/** One thing that is well or not: a sign, a word, what was found, and what to do. */
function advice({ about, level, message, fix }) {
  const sign = el("p", { class: "sign", "data-level": level });
  sign.append(icon(SIGNS[level]), el("span", {}, t(`setup.${level}`)));
  return el("div", { class: "health-row" }, el("h3", {}, tOr(`setup.${about}`, about)), sign,
    el("p", { class: "quiet" }, message), fix ? el("p", { class: "quiet" }, el("strong", {}, fix)) : el("p", { class: "quiet" }));
}

function facts({ width, height, rate, meters, best }) {
  const focus = el("meter", { min: 0, max: 1, low: 0.2, high: 0.3, optimum: 1, value: Math.min(1, meters.sharpness), "aria-label": t("setup.focus") });
  return [
    el("p", { class: "quiet" }, [`${width} × ${height}`, rate === null ? null : t("setup.rate", { n: rate.toFixed(1) })].filter(Boolean).join(" · ")),
    el("p", { class: "focus" }, focus, ` ${meters.sharpness.toFixed(2)} (${t("setup.best", { n: best.toFixed(2) })})`),
  ];
}

/** Show the meters of a source until the dialog is closed. */
export function setUp(source) {
  const meters = el("div", { class: "setup" }, el("p", { class: "quiet" }, t("setup.waiting")));
  const preview = el("img", { class: "large", alt: t("preview.alt", { source }) });
  show({ title: t("setup.title", { source }), body: [preview, meters] });
  const path = `sources/${encodeURIComponent(source)}`;
  const tick = async () => {
    if (!meters.isConnected) return;
    try {
      const found = await get(`${path}/camera`);
      meters.replaceChildren(...facts(found), ...found.advice.map(advice));
      if (!document.hidden) preview.src = `/api/v1/${path}/frame.jpg?width=640&at=${Date.now()}`;
    } catch (error) {
      if (!error.what) throw error;
      meters.replaceChildren(el("p", { class: "note warn", role: "status" }, error.what));
    }
    setTimeout(tick, PAUSE_MS);
  };
  tick();
}
