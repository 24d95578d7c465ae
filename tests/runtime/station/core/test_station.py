from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.runtime import invoked, make_bundle, weights
from support.station import eventually, settings_for, sharp, strangers

from vision_edge.runtime.errors import SourceError, VisionEdgeError
from vision_edge.runtime.pipeline.registration import snapshot_of
from vision_edge.runtime.sources.grabber import Grabbed, Grabber
from vision_edge.runtime.sources.live import LiveSource
from vision_edge.station.core.errors import NotThereError
from vision_edge.station.core.state_folder import StateError
from vision_edge.station.core.station import Station
from vision_edge.station.core.wire import Commands, Record, WireHealth


class Notebook:
    """A wire that writes verdicts down, or fails."""

    name = "notebook"

    def __init__(self, *, broken: bool = False) -> None:
        self.records: list[Record] = []
        self.commands: Commands | None = None
        self.closed = False
        self.states: list[tuple[str, str]] = []
        self._broken = broken

    def start(self, commands: Commands) -> None:
        self.commands = commands

    def verdict(self, record: Record) -> None:
        if self._broken:
            raise ValueError("broken")
        self.records.append(record)

    def state(self, source: str, status: Record) -> None:
        self.states.append((source, str(status["state"])))

    def health(self) -> WireHealth:
        if self._broken:
            raise ValueError("broken")
        return WireHealth(self.name, "ok", "fine", len(self.records))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def station_of(bundle_path: Path, registered: Path):
    """Make settings of a station over the three products."""
    return lambda *sources, **sections: settings_for(bundle_path, registered, *sources, **sections)


def test_two_sources_one_of_which_is_not_there(station_of, shots: Path, tmp_path: Path) -> None:
    settings = station_of(shots, tmp_path / "later")
    with Station(settings) as station:
        eventually(lambda: len(station.records()) >= 3)
        good, bad = station.status()["sources"]
        assert (good["state"], bad["state"]) == ("live", "lost")
        assert "later" in bad["message"]
        strangers(tmp_path / "later")
        eventually(lambda: station.records(1, "source-1"))
        records = station.records(1000)
    assert {r["label"] for r in records if r["source_name"] == "source-0"} == {
        "bolt", "nut", "washer",
    }  # fmt: skip
    assert {r["label"] for r in records if r["source_name"] == "source-1"} == {None}
    assert [r["id"] for r in records] == sorted((r["id"] for r in records), reverse=True)
    assert records[0]["station"] == "station"


def test_a_folder_ends_with_a_verdict_on_each_picture(station_of, shots: Path) -> None:
    with Station(station_of({"address": shots})) as station:
        eventually(lambda: station.status()["sources"][0]["state"] == "ended")
        assert [r["label"] for r in station.records()] == ["washer", "nut", "bolt"]


def test_pictures_of_a_deep_camera_are_judged_by_the_bits_that_are_said(
    station_of, shots: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    for path in shots.iterdir():
        grey = cv2.imread(str(path)).astype(np.uint16) << 4
        cv2.imwrite(str(folder / f"{path.stem}.png"), grey)
    with Station(station_of({"address": folder, "bits": 12})) as station:
        eventually(lambda: station.status()["sources"][0]["state"] == "ended")
        assert [r["label"] for r in station.records()] == ["washer", "nut", "bolt"]


def test_parts_are_judged_on_command(station_of, shots: Path) -> None:
    table = {"address": shots / "nut.png", "trigger": "command", "loop": True, "fps": 60}
    with Station(station_of(table, shots)) as station:
        line = station.line("source-0")
        eventually(lambda: line.frames > 3)
        assert not station.records(10, "source-0")
        station.trigger("source-0")
        [record] = eventually(lambda: station.records(10, "source-0"))
        assert (record["label"], record["part"]["frames"]) == ("nut", 3)
        station.trigger()
        eventually(lambda: len(station.records(10, "source-0")) == 2)
        with pytest.raises(NotThereError, match="there is no source 'source-9'"):
            station.trigger("source-9")
        with pytest.raises(VisionEdgeError, match="not judged on command"):
            station.trigger("source-1")


def test_another_process_registers_and_it_is_seen_within_a_second(
    station_of, bundle_path: Path, registered: Path, tmp_path: Path
) -> None:
    pictures = strangers(tmp_path / "new", 1)
    with Station(station_of(pictures)) as station:
        eventually(lambda: station.records())
        assert station.records(1)[0]["label"] is None
        invoked(
            "register", bundle_path, "gear", pictures / "0.png", "--force", "--gallery", registered
        )
        eventually(lambda: station.records(1)[0]["label"] == "gear", 1.0)
        assert station.status()["gallery"] == {"version": 4, "products": 4}


def test_a_station_without_products_says_unknown_to_everything(
    bundle_path: Path, shots: Path, tmp_path: Path
) -> None:
    with Station(settings_for(bundle_path, tmp_path / "new.gallery", shots)) as station:
        [record, *_] = eventually(station.records)
        assert (record["label"], record["nearest"], record["band"]) == (None, "", "unknown")
        with station.gallery("me") as gallery:
            gallery.add("gear", [snapshot_of(sharp(0), station.session, "x")])
        assert station.status()["gallery"] == {"version": 1, "products": 1}
        eventually(lambda: station.records(1)[0]["nearest"] == "gear")


def test_subscribers_and_wires_get_every_verdict_and_a_broken_wire_stops_nothing(
    station_of, shots: Path
) -> None:
    with Station(station_of(shots)) as station:
        good, bad = Notebook(), Notebook(broken=True)
        station.add_wire(bad)
        station.add_wire(good)
        subscription = station.subscribe()
        eventually(lambda: len(good.records) >= 5)
        first = next(data for kind, data in subscription if kind == "verdict")
        assert first in good.records
        assert [wire["state"] for wire in station.status()["wires"]] == ["down", "ok"]
    assert good.closed and bad.closed


def test_one_station_a_state_folder_and_the_same_state_after_a_restart(
    station_of, tmp_path: Path
) -> None:
    settings = station_of({"address": strangers(tmp_path / "s")}, review={"per_minute": 600})
    with Station(settings) as station:
        with pytest.raises(StateError, match="another station runs"):
            Station(settings).start()
        eventually(lambda: station.review.pending == 3)
        items = station.review.items(10)
        last = station.records(1)[0]["id"]
    again = station_of({"address": strangers(tmp_path / "t", 8)}, review={"per_minute": 600})
    with Station(again) as station:
        eventually(lambda: station.review.pending > 3)
        waits = [{**item, "times": 1, "last": item["time"]} for item in station.review.items(10)]
        assert waits[-3:] == [{**item, "times": 1, "last": item["time"]} for item in items]
        assert len({item["id"] for item in waits}) == len(waits)
        assert station.records(1)[0]["id"] > last
        assert station.status()["gallery"] == {"version": 3, "products": 3}


def test_a_switch_embeds_anew_is_kept_over_a_restart_and_can_be_undone(
    station_of, shots: Path, tmp_path: Path
) -> None:
    other = make_bundle(tmp_path / "other", matrix=weights(7, 24), name="other")
    settings = station_of(shots)
    with Station(settings) as station:
        before = station.status()["bundle"]
        eventually(station.records)
        station.switch(other, "fleet")
        assert station.status()["bundle"]["embedding_dim"] == 24
        seen = len(station.records(1000))
        eventually(lambda: len(station.records(1000)) > seen + 5)
        assert {r["label"] for r in station.records(6)} == {"bolt", "nut", "washer"}
        with pytest.raises(VisionEdgeError):
            station.switch(tmp_path / "absent")
        assert station.status()["bundle"]["name"] == "other"
    with Station(settings) as station:
        assert station.status()["bundle"]["name"] == "other"
        station.undo_switch()
        assert station.status()["bundle"] == before
        eventually(lambda: len(station.records(1000)) > 5)
        assert station.records(1)[0]["known"]
    with Station(settings) as station:
        assert station.status()["bundle"] == before


class Flaky(Grabber):
    """A camera that can be unplugged; every connection and frame of it is made here."""

    fps: float | None = 50.0

    def __init__(self) -> None:
        self.plugged = threading.Event()

    def open(self, *_: object) -> Flaky:
        if not self.plugged.is_set():
            raise SourceError("no camera answers")
        return self

    def grab(self) -> Grabbed | None:
        time.sleep(0.02)
        return Grabbed(sharp(0), None) if self.plugged.is_set() else None

    def close(self) -> None:
        pass


def test_a_camera_that_is_lost_comes_back_and_everyone_is_told(
    station_of, shots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera, wire = Flaky(), Notebook()
    monkeypatch.setitem(LiveSource.__init__.__kwdefaults__, "opener", camera.open)
    table = {"address": "rtsp://me:secret@camera/a?x=1", "stale_after": 0.3, "lost_after": 0.6}
    with Station(station_of({**table, "max_age_ms": 60_000}, shots)) as station:

        def status() -> dict[str, Any]:
            return dict(station.status()["sources"][0])

        station.add_wire(wire)
        assert (status()["state"], status()["address"]) == ("connecting", "rtsp://camera/a")
        camera.plugged.set()
        eventually(lambda: status()["state"] == "live" and station.records(1, "source-0"))
        camera.plugged.clear()
        eventually(lambda: status()["state"] == "lost" and status()["message"])
        camera.plugged.set()
        eventually(lambda: status()["state"] == "live" and status()["reconnects"] == 1)
        assert station.records(1, "source-1")
    states = [state for source, state in wire.states if source == "source-0"]
    assert states[0] == "connecting" and {"live", "lost"} <= set(states) and states[-1] == "live"


def test_a_frozen_frame_is_the_one_that_was_shown(station_of, shots: Path) -> None:
    with Station(station_of({"address": shots / "nut.png"})) as station:
        frame = eventually(lambda: station.line("source-0").latest)
        capture = station.freeze("source-0")
        assert np.array_equal(capture.image, frame.image)
        assert station.captures.get(capture.id) is capture


def test_a_bundle_that_does_not_fit_the_gallery_ends_the_start_and_frees_the_folder(
    station_of, registered: Path, shots: Path, tmp_path: Path
) -> None:
    other = make_bundle(tmp_path / "other", matrix=weights(7, 24))
    with pytest.raises(VisionEdgeError, match="made by another model"):
        Station(settings_for(other, registered, shots)).start()
    with Station(station_of(shots)) as station:
        assert station.ready


def test_a_folder_that_grows_is_followed_and_the_station_still_stops(
    station_of, shots: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    settings = station_of({"address": folder, "follow": True})
    with Station(settings) as station:
        shutil.copy(shots / "nut.png", folder / "1.png")
        eventually(lambda: [record["label"] for record in station.records()] == ["nut"])
        shutil.copy(shots / "bolt.png", folder / "2.png")
        eventually(lambda: [record["label"] for record in station.records()] == ["bolt", "nut"])
        line = station.lines[0]
    assert line.join(0.1)
