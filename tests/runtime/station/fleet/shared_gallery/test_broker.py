"""Three stations of a line on a real mosquitto: partitions, restarts, and a broker that forgets."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.line import MODEL, embed, snapshot
from support.runtime import make_bundle, noisy, picture, weights

pytest.importorskip("paho.mqtt.client")
pytest.importorskip("pydantic_settings")

from support.wires import Broker, until

from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.pipeline.registration import snapshot_of
from vision_edge.runtime.system.limited_process import resident_mb
from vision_edge.station.core.station import Station
from vision_edge.station.core.wire import Commands
from vision_edge.station.fleet.host import line_wire
from vision_edge.station.fleet.shared_gallery.entries import product_key
from vision_edge.station.fleet.shared_gallery.sync import Access
from vision_edge.station.fleet.shared_gallery.wire import GallerySync, gentle
from vision_edge.station.settings.fleet import FleetSettings
from vision_edge.station.settings.station import StationSettings
from vision_edge.station.settings.wires import MqttSettings

NAMES = ("north", "south", "west")


class Post:
    """A station's gallery and its wire to the line."""

    def __init__(self, path: Path, name: str, port: int) -> None:
        self.path, self.name, self.port = path, name, port
        self.wire: GallerySync | None = None
        with self.gallery():
            pass

    @contextmanager
    def gallery(self) -> Iterator[Gallery]:
        with Gallery(self.path, MODEL, create=True, author="operator") as opened:
            yield opened

    def start(self) -> None:
        settings = FleetSettings(line="hall-1", share_gallery=True, poll_s=0.05)
        mqtt = MqttSettings(host="127.0.0.1", port=self.port)
        access = Access(self.gallery, gentle(embed), lambda: None, time.time)
        self.wire = GallerySync(self.name, settings, mqtt, access)
        self.wire.start(Commands(lambda _: None))

    def stop(self) -> None:
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    def labels(self) -> list[str]:
        with Gallery(self.path) as opened:
            return sorted(opened.state())


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("mosquitto")).start()
    yield made
    made.kill()


@pytest.fixture
def posts(broker: Broker, tmp_path: Path) -> Iterator[list[Post]]:
    made = [Post(tmp_path / f"{name}.db", name, broker.port) for name in NAMES]
    for post in made:
        post.start()
    yield made
    for post in made:
        post.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "line"]


def all_have(posts: list[Post], labels: list[str]) -> Callable[[], bool]:
    return lambda: all(post.labels() == labels for post in posts)


def test_partitions_restarts_and_a_broker_that_forgets(
    broker: Broker, posts: list[Post], tmp_path: Path
) -> None:
    north, south, west = posts
    with north.gallery() as gallery:
        big = Snapshot(snapshot(1).jpeg + b"\0" * 300_000, snapshot(1).embedding, "big")
        gallery.add("bolt", [big, snapshot(2)])  # four pieces and one
    until(all_have(posts, ["bolt"]))
    assert all(post.wire and post.wire.health().state == "ok" for post in posts)

    broker.kill()  # partition, and this broker keeps nothing over it
    until(lambda: all(p.wire is not None and p.wire.health().state != "ok" for p in posts))
    with north.gallery() as gallery:
        gallery.rename("bolt", "screw")
    with south.gallery() as gallery:
        gallery.add("nut", [snapshot(3)])
    west.stop()
    with west.gallery() as gallery:
        gallery.add("washer", [snapshot(4)])
    broker.start()
    until(all_have([north, south], ["nut", "screw"]), 30)
    west.start()
    until(all_have(posts, ["nut", "screw", "washer"]), 30)
    with Gallery(south.path) as gallery:
        authors = {(event.author, event.kind) for event in gallery.events()}
    assert ("station:north", "rename") in authors
    assert ("station:west", "add") in authors

    south.stop()
    newcomer = Post(tmp_path / "new.db", "new", broker.port)
    newcomer.start()
    try:
        until(all_have([newcomer, north, west], ["nut", "screw", "washer"]))
        with newcomer.gallery() as gallery:
            gallery.remove("nut")
        until(all_have([newcomer, north, west], ["screw", "washer"]))
        assert south.labels() == ["nut", "screw", "washer"]
        south.start()
        until(all_have([*posts, newcomer], ["screw", "washer"]))
    finally:
        newcomer.stop()


def test_noise_from_strangers_harms_nobody(broker: Broker, posts: list[Post]) -> None:
    until(lambda: all(post.wire and post.wire.health().state == "ok" for post in posts))
    stranger = publisher(broker)
    base = "vision-edge/line/hall-1/"
    try:
        for payload in (b"\xff", b"{}", b"x" * 2_000_000, json.dumps([1] * 1000).encode()):
            stranger.publish(base + product_key("hostile"), payload, qos=1).wait_for_publish(10)
        stranger.publish(base + "want/" + "0" * 64, b"9" * 1000, qos=1).wait_for_publish(10)
        stranger.publish(base + "product/x", b"", qos=1).wait_for_publish(10)
    finally:
        stranger.disconnect()
        stranger.loop_stop()
    with posts[0].gallery() as gallery:
        gallery.add("pin", [snapshot(5)])
    until(lambda: all("pin" in post.labels() for post in posts))
    until(lambda: all(post.wire and post.wire.health().dropped >= 4 for post in posts))
    healths = [post.wire.health() for post in posts if post.wire is not None]
    assert [health.state for health in healths] == ["ok"] * 3
    assert all("refused" in health.detail for health in healths)


def test_thirty_retained_mebibytes_are_refused_at_every_connection(
    broker: Broker, tmp_path: Path
) -> None:
    """A real broker delivers them at once to whoever subscribes, again and again."""
    base = "vision-edge/line/hall-1/"
    entry = {"schema_version": "1.0", "label": "vast", "station": "there", "negatives": []}
    payload = json.dumps({**entry, "snapshots": [0] * 400_000}).encode()[: 1 << 20]
    topics = [base + product_key(f"vast {number}") for number in range(30)]
    said = publisher(broker)
    for topic in topics:
        said.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)
    post = Post(tmp_path / "late.db", "late", broker.port)
    try:
        for connection in (1, 2):
            began, held = time.process_time(), resident_mb(os.getpid())
            post.start()
            until(lambda: post.wire is not None and post.wire.health().dropped >= 30, 60)
            assert time.process_time() - began < 30 * 1.0
            assert resident_mb(os.getpid()) - held < 100
            with post.gallery() as gallery:
                gallery.add(f"pin {connection}", [snapshot(connection)])
            until(lambda: post.wire is not None and post.wire.health().state == "ok", 30)
            post.stop()
        assert post.labels() == ["pin 1", "pin 2"]
    finally:
        post.stop()
        for topic in topics:
            said.publish(topic, b"", qos=1, retain=True).wait_for_publish(10)
        said.disconnect()
        said.loop_stop()


def publisher(broker: Broker) -> Any:
    """A client of nobody's, connected."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    return client


def test_a_broker_that_is_away_is_no_error(tmp_path: Path) -> None:
    post = Post(tmp_path / "alone.db", "alone", 1)
    post.start()
    assert post.wire is not None
    until(lambda: post.wire is not None and "no connection" in post.wire.health().detail)
    assert post.wire.health().state == "connecting"
    post.stop()


def shared_settings(folder: Path, name: str, port: int, **bundle: Any) -> StationSettings:
    make_bundle(folder / name / "bundle", name=name, **bundle)
    shots = folder / name / "shots"
    shots.mkdir()
    for number in range(2):
        assert cv2.imwrite(str(shots / f"{number}.png"), noisy(picture(number, 96), number))
    return StationSettings(
        bundle=folder / name / "bundle",
        gallery=folder / name / "gallery.db",
        station={"name": name},
        sources=[{"name": "top", "address": str(shots), "loop": True, "fps": 20.0}],
        threads=1,
        mqtt={"host": "127.0.0.1", "port": port},
        fleet={"line": "hall-2", "share_gallery": True, "poll_s": 0.05},
    )


def test_a_product_shown_at_one_station_is_recognised_at_another(
    broker: Broker, tmp_path: Path
) -> None:
    east = shared_settings(tmp_path, "east", broker.port)
    west = shared_settings(tmp_path, "west", broker.port, matrix=weights(7))
    with Station(east) as one, Station(west) as other:
        for station in (one, other):
            wire = line_wire(station)
            assert wire is not None
            station.add_wire(wire)
        assert one.session.bundle.manifest.identity != other.session.bundle.manifest.identity
        with one.gallery("anna") as gallery:
            for number, label in enumerate(("bolt", "nut")):
                model = one.products.model
                gallery.add(label, [snapshot_of(picture(number, 96), model, label)])
        until(lambda: {r["label"] for r in other.records(20)} >= {"bolt", "nut"}, 30)
        (health,) = other.status()["wires"]
        assert (health["name"], health["state"]) == ("line", "ok")
        with other.products.opened() as gallery:
            assert {event.author for event in gallery.events()} == {"station:east"}
        with other.gallery("otto") as gallery:
            gallery.rollback(0)
        until(lambda: one.products.count == 0)
