"""Contact sheets: every snapshot is on one, with its doubts, and no sheet grows without end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.runtime import picture

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.gallery import sheet as gallery_sheet
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.sheet import drawable, gallery_sheets
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.contact_sheet import AMBER, COLUMNS, GREEN, RED, Tile, fitted


def snapshot(number: int, at: float) -> Snapshot:
    return Snapshot(encode_jpeg(picture(number)), np.array([at, 0], np.float32), "x")


@pytest.fixture
def filled(tmp_path: Path) -> Gallery:
    """valve: 1 to 5, of which 5 is odd, and 7 is not it; nut: 6; 8 is nothing."""
    opened = Gallery(tmp_path / "g", ModelIdentity("a" * 64, 2), create=True)
    opened.add("valve", [snapshot(k, k / 10) for k in range(1, 5)] + [snapshot(5, 9)])
    opened.add("nut", [snapshot(6, 0)])
    opened.add_negatives("valve", [snapshot(7, 0)])
    opened.add_negatives(None, [snapshot(8, 0)])
    return opened


Sections = list[tuple[str, list[Tile]]]


def sections(
    gallery: Gallery, labels: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> Sections:
    """Return what is laid out, page after page."""
    got: Sections = []

    def laid_out(title: str, page: Sections) -> Image:
        got.extend(page)
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(gallery_sheet, "contact_sheet", laid_out)
    list(gallery_sheets(gallery, labels))
    return got


def test_a_sheet_says_what_each_picture_is(
    filled: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    date = filled.events()[0].time[:10]
    with filled:
        got = sections(filled, None, monkeypatch)
        one = sections(filled, ["nut"], monkeypatch)
    assert [heading for heading, _ in got] == [
        "valve: 5 snapshot(s)", "nut: 1 snapshot(s)", "no product at all: 1 snapshot(s)",
    ]  # fmt: skip
    valve = got[0][1]
    assert [tile.colour for tile in valve] == [GREEN] * 4 + [AMBER, RED]
    assert valve[0].lines == ("1", date)
    assert valve[4].lines[0].startswith("5 ODD, ")
    assert valve[5].lines == ("7 is NOT it", date)
    assert [(heading, len(tiles)) for heading, tiles in one] == [("nut: 1 snapshot(s)", 1)]


def test_many_products_go_on_several_sheets(
    filled: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_sheet, "_ROWS", 2)
    with filled:
        for number in range(5):
            shots = [snapshot(100 + number * 20 + k, k) for k in range(20)]
            filled.add(f"more {number}", shots)
        sheets = list(gallery_sheets(filled))
        assert len(sheets) == 11
        assert max(len(sheet) for sheet in sheets) < 2 * 204 + 3 * 60
        got = sections(filled, None, monkeypatch)
    assert sum(len(tiles) for _, tiles in got) == 8 + 100
    assert max(len(tiles) for _, tiles in got) <= 2 * COLUMNS


def test_an_empty_gallery_has_an_empty_sheet(tmp_path: Path) -> None:
    with Gallery(tmp_path / "g", ModelIdentity("a" * 64, 2), create=True) as opened:
        (sheet,) = gallery_sheets(opened)
    assert sheet.shape[2] == 3


@pytest.mark.parametrize("shape", [(1, 1), (4000, 3), (3, 4000), (150, 150), (75, 300)])
def test_a_picture_of_any_shape_fits_its_place(shape: tuple[int, int]) -> None:
    small = fitted(np.zeros((*shape, 3), np.uint8))
    assert max(small.shape[:2]) == 150
    assert min(small.shape) >= 1


def test_labels_are_written_in_letters_that_can_be_drawn() -> None:
    assert drawable("Schlüssel 螺") == "Schlussel ?"
    assert len(drawable("z" * 200)) == 80
