"""What the page offers and says in a real browser: above the fold, and true."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from support.page import PHONE, TABLET, Page, browser, rendered, serving, until
from support.station import Served

SCREENS = [TABLET, (1024, 600), (800, 480), PHONE, (360, 740)]
BOX = (
    "const r = document.querySelector(arguments[0]).getBoundingClientRect();"
    "return [r.top, r.bottom, r.left, r.right]"
)
WARN = """
const note = (words) => Object.assign(document.createElement("p"), { className: "note warn", textContent: words });
document.querySelector("#warnings").replaceChildren(note("too dark: ".repeat(9)), note("blurred ".repeat(9)));
"""  # noqa: E501


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("words")
    with serving(folder, {"nut": rendered(folder / "nut", "hex_nut")}) as running:
        yield running


@pytest.fixture
def page(station: Served) -> Iterator[Page]:
    with browser() as opened:
        opened.url = station.url
        yield opened
        assert opened.complaints() == []


def registered(station: Served, label: str) -> None:
    taken = station.ok(station.post("/sources/nut/freeze"), 201)
    asked = {"label": label, "capture": taken["capture"], "accept_warnings": True}
    station.ok(station.post("/products", asked), 201)


def test_register_lies_above_the_fold_whatever_is_warned_of(page: Page) -> None:
    for screen in SCREENS:
        page.screen(screen)
        page.open("/register?source=nut")
        page.one("#crop-box")
        page.one("#name").send_keys("nut")
        until(lambda: page.one("#confirm").is_enabled())
        page.js(WARN)
        top, bottom, _, _ = page.js(BOX, "#confirm")
        assert top > 0 and bottom <= screen[1], screen
        if screen[0] < 600:
            assert bottom <= page.js(BOX, ".tabs")[0], screen
        assert page.js(BOX, "#picture")[1] - page.js(BOX, "#picture")[0] >= 100, screen
        assert page.faults() == [], screen


def test_an_engineer_may_have_a_product_go_with_its_only_picture(
    page: Page, station: Served
) -> None:
    registered(station, "wrong name")
    page.open("/")
    until(lambda: page.text(".source .label") == "wrong name")
    page.click("[data-wrong]")
    name = page.one("dialog.correct input")
    name.clear()
    name.send_keys("hex nut")
    page.click("dialog.correct .primary", "It is hex nut")
    page.one("dialog.correct .note", "only picture of 'wrong name'")
    for screen in SCREENS:
        page.screen(screen)
        assert page.faults() == [], screen
    page.click("dialog.correct [data-accept-removal]", "remove wrong name")
    until(lambda: page.text(".source .label") == "hex nut")
    listed = station.ok(station.get("/products"))["products"]
    assert [one["label"] for one in listed] == ["hex nut"]
    page.click(".toast .button", "Undo")
    until(lambda: page.text(".source .label") == "wrong name")
    [refusal] = page.complaints()
    assert "kept/assign" in refusal and "409" in refusal


def test_review_says_what_it_has_answered_itself(
    page: Page, station: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count, words in ((0, ""), (2, "2 pictures that waited were recognised")):
        monkeypatch.setattr(station.station.review, "answered", count)
        page.open("/review")
        page.one("#items, #empty")
        until(
            lambda words=words: (
                words in page.text("#answered") and (words or not page.all("#answered"))
            )
        )


def test_health_says_that_without_a_trigger_no_parts_are_counted(page: Page) -> None:
    page.open("/health")
    page.one("#counts", "No camera has a trigger")


SHOWN = "return [...document.querySelectorAll(arguments[0])].map((e) => e.checkVisibility())"


def test_a_shift_is_a_page_of_a4(page: Page) -> None:
    """As the browser prints it, or saves it as PDF: upright, dark on light, nothing to press."""
    page.open("/shift")
    page.one("#print")
    page.js("localStorage.setItem('theme', 'dark')")
    page.open("/shift")
    page.one(".chart")
    dark = page.js("return getComputedStyle(document.body).color")
    command = page.chrome.execute_cdp_cmd
    command("Emulation.setEmulatedMedia", {"media": "print"})
    assert not any(page.js(SHOWN, ".topbar, nav, .button, .toasts"))
    assert all(page.js(SHOWN, ".print-only, .tally, .chart, .cards section"))
    assert page.js("return getComputedStyle(document.body).color") != dark
    command("Emulation.setEmulatedMedia", {"media": ""})
    printed = command("Page.printToPDF", {"preferCSSPageSize": True})
    document = base64.b64decode(printed["data"])
    [box] = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", document)
    assert [round(float(side)) for side in box] == [595, 842]
    page.js("localStorage.removeItem('theme')")
