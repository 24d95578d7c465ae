// The parts in view, drawn over a picture: each with its box and its name.

import { el, score, t } from "./dom.js";
import { answerOf, bandOf } from "./expect.js";
import { verdictName } from "./words.js";

/** How long parts count as in view after they were told of. */
const STAYS_MS = 1500;

/** Where a picture of `size` lies in a frame that shows all of it in the middle. */
export function placed(frame, [width, height]) {
  const scale = Math.min(frame.clientWidth / width, frame.clientHeight / height);
  return { scale, left: (frame.clientWidth - width * scale) / 2, top: (frame.clientHeight - height * scale) / 2 };
}

export class PartBoxes {
  /** `layer` lies over the picture. */
  constructor(layer) {
    Object.assign(this, { layer, told: null, at: 0 });
    new ResizeObserver(() => this.draw()).observe(layer);
  }

  show(told) {
    this.told = told;
    this.at = Date.now();
    this.draw();
  }

  /** Take boxes away that nobody has confirmed for a while. */
  tidy(current) {
    if (this.told && (!current || Date.now() - this.at > STAYS_MS)) {
      this.told = null;
      this.draw();
    }
  }

  draw() {
    const parts = this.told ? this.told.parts : [];
    if (!parts.length) return this.layer.replaceChildren();
    const { scale, left, top } = placed(this.layer, this.told.size);
    this.layer.replaceChildren(...parts.map((part) => {
      const { box: [x0, y0, x1, y1], band, score: value } = part;
      const told = answerOf(part);
      const name = band === null ? "" : told ? t(`expect.${told.answer}`) : verdictName(part);
      const node = el("div", { class: "part-box", "data-band": band === null ? "none" : bandOf(part) });
      if (name) node.append(el("span", {}, part.nearest ? `${name} ${score(value)}` : name));
      if (name) node.dataset.name = name;
      Object.assign(node.style, {
        left: `${left + x0 * scale}px`, top: `${top + y0 * scale}px`,
        width: `${(x1 - x0) * scale}px`, height: `${(y1 - y0) * scale}px`,
      });
      return node;
    }));
    this.fit();
  }

  /** Where names would lie on each other they are shortened: first by the score. */
  fit() {
    const boxes = [...this.layer.querySelectorAll(".part-box[data-name]")];
    for (const box of boxes) {
      const words = box.firstElementChild;
      const near = (other) => Math.abs(other.offsetTop - box.offsetTop) < words.offsetHeight;
      const next = boxes.filter((other) => other.offsetLeft > box.offsetLeft && near(other)).map((other) => other.offsetLeft);
      words.style.maxWidth = `${Math.min(this.layer.clientWidth, ...next) - box.offsetLeft}px`;
      if (words.scrollWidth > words.clientWidth) words.textContent = box.dataset.name;
    }
  }
}
