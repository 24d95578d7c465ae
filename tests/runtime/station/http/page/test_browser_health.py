"""Health in a real browser: the parts of a shift, and the camera assistant."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from support.genicam import fake_camera
from support.page import PHONE, TABLET, Page, browser, rendered, serving, until
from support.station import Served

SCREENS = [TABLET, (1024, 600), (800, 480), PHONE]


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("health")
    with serving(folder, {"nut": rendered(folder / "nut", "hex_nut", range(2))}) as running:
        tally = running.station.tally
        for k in range(30):
            label = f"product {k % 14}" if k % 5 else None
            band = "accept" if label else "unknown" if k % 3 else "review"
            tally.count({"id": f"{k + 1:016x}aaaaaaaa", "source_name": "nut", "band": band,
                         "label": label})  # fmt: skip
        tally.missed("nut", 2)
        yield running


@pytest.fixture
def page(station: Served) -> Iterator[Page]:
    with browser() as opened:
        opened.url = station.url
        yield opened
        assert opened.complaints() == []


def test_parts_are_shown_and_counted_anew(page: Page, station: Served) -> None:
    page.open("/health")
    until(lambda: "30 parts" in page.text("#counts caption"))
    shown = page.text("#counts")
    for words in ("Unsure\t2", "Unknown\t4", "In view, but not judged\t2"):
        assert words in shown
    for size in SCREENS:
        page.screen(size)
        assert page.faults() == [], size
    page.screen(TABLET)
    page.click('#counts [data-key="reset"]')
    page.click("dialog [type=submit]")
    until(lambda: "began to count anew" in page.text("#counts"))
    assert station.station.tally.document()["total"][0]["parts"] == 30


def test_cameras_are_found_and_tried(page: Page) -> None:
    with fake_camera():
        page.open("/health")
        page.click('[data-key="find cameras"]')
        until(lambda: "GV01" in page.text("dialog .health-row"))
        for size in SCREENS:
            page.screen(size)
            assert page.faults() == [], size
        page.screen(TABLET)
        page.click("dialog .health-row button")
        page.click('dialog [data-key="try"]')
        until(lambda: "it gives pictures" in page.text("dialog .note"), 60.0)


def test_a_camera_is_set_up(page: Page) -> None:
    page.open("/health")
    page.click("[data-setup]")
    until(lambda: "Light" in page.text("dialog .setup"))
    assert "Focus" in page.text("dialog .setup")
    for size in SCREENS:
        page.screen(size)
        assert page.faults() == [], size
