// Keys on the screen, for a panel without a keyboard.

import { byId, button, el, t } from "./dom.js";

/** Fill `board` with keys that type into `input`; `toggle` shows and hides them. */
export function screenKeys(board, input, toggle) {
  toggle.addEventListener("click", () => {
    if (!board.childElementCount) board.append(...rows(input));
    board.hidden = !board.hidden;
    toggle.setAttribute("aria-expanded", String(!board.hidden));
    if (!board.hidden) input.focus();
  });
  board.addEventListener("pointerdown", (event) => event.preventDefault());
}

function rows(input) {
  const board = byId("keys");
  const typed = (text) => () => insert(input, board.hasAttribute("data-small") ? text.toLowerCase() : text);
  const letters = t("keys.rows").split(" ").map((row) =>
    el("div", { class: "key-row" }, ...[...row].map((key) => button(key, { kind: "key", run: typed(key) }))));
  const size = button(t("keys.case"), { kind: "key", run: () => board.toggleAttribute("data-small") });
  const space = button(t("keys.space"), { kind: "key space", run: () => insert(input, " ") });
  const back = button(t("keys.back"), { kind: "key", run: () => erase(input) });
  return [...letters, el("div", { class: "key-row" }, size, space, back)];
}

function insert(input, text) {
  if (input.value.length >= input.maxLength) return;
  input.setRangeText(text, input.selectionStart, input.selectionEnd, "end");
  input.dispatchEvent(new Event("input"));
}

function erase(input) {
  const from = input.selectionStart === input.selectionEnd ? Math.max(0, input.selectionStart - 1) : input.selectionStart;
  input.setRangeText("", from, input.selectionEnd, "end");
  input.dispatchEvent(new Event("input"));
}
