"""Several parts in a real browser: each with its box and name; chosen, and their scene set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from support.page import PHONE, Page, browser, until
from support.parts import NAMES, several
from support.station import Served, served, settings_for

from vision_edge.runtime.bundles.shipped import asset

ON_EACH_OTHER = """
const names = [...document.querySelectorAll(".part-box span")];
const boxes = names.map((e) => e.getBoundingClientRect());
return boxes.some((a) => boxes.some((b) => a.left < b.left && a.right > b.left + 0.5
  && a.top < b.bottom - 0.5 && b.top < a.bottom - 0.5));
"""
SCREENS = ((1280, 800), (1024, 600), (800, 480), PHONE)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("parts")
    pictures, empty = several(folder / "belt")
    source = {"name": "belt", "address": pictures, "loop": True, "fps": 3.0}
    located = {**source, "locate": "presence", "empty": empty}
    with served(settings_for(asset("bundle"), folder / "products.db", located)) as running:
        yield running


@pytest.fixture(scope="module")
def page(station: Served) -> Iterator[Page]:
    with browser() as opened:
        opened.url = station.url
        yield opened


def register(page: Page, part: int, name: str) -> None:
    page.open("/register?source=belt")
    until(lambda: len(page.all(".part-choice")) == len(NAMES))
    page.click(f".part-choice:nth-child({part})")
    page.one("#name").send_keys(name)
    page.click("#confirm")
    until(lambda: "/register" not in page.chrome.current_url)


def test_each_part_is_chosen_registered_and_shown_with_its_name(page: Page) -> None:
    for number, name in enumerate(NAMES, 1):
        register(page, number, name)
    page.open("/")
    names = lambda: [e.text.rsplit(" ", 1)[0] for e in page.all(".part-box span")]  # noqa: E731
    until(lambda: sorted(names()) == sorted(NAMES))
    lefts = page.js("return [...document.querySelectorAll('.part-box')].map(e => e.offsetLeft)")
    assert lefts == sorted(lefts), "from left to right"
    for screen in SCREENS:
        page.screen(screen)
        until(lambda: len(page.all(".part-box")) == len(NAMES))
        assert page.faults() == []


def test_which_of_several_is_asked_in_the_page_s_words_and_a_burst_says_what_to_do(
    page: Page,
) -> None:
    page.screen(SCREENS[2])
    page.open("/register?source=belt")
    until(lambda: "tap the number" in page.text("#warnings"))
    assert "tap the number" in page.text("#several")
    foot = page.js("return document.getElementById('several').getBoundingClientRect().bottom")
    assert foot <= SCREENS[2][1], "what is to be done stands on the first screen"
    page.click("#turn")
    until(lambda: "several parts" in page.text("#problem"), 30)
    assert "alone in view" in page.text("#problem")
    assert page.text("#warnings") == "", "they were of the picture before"
    assert all("burst" in said and "409" in said for said in page.complaints())
    page.screen(SCREENS[0])


def test_names_of_neighbours_do_not_lie_on_each_other(page: Page) -> None:
    page.open("/")
    for screen in SCREENS:
        page.screen(screen)
        until(lambda: len(page.all(".part-box span")) == len(NAMES))
        until(lambda: not page.js(ON_EACH_OTHER))
    page.screen(SCREENS[0])


def test_each_part_says_whether_it_is_the_expected_one_and_the_worst_is_large(
    page: Page, station: Served
) -> None:
    """Right, wrong or unsure stands at each part; a right one hides no wrong one."""
    station.ok(station.post("/sources/belt/expect", {"product": NAMES[0]}))
    try:
        page.screen(SCREENS[0])
        page.open("/")
        until(lambda: "WRONG" in page.text(".verdict .label"))
        said = lambda: [e.text.rsplit(" ", 1)[0] for e in page.all(".part-box span")]  # noqa: E731
        until(lambda: sorted(said()) == ["RIGHT", *["WRONG"] * (len(NAMES) - 1)])
    finally:
        station.ok(station.post("/sources/belt/expect", {"product": None}))


def test_a_region_and_an_empty_picture_are_set_and_taken_back(page: Page, station: Served) -> None:
    page.screen(SCREENS[0])
    page.open("/view?source=belt")
    until(lambda: "settings" in page.text("#empty-says"))
    assert "whole picture" in page.text("#roi-says")
    for screen in SCREENS:
        page.screen(screen)
        assert page.faults() == []
    page.screen(SCREENS[0])
    page.one("#crop-box").send_keys("----")
    page.click("#roi-set")
    until(lambda: "this page" in page.text("#roi-says"))
    scene = station.station.line("belt").scene
    roi = scene.current().roi
    assert roi is not None
    assert roi[2] < 640
    until(lambda: station.station.line("belt").latest.image.shape[1] == roi[2])
    page.click("#empty-take")
    until(lambda: "Taken here" in page.text("#empty-says"))
    page.click("#empty-back")
    page.click("#roi-back")
    until(lambda: "whole picture" in page.text("#roi-says"))
    assert scene.current().empty_from == "settings"
    assert page.complaints() == []
