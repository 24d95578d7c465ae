"""Products' names: one form, and none that verdicts give to what is no product."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from support.runtime import FakeEmbedder, make_bundle, picture

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.history import Contents, Event
from vision_edge.runtime.gallery.labels import checked_label
from vision_edge.runtime.pipeline.registration import snapshot_of

NFC, NFD = (unicodedata.normalize(form, "Kühlkörper 가") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "label", ["unknown", "UNKNOWN", " Unknown ", "ｕｎｋｎｏｗｎ", "unKnown\n"]
)
def test_unknown_is_no_products_name(label: str) -> None:
    with pytest.raises(GalleryError, match="cannot be a product's name"):
        checked_label(label)


@pytest.mark.parametrize(
    "label",
    [
        "unk\u200dnown", "bo\u200clt", "bolt\u200d", "\u200dé", "bolt\ufe0f", "bolt\u034f",
        "bo\u2800lt", "\u3164", "nut\U000e0101", "\u115fnut",
    ],
)  # fmt: skip
def test_what_nobody_sees_makes_no_other_name(label: str) -> None:
    with pytest.raises(GalleryError, match="cannot be a product's name"):
        checked_label(label)


@pytest.mark.parametrize(
    "label", ["❤️", "👩‍🔬", "می\u200cخواهم", "क्\u200dष", "1\ufe0f\u20e3", "ﬁ", "Ø 5", "\u1100\u1161"]
)
def test_what_a_script_or_an_emoji_needs_is_let_in(label: str) -> None:
    assert checked_label(label)


@pytest.mark.parametrize("label", ["unknown part", "Unbekannt", "unknow", "un known"])
def test_what_only_begins_so_is_one(label: str) -> None:
    assert checked_label(label) == label


def test_a_name_is_the_same_product_in_either_form(tmp_path: Path) -> None:
    identity = load_bundle(make_bundle(tmp_path / "bundle")).manifest.identity
    shots = [snapshot_of(picture(number), FakeEmbedder(), "x") for number in range(3)]
    with Gallery(tmp_path / "g.db", identity, create=True) as gallery:
        gallery.add(NFD, shots[:1])
        gallery.add(NFC, shots[1:2])
        assert {label: len(ids) for label, ids in gallery.state().items()} == {NFC: 2}
        gallery.add_negatives(NFD, shots[2:])
        assert set(gallery.contents().negatives.values()) == {NFC}
        with pytest.raises(GalleryError, match="already"):
            gallery.rename(NFC, NFD)
        gallery.rename(NFD, "part")
        assert list(gallery.state()) == ["part"]
        gallery.rename("part", NFD)
        gallery.remove(NFD)
        assert not gallery.state()


def test_older_galleries_hold_names_as_they_were_typed() -> None:
    def event(version: int, kind: str, label: str, argument: str | None = None) -> Event:
        return Event(version, "", "", kind, label, version, argument)

    contents = Contents()
    for one in (
        event(1, "add", NFD), event(2, "add", NFC), event(3, "rename", NFD, NFC),
        event(4, "add", "nut"), event(5, "rename", "nut", NFD),
    ):  # fmt: skip
        contents.take(one)
    assert contents.products == {NFC: [4, 1, 2]}
