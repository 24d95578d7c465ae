// Signing in.

import { post } from "./api.js";
import { themeButton } from "./common.js";
import { destination } from "./destination.js";
import { byId } from "./dom.js";
import { clearError, showError } from "./notices.js";

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const submit = event.target.querySelector("[type=submit]");
  clearError(byId("problem"));
  submit.disabled = true;
  try {
    await post("login", { user: byId("user").value, password: byId("password").value });
    location.replace(destination(location.search, location.origin));
  } catch (error) {
    showError(byId("problem"), error);
    byId("password").select();
  } finally {
    submit.disabled = false;
  }
});

themeButton();
byId("user").focus();
