"""Entries from strangers are refused before anything is built of them."""

from __future__ import annotations

import json
import time

import pytest

from vision_edge.runtime.errors import GalleryError
from vision_edge.station.fleet.shared_gallery.entries import MAX_ENTRY, read_entry


@pytest.mark.parametrize("item", ["0", "{}", '{"sha256":0}', "[]"])
@pytest.mark.parametrize("name", ["snapshots", "negatives", "clock", "more"])
def test_a_vast_entry_is_refused_quickly(name: str, item: str) -> None:
    many = f"[{','.join([item] * ((MAX_ENTRY - 300) // (len(item) + 1)))}]"
    fields = {"key": "k", "label": "x", "clock": {"ms": 1}, "station": "a", name: "MANY"}
    data = json.dumps(fields).replace('"MANY"', many).encode()
    assert len(data) <= MAX_ENTRY
    began = time.monotonic()
    with pytest.raises(GalleryError, match="too many"):
        read_entry(data)
    assert time.monotonic() - began < 5  # alone, a fiftieth of it
