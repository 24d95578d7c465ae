// What every page has: theme, sign-out, the count of pictures to review, the connection's state.

import { ApiError, get, onSignIn, post, token } from "./api.js";
import { ask, field } from "./dialogs.js";
import { byId, say, setIcon, t } from "./dom.js";
import { takeNotice, toast } from "./notices.js";

const THEMES = ["auto", "light", "dark"];
const POLL_MS = 2000;
const STATUS_PATIENCE_MS = 4000;

const watchers = new Set();
const state = { status: null, connected: true, offset: 0 };
let timer = null;

/** Call `watch(state)` with every new status, and when the connection is lost. */
export function watchStatus(watch) {
  watchers.add(watch);
  if (state.status) watch(state);
}

/** Ask for the status now. */
export async function refreshStatus() {
  clearTimeout(timer);
  const before = Date.now();
  try {
    const status = await get("status", { patience: STATUS_PATIENCE_MS });
    const served = Date.parse(status.time);
    if (Number.isFinite(served)) state.offset = served - (before + Date.now()) / 2;
    state.status = status;
    state.connected = true;
  } catch {
    state.connected = false;
  }
  byId("offline").hidden = state.connected;
  document.body.toggleAttribute("data-offline", !state.connected);
  pendingBadge();
  for (const watch of watchers) watch(state);
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refreshStatus, POLL_MS);
}

/** Seconds since a time of the station's clock. */
export function secondsSince(iso) {
  const then = Date.parse(iso);
  return Number.isFinite(then) ? Math.max(0, (Date.now() + state.offset - then) / 1000) : null;
}

/** Whether the visitor may do what only engineers may. */
export const isEngineer = () => document.body.dataset.role === "engineer";

/** Start what all pages share. */
export function start() {
  themeButton();
  signOutButton();
  onSignIn(signInAgain);
  const notice = takeNotice();
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refreshStatus(); });
  refreshStatus();
  token().catch(() => {});
  return notice;
}

/**
 * Take the last change of the gallery back, and say so.
 *
 * With `version` only if that is still the latest: nobody else's change is taken back by mistake.
 */
export async function undoChange(then = () => {}, version = null) {
  try {
    const now = version === null ? null : (await get("products")).version;
    if (now !== version) throw new ApiError(409, { what: t("undo.changed"), fix: t("undo.changed.fix") });
    await post("undo");
    toast(t("undone"));
  } catch (error) {
    failed(error);
  }
  await then();
}

/** Show an error as a message, for actions that have no box of their own. */
export function failed(error) {
  if (!error.what) throw error;
  toast(error.fix ? `${error.what} ${error.fix}` : error.what, { kind: "bad" });
}

function pendingBadge() {
  const badge = byId("pending");
  if (!badge || !state.status) return;
  const pending = (state.status.review && state.status.review.pending) || 0;
  badge.hidden = pending === 0;
  say(badge, pending > 99 ? "99+" : String(pending));
}

export function themeButton() {
  const node = byId("theme");
  const draw = () => {
    const theme = window.stationTheme.stored();
    setIcon(node.querySelector("svg"), theme);
    node.title = t(`theme.${theme}`);
    say(node.querySelector("span"), t(`theme.${theme}`));
  };
  node.hidden = false;
  node.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(window.stationTheme.stored()) + 1) % THEMES.length];
    window.stationTheme.apply(next);
    draw();
  });
  draw();
}

function signOutButton() {
  const node = byId("sign-out");
  if (!node) return;
  node.addEventListener("click", async () => {
    try {
      await post("logout");
      location.assign("/login");
    } catch (error) {
      failed(error);
    }
  });
}

let asking = null;

/** Ask for user and password in place, so that nothing on the page is lost. */
function signInAgain() {
  asking ??= askSignIn().finally(() => { asking = null; });
  return asking;
}

async function askSignIn() {
  const user = field("again-user", t("login.user"), { autocomplete: "username", value: document.body.dataset.user });
  const password = field("again-password", t("login.password"), { type: "password", autocomplete: "current-password" });
  const done = await ask({
    title: t("login.again"), body: [...user.nodes, ...password.nodes], confirm: t("login.submit"),
    run: () => post("login", { user: user.input.value, password: password.input.value }),
  });
  if (done === null) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    await new Promise(() => {});
  }
}

