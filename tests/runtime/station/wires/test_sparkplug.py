"""Sparkplug B against a real mosquitto, decoded by another project (pysparkplug)."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.sparkplug import GROUP, HOST, NODE, NUMBER, Host, pysparkplug, settled
from support.station import settings_for
from support.wires import Broker, free_port, record, until

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.attached import wires_of
from vision_edge.station.core.station import Station as WholeStation
from vision_edge.station.core.wire import Commands
from vision_edge.station.settings.sparkplug import SparkplugSettings
from vision_edge.station.wires.sparkplug.wire import SparkplugWire

RESTARTS = int(os.environ.get("VISION_EDGE_BROKER_KILLS", "2"))
LIVE = {"state": "live", "expected": {"product": None}}


class Codes:
    """Two products with codes."""

    def code(self, label: str) -> int | None:
        return {"valve": 7}.get(label)

    def label(self, code: int) -> str | None:
        return {7: "valve"}.get(code)


class Station:
    """A wire, and what was asked of it."""

    def __init__(
        self, port: int, folder: Path, sources: tuple[str, ...] = ("cam",), **more: Any
    ) -> None:
        self.asked: list[str] = []
        given = {"group_id": GROUP, "primary_host": HOST, "expect": True, "resets": True}
        given |= {"host_wait_s": 0.5, **more}
        settings = SparkplugSettings(port=port, **given)
        self.wire = SparkplugWire(settings, NODE, folder, list(sources), sources, Codes())

    def start(self) -> Station:
        self.wire.start(Commands(self._trigger, self._expect, lambda who: self.asked.append(who)))
        return self

    def live(self, *sources: str) -> Station:
        for source in sources or ("cam",):
            self.wire.state(source, LIVE)
        return self.start()

    def _trigger(self, source: str | None) -> None:
        self.asked.append(f"trigger {source}")

    def _expect(self, source: str, product: str | None, unregistered: bool) -> None:
        if product == "gone":
            raise VisionEdgeError("'gone' is not registered")
        self.asked.append(f"{source}={product}")
        self.wire.state(source, {**LIVE, "expected": {"product": product}})


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker for the tests that leave it alive."""
    broker = Broker(tmp_path_factory.mktemp("broker")).start()
    yield broker
    broker.kill()


@pytest.mark.parametrize("version", [5, 3])
@pytest.mark.parametrize("aliases", [True, False])
def test_births_data_and_deaths_are_read_by_another_project(
    broker: Broker, tmp_path: Path, version: int, aliases: bool
) -> None:
    host = Host(broker.port)
    station = Station(broker.port, tmp_path, ("cam", "side"), version=version, aliases=aliases)
    wire = station.live().wire
    until(lambda: host.alive == {"", "cam"})
    for number in range(600):
        wire.verdict(record(number))
    settled(host, 600)
    assert host.frames == list(range(600))
    first, last = host.taken[0][0], host.taken[-1][0]
    assert last - first == 599
    shown = {name: host.tag(f"Verdict/{name}") for name in ("Product", "Code", "Score", "Known")}
    assert shown == {"Product": "valve", "Code": 7, "Score": 0.912345, "Known": True}
    data = host.said("DDATA", "cam")[-1]
    assert {metric.alias is None for metric in data.metrics} == {not aliases}
    born = {m.name: m for m in host.said("NBIRTH")[0].metrics}
    assert born["Node Control/Rebirth"].value is False
    assert born["Node Control/Rebirth"].alias is None
    wire.state("side", LIVE)
    until(lambda: host.alive == {"", "cam", "side"})
    births = [host.said("NBIRTH")[0], host.said("DBIRTH", "cam")[0], host.said("DBIRTH", "side")[0]]
    numbers = [m.alias for got in births for m in got.metrics if m.alias is not None]
    assert len(set(numbers)) == len(numbers)
    wire.state("side", {"state": "lost"})
    until(lambda: host.alive == {"", "cam"})
    until(lambda: host.tag("State", "side") == "lost")
    assert wire.health().state == "ok"
    wire.close()
    until(lambda: host.said("NDEATH"))
    assert host.said("NDEATH")[0].bd_seq_metric.value == born["bdSeq"].value
    assert host.faults == []
    host.close()


def test_counts_states_and_what_is_expected_are_told_and_commands_are_taken(
    broker: Broker, tmp_path: Path
) -> None:
    host = Host(broker.port)
    station = Station(broker.port, tmp_path)
    wire = station.live().wire
    until(lambda: "cam" in host.alive)
    entry = {"source": "cam", "parts": 3, "unknown": 1, "missed": 2, "products": {"nüt": 2}}
    total = [{**entry, "parts": 5_000_000_000}]
    wire.counts({"shift": "early", "since": "t", "sources": [entry], "total": total})
    until(lambda: host.tag("Counts/Products/nüt") == 2)
    read = [host.tag(f"Counts/{name}") for name in ("Parts", "Unknown", "Missed", "Total")]
    assert read == [3, 1, 2, 5_000_000_000]
    until(lambda: host.tag("Counts/Shift", "") == "early")
    host.write("DCMD", "Expected Product", "valve", "cam")
    until(lambda: host.tag("Expected Product") == "valve")
    host.write("DCMD", "Expected Product", None, "cam")
    until(lambda: host.tag("Expected Product") == "")
    host.write("DCMD", "Device Control/Trigger", True, "cam")
    host.write("NCMD", "Node Control/Reset Counts", True)
    until(lambda: len(station.asked) == 4)
    assert station.asked == ["cam=valve", "cam=None", "trigger cam", "sparkplug"]
    verification = {"expected": "valve", "answer": "unsure", "reason": "far", "wrong_rate": 0.1}
    wire.verdict(record(1, label=None, known=False, margin=None, verification=verification,
                        in_view=False, trigger=41))  # fmt: skip
    until(lambda: host.tag("Verdict/Verification") == "unsure")
    assert (host.tag("Verdict/In View"), host.tag("Verdict/Trigger")) == (False, 41)
    read = [host.tag(f"Verdict/{name}") for name in ("Product", "Code", "Margin", "Wrong Rate")]
    assert read == ["", 65535, None, 0.1]
    assert host.faults == []
    wire.close()
    host.close()


def test_commands_that_are_wrong_are_refused_and_the_reason_is_told(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(broker.port)
    station = Station(broker.port, tmp_path, expect=True, resets=False)
    wire = station.live().wire
    until(lambda: "cam" in host.alive)
    alias = next(m.alias for m in host.said("DBIRTH", "cam")[0].metrics if m.name == "State")
    now = pysparkplug.get_current_timestamp()
    by_number = pysparkplug.Metric(now, None, pysparkplug.DataType.STRING, value="x", alias=alias)
    foreign = pysparkplug.Metric(now, None, pysparkplug.DataType.STRING, value="x", alias=9999)
    wrong: list[tuple[Any, str]] = [
        (("Expected Product", "gone"), "'gone' is not registered"),
        (("Expected Product", 7), "takes text"),
        (("Expected Product", "x" * 300), "at most 256"),
        (("Device Control/Trigger", False), "takes true"),
        (("Device Control/Trigger", "yes"), "takes true"),
        (("Verdict/Product", "forged"), "takes no 'Verdict/Product'"),
        (b"\xff\xff no protobuf", "no Sparkplug B payload"),
        (b"", "without a metric"),
        (pysparkplug.NCmd(now, (by_number,)).encode(), "takes no 'State'"),
        (pysparkplug.NCmd(now, (foreign,)).encode(), "metric 9999"),
    ]
    for number, (write, why) in enumerate(wrong, 1):
        if isinstance(write, bytes):
            host.publish("DCMD", write, "cam")
        else:
            host.write("DCMD", *write, "cam")
        until(lambda number=number: host.tag("Command/Refusals") == number, what=why)
        assert why in host.tag("Command/Refused"), why
    host.publish("DCMD", pysparkplug.NCmd(now, (by_number,)).encode(), "nobody")
    host.write("NCMD", "Node Control/Reset Counts", True)
    host.write("NCMD", "Node Control/Rebirth", False)
    host.publish("NCMD", b"\x00\x01")
    host.publish("NCMD", b"x" * 70_000)
    until(lambda: "no device 'nobody'" in caplog.text)
    until(lambda: "takes no 'Node Control/Reset Counts'" in caplog.text)
    until(lambda: "Node Control/Rebirth takes true" in caplog.text)
    until(lambda: "1 messages in were dropped" in wire.health().detail)
    assert station.asked == []
    assert len(host.said("NBIRTH")) == 1
    host.write("DCMD", "Expected Product", "valve", "cam")
    until(lambda: host.tag("Command/Refused") == "")
    assert host.faults == []
    wire.close()
    host.close()


def test_a_rebirth_that_is_asked_for_begins_again_with_the_same_session(
    broker: Broker, tmp_path: Path
) -> None:
    host = Host(broker.port)
    wire = Station(broker.port, tmp_path).live().wire
    until(lambda: "cam" in host.alive)
    for number in range(5):
        wire.verdict(record(number))
    settled(host, 5)
    host.write("NCMD", "Node Control/Rebirth", True)
    until(lambda: len(host.said("NBIRTH")) == 2 and "cam" in host.alive)
    sessions = [{m.name: m.value for m in got.metrics}["bdSeq"] for got in host.said("NBIRTH")]
    assert sessions[0] == sessions[1]
    born = {m.name: m.value for m in host.said("DBIRTH", "cam")[-1].metrics}
    assert (born["Verdict/Product"], born["Verdict/Frame"], born[NUMBER]) == ("valve", 4, None)
    wire.verdict(record(5))
    settled(host, 6)
    assert host.frames == list(range(6))
    assert host.faults == []
    wire.close()
    host.close()


def test_a_flood_of_commands_brings_few_births_and_holds_nothing_up(
    broker: Broker, tmp_path: Path
) -> None:
    host = Host(broker.port)
    wire = Station(broker.port, tmp_path).live().wire
    until(lambda: "cam" in host.alive)
    for number in range(300):
        host.write("NCMD", "Node Control/Rebirth", True)
        wire.verdict(record(number))
    settled(host, 300, 30.0)
    assert host.frames == list(range(300))
    until(lambda: len(host.said("NBIRTH")) >= 2)
    births = [got.timestamp for got in host.said("NBIRTH")]
    assert min(b - a for a, b in pairwise(births)) >= 900
    assert host.faults == []
    wire.close()
    host.close()


def test_verdicts_wait_for_the_primary_host_and_come_as_historical(
    broker: Broker, tmp_path: Path
) -> None:
    station = Station(broker.port, tmp_path, primary_host="late").live()
    wire = station.wire
    until(lambda: "late is not online" in wire.health().detail)
    for number in range(40):
        wire.verdict(record(number))
    until(lambda: wire.health().queued == 40)
    host = Host(broker.port, "late")
    settled(host, 40)
    assert host.frames == list(range(40))
    assert host.historical == 40
    assert host.tag("Verdict/Frame") == 39  # the birth's, which no older one replaces
    wire.verdict(record(40))
    settled(host, 41)
    assert host.historical == 40
    host.say(False, int(time.time() * 1000))
    until(lambda: host.said("NDEATH"))
    wire.verdict(record(41))
    host.say(True, 5)  # of another time
    until(lambda: "older than another" in wire.health().detail, 20.0)
    host._client.publish("spBv1.0/STATE/late", b"ONLINE", qos=1, retain=True)
    until(lambda: "not understood" in wire.health().detail)
    assert host.frames == list(range(41))
    host.say(True, int(time.time() * 1000) + 1)
    settled(host, 42)
    assert host.frames == list(range(42))
    assert host.faults == []
    wire.close()
    host.close()


def load(wire: SparkplugWire, stop: threading.Event, sent: list[int]) -> None:
    while not stop.is_set():
        wire.verdict(record(len(sent)))
        sent.append(len(sent))
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("remembers", "primary"), [(True, True), (False, True), (False, False)],
    ids=["STATE kept", "STATE forgotten", "no primary host"],
)  # fmt: skip
def test_no_verdict_and_no_sequence_number_is_lost_or_doubled_though_the_broker_is_killed(
    tmp_path: Path, remembers: bool, primary: bool
) -> None:
    """One broker keeps `STATE` over its death, so that it lies; the other knows nothing.

    A host that is not primary asks for a rebirth when it comes back and hears data.
    """
    folder = tmp_path / "broker"
    broker = (Broker.that_remembers(folder) if remembers else Broker(folder)).start()
    host = Host(broker.port, primary=primary)
    given = {"version": 5 if remembers else 3, "primary_host": HOST if primary else None}
    wire = Station(broker.port, tmp_path, host_wait_s=30.0, **given).live().wire
    until(lambda: "cam" in host.alive)
    stop, sent, rng = threading.Event(), [], random.Random(remembers)
    loader = threading.Thread(target=load, args=(wire, stop, sent))
    loader.start()
    for _ in range(RESTARTS):
        before = len(host.taken)
        until(lambda before=before: len(host.taken) > before + 20, 60.0)
        time.sleep(rng.uniform(0.0, 0.3))
        broker.kill()
        time.sleep(rng.uniform(0.0, 0.3))
        broker.start()
    before = len(host.taken)
    until(lambda: len(host.taken) > before + 20, 60.0)
    stop.set()
    loader.join()
    until(lambda: len(host.taken) >= len(sent), 60.0)
    assert host.frames == sent
    assert [number for number, _ in host.taken] == [host.taken[0][0] + k for k in sent]
    assert host.faults == []
    assert wire.health().dropped == 0
    births, repeated = len(host.said("NBIRTH")), host.repeated
    print(
        f"Sparkplug (STATE kept: {remembers}, primary host: {primary}), {RESTARTS} kills: "
        f"{len(sent)} verdicts, {repeated} repeated, {births} births, "
        f"{len(host.messages)} messages in unbroken sequence"
    )
    wire.close()
    host.close()
    broker.kill()


def test_a_station_that_starts_again_goes_on_with_numbers_and_sessions(
    broker: Broker, tmp_path: Path
) -> None:
    host = Host(broker.port)
    for first in (0, 10):
        wire = Station(broker.port, tmp_path).live().wire
        until(lambda first=first: len(host.said("NBIRTH")) > first // 10 and "cam" in host.alive)
        for number in range(first, first + 10):
            wire.verdict(record(number))
        settled(host, first + 10)
        wire.close()
    assert host.frames == list(range(20))
    sessions = [{m.name: m.value for m in got.metrics}["bdSeq"] for got in host.said("NBIRTH")]
    assert sessions == [0, 1]
    assert host.faults == []
    host.close()
    (tmp_path / "sparkplug-session").write_text("no number")
    from vision_edge.station.wires.sparkplug.session_number import SessionNumber

    assert SessionNumber(tmp_path / "sparkplug-session").next() == 0
    (tmp_path / "sparkplug-session").write_text("255")
    assert SessionNumber(tmp_path / "sparkplug-session").next() == 0


def test_a_node_of_the_same_name_and_the_want_of_a_host_are_told(
    broker: Broker, tmp_path: Path
) -> None:
    first = Station(broker.port, tmp_path / "a", primary_host=None).live()
    until(lambda: "no primary_host" in first.wire.health().detail)
    assert "ANOTHER" not in first.wire.health().detail
    assert "not come back" not in first.wire.health().detail
    second = Station(broker.port, tmp_path / "b", primary_host=None, client_id="other").live()
    until(lambda: "ANOTHER EDGE NODE" in first.wire.health().detail)
    first.wire.close()
    second.wire.close()


def test_verdicts_of_a_source_that_is_gone_are_told_before_its_death(
    broker: Broker, tmp_path: Path
) -> None:
    host = Host(broker.port)
    station = Station(broker.port, tmp_path)
    for number in range(5):
        station.wire.verdict(record(number))
    until(lambda: station.wire.health().queued == 5 and station.wire.outbox.flush(1.0))
    station.wire.state("cam", {**LIVE, "state": "lost"})
    station.start()
    settled(host, 5)
    until(lambda: host.said("DDEATH", "cam"))
    verbs = [verb for verb, device, _ in host.messages if device == "cam"]
    assert verbs == ["DBIRTH", *["DDATA"] * 5, "DDEATH"]
    assert host.frames == list(range(5))
    assert host.faults == []
    station.wire.close()
    host.close()


def test_a_broker_that_does_not_pass_on_what_is_published_is_told(tmp_path: Path) -> None:
    """QoS 0 has no refusals: the own birth, which should come back, is missing."""
    rules = tmp_path / "rules"
    rules.write_text("topic write #\ntopic read spBv1.0/+/NCMD/#\n")
    rules.chmod(0o600)
    broker = Broker(tmp_path / "broker", f"acl_file {rules}").start()
    wire = Station(broker.port, tmp_path, primary_host=None).live().wire
    until(lambda: "its birth has not come back" in wire.health().detail, 30.0)
    wire.close()
    broker.kill()


def test_what_an_outbox_holds_that_cannot_be_told_is_given_up_and_counted(
    broker: Broker, tmp_path: Path
) -> None:
    host = Host(broker.port)
    station = Station(broker.port, tmp_path)
    station.wire.outbox.append("cam", b'{"frame": 1}')
    station.wire.outbox.append("gone", b"{}")
    station.wire.verdict(record(1, frame=-1))
    station.wire.verdict(record(1, score="high"))
    station.wire.verdict(record(2))
    station.live()
    settled(host, 1)
    assert host.frames == [2]
    health = station.wire.health()
    assert health.dropped == 4
    assert "4 verdicts were given up" in health.detail
    station.wire.verdict(record(3, label="\ud800"))  # is the newest, and cannot be told
    until(lambda: station.wire.health().dropped == 5)
    host.write("NCMD", "Node Control/Rebirth", True)
    until(lambda: len(host.said("NBIRTH")) == 2 and "cam" in host.alive)
    assert host.faults == []
    station.wire.close()
    host.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"group_id": "a/b"}, {"group_id": "a+"}, {"group_id": "#"}, {"group_id": ""},
        {"group_id": "STATE"}, {"group_id": "a\n"}, {"node_id": "a/b"}, {"primary_host": "h#"},
        {"tls_ca": "ca.pem"}, {"password_file": "p"}, {"topic_prefix": "x"}, {"version": 4},
    ],
)  # fmt: skip
def test_names_that_are_no_level_of_a_topic_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SparkplugSettings(**wrong)


@pytest.mark.parametrize(("station", "source"), [("line/1", "cam"), ("line", "cam#"), ("l", "")])
def test_so_are_a_stations_and_a_sources(tmp_path: Path, station: str, source: str) -> None:
    with pytest.raises(VisionEdgeError, match=r"Sparkplug id must not"):
        SparkplugWire(SparkplugSettings(port=free_port()), station, tmp_path, [source])


def test_a_station_is_an_edge_node_whose_products_have_codes(
    bundle_path: Path, registered: Path, shots: Path, broker: Broker
) -> None:
    """The whole of it: frames are judged on command, and told under the source's name."""
    host = Host(broker.port)
    source = {"name": "press", "address": shots, "loop": True, "fps": 60, "trigger": "command"}
    given = {"port": broker.port, "group_id": GROUP, "primary_host": HOST, "expect": True}
    settings = settings_for(
        bundle_path, registered, source, station={"name": "press-1"}, sparkplug=given
    )
    with WholeStation(settings) as station:
        for wire in wires_of(station):
            station.add_wire(wire)
        host.node = "press-1"
        until(lambda: "press" in host.alive, 30.0)
        for count in (1, 2):
            host.write("DCMD", "Device Control/Trigger", True, "press")
            settled(host, count, 30.0)
        newest = station.records(1)[0]
        assert host.tag("Verdict/Id", "press") == newest["id"]
        assert host.tag("Verdict/Product", "press") == (newest["label"] or "")
        product = station.products.model.classifier.labels[0]
        code = station.codes.code(product)
        assert 1 <= code <= 65533
        host.write("DCMD", "Expected Product", "no such product", "press")
        until(lambda: "not registered" in (host.tag("Command/Refused", "press") or ""))
        host.write("DCMD", "Expected Product", product, "press")
        until(lambda: host.tag("Expected Product", "press") == product)
        until(lambda: host.tag("Counts/Total", "press") == 2, 20.0)
    until(lambda: host.said("NDEATH"))
    assert host.faults == []
    host.close()
