// Messages: toasts with an action such as Undo, errors with what to do about them.

import { announce, button, byId, el, icon, t } from "./dom.js";

const SHOWN_MS = 8000;
const LATER = "station-toast";

/**
 * Show a message at the foot of the page; `actions` are `[text, function]` pairs.
 *
 * Returns what closes it; `gone` is called once when it is closed without an action.
 */
export function toast(text, { actions = [], kind = "good", gone = () => {} } = {}) {
  const node = el("div", { class: "toast", "data-kind": kind });
  node.append(icon(kind === "bad" ? "warn" : "done"), el("p", {}, text));
  let left = gone;
  const close = () => { node.remove(); const call = left; left = () => {}; call(); };
  for (const [label, run] of actions) {
    const act = () => { left = () => {}; close(); return run(); };
    node.append(button(label, { kind: "on-dark", icon: label === t("undo") ? "undo" : null, run: act }));
  }
  node.append(el("button", { type: "button", class: "button on-dark square", title: t("close"), onclick: close }, icon("close"), el("span", { class: "unseen" }, t("close"))));
  closeLast();
  closeLast = close;
  byId("toasts").replaceChildren(node);
  announce(text);
  expire(node, close);
  return close;
}

let closeLast = () => {};

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
  let timer = null;
  const hold = () => clearTimeout(timer);
  const go = () => { hold(); timer = setTimeout(close, SHOWN_MS); };
  go();
  node.addEventListener("focusin", hold);
  node.addEventListener("focusout", go);
  node.addEventListener("pointerenter", hold);
  node.addEventListener("pointerleave", go);
}
