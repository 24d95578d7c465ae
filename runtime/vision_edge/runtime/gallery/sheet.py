"""What a gallery holds, as contact sheets: every snapshot with its number, date and any doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.gallery.outliers import odd_ones
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.images.contact_sheet import (
    AMBER,
    COLUMNS,
    GREEN,
    RED,
    Tile,
    contact_sheet,
    fitted,
    plain_letters,
)

_ROWS = 40
"""Rows of pictures a sheet: a sheet is an image that can still be opened."""
_HEADING = 80
"""Characters of a label that fit in a heading."""
Section = tuple[str, list[Tile]]


def gallery_sheets(gallery: GalleryReader, labels: Sequence[str] | None = None) -> Iterator[Image]:
    """Yield contact sheets of products, and of what is not them: uint8 (H, W, 3), BGR.

    A product's snapshots are framed green, those unlike the others amber, negatives red.

    Args:
        gallery: The gallery.
        labels: Products that it holds; None shows all of them, and what is no product at all.
    """
    shown = list(gallery.contents().products) if labels is None else list(labels)
    title = f"{len(shown)} product(s), gallery version {gallery.version}"
    page: list[Section] = []
    rows = 0
    for heading, tiles in _sections(gallery, shown, others=labels is None):
        for start in range(0, len(tiles), _ROWS * COLUMNS):
            part = tiles[start : start + _ROWS * COLUMNS]
            needed = -(-len(part) // COLUMNS)
            if rows + needed > _ROWS:
                yield contact_sheet(title, page)
                page, rows = [], 0
            page.append((heading, part))
            rows += needed
    yield contact_sheet(title, page)


def drawable(label: str) -> str:
    """Return a label in the letters that a contact sheet has, and no longer than a heading."""
    text = plain_letters(label)
    return text if len(text) <= _HEADING else text[: _HEADING - 3] + "..."


def _sections(gallery: GalleryReader, labels: Sequence[str], *, others: bool) -> Iterator[Section]:
    contents, odd = gallery.contents(), odd_ones(gallery)
    dates = {e.snapshot: e.time[:10] for e in gallery.events() if e.snapshot and e.kind != "drop"}
    negatives: dict[str | None, list[Tile]] = {}
    for i, whose in contents.negatives.items():
        if whose in labels or others:
            said = f"{i} is NOT it" if whose is not None else str(i)
            tile = Tile(_image(gallery, i), (said, dates[i]), RED)
            negatives.setdefault(whose, []).append(tile)
    for label in labels:
        ids = contents.products[label]
        tiles = [_tile(gallery, i, dates[i], odd.get(i)) for i in ids]
        yield f"{drawable(label)}: {len(ids)} snapshot(s)", tiles + negatives.pop(label, [])
    for whose, tiles in negatives.items():
        what = "no product at all" if whose is None else f"not {drawable(whose)}, which is gone"
        yield f"{what}: {len(tiles)} snapshot(s)", tiles


def _tile(gallery: GalleryReader, snapshot: int, date: str, far: float | None) -> Tile:
    if far is None:
        return Tile(_image(gallery, snapshot), (str(snapshot), date), GREEN)
    return Tile(_image(gallery, snapshot), (f"{snapshot} ODD, {far:.1f}x off", date), AMBER)


def _image(gallery: GalleryReader, snapshot: int) -> Image:
    """Return a snapshot no larger than a sheet needs."""
    return fitted(gallery.snapshots.image(snapshot))
