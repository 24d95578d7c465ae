"""A shift on the pages, in a real browser: small screens, true words, verdicts put right."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from support.axe import axe_script, violations
from support.page import PHONE, TABLET, Page, browser, rendered, serving, until
from support.station import Served

from vision_edge.demo.conveyor import ConveyorConfig, render_snapshot
from vision_edge.runtime.pipeline.registration import read_picture, snapshot_from
from vision_edge.runtime.sources.frame import Frame

SMALL, PANEL = (800, 480), (1024, 600)
WIDE = (1600, 800)
SCREENS = (TABLET, PANEL, SMALL, PHONE)
GEOMETRY = """
const box = (e) => {
  const r = e.getBoundingClientRect();
  return [r.left, r.top, r.right, r.bottom];
};
const lines = (e) => { const r = document.createRange(); r.selectNodeContents(e);
  return new Set([...r.getClientRects()].map((c) => Math.round(c.top))).size; };
const shown = (s) => [...document.querySelectorAll(s)].filter((e) => e.checkVisibility());
return {
  height: innerHeight, width: innerWidth, wide: document.documentElement.scrollWidth,
  tabs: shown(".tab").map(box), tabLines: shown(".tab > span:first-of-type").map(lines),
  buttons: shown("[data-register]").map(box),
  buttonLines: shown(".actions .button span, .actions .button:not(:has(span))").map(lines),
  states: shown(".source-head .state").map(box), verdicts: shown(".verdict").map(box),
  words: shown(".says").map(box), toasts: shown(".toast").map(box),
};
"""


def snapshot(station: Served, part: str) -> Any:
    image = render_snapshot(part, 9, ConveyorConfig(seed=3))[0]
    return snapshot_from(read_picture(Frame(image, "test", 0, 0.0)), station.station.session)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("shift")
    sources = {
        "nut": rendered(folder / "nut", "hex_nut", range(4)),
        "elbow": rendered(folder / "elbow", "pipe_elbow", range(4)),
    }
    with serving(folder, sources) as running:
        with running.station.gallery("test") as gallery:
            gallery.add("hex nut M8", [snapshot(running, "hex_nut")])
            gallery.add("washer 12", [snapshot(running, "washer")])
        yield running


@pytest.fixture(scope="module")
def shared_page(station: Served) -> Iterator[Page]:
    with browser() as opened:
        opened.url = station.url
        yield opened


@pytest.fixture
def page(shared_page: Page) -> Iterator[Page]:
    yield shared_page
    shared_page.screen(TABLET)
    assert shared_page.complaints() == []


def tile(source: str, part: str) -> str:
    return f'.source[data-source="{source}"] {part}'


@pytest.mark.parametrize("width", [760, 800, 880, 1000, 1024, 1080, 1160, 1280, 1600])
@pytest.mark.parametrize("height", [480, 600, 800])
def test_the_live_view_fits_every_panel(page: Page, width: int, height: int) -> None:
    """Tabs and labels on one line, and each camera's verdict and button above the fold."""
    page.screen((width, height))
    if page.chrome.current_url != f"{page.url}/":
        page.open("/")
    until(lambda: page.text(tile("nut", ".label")) == "hex nut M8")
    seen = page.js(GEOMETRY)
    assert seen["wide"] <= width
    assert set(seen["tabLines"]) == {1}
    assert set(seen["buttonLines"]) == {1}
    assert len(seen["tabs"]) == 7 and all(t[0] >= 0 and t[2] <= width for t in seen["tabs"])
    for (_, _, right, _), (left, _, _, _) in itertools.pairwise(seen["tabs"]):
        assert right <= left + 0.5
    assert len(seen["buttons"]) == 2
    assert all(bottom <= height for _, _, _, bottom in seen["buttons"]), seen["buttons"]
    for verdict, words in zip(seen["verdicts"], seen["words"], strict=True):
        assert words[1] >= verdict[1] - 1 and words[3] <= verdict[3] + 1, (verdict, words)


@pytest.mark.parametrize("sources", [("nut", "elbow"), ("nut",)])
def test_every_button_keeps_its_words(
    shared_page: Page, tmp_path: Path, sources: tuple[str, ...]
) -> None:
    """All four buttons of a tile: Register, Judge now, Expect a product, Wrong?"""
    pictures = {"nut": "hex_nut", "elbow": "pipe_elbow"}
    shown = {name: rendered(tmp_path / name, pictures[name]) for name in sources}
    asked = {name: {"trigger": "command"} for name in sources}
    page, own = shared_page, shared_page.url
    with serving(tmp_path, shown, tables=asked) as running:
        with running.station.gallery("test") as gallery:
            gallery.add("hex nut M8", [snapshot(running, "hex_nut")])
        page.url = running.url
        try:
            page.open("/")
            for source in sources:
                page.click(tile(source, "[data-trigger]"))
                page.one(tile(source, "[data-wrong]"))
            for screen in (*SCREENS, WIDE):
                page.screen(screen)
                assert len(page.all(".actions .button")) == 4 * len(sources)
                assert page.faults() == [], screen
                first = page.js(GEOMETRY)["buttons"][: 1 if screen == PHONE else None]
                assert all(bottom <= screen[1] for _, _, _, bottom in first), (screen, first)
        finally:
            page.screen(TABLET)
            page.url = own
            page.open("/health")


def test_the_correction_fits_small_panels_on_live(page: Page) -> None:
    """Of an unknown part too its own picture is shown, beside the product's, above the fold."""
    page.open("/")
    until(lambda: page.text(tile("elbow", ".label")) == "Not recognised")
    page.click(tile("elbow", "[data-wrong]"))
    page.one("dialog .compare .seen")
    assert page.one("dialog figcaption", "elbow, ")
    box = (
        "const r = document.querySelector(arguments[0]).getBoundingClientRect();"
        "return [r.left, r.top, r.right, r.bottom]"
    )
    for screen in (PANEL, SMALL, PHONE):
        page.screen(screen)
        for part in ("dialog input", "dialog .primary"):
            assert page.js(box, part)[3] <= screen[1], (screen, part)
        seen, known = page.js(box, "dialog .seen"), page.js(box, "dialog .known-views")
        assert seen[2] <= known[0] and abs(seen[1] - known[1]) < 1, screen
    page.click("dialog .button", "Close")


def test_a_notice_on_a_phone_moves_nothing(page: Page) -> None:
    page.screen(PHONE)
    page.open("/")
    page.one(tile("nut", "[data-register]"))
    before = page.js(GEOMETRY)["buttons"]
    script = "import('/static/notices.js').then((n) => n.toast('registered', {actions: []}))"
    page.js(script)
    page.one(".toast")
    seen = page.js(GEOMETRY)
    assert [b[0::2] for b in seen["buttons"]] == [b[0::2] for b in before]
    assert seen["buttons"][0][1] == pytest.approx(before[0][1], abs=1)
    page.click(".toast .square")


@pytest.mark.parametrize("screen", [PANEL, SMALL])
def test_a_notice_covers_no_cameras_state(page: Page, station: Served, screen: Any) -> None:
    page.screen(screen)
    page.open("/register?source=elbow")
    page.one("#crop-box")
    page.one("#name").send_keys("elbow 45")
    page.click("#confirm")
    page.one(".toast")
    try:
        seen = page.js(GEOMETRY)
        (left, top, right, bottom) = seen["toasts"][0]
        for state in (*seen["states"], *seen["verdicts"], *seen["buttons"]):
            apart = state[2] <= left or state[0] >= right or state[3] <= top or state[1] >= bottom
            assert apart, (state, seen["toasts"])
        assert all(button[3] <= seen["height"] for button in seen["buttons"])
    finally:
        page.click(".toast .button", "Undo")
        until(lambda: station.station.products.count == 2)


LOOKED_AT = (
    "/", "/register?source=nut", "/review", "/history", "/shift", "/products", "/health",
    "/view?source=nut",
)  # fmt: skip


@pytest.mark.parametrize("path", LOOKED_AT)
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(page: Page, path: str, dark: bool) -> None:
    script = axe_script()
    page.open(path)
    if path == "/history":
        page.click(".kept")
        page.one("dialog .compare img")
    for screen in SCREENS:
        page.screen(screen, dark=dark)
        assert violations(page, script) == [], screen


def test_words_are_true(page: Page) -> None:
    """What is not recognised may well be registered: no page says otherwise."""
    page.open("/")
    until(lambda: page.text(tile("elbow", ".label")) in ("Not recognised", "hex nut M8?"))
    until(lambda: "looks most like" in page.text(tile("elbow", ".facts")))
    assert "Not registered" not in page.js("return document.body.innerText")
    assert page.text(tile("nut", ".facts")).startswith(("just now", "2 s ago", "3 s ago"))


def test_a_wrong_green_verdict_is_put_right_from_live_and_from_the_history(
    page: Page, station: Served
) -> None:
    page.open("/")
    until(lambda: page.text(tile("nut", ".label")) == "hex nut M8")
    page.click(tile("nut", "[data-wrong]"))
    page.one("dialog .compare .seen")
    assert until(lambda: page.js("return document.querySelector('.known-views img').naturalWidth"))
    name = page.one("dialog input")
    name.clear()
    name.send_keys("hex nut M10")
    page.one("dialog .known-views", "no snapshot yet")
    page.click("dialog .primary", "It is hex nut M10")
    until(lambda: page.text(tile("nut", ".label")) == "hex nut M10")

    page.open("/history?band=corrected")
    page.one(".picture-right", "is hex nut M10")
    page.click(".kept")
    page.click("dialog .chip", "washer 12")
    page.one("dialog .primary", "It is washer 12")
    page.click("dialog .button", "Close")

    page.open("/shift")
    assert page.text('[data-count="corrections"]') == "1"
    assert page.text("#corrections tbody") == "hex nut M8\thex nut M10\t1"

    undone = station.ok(station.post("/rollback", {"version": 2}))
    assert undone["version"] > 2
    page.open("/history?band=corrected")
    page.one("#empty")
    page.one("#band").send_keys("Recognised")
    page.one("#product").send_keys("hex nut M8")
    until(
        lambda: page.all(".kept") and all("hex nut M8" in card.text for card in page.all(".kept"))
    )


OUTAGE = """
const table = document.createElement("table");
table.id = "outages";
const [head, body] = [table.createTHead(), table.createTBody()];
const rows = [["Camera", "From", "Until"], ["camera-1", "27.11. 22:30:01", "27.11. 22:31:02"]];
for (const [part, words] of [[head, rows[0]], [body, rows[1]]]) {
  const row = part.insertRow();
  for (const [at, word] of words.entries()) {
    const cell = document.createElement(part === head || at === 0 ? "th" : "td");
    row.append(Object.assign(cell, { textContent: word }));
  }
}
document.querySelector("#outages-title").parentElement.append(table);
"""


def test_no_word_of_the_outages_is_broken(page: Page) -> None:
    page.open("/shift")
    page.one("#outages-title")
    page.js(OUTAGE)
    lines = (
        "return [...document.querySelectorAll('#outages th')].map((e) => {"
        "const r = document.createRange(); r.selectNodeContents(e);"
        "return new Set([...r.getClientRects()].map((c) => Math.round(c.top))).size; })"
    )
    for screen in (*SCREENS, WIDE):
        page.screen(screen)
        assert page.js(lines) == [1, 1, 1, 1], screen
        assert page.js("return document.documentElement.scrollWidth") <= screen[0]


def test_the_numbers_of_the_page_are_those_of_the_api(page: Page, station: Served) -> None:
    """The sources go on meanwhile, so the table is of the very span that the page shows."""
    page.open("/shift?hours=1")
    shown = {name: int(page.text(f'[data-count="{name}"]')) for name in ("accept", "unknown")}
    assert shown["accept"] > 0
    address = page.one("#csv").get_attribute("href")
    rows = list(csv.DictReader(io.StringIO(station.client.get(address).text)))
    for name, count in shown.items():
        told = sum(int(row["verdicts"]) for row in rows if row["band"] == name)
        assert count <= told <= count + 60
    charts = page.all(".chart")
    assert [chart.get_attribute("role") for chart in charts] == ["img"] * 3
    assert page.js("return document.querySelectorAll('.chart polyline').length") >= 3
    stroke = page.js("return getComputedStyle(document.querySelector('.chart polyline.s0')).stroke")
    assert re.fullmatch(r"rgb\(\d+, \d+, \d+\)", stroke) and stroke != "rgb(0, 0, 0)"


def test_nothing_in_view_is_calm(shared_page: Page, tmp_path: Path) -> None:
    """A source without a trigger that knows its empty scene, and one that waits for parts."""
    import cv2

    belt = tmp_path / "belt"
    belt.mkdir()
    empty = render_snapshot("hex_nut", 0, ConveyorConfig(seed=3))[0][:60, :60]
    scene = cv2.resize(empty, (300, 300))
    cv2.imwrite(str(tmp_path / "empty.png"), scene)
    cv2.imwrite(str(belt / "0.png"), scene)
    tables = {"frames": belt, "parts": belt}
    more = {"empty": str(tmp_path / "empty.png")}
    page, own = shared_page, shared_page.url
    settings = {"parts": {**more, "trigger": "presence"}, "frames": more}
    with serving(tmp_path, tables, tables=settings) as running:
        with running.station.gallery("test") as gallery:
            gallery.add("hex nut M8", [snapshot(running, "hex_nut")])
        page.url = running.url
        page.open("/")
        for source in ("frames", "parts"):
            until(lambda source=source: page.text(tile(source, ".label")) == "Nothing in view")
            assert page.one(tile(source, ".verdict")).get_attribute("data-band") == "none"
        assert running.station.review.pending == 0
        assert page.text("#recent") == ""
        total = running.ok(running.get("/statistics"))["total"]
        assert total["nothing"] > 0 and total["unknown"] == 0
        page.url = own
        page.open("/health")
