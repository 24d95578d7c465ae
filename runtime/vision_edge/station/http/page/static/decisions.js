// Decisions that can be undone: the station is told of one only when it stands.
//
// It stands when its message goes away, with the next decision, and when the page is left.

import { clearError, showError, toast } from "./notices.js";
import { t } from "./dom.js";

export class Decisions {
  /** `problem` shows what the station refuses, and `settled()` is called after each decision. */
  constructor(problem, settled) {
    Object.assign(this, { problem, settled, open: null });
    window.addEventListener("pagehide", () => this.settle({ keepalive: true }));
    document.addEventListener("click", (event) => this.leaving(event));
  }

  /** Take one: `words` for its message, `commit(options)` to do it, `restore()` to undo it. */
  take({ words, commit, restore }) {
    clearError(this.problem);
    const decision = { commit, restore };
    this.open = decision;
    decision.close = toast(words, {
      actions: [[t("undo"), () => this.undo(decision)]],
      gone: () => { if (this.open === decision) this.settle(); },
    });
  }

  undo(decision) {
    if (this.open === decision) this.open = null;
    decision.restore();
  }

  /** Tell the station of the decision that is open, if there is one. */
  async settle(options) {
    const decision = this.open;
    if (!decision) return;
    this.open = null;
    decision.close();
    try {
      await decision.commit(options);
    } catch (error) {
      decision.restore();
      showError(this.problem, error);
    }
    await this.settled();
  }

  /** A link is only followed when the station knows. */
  async leaving(event) {
    const link = event.target.closest("a[href]");
    if (!link || !this.open || event.defaultPrevented || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    await this.settle();
    if (!this.problem.childElementCount) location.assign(link.href);
  }
}
