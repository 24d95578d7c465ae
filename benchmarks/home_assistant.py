"""Ask Home Assistant's own code whether it takes what a station announces.

    python -m venv ha && ha/bin/pip install homeassistant janus zlib-ng
    python benchmarks/home_assistant.py --python ha/bin/python

Every announcement is matched by Home Assistant's pattern of topics and validated by its schemas of
sensors, buttons and images; a key that it does not know, and would pass over, fails too.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

CHECK = """
import json, sys
from homeassistant.const import __version__
from homeassistant.components.mqtt import button, image, sensor
from homeassistant.components.mqtt.discovery import TOPIC_MATCHER
known = {"sensor": sensor, "button": button, "image": image}
told = json.load(sys.stdin)
for topic, document in told:
    assert TOPIC_MATCHER.match(topic.removeprefix("homeassistant/")), topic
    taken = known[topic.split("/")[1]].DISCOVERY_SCHEMA(dict(document))
    lost = set(document) - {str(key) for key in taken}
    assert not lost, (topic, lost)
print(f"Home Assistant {__version__} takes all {len(told)} announcements")
"""


def main(
    python: Annotated[Path, typer.Option(help="Python that has Home Assistant installed.")],
) -> None:
    """Check the announcements of two sources, with and without an expiry."""
    told = json.dumps([one for expire_s in (600, 0) for one in _announced(expire_s)])
    done = subprocess.run([python, "-c", CHECK], input=told, text=True)
    raise typer.Exit(done.returncode)


def _announced(expire_s):
    from vision_edge.station.settings.wires import MqttSettings
    from vision_edge.station.wires.discovery import Discovery
    from vision_edge.station.wires.mqtt_topics import Topics

    settings = MqttSettings(discovery=True, pictures=True, expire_s=expire_s)
    topics, sources = Topics("vision-edge", "Linie 1/ä"), ["camera", "left cam"]
    with tempfile.TemporaryDirectory() as folder:
        made = Discovery(settings, topics, sources, Path(folder), ["camera"]).messages()
    return [(topic, json.loads(message)) for topic, message in made if message]


if __name__ == "__main__":
    typer.run(main)
