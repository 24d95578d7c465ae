"""A station with its wires: verdicts and states go out, triggers come in."""

from __future__ import annotations

import json
from pathlib import Path

from support.station import settings_for
from support.wires import PREFIX, Broker, Consumer, until

from vision_edge.station.attached import wires_of
from vision_edge.station.core.station import Station


def test_a_station_speaks_and_listens_through_a_broker(
    bundle_path: Path, registered: Path, shots: Path, tmp_path: Path
) -> None:
    broker = Broker(tmp_path / "broker").start()
    consumer = Consumer(broker.port)
    source = {"name": "press", "address": shots, "loop": True, "fps": 60, "trigger": "command"}
    mqtt = {"port": broker.port, "topic_prefix": PREFIX}
    settings = settings_for(bundle_path, registered, source, station={"name": "line-1"}, mqtt=mqtt)
    with Station(settings) as station:
        for wire in wires_of(station):
            station.add_wire(wire)
        until(lambda: station.status()["wires"][0]["state"] == "ok")
        until(lambda: station.line("press").state == "live")
        for count in range(1, 4):
            consumer.publish(f"{PREFIX}/line-1/trigger", b"press")
            until(lambda count=count: len(consumer.taken) >= count)
        newest = station.records(1)[0]
        assert {**newest, "sequence": consumer.raw[-1]["sequence"]} == consumer.raw[-1]
        assert newest["source_name"] == "press"
        topic = f"{PREFIX}/line-1/state/press"
        states = [json.loads(payload) for name, payload in consumer.others if name == topic]
        assert states[-1]["state"] == "live"
    until(lambda: consumer.others[-1] == (f"{PREFIX}/line-1/status", b"offline"))
    assert (settings.state_dir / "outbox-mqtt.db").exists()
    consumer.close()
    broker.kill()
