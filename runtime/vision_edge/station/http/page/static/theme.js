// Applies the chosen theme before anything is drawn. Without a choice the device decides.
(function () {
  "use strict";
  const MEDIA = { auto: "screen and (prefers-color-scheme: dark)", light: "not all", dark: "screen" };
  const sheet = document.getElementById("dark");

  function stored() {
    try {
      const value = localStorage.getItem("theme");
      return value in MEDIA ? value : "auto";
    } catch {
      return "auto";
    }
  }

  function apply(theme) {
    sheet.media = MEDIA[theme];
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // a browser that keeps nothing: the choice holds for this page
    }
  }

  sheet.media = MEDIA[stored()];
  window.stationTheme = { stored, apply };
})();
