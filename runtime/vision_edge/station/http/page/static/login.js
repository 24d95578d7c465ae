// Signing in.

import { post } from "./api.js";
import { themeButton } from "./common.js";
import { byId } from "./dom.js";
import { clearError, showError } from "./notices.js";

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const submit = event.target.querySelector("[type=submit]");
  clearError(byId("problem"));
  submit.disabled = true;
  try {
    await post("login", { user: byId("user").value, password: byId("password").value });
    location.replace(destination());
  } catch (error) {
    showError(byId("problem"), error);
    byId("password").select();
  } finally {
    submit.disabled = false;
  }
});

/** Where to go: a path of this station, whatever the address bar asks for. */
function destination() {
  const wanted = new URLSearchParams(location.search).get("next") || "/";
  try {
    const url = new URL(wanted, location.origin);
    return url.origin === location.origin && wanted.startsWith("/") ? url.pathname + url.search : "/";
  } catch {
    return "/";
  }
}

themeButton();
byId("user").focus();
