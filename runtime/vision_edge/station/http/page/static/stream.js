// The stream of verdicts; closed while nobody looks, so that it costs nothing.

const PATH = "/api/v1/verdicts/stream";
const AGAIN_MS = 2000;
const GRACE_MS = 1500;

export class VerdictStream {
  /**
   * `verdict(record)` gets each verdict, `view(told)` what comes into view or leaves it, `parts(told)` the parts in view of a source,
   * `changed()` is called on any other event, and `connected(now)` when the connection comes or has been away for more than a moment.
   */
  constructor({ verdict, changed, connected, view = () => {}, parts = () => {} }) {
    Object.assign(this, { verdict, changed, connected, view, parts });
    this.lost = null;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    window.addEventListener("pagehide", () => this.close());
    window.addEventListener("pageshow", (event) => { if (event.persisted) this.open(); });
    if (!document.hidden) this.open();
  }

  open() {
    this.close();
    this.connect();
  }

  connect() {
    this.source = new EventSource(PATH);
    this.source.addEventListener("open", () => { clearTimeout(this.lost); this.lost = null; this.connected(true); });
    this.source.addEventListener("error", () => this.failed());
    this.source.addEventListener("verdict", (event) => this.read(event, this.verdict));
    this.source.addEventListener("view", (event) => this.read(event, this.view));
    this.source.addEventListener("parts", (event) => this.read(event, this.parts));
    for (const name of ["state", "gallery", "review"]) this.source.addEventListener(name, () => this.soon());
  }

  close() {
    clearTimeout(this.lost);
    clearTimeout(this.retry);
    this.lost = null;
    if (this.source) this.source.close();
    this.source = null;
  }

  read(event, tell) {
    try {
      tell(JSON.parse(event.data));
    } catch (error) {
      console.error(`unreadable ${event.type}`, error);
    }
  }

  failed() {
    this.lost ??= setTimeout(() => this.connected(false), GRACE_MS);
    if (this.source && this.source.readyState === EventSource.CLOSED) {
      clearTimeout(this.retry);
      this.retry = setTimeout(() => this.connect(), AGAIN_MS);
    }
  }

  /** Several events at once are one call. */
  soon() {
    clearTimeout(this.pending);
    this.pending = setTimeout(this.changed, 100);
  }
}
