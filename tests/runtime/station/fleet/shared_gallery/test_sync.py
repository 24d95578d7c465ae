"""Stations of one line: whatever happens in whatever order, they end with the same products."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.line import MODEL, START, Clock, Member, MemoryBroker, jpeg, settle, snapshot

from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.archive_manifest import sha256_of
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.station.fleet.shared_gallery.entries import (
    MAX_ENTRY,
    Entry,
    Picture,
    negative_key,
    product_key,
    read_entry,
)
from vision_edge.station.fleet.shared_gallery.entries import Clock as EntryClock
from vision_edge.station.fleet.shared_gallery.local_gallery import Limits
from vision_edge.station.fleet.shared_gallery.picture_pieces import PIECE, Assembly, pieces_of

NAMES = ("north", "south", "west")


class Line:
    """Three stations, all connected."""

    def __init__(self, folder: Path) -> None:
        self.broker, self.clock = MemoryBroker(), Clock()
        self.stations = [
            Member(self.broker, self.clock, folder / f"{name}.db", name) for name in NAMES
        ]
        self.north, self.south, self.west = self.stations
        for station in self.stations:
            station.connect()

    def settle(self, seconds: float = 6.0) -> None:
        settle(self.broker, self.clock, seconds)


@pytest.fixture
def line(tmp_path: Path) -> Line:
    made = Line(tmp_path)
    made.settle()
    return made


def change(station: Member, action: Callable[[Gallery], object]) -> None:
    with station.gallery() as gallery:
        action(gallery)


def test_a_registration_reaches_the_other_stations_with_its_author(line: Line) -> None:
    change(line.north, lambda g: g.add("bolt", [snapshot(1), snapshot(2)]))
    line.settle()
    assert [s.products() for s in line.stations] == [line.north.products()] * 3
    assert line.north.authors() == ["operator"] * 2
    assert line.south.authors() == ["station:north"] * 2
    assert (line.north.changes, line.south.changes) == (0, 1)
    with Gallery(line.south.path) as gallery:
        (identifier, _) = gallery.state()["bolt"]
        assert gallery.snapshots.jpeg(identifier) == jpeg(1)


def test_an_applied_change_is_not_told_again(line: Line) -> None:
    change(line.north, lambda g: g.add("bolt", [snapshot(1)]))
    line.settle()
    sent = line.broker.sent
    line.settle(30)
    assert line.broker.sent == sent
    assert [s.sync.published for s in line.stations] == [1, 0, 0]


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (lambda g: g.rename("bolt", "screw"), "rename"),
        (lambda g: g.remove("bolt"), "remove"),
        (lambda g: g.add_negatives("bolt", [snapshot(7)]), "negative"),
        (lambda g: g.add_negatives(None, [snapshot(8)]), "negative"),
        (lambda g: g.drop(1), "drop"),
    ],
)
def test_every_kind_of_change_is_shared_and_can_be_undone(
    line: Line, action: Callable[[Gallery], object], kind: str
) -> None:
    change(line.north, lambda g: g.add("bolt", [snapshot(1), snapshot(2)]))
    line.settle()
    before = line.south.products()
    change(line.north, action)
    line.settle()
    assert line.south.products() == line.north.products() != before
    with Gallery(line.south.path) as gallery:
        assert gallery.events()[-1].kind == kind
        version = gallery.version
    change(line.south, lambda g: g.rollback(version - 1))
    line.settle()
    assert line.north.products() == line.west.products() == before


def test_changes_made_apart_meet_when_the_broker_is_back(line: Line) -> None:
    line.north.disconnect()
    change(line.north, lambda g: g.add("bolt", [snapshot(1)]))
    change(line.south, lambda g: g.add("nut", [snapshot(2)]))
    line.settle()
    assert "nut" not in line.north.products()
    line.north.connect()
    line.settle()
    assert [sorted(s.products()) for s in line.stations] == [["bolt", "nut"]] * 3


def test_of_two_changes_to_a_product_the_later_one_stays(line: Line) -> None:
    line.north.disconnect()
    line.south.disconnect()
    with line.north.gallery() as gallery:
        gallery.add("bolt", [snapshot(1)])
    line.north.skew = -30.0
    line.north.step()
    line.south.step()
    with line.south.gallery() as gallery:
        gallery.add("bolt", [snapshot(2)])
    line.south.step()
    line.north.skew = 0.0
    line.north.connect()
    line.south.connect()
    line.settle()
    assert [s.products() for s in line.stations] == [{"bolt": {sha256_of(jpeg(2))}}] * 3
    assert line.north.authors() == ["operator", "station:south", "station:south"]


def test_who_saw_a_change_and_changes_it_wins_however_slow_its_clock(line: Line) -> None:
    change(line.north, lambda g: g.add("bolt", [snapshot(1)]))
    line.settle()
    line.south.skew = -300.0
    change(line.south, lambda g: g.add("bolt", [snapshot(2)]))
    line.settle()
    assert all(len(s.products()["bolt"]) == 2 for s in line.stations)


def test_one_picture_claimed_by_two_products_goes_to_the_newer(line: Line) -> None:
    line.north.disconnect()
    change(line.north, lambda g: g.add("bolt", [snapshot(1)]))
    change(line.south, lambda g: g.add("nut", [snapshot(1), snapshot(2)]))
    line.settle()
    line.north.connect()
    line.settle()
    assert line.north.products() == line.south.products() == line.west.products()
    assert sum(sha256_of(jpeg(1)) in shas for shas in line.north.products().values()) == 1


def test_a_newcomer_gets_all_and_a_wiped_broker_is_filled_again(line: Line, tmp_path: Path) -> None:
    for number in range(30):
        change(line.north, lambda g, n=number: g.add(f"part {n}", [snapshot(n)]))
    line.settle()
    kept = dict(line.broker.kept)
    for station in line.stations:
        station.disconnect()
    line.broker.kept.clear()
    line.south.connect()
    line.settle(10)
    assert line.broker.kept == kept
    line.south.disconnect()
    newcomer = Member(line.broker, line.clock, tmp_path / "new.db", "newcomer")
    newcomer.connect()
    line.settle(10)
    assert newcomer.products() == line.north.products()


def test_a_newcomer_adds_to_its_line_and_overrules_nothing(line: Line, tmp_path: Path) -> None:
    change(line.north, lambda g: g.add("bolt", [snapshot(1)]))
    line.settle()
    for number, name in enumerate(("first", "second")):
        newcomer = Member(line.broker, line.clock, tmp_path / f"{name}.db", name)
        change(newcomer, lambda g, n=number: g.add("bolt", [snapshot(10 + n)]))
        change(newcomer, lambda g, n=number: g.add("nut", [snapshot(20 + n)]))
        newcomer.connect()
    line.settle(10)
    held = {"bolt": {sha256_of(jpeg(1))}, "nut": {sha256_of(jpeg(21))}}
    assert [member.products() for member in line.broker.members] == [held] * 5


def test_a_picture_that_the_broker_lost_is_asked_for(line: Line) -> None:
    line.south.disconnect()
    line.north.disconnect()
    change(line.west, lambda g: g.add("bolt", [snapshot(1)]))
    line.settle()
    for topic in [t for t in line.broker.kept if t.startswith("picture/")]:
        del line.broker.kept[topic]
    line.south.connect()
    line.settle(12)
    assert line.south.products() == line.west.products()


def test_pictures_of_no_product_any_more_leave_the_broker(line: Line) -> None:
    change(line.north, lambda g: g.add("bolt", [snapshot(1)]))
    line.settle()
    change(line.south, lambda g: g.remove("bolt"))
    line.settle()
    assert not [topic for topic in line.broker.kept if topic.startswith("picture/")]
    assert line.north.products() == {}


def test_stations_of_other_models_embed_for_themselves(line: Line, tmp_path: Path) -> None:
    other = ModelIdentity("b" * 64, 4)
    stranger = Member(line.broker, line.clock, tmp_path / "o.db", "other", model=other)
    stranger.connect()
    change(line.north, lambda g: g.add("bolt", [snapshot(1)]))
    line.settle()
    with Gallery(stranger.path, other) as gallery:
        labels, prototypes = gallery.prototypes()
    assert labels == ["bolt"]
    assert prototypes.shape == (1, 4)


def entry(label: str = "bolt", **changes: object) -> dict[str, object]:
    picture = {"sha256": sha256_of(jpeg(1)), "bytes": len(jpeg(1)), "origin": "x"}
    fields = {
        "format": "vision-edge line",
        "schema_version": "1.0",
        "key": product_key(label),
        "label": label,
        "clock": {"ms": int(START * 1000), "n": 0},
        "station": "mallory",
        "snapshots": [picture],
        "negatives": [],
    }
    return {**fields, **changes}


HOSTILE = {
    "no JSON": b"\xff\x00",
    "not an object": b"[1]",
    "deep": b"[" * 100_000,
    "large": b" " * (MAX_ENTRY + 1),
    "version": json.dumps(entry(schema_version="2.0")).encode(),
    "unknown field": json.dumps(entry(run="rm")).encode(),
    "label of another key": json.dumps(entry(label="nut", key=product_key("bolt"))).encode(),
    "control characters": json.dumps(entry("a\nb")).encode(),
    "clock": json.dumps(entry(clock={"ms": 1 << 60, "n": 0})).encode(),
    "float": json.dumps(entry(clock={"ms": 1.5, "n": 0})).encode(),
    "negative size": json.dumps(
        entry(snapshots=[{"sha256": "0" * 64, "bytes": -1, "origin": ""}])
    ).encode(),
    "twice": json.dumps(
        entry(snapshots=[{"sha256": "0" * 64, "bytes": 1, "origin": ""}] * 2)
    ).encode(),
    "station": json.dumps(entry(station="\u202e")).encode(),
    "surrogate": b'{"label": "\\ud800"}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_malformed_entry_is_refused_and_counted(line: Line, name: str) -> None:
    change(line.north, lambda g: g.add("bolt", [snapshot(5)]))
    line.settle()
    held = line.north.products()
    line.broker.publish(product_key("bolt"), HOSTILE[name], retain=True)
    line.settle()
    assert all(s.products() == held for s in line.stations)
    assert all(s.sync.counts["refused"] == 1 for s in line.stations)
    assert read_entry(line.broker.kept[product_key("bolt")]).station == "north"
    sent = line.broker.sent
    line.settle(20)
    assert line.broker.sent == sent


def test_a_picture_that_is_none_is_refused(line: Line) -> None:
    data = b"\xff\xd8\xff" + b"no picture" * 10
    picture = {"sha256": sha256_of(data), "bytes": len(data), "origin": "x"}
    line.broker.publish(f"picture/{sha256_of(data)}/0", data, retain=True)
    bomb = entry(snapshots=[picture])
    line.broker.publish(product_key("bolt"), json.dumps(bomb).encode(), retain=True)
    line.settle()
    assert all(s.products() == {} for s in line.stations)
    assert all(s.sync.counts["refused"] == 1 for s in line.stations)
    change(line.north, lambda g: g.add("bolt", [snapshot(1)]))
    line.settle()
    assert all("bolt" in s.products() for s in line.stations)


def test_other_bytes_than_announced_are_refused(line: Line) -> None:
    sha = sha256_of(jpeg(1))
    line.broker.publish(f"picture/{sha}/0", b"x" * 10, retain=True)
    line.broker.publish(f"picture/{sha}/7", b"x" * 10, retain=True)
    line.broker.publish(product_key("bolt"), json.dumps(entry()).encode(), retain=True)
    line.settle(12)
    assert all(s.products() == {} for s in line.stations)
    assert all(s.sync.counts["refused"] == 2 for s in line.stations)
    line.broker.publish("nonsense", b"", retain=False)
    line.north.sync.receive("nonsense", b"")
    assert "nonsense" in line.north.sync.refusal


def test_what_is_too_large_is_neither_sent_nor_taken(tmp_path: Path) -> None:
    broker, clock = MemoryBroker(), Clock()
    wide = Member(broker, clock, tmp_path / "wide.db", "wide")
    narrow = Member(broker, clock, tmp_path / "narrow.db", "narrow", Limits(picture=100))
    for station in (wide, narrow):
        station.connect()
    settle(broker, clock)
    change(wide, lambda g: g.add("bolt", [snapshot(1)]))
    change(narrow, lambda g: g.add("nut", [snapshot(2)]))
    settle(broker, clock)
    assert (set(wide.products()), set(narrow.products())) == ({"bolt"}, {"nut"})
    assert "too large" in narrow.sync.refusal
    assert narrow.sync.published <= 1
    sent = broker.sent
    settle(broker, clock, 30)
    assert broker.sent == sent


def test_a_change_dated_in_the_future_waits_and_one_far_ahead_is_refused(line: Line) -> None:
    line.west.skew = 3600.0
    change(line.west, lambda g: g.add("bolt", [snapshot(1)]))
    ahead = entry("nut", clock={"ms": int((line.clock.now + 3600) * 1000), "n": 0})
    line.broker.publish(f"picture/{sha256_of(jpeg(1))}/0", jpeg(1), retain=True)
    line.broker.publish(product_key("nut"), json.dumps(ahead).encode(), retain=True)
    far = entry("washer", clock={"ms": int((line.clock.now + 9e5) * 1000), "n": 0})
    line.broker.publish(product_key("washer"), json.dumps(far).encode(), retain=True)
    line.settle()
    assert line.north.products() == {"bolt": line.north.products()["bolt"]}
    assert (line.north.sync.counts["postponed"], line.north.sync.counts["refused"]) == (1, 1)
    line.clock.now += 3601
    line.settle()
    assert set(line.north.products()) == {"nut"}  # the newer claim on the picture has it
    assert line.north.products() == line.south.products() == line.west.products()


def test_a_clock_that_was_never_set_takes_nothing_until_it_is(line: Line) -> None:
    line.south.skew = -START + 100
    change(line.north, lambda g: g.add("bolt", [snapshot(1)]))
    line.settle()
    assert line.south.products() == {}
    line.south.skew = 0.0
    line.settle()
    assert line.south.products() == line.north.products()


def test_a_restart_amid_a_change_loses_nothing(line: Line) -> None:
    change(line.north, lambda g: g.add("bolt", [snapshot(1)]))
    line.north.start()
    line.north.connect()
    line.settle()
    change(line.south, lambda g: g.add("nut", [snapshot(2)]))
    line.north.start()
    line.south.step()
    line.south.start()
    line.north.connect()
    line.south.connect()
    line.settle()
    assert [sorted(s.products()) for s in line.stations] == [["bolt", "nut"]] * 3


def test_a_picture_in_many_pieces_is_put_together() -> None:
    data = bytes(range(256)) * 1000
    assembly = Assembly(Picture(sha256=sha256_of(data), bytes=len(data)))
    pieces = list(pieces_of(data))
    assert [len(piece) for _, piece in pieces] == [PIECE, PIECE, len(data) - 2 * PIECE]
    assert not assembly.take(3, b"x")
    assert not assembly.take(0, b"x")
    for number, piece in reversed(pieces):
        assert assembly.jpeg() is None
        assert assembly.take(number, piece)
    assert assembly.jpeg() == data
    assert assembly.take(0, b"x" * PIECE)
    assert assembly.jpeg() is None


def test_an_entry_is_read_as_it_was_written_and_checked() -> None:
    clock = EntryClock(ms=5)
    made = Entry(key=product_key("b"), label="b", clock=clock, station="s")
    assert read_entry(made.to_bytes()) == made
    with pytest.raises(ValueError, match="key"):
        Entry(key=negative_key("0" * 64), label="b", clock=clock, station="s")
    assert clock.next(5) == EntryClock(ms=5, n=1)
    assert clock.next(4) == EntryClock(ms=5, n=1)
    assert clock.next(6) == EntryClock(ms=6)
    assert EntryClock(ms=5, n=(1 << 31) - 1).next(0) == EntryClock(ms=6)


STATION = st.integers(0, 2)
KINDS = ["add"] * 4 + ["negative", "other", "drop", "remove", "rename", "rollback"]
CHANGE = st.tuples(st.sampled_from(KINDS), st.sampled_from(["bolt", "nut"]), st.integers(0, 4))
"""A change at a station: its kind, a product, a picture."""
AFTERWARDS = st.tuples(
    st.sampled_from(["pass"] * 5 + ["nothing", "toggle", "restart", "step", "skew", "wipe"]),
    STATION,
    st.integers(-100, 100),
)
"""What follows it: time passes and everyone talks, a partition begins or ends, and so on."""
EVENTS = st.lists(st.tuples(STATION, CHANGE, AFTERWARDS), min_size=3, max_size=14)


def act(gallery: Gallery, kind: str, label: str, number: int) -> None:
    calls: dict[str, Callable[[], object]] = {
        "add": lambda: gallery.add(label, [snapshot(number)]),
        "negative": lambda: gallery.add_negatives(label, [snapshot(number)]),
        "other": lambda: gallery.add_negatives(None, [snapshot(number)]),
        "drop": lambda: gallery.drop(_find(gallery, number)),
        "remove": lambda: gallery.remove(label),
        "rename": lambda: gallery.rename(label, "washer" if number > 2 else "nut"),
        "rollback": lambda: gallery.rollback(max(0, gallery.version - number)),
    }
    with suppress(GalleryError):  # it makes no sense in this state, and a gallery says so
        calls[kind]()


def _find(gallery: Gallery, number: int) -> int:
    return gallery.snapshots.find(sha256_of(jpeg(number))) or -1


EXAMPLES = int(os.environ.get("VISION_EDGE_LINE_EXAMPLES", "8"))
"""More of them take longer, and find what is rarer."""


def follow(line: Line, kind: str, station: Member, amount: int) -> None:
    calls: dict[str, Callable[[], object]] = {
        "pass": lambda: line.settle(1.0 + abs(amount) / 40),
        "nothing": lambda: None,
        "toggle": station.disconnect if station.online else station.connect,
        "restart": station.start,
        "step": lambda: station.step(abs(amount) % 4),
        "skew": lambda: setattr(station, "skew", float(amount)),
        "wipe": line.broker.kept.clear,
    }
    calls[kind]()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(EVENTS)
def test_any_interleaving_ends_in_the_same_products(
    events: list[tuple[int, tuple[str, str, int], tuple[str, int, int]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        line = Line(Path(folder))
        line.settle(2.0)
        for place, changed, (kind, other, amount) in events:
            line.clock.now += 0.25
            change(line.stations[place], lambda gallery, c=changed: act(gallery, *c))
            follow(line, kind, line.stations[other], amount)
        for station in line.stations:
            station.connect()
        line.settle(12)
        held = [station.products() for station in line.stations]
        assert held == [held[0]] * 3
        sent = line.broker.sent
        line.settle(5)
        assert line.broker.sent == sent


def test_a_gallery_of_the_same_version_in_its_place_is_noticed(line: Line, tmp_path: Path) -> None:
    """Two files that count alike and hold different products; one takes the other's place."""
    change(line.north, lambda gallery: gallery.add("part 1", [snapshot(1)]))
    line.settle()
    with Gallery(tmp_path / "other.db", MODEL, create=True) as other:
        other.add("part 2", [snapshot(2)])
        with line.north.gallery() as here:
            assert here.version == other.version
    (tmp_path / "other.db").replace(line.north.path)
    line.settle(12.0)
    assert "part 2" in line.north.products()
    assert "part 2" in line.south.products()
