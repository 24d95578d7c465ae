// The rectangle of the picture that becomes the snapshot: by finger, mouse or keys.

import { announce, byId, t } from "./dom.js";

const LEAST = 32;
const STEP = 0.02;

export class Crop {
  /** `changed()` is called when a change is finished. */
  constructor(frame, box, changed) {
    Object.assign(this, { frame, box, changed, size: null, rectangle: null });
    frame.addEventListener("pointerdown", (event) => this.press(event));
    box.addEventListener("keydown", (event) => this.key(event));
    byId("whole").addEventListener("click", () => { this.reset(); this.changed(); });
  }

  /** Show a picture of `width` by `height` pixels, with a first rectangle or all of it. */
  open(width, height, suggested = null) {
    this.size = { width, height };
    this.frame.style.setProperty("--aspect", String(width / height));
    this.suggested = suggested;
    this.rectangle = suggested ?? this.all();
    this.box.hidden = false;
    this.draw();
  }

  close() {
    this.size = null;
    this.box.hidden = true;
  }

  /** The rectangle in whole pixels, or null for what the station would take by itself. */
  get value() {
    const own = this.suggested ? this.rectangle === this.suggested : this.isWhole();
    return own ? null : { ...this.rectangle };
  }

  all() {
    return { x: 0, y: 0, width: this.size.width, height: this.size.height };
  }

  isWhole() {
    const { x, y, width, height } = this.rectangle;
    return x === 0 && y === 0 && width === this.size.width && height === this.size.height;
  }

  reset() {
    if (!this.size) return;
    this.rectangle = this.all();
    this.draw();
  }

  press(event) {
    if (!this.size || event.button > 0) return;
    event.preventDefault();
    this.box.focus({ preventScroll: true });
    const from = this.point(event);
    const before = this.rectangle;
    const corner = event.target.dataset.corner;
    const inside = this.box.contains(event.target) && !this.isWhole();
    const change = corner ? (to) => this.stretched(before, corner, to) : inside ? (to) => this.moved(before, to.x - from.x, to.y - from.y) : (to) => spanned(from, to);
    this.frame.setPointerCapture(event.pointerId);
    const move = (next) => this.set(change(this.point(next)));
    const end = () => {
      this.frame.removeEventListener("pointermove", move);
      this.frame.removeEventListener("pointerup", end);
      this.frame.removeEventListener("pointercancel", end);
      if (this.rectangle !== before) this.changed();
    };
    this.frame.addEventListener("pointermove", move);
    this.frame.addEventListener("pointerup", end);
    this.frame.addEventListener("pointercancel", end);
  }

  key(event) {
    const step = { x: this.size.width * STEP, y: this.size.height * STEP };
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] || [0, 0];
    const grow = { "+": 1, "=": 1, "-": -1 }[event.key] || 0;
    if (!dx && !dy && !grow) return;
    event.preventDefault();
    const { x, y, width, height } = this.rectangle;
    if (grow) this.set({ x: x - grow * step.x, y: y - grow * step.y, width: width + 2 * grow * step.x, height: height + 2 * grow * step.y });
    else if (event.shiftKey) this.set({ x, y, width: width + dx * step.x, height: height + dy * step.y });
    else this.set(this.moved(this.rectangle, dx * step.x, dy * step.y));
    announce(this.words());
    this.changed();
  }

  /** Where a pointer is, in pixels of the picture. */
  point(event) {
    const bounds = this.frame.getBoundingClientRect();
    const within = (value, length) => Math.min(Math.max(value, 0), 1) * length;
    return {
      x: within((event.clientX - bounds.left) / bounds.width, this.size.width),
      y: within((event.clientY - bounds.top) / bounds.height, this.size.height),
    };
  }

  moved({ x, y, width, height }, dx, dy) {
    const within = (value, most) => Math.min(Math.max(value, 0), most);
    return { x: within(x + dx, this.size.width - width), y: within(y + dy, this.size.height - height), width, height };
  }

  stretched({ x, y, width, height }, corner, to) {
    const fixed = { x: corner.includes("w") ? x + width : x, y: corner.includes("n") ? y + height : y };
    return spanned(fixed, to);
  }

  set({ x, y, width, height }) {
    const least = Math.min(LEAST, this.size.width, this.size.height);
    const left = Math.round(Math.min(Math.max(x, 0), this.size.width - least));
    const top = Math.round(Math.min(Math.max(y, 0), this.size.height - least));
    const right = Math.round(Math.min(Math.max(x + width, left + least), this.size.width));
    const bottom = Math.round(Math.min(Math.max(y + height, top + least), this.size.height));
    this.rectangle = { x: left, y: top, width: right - left, height: bottom - top };
    this.draw();
  }

  draw() {
    const share = (value, length) => `${(100 * value) / length}%`;
    const { x, y, width, height } = this.rectangle;
    Object.assign(this.box.style, {
      left: share(x, this.size.width), top: share(y, this.size.height),
      width: share(width, this.size.width), height: share(height, this.size.height),
    });
    this.box.toggleAttribute("data-whole", this.isWhole());
    this.box.setAttribute("aria-label", this.words());
  }

  words() {
    if (this.isWhole()) return t("crop.is-whole");
    const { x, y, width, height } = this.rectangle;
    return t("crop.is", { x, y, width, height });
  }
}

function spanned(a, b) {
  return { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y) };
}
