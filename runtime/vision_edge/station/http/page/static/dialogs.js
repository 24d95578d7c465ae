// Dialogs that keep what was typed until what they ask for has worked.

import { button, el, t } from "./dom.js";
import { clearError, showError } from "./notices.js";

let count = 0;

/**
 * Ask something; resolves to what `run` returned, or null when it was given up.
 *
 * `run` may fail: its error is shown in the dialog, which stays open.
 */
export function ask({ title, body = [], confirm, kind = "primary", run }) {
  const id = `dialog-${(count += 1)}`;
  const problem = el("div", {});
  const accept = el("button", { type: "submit", class: `button huge ${kind}` }, el("span", {}, confirm));
  const cancel = button(t("cancel"), { kind: "huge" });
  const form = el("form", { class: "dialog-form", novalidate: true },
    el("h2", { id }, title), ...body, problem, el("div", { class: "row" }, accept, cancel));
  const dialog = el("dialog", { class: "dialog", "aria-labelledby": id }, form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    const finish = (value) => { dialog.close(); dialog.remove(); resolve(value); };
    cancel.addEventListener("click", () => finish(null));
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); finish(null); });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(run, problem, accept).then((done) => { if (done !== undefined) finish(done.value); });
    });
    dialog.showModal();
    (dialog.querySelector("input") || (kind === "danger" ? cancel : accept)).focus();
  });
}

/** Show something with a way to close it. */
export function show({ title, body, actions = [] }) {
  const id = `dialog-${(count += 1)}`;
  const close = button(t("close"), { kind: "huge" });
  const dialog = el("dialog", { class: "dialog wide", "aria-labelledby": id },
    el("h2", { id }, title), ...body, el("div", { class: "row" }, ...actions, close));
  document.body.append(dialog);
  const finish = () => { dialog.close(); dialog.remove(); };
  close.addEventListener("click", finish);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
  close.focus();
  return finish;
}

/** A labelled text field. */
export function field(id, label, attributes = {}) {
  const input = el("input", { class: "input huge", id, autocomplete: "off", spellcheck: "false", ...attributes });
  return { input, nodes: [el("label", { class: "field", for: id }, label), input] };
}

async function attempt(run, problem, accept) {
  clearError(problem);
  accept.disabled = true;
  try {
    return { value: (await run()) ?? true };
  } catch (error) {
    showError(problem, error);
    return undefined;
  } finally {
    accept.disabled = false;
  }
}
