"""Is it the expected product? The live view with a chooser, in a real browser on a real station."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from selenium.webdriver.common.keys import Keys
from support.page import PHONE, TABLET, Page, browser, rendered, serving, until
from support.station import Served

from vision_edge.runtime.pipeline.registration import read_picture, snapshot_from

TILE = '.source[data-source="line"]'


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("expect")
    pictures = {
        "hex nut M8": rendered(folder / "nut", "hex_nut"),
        "pipe elbow": rendered(folder / "elbow", "pipe_elbow"),
    }
    with serving(folder, {"line": rendered(folder / "line", "hex_nut", range(3))}) as running:
        model = running.station.products.model
        with running.station.gallery("test") as gallery:
            for label, shown in pictures.items():
                gallery.add(label, [snapshot_from(read_picture(shown / "0.png"), model)])
        yield running


@pytest.fixture(scope="module")
def page(station: Served) -> Iterator[Page]:
    with browser() as opened:
        opened.url = station.url
        yield opened
        assert opened.complaints() == []


def test_a_product_is_expected_by_keys_and_by_touch_and_the_answer_is_big(
    page: Page, station: Served
) -> None:
    page.open("/")
    until(lambda: page.text(f"{TILE} .label") == "hex nut M8")
    assert page.text(f"{TILE} [data-expect]") == "Expect a product"
    page.click(f"{TILE} [data-expect]")
    page.one("#expect-find").send_keys("NUT", Keys.ENTER)  # keys, as a scanner sends them
    until(lambda: page.text(f"{TILE} .label") == "RIGHT")
    verdict = page.one(f"{TILE} .verdict")
    assert verdict.get_attribute("data-band") == "accept"
    assert page.text(f"{TILE} .band") == "Is it hex nut M8?"
    assert page.text(f"{TILE} [data-expect]") == "Expected: hex nut M8"
    size = "return parseFloat(getComputedStyle(arguments[0]).fontSize)"
    assert page.js(size, page.one(f"{TILE} .label")) > 38
    assert station.station.expectations.of("line").by == "local"

    page.click(f"{TILE} [data-expect]")
    page.one("#expect-find").send_keys("none such")
    assert page.text("dialog .quiet:not([hidden])") == "No product is called so."
    page.one("#expect-find").clear()
    page.one("#expect-find").send_keys(" ")
    assert page.faults() == []
    page.click("dialog .chip", "pipe elbow")  # touch
    until(lambda: page.text(f"{TILE} .label") == "WRONG")
    assert page.one(f"{TILE} .verdict").get_attribute("data-band") == "unknown"
    assert page.one(f"{TILE} .mark use").get_attribute("href") == "#i-wrong"
    assert "looks most like hex nut M8" in page.text(f"{TILE} .facts")
    until(lambda: "WRONG" in page.text("#recent"))
    page.click(".toast .button", "Undo")
    until(lambda: page.text(f"{TILE} .label") == "RIGHT")


def test_a_product_that_is_gone_is_told_and_one_goes_back_to_identifying(
    page: Page, station: Served
) -> None:
    station.station.expect("line", "pipe elbow", "local")
    with station.station.gallery("test") as gallery:
        gallery.rename("pipe elbow", "elbow 90")
    page.open("/")
    until(lambda: page.text(f"{TILE} .label") == "UNSURE")
    assert page.one(f"{TILE} .verdict").get_attribute("data-band") == "review"
    assert "not registered" in page.text(f"{TILE} .facts")
    said = "'pipe elbow' is not registered (it is called 'elbow 90' now)"
    until(lambda: page.text(f"{TILE} .expected-problem") == said)
    for size in (TABLET, (1024, 600), (800, 480), PHONE):
        page.screen(size)
        assert page.faults() == [], size
    page.screen(TABLET)
    page.click(f"{TILE} [data-expect]")
    page.click("dialog .button", "Any product")
    until(lambda: page.text(f"{TILE} .label") == "hex nut M8")
    assert station.station.expectations.product("line") is None


def test_over_http_what_is_not_registered_is_refused_with_a_word(station: Served) -> None:
    answer = station.post("/sources/line/expect", {"product": "screw"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_registered")
    assert "'screw' is not registered" in answer.json()["error"]["what"]
    assert station.post("/sources/nowhere/expect", {"product": None}).status_code == 404
    assert station.post("/sources/line/expect", {}).status_code == 422
    assert station.post("/sources/line/expect", {"product": ""}).status_code == 422
    got = station.ok(station.post("/sources/line/expect", {"product": "hex nut M8"}))
    assert (got["product"], got["by"], got["problem"]) == ("hex nut M8", "local", "")
    [source] = station.ok(station.get("/status"))["sources"]
    assert source["expected"] == got
    until(lambda: "verification" in station.station.records(1)[0])
    [verdict] = station.ok(station.get("/verdicts?limit=1"))["verdicts"]
    assert verdict["verification"]["expected"] == "hex nut M8"
    audit = (station.station.settings.state_dir / "audit.jsonl").read_text()
    assert "/api/v1/sources/line/expect" in audit
    assert '"product": "hex nut M8"' in audit
