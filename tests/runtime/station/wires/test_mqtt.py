"""MQTT against a real mosquitto: order, crashes, logins, last will, discovery, triggers."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from support.paths import TESTS
from support.wires import (
    PREFIX,
    STATION,
    Broker,
    Consumer,
    certificates,
    free_port,
    record,
    until,
)

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.wire import Commands
from vision_edge.station.settings.wires import MqttSettings
from vision_edge.station.wires.mqtt import MqttWire
from vision_edge.station.wires.mqtt_connection import in_the_clear
from vision_edge.station.wires.mqtt_topics import Topics, level

pytest.importorskip("paho.mqtt.client")
RESTARTS = int(os.environ.get("VISION_EDGE_BROKER_KILLS", "3"))
BASE = f"{PREFIX}/{STATION}"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker without logins, for the tests that leave it alive."""
    broker = Broker(tmp_path_factory.mktemp("broker")).start()
    yield broker
    broker.kill()


def wire_to(
    port: int, state_dir: Path, sources: tuple[str, ...] = ("cam",), **more: object
) -> MqttWire:
    settings = MqttSettings(port=port, **{"topic_prefix": PREFIX, **more})  # type: ignore[arg-type]
    return MqttWire(settings, STATION, state_dir, list(sources))


@pytest.mark.parametrize("version", [5, 3])
def test_verdicts_arrive_in_order_on_the_topic_of_their_source(
    broker: Broker, tmp_path: Path, version: int
) -> None:
    consumer = Consumer(broker.port, f"{PREFIX}/#", f"order-{version}")
    wire = wire_to(broker.port, tmp_path, ("cam", "a/b"), version=version)
    wire.start(Commands(lambda source: None))
    for number in range(300):
        wire.verdict(record(number, "a/b" if number % 2 else "cam"))
    until(lambda: wire.health().queued == 0 and len(consumer.raw) == 300)
    assert consumer.frames == list(range(300))
    assert consumer.only_new.gaps == 0
    sequence = consumer.raw[0].pop("sequence")
    assert consumer.raw[0] == record(0)
    assert consumer.raw[1]["sequence"] == sequence + 1
    health = wire.health()
    assert (health.name, health.state, health.dropped) == ("mqtt", "ok", 0)
    until(lambda: (f"{BASE}/status", b"online") in consumer.others)
    wire.close()
    until(lambda: consumer.others[-1] == (f"{BASE}/status", b"offline"))
    consumer.close()


def test_topics_are_one_level_a_name() -> None:
    topics = Topics("a/b", "line/1+#")
    assert topics.verdict("cäm 1/2%") == "a/b/line%2F1%2B%23/verdict/cäm 1%2F2%25"
    assert level("x\ny") == "x%0Ay"


def load(wire: MqttWire, stop: threading.Event, sent: list[int], pause: float = 0.005) -> None:
    while not stop.is_set():
        wire.verdict(record(len(sent)))
        sent.append(len(sent))
        time.sleep(pause)


@pytest.mark.slow
@pytest.mark.parametrize("version", [5, 3])
def test_every_verdict_arrives_once_in_order_though_the_broker_is_killed(
    tmp_path: Path, version: int
) -> None:
    broker = Broker.that_remembers(tmp_path / "broker").start()
    consumer = Consumer(broker.port, f"{PREFIX}/+/verdict/#")
    broker.save()
    wire = wire_to(broker.port, tmp_path, version=version)
    wire.start(Commands(lambda source: None))
    stop, sent, rng = threading.Event(), [], random.Random(version)
    loader = threading.Thread(target=load, args=(wire, stop, sent))
    loader.start()
    for _ in range(RESTARTS):
        before = len(consumer.taken)
        until(lambda before=before: len(consumer.taken) > before + 20, 20.0)
        time.sleep(rng.uniform(0.0, 0.3))
        broker.kill()
        time.sleep(rng.uniform(0.0, 0.3))
        broker.start()
    stop.set()
    loader.join()
    until(lambda: len(consumer.taken) >= len(sent), 30.0)
    assert consumer.frames == sent
    assert consumer.only_new.gaps == 0
    assert wire.health().dropped == 0
    twice = len(consumer.raw) - len(sent)
    print(f"MQTT {version}: {RESTARTS} kills of the broker, {len(sent)} verdicts, {twice} repeated")
    wire.close()
    consumer.close()
    broker.kill()


@pytest.mark.slow
def test_nothing_is_lost_to_a_broker_that_forgets_what_it_has_acknowledged(tmp_path: Path) -> None:
    """The consumer is away, the broker alone holds what it acknowledged, and it crashes."""
    broker = Broker.that_remembers(tmp_path / "broker", every_s=3600).start()
    consumer = Consumer(broker.port, f"{PREFIX}/+/verdict/#")
    broker.save()
    consumer.close()
    wire = wire_to(broker.port, tmp_path, repeat_s=2.0)
    wire.start(Commands(lambda source: None))
    for number in range(80):
        wire.verdict(record(number))
        time.sleep(0.01)
    until(lambda: wire.health().queued == 0)  # all acknowledged
    broker.kill()
    time.sleep(2.2)  # longer than `repeat_s`
    broker.start()
    wire.verdict(record(80))
    until(lambda: wire.health().queued == 0)
    again = Consumer(broker.port, f"{PREFIX}/+/verdict/#")
    until(lambda: len(again.taken) >= 81)
    assert again.frames == list(range(81))
    wire.close()
    again.close()
    broker.kill()


@pytest.mark.slow
def test_subscribers_that_come_back_after_a_restart_miss_nothing(tmp_path: Path) -> None:
    """The broker has no memory at all, and the station is back before the consumer."""
    broker = Broker(tmp_path / "broker").start()
    consumer = Consumer(broker.port, f"{PREFIX}/+/verdict/#")
    wire = wire_to(broker.port, tmp_path)
    wire.start(Commands(lambda source: None))
    wire.verdict(record(0))
    until(lambda: consumer.frames == [0])
    for cycle in range(2):
        broker.kill()
        broker.start()
        for number in range(1 + 20 * cycle, 21 + 20 * cycle):
            wire.verdict(record(number))
        until(lambda last=20 * (cycle + 1): consumer.frames[-1:] == [last])
    assert consumer.frames == list(range(41))
    assert consumer.only_new.gaps == 0
    assert "nobody" not in wire.health().detail
    wire.close()
    consumer.close()
    broker.kill()


def test_where_nobody_subscribes_verdicts_wait_only_so_long(broker: Broker, tmp_path: Path) -> None:
    wire = wire_to(broker.port, tmp_path, subscriber_wait_s=0.6, topic_prefix="unheard")
    wire.start(Commands(lambda source: None))
    for number in range(30):
        wire.verdict(record(number))
    until(lambda: "nobody subscribes" in wire.health().detail)
    assert (wire.health().state, wire.health().queued) == ("ok", 30)
    until(lambda: wire.health().queued == 0)
    wire.close()


def test_verdicts_wait_on_disk_while_the_broker_is_away(tmp_path: Path) -> None:
    port = free_port()
    wire = wire_to(port, tmp_path)
    wire.start(Commands(lambda source: None))
    for number in range(50):
        wire.verdict(record(number))
    until(lambda: "refused" in wire.health().detail)
    health = wire.health()
    assert (health.state, health.queued) == ("connecting", 50)
    began = time.monotonic()
    wire.close()
    assert time.monotonic() - began < 4.0
    broker = Broker(tmp_path / "broker", port=port).start()
    consumer = Consumer(port)
    wire = wire_to(port, tmp_path)
    wire.verdict(record(50))
    wire.start(Commands(lambda source: None))
    until(lambda: len(consumer.taken) == 51)
    assert consumer.frames == list(range(51))
    wire.close()
    consumer.close()
    broker.kill()


PUBLISHES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from support.wires import PREFIX, STATION, record
from vision_edge.station.core.wire import Commands
from vision_edge.station.wires.mqtt import MqttWire
from vision_edge.station.settings.wires import MqttSettings
settings = MqttSettings(port=int(sys.argv[2]), topic_prefix=PREFIX)
wire = MqttWire(settings, STATION, Path(sys.argv[1]), ["cam"])
wire.start(Commands(lambda source: None))
for number in range(int(sys.argv[4]), 10**9):
    wire.verdict(record(number))
    if wire.outbox.flush(5.0):
        print(number, flush=True)
"""


@pytest.mark.slow
def test_what_was_on_disk_is_delivered_though_the_station_is_killed(
    broker: Broker, tmp_path: Path
) -> None:
    consumer = Consumer(broker.port, f"{BASE}/#", "killed-station")
    said: list[int] = []
    for _ in range(2):
        tests = str(TESTS)
        start = str(said[-1] + 10 if said else 0)
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHES, str(tmp_path), str(broker.port), tests, start],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        said.append(int(process.stdout.readline()))
        enough = len(consumer.taken) + 30
        until(lambda enough=enough: len(consumer.taken) > enough)
        process.send_signal(signal.SIGKILL)
        said.extend(int(line) for line in process.stdout if line.endswith("\n"))
        process.wait()
        process.stdout.close()
        until(lambda: consumer.others[-1:] == [(f"{BASE}/status", b"offline")])  # the last will
        consumer.others.clear()
    wire = wire_to(broker.port, tmp_path)
    wire.start(Commands(lambda source: None))
    until(lambda: wire.health().queued == 0)
    until(lambda: set(said) <= set(consumer.frames))
    assert consumer.frames == sorted(set(consumer.frames))
    assert consumer.only_new.gaps == 0
    wire.close()
    consumer.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Path]]:
    """A broker that asks for TLS, a client certificate, and a password."""
    folder = tmp_path_factory.mktemp("guarded")
    certificates(folder)
    passwords = folder / "passwords"
    passwords.touch(0o600)
    broker = Broker(
        folder, "allow_anonymous false", f"password_file {passwords}", f"cafile {folder}/ca.pem",
        f"certfile {folder}/server.pem", f"keyfile {folder}/server.key", "require_certificate true",
    )  # fmt: skip
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "line", "s3cret-Word"], check=True)
    yield broker.start(), folder
    broker.kill()


def guarded_wire(
    guarded: tuple[Broker, Path], state_dir: Path, password: str, **more: object
) -> MqttWire:
    broker, folder = guarded
    (state_dir / "password").write_text(password + "\n")
    options: dict[str, object] = {
        "tls": True, "tls_ca": folder / "ca.pem", "tls_cert": folder / "client.pem",
        "tls_key": folder / "client.key", "username": "line",
        "password_file": state_dir / "password", "subscriber_wait_s": 0.0, **more,
    }  # fmt: skip
    return wire_to(broker.port, state_dir, **options)


@pytest.mark.parametrize("version", [5, 3])
def test_tls_with_a_client_certificate_and_a_password(
    guarded: tuple[Broker, Path], tmp_path: Path, version: int
) -> None:
    wire = guarded_wire(guarded, tmp_path, "s3cret-Word", version=version)
    wire.start(Commands(lambda source: None))
    wire.verdict(record(1))
    until(lambda: wire.health().queued == 0)
    assert wire.health().state == "ok"
    wire.close()


@pytest.mark.parametrize("version", [5, 3])
def test_a_wrong_password_is_said_and_never_shown(
    guarded: tuple[Broker, Path],
    tmp_path: Path,
    version: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    wire = guarded_wire(guarded, tmp_path, "wr0ng-Word", version=version)
    wire.start(Commands(lambda source: None))
    wire.verdict(record(1))
    until(lambda: wire.health().state == "down")
    health = wire.health()
    assert health.detail.endswith("the broker refuses the station: Not authorized")
    assert health.queued == 1
    shown = f"{health} {wire} {wire!r} {wire._settings!r} {caplog.text}"
    assert "wr0ng" not in shown
    (tmp_path / "password").write_text("s3cret-Word")  # put right while it runs
    until(lambda: wire.health().queued == 0)
    assert wire.health().state == "ok"
    wire.close()


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_with_another_certificate_is_refused(
    guarded: tuple[Broker, Path], tmp_path: Path
) -> None:
    wire = guarded_wire(guarded, tmp_path, "s3cret-Word", tls_ca=None)
    wire.start(Commands(lambda source: None))
    until(lambda: wire.health().state == "down")
    assert "CERTIFICATE_VERIFY_FAILED" in wire.health().detail
    wire.close()
    gc.collect()


def test_files_that_are_missing_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(VisionEdgeError, match="password: the secret cannot be read"):
        wire_to(1, tmp_path, username="x", password_file=tmp_path / "password")
    (tmp_path / "password").write_bytes(b"a\nb\n")
    with pytest.raises(VisionEdgeError, match="this is no secret"):
        wire_to(1, tmp_path, username="x", password_file=tmp_path / "password")
    with pytest.raises(VisionEdgeError, match="tls_ca"):
        wire_to(1, tmp_path, tls=True, tls_ca=tmp_path / "ca.pem")


def test_a_password_in_the_clear_is_warned_of(tmp_path: Path) -> None:
    login = {"username": "line", "password_file": tmp_path / "password"}
    for settings, warns in (
        (MqttSettings(host="10.0.0.9", **login), True),  # type: ignore[arg-type]
        (MqttSettings(host="10.0.0.9", tls=True, **login), False),  # type: ignore[arg-type]
        (MqttSettings(host="127.0.0.1", **login), False),  # type: ignore[arg-type]
        (MqttSettings(host="10.0.0.9"), False),
    ):
        assert ("unencrypted" in in_the_clear(settings)) == warns


@pytest.mark.parametrize(
    "wrong",
    [
        {"tls_ca": "ca.pem"}, {"tls": True, "tls_cert": "c.pem"}, {"password_file": "p"},
        {"topic_prefix": "a/#"}, {"topic_prefix": "/a"}, {"port": 0}, {"version": 4}, {"hots": "x"},
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MqttSettings(**wrong)  # type: ignore[arg-type]


def test_triggers_come_in(broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str | None] = []

    def trigger(source: str | None) -> None:
        if source not in (None, "cam"):
            raise VisionEdgeError(f"there is no source {source!r}")
        asked.append(source)

    consumer = Consumer(broker.port, f"{BASE}/status", "trigger")
    consumer.publish(f"{BASE}/trigger", b"cam", retain=True)  # of another time: must not count
    wire = wire_to(broker.port, tmp_path)
    wire.start(Commands(trigger))
    until(lambda: (f"{BASE}/status", b"online") in consumer.others)
    for payload in (b"cam", b"", b"nobody", b"\xff", b"x" * 10_000, b" cam\n"):
        consumer.publish(f"{BASE}/trigger", payload)
    until(lambda: len(asked) == 3)
    assert asked == ["cam", None, "cam"]
    assert "there is no source 'nobody'" in caplog.text
    assert wire.health().state == "ok"
    consumer.publish(f"{BASE}/trigger", b"", retain=True)
    wire.close()
    consumer.close()


def test_expected_products_come_in_where_they_are_allowed(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[tuple[str, ...] | None] = []

    def expect(source: str, product: str | None, unregistered: bool) -> None:
        if source == "right":
            raise VisionEdgeError("right cannot be")
        asked.append((source, product or "-", str(unregistered)))

    consumer = Consumer(broker.port, f"{BASE}/status", "expect")
    topic = f"{BASE}/expect"
    consumer.publish(f"{topic}/cam", b"of another time", retain=True)
    for allowed in (False, True):
        wire = wire_to(broker.port, tmp_path, ("cam", "left / top", "right"), expect=allowed)
        wire.start(Commands(lambda source: asked.append(None), expect))
        until(lambda wire=wire: wire.health().state == "ok")  # type: ignore[misc]
        time.sleep(0.1)
        consumer.publish(f"{topic}/cam", "Schraube M8 \u00d7 20".encode())
        consumer.publish(f"{BASE}/trigger", b"cam")
        for name, payload in (("right", b"x"), ("cam", b"\xff"), ("cam", b"x" * 2000)):
            consumer.publish(f"{topic}/{name}", payload)
        consumer.publish(f"{topic}/left %2F top", b"")
        until(lambda allowed=allowed: len(asked) >= 1 + 3 * allowed)  # type: ignore[misc]
        wire.close()
    told = ("cam", "Schraube M8 \u00d7 20", "True")
    assert asked == [None, told, None, ("left / top", "-", "True")]
    assert "an expected product was refused: right cannot be" in caplog.text
    consumer.publish(f"{topic}/cam", b"", retain=True)
    consumer.close()


def test_discovery_is_announced_and_taken_back(broker: Broker, tmp_path: Path) -> None:
    def announced() -> dict[str, dict[str, object]]:
        consumer = Consumer(broker.port, "homeassistant/#", f"discovery-{random.random()}")
        time.sleep(0.2)
        consumer.close()
        return {topic: json.loads(payload) for topic, payload in consumer.others}

    def run(sources: tuple[str, ...], discovery: bool) -> None:
        wire = wire_to(broker.port, tmp_path, sources, discovery=discovery)
        wire.state("cam", {"state": "live", "age_ms": 10})
        wire.start(Commands(lambda source: None))
        until(lambda: wire.health().state == "ok" and not (wire._posts or wire._untold))
        wire.close()

    run(("cam", "left / top"), True)
    found = announced()
    assert len(found) == 6
    configs = {str(config["name"]): config for config in found.values()}
    assert configs["cam label"]["state_topic"] == f"{BASE}/verdict/cam"
    assert configs["left / top score"]["state_topic"] == f"{BASE}/verdict/left %2F top"
    assert configs["cam camera"]["state_topic"] == f"{BASE}/state/cam"
    assert all(
        config["availability"][0] == {"topic": f"{BASE}/status"} for config in configs.values()
    )
    assert configs["cam camera"]["availability"][1:] == []  # it says why the others are away
    assert configs["cam label"]["availability_mode"] == "all"
    assert configs["cam label"]["availability"][1]["topic"] == f"{BASE}/state/cam"
    assert configs["cam label"]["expire_after"] == configs["cam score"]["expire_after"] == 600
    assert "expire_after" not in configs["cam camera"]
    assert len({config["unique_id"] for config in configs.values()}) == 6
    states = Consumer(broker.port, f"{BASE}/state/#", "states")
    until(lambda: states.others == [(f"{BASE}/state/cam", b'{"state":"live","age_ms":10}')])
    states.close()
    run(("cam",), True)
    assert len(announced()) == 3
    run(("cam",), False)
    assert announced() == {}


def test_counts_are_retained_and_a_reset_comes_in_where_allowed(
    broker: Broker, tmp_path: Path
) -> None:
    resets: list[str] = []
    consumer = Consumer(broker.port, f"{BASE}/counts", "counts")
    wire = wire_to(broker.port, tmp_path, resets=True)
    wire.start(Commands(lambda source: None, reset_counts=resets.append))
    wire.counts({"sources": [], "total": []})
    wire.counts({"sources": [{"source": "cam", "parts": 2}], "total": []})
    last = {"sources": [{"source": "cam", "parts": 2}], "total": []}
    until(lambda: consumer.others and json.loads(consumer.others[-1][1]) == last)
    consumer.publish(f"{BASE}/reset", b"now")
    until(lambda: resets == ["mqtt"])
    wire.close()
    later = Consumer(broker.port, f"{BASE}/counts", "later")
    until(lambda: later.others and json.loads(later.others[0][1]) == last)
    later.close()
    consumer.close()


def test_a_reset_is_not_listened_for_by_default(broker: Broker, tmp_path: Path) -> None:
    resets: list[str] = []
    consumer = Consumer(broker.port, f"{BASE}/state/cam", "deaf")
    wire = wire_to(broker.port, tmp_path)
    wire.start(Commands(lambda source: None, reset_counts=resets.append))
    wire.state("cam", {"state": "live"})
    until(lambda: consumer.others)
    consumer.publish(f"{BASE}/reset", b"now")
    time.sleep(0.3)
    assert resets == []
    wire.close()
    consumer.close()


def test_a_home_can_trigger_and_look_and_knows_which_camera_is_away(
    broker: Broker, tmp_path: Path
) -> None:
    """What Home Assistant does with the announcements: subscribe, evaluate, press, show."""
    jinja2 = pytest.importorskip("jinja2")
    settings = MqttSettings(
        port=broker.port, topic_prefix=PREFIX, discovery=True, pictures=True, expire_s=0
    )
    asked: list[str | None] = []
    wire = MqttWire(settings, STATION, tmp_path, ["belt", "bench"], ["bench"])
    wire.state("belt", {"state": "lost"})
    wire.state("bench", {"state": "live"})
    wire.picture("bench", b"\xff\xd8 old")
    wire.start(Commands(asked.append))
    home = Consumer(broker.port, "homeassistant/#", "home")
    until(lambda: len(home.others) >= 9)
    found = {topic: json.loads(payload) for topic, payload in home.others if payload}
    by_name = {config["name"]: (topic.split("/")[1], config) for topic, config in found.items()}
    assert by_name["bench trigger"][0] == "button" and "belt trigger" not in by_name
    assert {kind for kind, _ in by_name.values()} == {"sensor", "button", "image"}
    assert "expire_after" not in by_name["bench label"][1]

    topics = Consumer(broker.port, f"{BASE}/#", "home-topics")

    def available(name: str) -> bool:
        """Evaluate an entity's availability, as Home Assistant's documentation says."""
        said = dict(topics.others)
        states = []
        for entry in by_name[name][1]["availability"]:
            payload = said[entry["topic"]].decode()
            if "value_template" in entry:
                template = jinja2.Environment(autoescape=False).from_string(entry["value_template"])
                payload = template.render(value_json=json.loads(payload))
            states.append(payload == "online")
        return all(states)

    wanted = {f"{BASE}/status", f"{BASE}/state/belt", f"{BASE}/state/bench"}
    until(lambda: wanted <= {topic for topic, _ in topics.others})
    assert available("bench label") and available("bench trigger") and available("belt camera")
    assert not available("belt label") and not available("belt picture")

    button = by_name["bench trigger"][1]
    topics.publish(button["command_topic"], button["payload_press"].encode())
    until(lambda: asked == ["bench"])

    image = by_name["bench picture"][1]
    until(lambda: (image["image_topic"], b"\xff\xd8 old") in topics.others)
    wire.picture("bench", b"\xff\xd8 new")
    until(lambda: (image["image_topic"], b"\xff\xd8 new") in topics.others)
    late = Consumer(broker.port, image["image_topic"], "late")
    until(lambda: late.others == [(image["image_topic"], b"\xff\xd8 new")])
    wire.close()
    for consumer in (home, topics, late):
        consumer.close()
