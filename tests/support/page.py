"""What the tests of the station's pages share: a station that serves, and a browser that looks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest

from support.station import Served, served, settings_for
from vision_edge.demo.conveyor import ConveyorConfig, render_snapshot
from vision_edge.runtime.bundles.shipped import asset

selenium = pytest.importorskip("selenium")

from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver import Chrome, ChromeOptions  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402

TABLET, PHONE = (1280, 800), (390, 844)
AUDIT = """
const shown = (e) => e.checkVisibility({visibilityProperty: true}) && !e.closest("[hidden]");
const said = (e) => e.tagName + "#" + e.id + "." + e.getAttribute("class");
const found = [];
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
for (const id of new Set(ids))
  if (ids.filter((i) => i === id).length > 1) found.push("twice: " + id);
const references = ["aria-labelledby", "aria-describedby", "aria-controls"];
for (const e of document.querySelectorAll(references.map((name) => `[${name}]`).join()))
  for (const name of references)
    for (const id of (e.getAttribute(name) || "").split(" ").filter(Boolean))
      if (!document.getElementById(id)) found.push(`${said(e)} refers to ${id}`);
for (const e of document.images) if (!e.hasAttribute("alt")) found.push("no alt: " + said(e));
for (const e of document.querySelectorAll("button, a[href], input, select, [tabindex='0']")) {
  if (!shown(e)) continue;
  const label = e.labels && e.labels[0] ? e.labels[0].textContent : "";
  const name = label || e.getAttribute("aria-label") || e.textContent || e.title;
  if (!name.trim()) found.push("no name: " + said(e));
  if (e.tabIndex > 0) found.push("tabindex: " + said(e));
  const target = e.classList.contains("unseen") && e.labels && e.labels[0] ? e.labels[0] : e;
  const box = target.getBoundingClientRect();
  const least = e.matches(".button, .tool, .chip, input") ? 64 : 48;
  if (!e.matches(".skip, .crop-box, .key") && (box.width < least - 0.5 || box.height < least - 0.5))
    found.push(`${said(e)} is ${box.width} x ${box.height}`);
}
for (const part of ["main", "header", "h1"])
  if (document.querySelectorAll(part === "header" ? "body > header" : part).length !== 1)
    found.push("not one " + part);
for (const e of document.querySelectorAll(".button, .tab")) {
  if (!shown(e)) continue;
  const box = e.getBoundingClientRect();
  for (const child of e.querySelectorAll("*")) {
    if (!shown(child) || child.matches(".unseen, .badge")) continue;
    const own = child.getBoundingClientRect();
    const out = own.left < box.left - 0.5 || own.right > box.right + 0.5
      || own.top < box.top - 0.5 || own.bottom > box.bottom + 0.5;
    if (out) found.push(`${said(child)} lies outside ${said(e)} ${e.textContent.trim()}`);
  }
}
for (const e of document.querySelectorAll(".actions")) {
  const own = [...e.querySelectorAll(".button")].filter(shown);
  const cut = own.filter((b) => !b.hasAttribute("data-set")
    && [b, ...b.querySelectorAll("span")].some((c) => c.scrollWidth > c.clientWidth + 1));
  for (const b of cut) found.push("cut: " + b.textContent.trim());
  const boxes = own.map((b) => b.getBoundingClientRect());
  for (const [i, a] of boxes.entries()) for (const b of boxes.slice(i + 1))
    if (a.left < b.right - 0.5 && b.left < a.right - 0.5
        && a.top < b.bottom - 0.5 && b.top < a.bottom - 0.5)
      found.push("buttons overlap: " + e.textContent.trim());
  const verdict = e.closest(".source").querySelector(".verdict").getBoundingClientRect();
  for (const b of boxes)
    if (b.left < verdict.right - 1 && b.right > verdict.left + 1
        && b.top < verdict.bottom - 1 && b.bottom > verdict.top + 1)
      found.push("a button lies on the verdict");
}
if (!document.documentElement.lang || !document.title) found.push("no language or title");
let level = 1;
for (const e of document.querySelectorAll("main :is(h1, h2, h3, h4)")) {
  const now = Number(e.tagName[1]);
  if (now > level + 1) found.push("heading skips: " + e.textContent);
  level = now;
}
if (document.documentElement.scrollWidth > innerWidth) found.push("scrolls sideways");
return found;
"""
"""What is wrong with a page for fingers, screen readers and narrow screens; ends in a list."""

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
)


def rendered(folder: Path, part: str, seeds: Sequence[int] = (0,)) -> Path:
    """Fill a folder with pictures of one of the demo's parts; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = ConveyorConfig(seed=3)
    for seed in seeds:
        image, _ = render_snapshot(part, seed, config)
        cv2.imwrite(str(folder / f"{seed}.png"), image)
    return folder


@contextmanager
def serving(folder: Path, sources: dict[str, Path], **sections: Any) -> Iterator[Served]:
    """Serve a station with the bundle that ships."""
    looped = {"loop": True, "fps": 3.0}
    more = sections.pop("tables", {})
    tables = [
        {"name": name, "address": path, **looped, **more.get(name, {})}
        for name, path in sources.items()
    ]
    review = {"per_minute": 30.0}
    settings = settings_for(
        asset("bundle"), folder / "products.db", *tables, review=review, **sections
    )
    with served(settings) as running:
        yield running


@contextmanager
def browser() -> Iterator[Page]:
    """Open a headless Chromium, or skip where this machine has none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = ChromeOptions()
    options.binary_location = program
    options.page_load_strategy = "eager"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in _FLAGS:
        options.add_argument(flag)
    chrome = Chrome(options=options, service=Service(driver))
    try:
        yield Page(chrome)
    finally:
        chrome.quit()


def until(done: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait for a true answer and return it."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = done()
        except StaleElementReferenceException:
            answer = None
        if answer:
            return answer
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.03)


class Page:
    """A browser that looks at a station.

    Args:
        chrome: The browser.
    """

    def __init__(self, chrome: Chrome) -> None:
        self.chrome = chrome
        self.url = ""
        self.screen(TABLET)

    def screen(self, size: tuple[int, int], *, dark: bool = False) -> None:
        """Have a screen of that size, in a light or dark surrounding."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme, still]})

    def open(self, path: str) -> None:
        """Open a page of the station."""
        self.chrome.get(self.url + path)

    def js(self, script: str, *arguments: Any) -> Any:
        """Return what a script returns."""
        return self.chrome.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        """Return the visible elements that a selector finds."""
        found: list[WebElement] = self.js(
            "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility())",
            selector,
        )
        return found

    def one(self, selector: str, text: str | None = None) -> WebElement:
        """Wait for a visible element, with a text if one is given, and return it."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].find("
            "e => e.checkVisibility() && e.textContent.includes(arguments[1]))"
        )
        found = until(lambda: self.js(script, selector, text or ""))
        assert isinstance(found, WebElement)
        return found

    def click(self, selector: str, text: str | None = None) -> None:
        """Press an element when it is there and enabled."""

        def clicked() -> bool:
            element = self.one(selector, text)
            if not element.is_enabled():
                return False
            element.click()
            return True

        until(clicked)

    def text(self, selector: str) -> str:
        """Return the text of the first visible element, empty if there is none."""
        script = "const e = document.querySelector(arguments[0]); return e ? e.innerText : ''"
        return str(self.js(script, selector))

    def faults(self) -> list[str]:
        """Return what is wrong with the page for fingers, screen readers and narrow screens."""
        found: list[str] = self.js(AUDIT)
        return found

    def complaints(self) -> list[str]:
        """Return what the browser wrote to its console as an error since the last call."""
        log: list[dict[str, Any]] = self.chrome.get_log("browser")
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]
