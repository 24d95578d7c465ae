"""Entries of a line are signed by who says them, and those of strangers are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.line import MODEL
from support.provenance import Maker, make_maker

pytest.importorskip("cryptography")
pytest.importorskip("pydantic_settings")

from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.station.core.wire import Commands
from vision_edge.station.fleet.shared_gallery.seal import LineSeal, seal_of
from vision_edge.station.settings.provenance import ProvenanceSettings

TOPIC, ENTRY = "product/" + 64 * "a", b'{"label": "bolt"}'


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return make_maker(tmp_path / "maker", ("line",), "north")


def seal(maker: Maker, base: str = "vision-edge/line/hall-1") -> LineSeal:
    return LineSeal(base, maker.key, maker.store)


def test_an_entry_is_signed_and_opened(maker: Maker) -> None:
    sent = seal(maker).sealed(TOPIC, ENTRY)
    assert sent != ENTRY
    assert seal(maker).opened(TOPIC, sent) == ENTRY
    trusting_all = LineSeal("vision-edge/line/hall-1", None, None)
    assert trusting_all.opened(TOPIC, sent) == ENTRY, "a station that asks for none reads it, too"
    assert trusting_all.sealed(TOPIC, ENTRY) == trusting_all.opened(TOPIC, ENTRY) == ENTRY
    for topic, payload in ((TOPIC, b""), ("picture/a/0", b"x"), ("want/a", b"1")):
        assert seal(maker).sealed(topic, payload) == payload


def test_what_is_unsigned_altered_or_of_another_line_is_refused(
    maker: Maker, tmp_path: Path
) -> None:
    mine = seal(maker)
    sent = mine.sealed(TOPIC, ENTRY)
    with pytest.raises(GalleryError, match="not signed"):
        mine.opened(TOPIC, ENTRY)
    with pytest.raises(GalleryError, match="its payload is"):
        seal(maker, "vision-edge/line/hall-2").opened(TOPIC, sent)
    with pytest.raises(GalleryError, match="its payload is"):
        mine.opened("product/" + 64 * "b", sent)
    document = json.loads(sent)
    document["payload"] = document["payload"][:-4] + "AAAA"
    with pytest.raises(GalleryError, match="does not hold"):
        mine.opened(TOPIC, json.dumps(document).encode())
    stranger = LineSeal("vision-edge/line/hall-1", PrivateKey.new(), None)
    with pytest.raises(GalleryError, match="not trusted here"):
        mine.opened(TOPIC, stranger.sealed(TOPIC, ENTRY))
    other = make_maker(tmp_path / "other", ("bundle",))
    maker.store.trust(other.key.public, "release", purposes=["bundle"])
    of_bundles = LineSeal("vision-edge/line/hall-1", other.key, None)
    with pytest.raises(GalleryError, match="not for line"):
        seal(maker).opened(TOPIC, of_bundles.sealed(TOPIC, ENTRY))
    maker.store.revoke("north", "stolen")
    with pytest.raises(GalleryError, match="revoked"):
        seal(maker).opened(TOPIC, sent)


def test_the_settings_say_who_signs_and_whose_entries_count(maker: Maker) -> None:
    assert seal_of(None, "x") is None
    plain = seal_of(ProvenanceSettings(trust=maker.store.path), "x")
    assert plain is not None
    assert plain.opened(TOPIC, plain.sealed(TOPIC, ENTRY)) == ENTRY
    asked = ProvenanceSettings(
        trust=maker.store.path, line_key=maker.path, require_line_signature=True
    )
    strict = seal_of(asked, "x")
    assert strict is not None
    assert strict.opened(TOPIC, strict.sealed(TOPIC, ENTRY)) == ENTRY
    with pytest.raises(GalleryError, match="not signed"):
        strict.opened(TOPIC, plain.sealed(TOPIC, ENTRY))


def test_two_stations_share_what_is_signed_and_nothing_else(maker: Maker, tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client")
    import time
    from contextlib import contextmanager

    from support.line import embed, snapshot
    from support.wires import Broker, until

    from vision_edge.station.fleet.shared_gallery.sync import Access
    from vision_edge.station.fleet.shared_gallery.wire import GallerySync, gentle
    from vision_edge.station.settings.fleet import FleetSettings
    from vision_edge.station.settings.wires import MqttSettings

    broker = Broker(tmp_path / "mosquitto").start()
    strict = ProvenanceSettings(
        trust=maker.store.path, line_key=maker.path, require_line_signature=True
    )
    wires = []

    def post(name: str, provenance: ProvenanceSettings | None) -> GallerySync:
        @contextmanager
        def gallery():  # type: ignore[no-untyped-def]
            path = tmp_path / f"{name}.db"
            with Gallery(path, MODEL, create=True, author="operator") as opened:
                yield opened

        with gallery() as opened:
            opened.add(f"by {name}", [snapshot(len(name))])
        settings = FleetSettings(line="hall-1", share_gallery=True, poll_s=0.05)
        mqtt = MqttSettings(host="127.0.0.1", port=broker.port)
        access = Access(gallery, gentle(embed), lambda: None, time.time)
        wire = GallerySync(name, settings, mqtt, access, provenance)
        wire.start(Commands(lambda _: None))
        wires.append(wire)
        return wire

    def labels(name: str) -> list[str]:
        with Gallery(tmp_path / f"{name}.db") as opened:
            return sorted(opened.state())

    try:
        north = post("north", strict)
        post("south!", strict)
        post("stranger", None)
        until(lambda: "by south!" in labels("north") and "by north" in labels("south!"), 60.0)
        until(lambda: north.health().dropped > 0, 60.0)
        assert "not signed" in north.health().detail
        until(lambda: "by north" in labels("stranger"), 60.0)
        assert "by stranger" not in labels("north") + labels("south!")
    finally:
        for wire in wires:
            wire.close()
        broker.kill()
