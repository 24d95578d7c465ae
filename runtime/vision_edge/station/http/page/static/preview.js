// A source's moving picture. One or two run as MJPEG; more are fetched picture by picture, because
// a browser holds six connections to one server and the page needs some for itself.

const STREAMS = 2;
const PAUSE_MS = 400;
const RETRY_MS = 2000;
const WIDTH = 800;
const RATE = 8;

export class Preview {
  constructor(image, name) {
    this.image = image;
    this.base = `/api/v1/sources/${encodeURIComponent(name)}/`;
    this.running = false;
    this.mode = null;
    image.addEventListener("error", () => { image.toggleAttribute("data-broken", true); this.next(RETRY_MS); });
    image.addEventListener("load", () => { image.toggleAttribute("data-broken", false); if (this.mode === "frames") this.next(PAUSE_MS); });
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.stop(); });
    window.addEventListener("pagehide", () => this.stop());
  }

  /** Run while the camera delivers and someone looks. */
  keep(connected, state, sources) {
    const wanted = connected && !document.hidden && state !== "lost" && state !== "connecting";
    if (wanted && !this.running) this.run(sources <= STREAMS ? "stream" : "frames");
    if (!wanted && this.running) this.stop();
  }

  run(mode) {
    this.running = true;
    this.mode = mode;
    this.load();
  }

  load() {
    if (!this.running) return;
    const path = this.mode === "stream" ? `preview.mjpeg?fps=${RATE}&width=${WIDTH}&` : "frame.jpg?";
    this.image.src = `${this.base}${path}t=${Date.now()}`;
  }

  next(pause) {
    clearTimeout(this.timer);
    if (this.running) this.timer = setTimeout(() => this.load(), pause);
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
    this.image.removeAttribute("src");
  }
}
