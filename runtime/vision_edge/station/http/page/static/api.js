// The station's API: JSON in and out, errors with what and fix, sign-in when it is asked for.

import { t } from "./dom.js";

const BASE = "/api/v1/";
const PATIENCE_MS = 20000;

/** What went wrong, as the station says it. */
export class ApiError extends Error {
  constructor(status, { what, fix = null, code = null }, body = null) {
    super(what);
    Object.assign(this, { status, what, fix, code, body });
  }
}

let csrf = null;
let askSignIn = null;

/** Install what asks for a user and password; it resolves once they were accepted. */
export function onSignIn(ask) {
  askSignIn = ask;
}

export const get = (path, options) => request("GET", path, undefined, options);
export const post = (path, body = {}, options) => request("POST", path, body, options);

/** Send a picture file. */
export function upload(path, field, file) {
  const form = new FormData();
  form.append(field, file, "picture");
  return request("POST", path, form);
}

/** Send a form with several picture files. */
export const uploadForm = (path, form) => request("POST", path, form, { patience: 120000 });

async function request(method, path, body, { patience = PATIENCE_MS, again = true, keepalive = false } = {}) {
  const headers = { Accept: "application/json" };
  if (method === "POST" && path !== "login") headers["X-CSRF-Token"] = await token();
  let payload;
  if (body instanceof FormData) payload = body;
  else if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    payload = JSON.stringify(body);
  }
  const response = await send(path, { method, headers, body: payload, keepalive }, patience);
  const answer = await parsed(response);
  if (response.ok) return answer;
  const retry = again && (await recovered(response, answer, method, path));
  if (retry) return request(method, path, body, { patience, keepalive, again: false });
  throw new ApiError(response.status, described(response, answer), answer);
}

async function send(path, options, patience) {
  try {
    return await fetch(BASE + path, {
      ...options, credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(patience),
    });
  } catch {
    throw new ApiError(0, { what: t("error.offline"), fix: t("error.offline.fix"), code: "offline" });
  }
}

async function parsed(response) {
  try {
    return response.status === 204 ? {} : await response.json();
  } catch {
    return {};
  }
}

function described(response, body) {
  if (body && body.error && body.error.what) return body.error;
  return { what: t("error.http", { status: response.status }), fix: t("error.http.fix") };
}

/** A session that ended or a token that changed: put it right, and say whether to try again. */
async function recovered(response, body, method, path) {
  if (path === "login") return false;
  if (response.status === 401 && askSignIn) {
    await askSignIn();
    csrf = null;
    return true;
  }
  const code = (body.error && body.error.code) || "";
  if (response.status === 403 && method === "POST" && code.includes("csrf")) {
    csrf = null;
    return true;
  }
  return false;
}

/** The token that changes need; asked for once, so that later there is no wait for it. */
export async function token() {
  if (csrf === null) csrf = (await get("me")).csrf || "";
  return csrf;
}
