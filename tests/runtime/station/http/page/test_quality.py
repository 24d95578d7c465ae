"""How good the station is, on its pages: the check, validation, and the slider of strangers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from support.page import PHONE, TABLET, Page, browser, rendered, serving, until
from support.station import Served

from vision_edge.runtime.images.coding import encode_jpeg, read_image
from vision_edge.runtime.pipeline.snapshot_embedding import kept_snapshot

PARTS = {"hex nut M8": "hex_nut", "pipe elbow": "pipe_elbow", "gear": "spur_gear"}
SIZES = (TABLET, (1024, 600), (800, 480), PHONE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("quality")


@pytest.fixture(scope="module")
def station(folder: Any) -> Iterator[Served]:
    """Three products of four snapshots; one of the nut's shows an elbow; a gear was rejected."""
    made = {part: rendered(folder / "all" / part, part, range(6)) for part in PARTS.values()}
    with serving(folder, {"line": made["hex_nut"]}) as running:
        model = running.station.products.model

        def shots(part: str, seeds: range, origin: str = "test") -> list[Any]:
            jpegs = [encode_jpeg(read_image(made[part] / f"{seed}.png")) for seed in seeds]
            return [kept_snapshot(model, jpeg, origin) for jpeg in jpegs]

        with running.station.gallery("anna") as gallery:
            for label, part in PARTS.items():
                gallery.add(label, shots(part, range(3)))
            gallery.add("pipe elbow", shots("pipe_elbow", range(4, 5), "review of line"))
            gallery.add("hex nut M8", shots("pipe_elbow", range(3, 4)))
            gallery.add_negatives(None, shots("spur_gear", range(4, 5), "review of line"))
        yield running


@pytest.fixture(scope="module")
def page(station: Served) -> Iterator[Page]:
    with browser() as opened:
        opened.url = station.url
        yield opened
        assert opened.complaints() == []


def test_the_products_page_tells_how_good_they_are(
    page: Page, station: Served, folder: Any
) -> None:
    page.open("/products")
    until(lambda: "of parts will be named rightly, at 5 % of strangers" in page.text("#foretold"))
    assert "1 snapshot looks wrong" in page.text("#suspects")
    assert "of its parts will be named" in page.text(".product .foretold")
    [marked] = page.all(".thumb[data-fault]")
    assert "This looks like pipe elbow" in marked.get_attribute("aria-label")
    page.click(".thumb[data-fault]")
    assert "is its label wrong?" in page.text("dialog .note")
    page.click("dialog .button", "Close")

    page.click("#validate-reviewed")
    until(lambda: "1 of 1 named rightly" in page.text("#validation") or page.text("#validation"))
    assert "strangers taken for a product" in page.text("#validation")
    assert len(page.all(".matrix tbody tr")) == 2
    page.click("#validate-own")
    until(lambda: len(page.all(".matrix tbody tr")) == 4)
    for size in SIZES:
        page.screen(size)
        assert page.faults() == [], size
    page.screen(TABLET)

    files = sorted((folder / "all").rglob("*.png"))
    box = page.js("const e = document.getElementById('validate-files');"
                  "e.removeAttribute('webkitdirectory'); return e")  # fmt: skip
    box.send_keys("\n".join(str(path) for path in files[:12]))
    until(lambda: "12 strangers" in page.text("#validation"))  # two batches, no folders


def test_the_slider_shows_what_would_change_before_it_is_taken(page: Page, station: Served) -> None:
    page.open("/health")
    until(lambda: "Now 5 %, by the settings." in page.text("#far-now"))
    until(lambda: "of the station's own pictures" in page.text("#far-effect"))
    assert not page.all("#far-take")
    move = (
        "const e = document.getElementById('far'); e.value = arguments[0];"
        "e.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    page.js(move, 0)
    until(lambda: "would change:" in page.text("#far-effect"))
    assert page.text("#far-wanted") == "0.01 %"
    assert page.all(".flips img")
    assert station.station.scoring.asked.now.rate == 0.05  # not taken yet
    for size in SIZES:
        page.screen(size)
        assert page.faults() == [], size
    page.screen(TABLET)
    page.click("#far-take")
    until(lambda: "Now 0.01 %, by local." in page.text("#far-now"))
    assert "The settings say 5 %" in page.text("#far-settings")
    assert station.station.scoring.asked.now.rate == 0.0001
    page.open("/health")
    page.click("#far-undo")
    until(lambda: "Now 5 %, by the settings." in page.text("#far-now"))
    assert station.station.scoring.asked.now.rate == 0.05
