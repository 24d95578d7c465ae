// Messages: toasts with an action such as Undo, errors with what to do about them.

import { announce, button, byId, el, icon, t } from "./dom.js";

const SHOWN_MS = 12000;
const LATER = "station-toast";

/** Show a message at the foot of the page; `actions` are `[text, function]` pairs. */
export function toast(text, { actions = [], kind = "good" } = {}) {
  const node = el("div", { class: "toast", "data-kind": kind });
  node.append(icon(kind === "bad" ? "warn" : "done"), el("p", {}, text));
  const close = () => node.remove();
  for (const [label, run] of actions) {
    node.append(button(label, { kind: "on-dark", icon: label === t("undo") ? "undo" : null, run: async () => { close(); await run(); } }));
  }
  node.append(el("button", { type: "button", class: "button on-dark square", title: t("close"), onclick: close }, icon("close"), el("span", { class: "unseen" }, t("close"))));
  byId("toasts").replaceChildren(node);
  announce(text);
  expire(node, close);
  return close;
}

/** Keep a message for the next page of this tab. */
export function toastOnNextPage(notice) {
  try {
    sessionStorage.setItem(LATER, JSON.stringify(notice));
  } catch {
    // the browser keeps nothing: the message is lost, the action is not
  }
}

/** Take the message that the last page left, if any. */
export function takeNotice() {
  try {
    const kept = sessionStorage.getItem(LATER);
    sessionStorage.removeItem(LATER);
    return kept ? JSON.parse(kept) : null;
  } catch {
    return null;
  }
}

/** Say what went wrong and what to do, in a box that stays until the next try. */
export function showError(box, error) {
  if (!(error.what)) throw error;
  const node = el("div", { class: "note bad", role: "alert" }, icon("warn"));
  const words = el("div", {}, el("p", { class: "what" }, error.what));
  if (error.fix) words.append(el("p", { class: "fix" }, error.fix));
  node.append(words);
  box.replaceChildren(node);
  node.scrollIntoView({ block: "nearest" });
}

export function clearError(box) {
  box.replaceChildren();
}

function expire(node, close) {
  let timer = setTimeout(close, SHOWN_MS);
  const hold = () => clearTimeout(timer);
  const go = () => { hold(); timer = setTimeout(close, SHOWN_MS); };
  node.addEventListener("focusin", hold);
  node.addEventListener("focusout", go);
  node.addEventListener("pointerenter", hold);
  node.addEventListener("pointerleave", go);
}
