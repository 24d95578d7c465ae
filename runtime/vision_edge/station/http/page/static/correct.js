// Putting a verdict right: its picture beside the product's snapshots, and what it is.

import { get, post } from "./api.js";
import { isEngineer, refreshStatus, undoChange } from "./common.js";
import { band, verdictName } from "./words.js";
import { button, clock, el, photo, redraw, score, t } from "./dom.js";
import { clearError, showError, toast } from "./notices.js";

const VIEWS = 4;
let count = 0;

const picture = (item) => `/api/v1/kept/${encodeURIComponent(item.id)}.jpg`;
const snapshot = (id) => `/api/v1/snapshots/${encodeURIComponent(id)}.jpg`;

/** Open the dialog for a verdict of the history; `changed()` is called after each change. */
export async function correct(item, changed = () => {}) {
  const { products } = await get("products");
  new Correction(item, products, changed);
}

class Correction {
  constructor(item, products, changed) {
    Object.assign(this, { item, products, changed });
    this.label = item.right || item.label || (item.band === "review" ? item.nearest : "") || "";
    this.build();
    this.draw();
    this.dialog.showModal();
    this.name.value = this.label;
    this.confirm.focus();
  }

  build() {
    const id = `correct-${(count += 1)}`;
    const { item } = this;
    this.problem = el("div", {});
    this.views = el("div", { class: "known-views" });
    this.viewsOf = el("figcaption", {});
    const seen = el("figure", {}, photo(picture(item), { class: "seen", alt: t("review.alt", { time: clock(item.time), source: item.source }) }),
      el("figcaption", {}, t("correct.seen", { source: item.source, time: clock(item.time) })));
    this.name = el("input", { class: "input", id: `${id}-name`, maxlength: 200, autocomplete: "off", spellcheck: "false", oninput: () => { this.label = this.name.value.trim(); this.draw(); } });
    this.chips = el("div", { class: "chips", role: "group", "aria-label": t("review.assign") });
    this.confirm = button("", { kind: "primary", run: () => this.settle("assign", { label: this.label }, t("correct.done", { label: this.label })) });
    const reject = button(t("review.reject"), { icon: "close", run: () => this.settle("reject", {}, t("correct.rejected")) });
    this.actions = [this.confirm, reject];
    this.dialog = el("dialog", { class: "dialog correct", "aria-labelledby": id },
      el("h2", { id }, `${band(item)}: ${verdictName(item)} (${score(item.score)})`),
      el("div", { class: "compare" }, seen, el("figure", {}, this.views, this.viewsOf)),
      el("label", { class: "field", for: `${id}-name` }, t("correct.is")), this.name, this.chips, this.problem,
      el("div", { class: "row tight" }, this.confirm, reject, button(t("close"), { run: () => this.close() })));
    this.dialog.addEventListener("close", () => this.dialog.remove());
    document.body.append(this.dialog);
  }

  close() {
    this.dialog.close();
  }

  draw() {
    const { label, item } = this;
    const known = this.products.find((product) => product.label === label);
    redraw(this.views, ...(known ? known.snapshots.slice(-VIEWS).map((id) => photo(snapshot(id), { alt: t("snapshot.alt", { id, label }) })) : [el("p", {}, label ? t("correct.new") : t("correct.none"))]));
    this.viewsOf.textContent = label;
    const typed = label.toLowerCase();
    const near = [...this.products].map((product) => product.label).sort((a, b) => Number(b.toLowerCase().includes(typed)) - Number(a.toLowerCase().includes(typed)));
    const first = [item.nearest, item.label].filter((name) => name && near.includes(name));
    redraw(this.chips, ...[...new Set([...(known ? first : []), ...near])].map((name) => button(name, { kind: "chip", "data-key": name, "aria-pressed": String(name === label), run: () => { this.label = this.name.value = name; this.draw(); } })));
    const said = item.right ?? (item.band === "accept" ? item.label : null);
    this.confirm.lastElementChild.textContent = said === label ? t("correct.right") : t("correct.confirm", { label: label || "…" });
    this.confirm.disabled = !label || said === label;
  }

  async settle(what, more, words) {
    clearError(this.problem);
    for (const action of this.actions) action.disabled = true;
    try {
      const { version } = await post(`kept/${what}`, { ids: [this.item.id], ...more });
      this.close();
      toast(words, { actions: [[t("undo"), () => undoChange(() => { refreshStatus(); return this.changed(); }, version)]] });
      refreshStatus();
      await this.changed();
    } catch (error) {
      showError(this.problem, error);
      this.offerRemoval(error, what, more, words);
      this.actions[1].disabled = false;
      this.draw();
    }
  }

  /** It is a product's only picture: an engineer may have the product go with it. */
  offerRemoval({ code, body }, what, more, words) {
    if (code !== "last_picture" || more.accept_removal || !isEngineer()) return;
    const label = body.removes.join(", ");
    const go = button(t("correct.remove", { label }), { kind: "danger", icon: "remove", "data-accept-removal": "", run: () => this.settle(what, { ...more, accept_removal: true }, words) });
    this.problem.append(el("div", { class: "row tight" }, go));
    go.scrollIntoView({ block: "nearest" });
  }
}
