"""Discovery: announces a station's sources to Home Assistant, and takes it back.

Format: Home Assistant's documentation, "MQTT Discovery": one retained message an entity.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from vision_edge.runtime.system.files import atomic_file
from vision_edge.station.settings.wires import MqttSettings
from vision_edge.station.wires.mqtt_topics import Topics

_LOG = logging.getLogger(__name__)
Announcement = tuple[str, bytes]


class Discovery:
    """What to announce on a connection: three sensors a source, and nothing that is gone.

    Which topics were announced is kept in a file: those of a source that was removed, or of all of
    them when discovery is switched off, are cleared with an empty message.

    Args:
        settings: The section `[mqtt]`.
        topics: The station's topics.
        sources: Names of the sources.
        state_dir: Folder of that file.
    """

    def __init__(
        self, settings: MqttSettings, topics: Topics, sources: list[str], state_dir: Path
    ) -> None:
        self._file = state_dir / "mqtt-discovery.json"
        self._topics, self._prefix = topics, settings.discovery_prefix
        self._now = dict(self._announcements(sources)) if settings.discovery else {}

    def messages(self) -> list[Announcement]:
        """Return the messages to publish, retained; an empty one clears its topic."""
        before = self._announced()
        self._keep(sorted({*before, *self._now}))
        return [*self._now.items(), *((topic, b"") for topic in before if topic not in self._now)]

    def done(self) -> None:
        """Note that the messages are on their way."""
        self._keep(sorted(self._now))

    def _announcements(self, sources: list[str]) -> list[Announcement]:
        return [
            (f"{self._prefix}/sensor/{self._id(source, kind)}/config", self._config(source, kind))
            for source in sources
            for kind in ("label", "score", "camera")
        ]

    def _id(self, source: str, kind: str) -> str:
        """Return a name that is unique, and that names of any signs may be made into."""
        text = f"{self._topics.prefix}\0{self._topics.station}\0{source}"
        return f"vision_edge_{hashlib.sha256(text.encode()).hexdigest()[:12]}_{kind}"

    def _config(self, source: str, kind: str) -> bytes:
        station = self._topics.station
        document = {
            "name": f"{source} {kind}",
            "unique_id": self._id(source, kind),
            "availability_topic": self._topics.status,
            "device": {
                "identifiers": [f"vision-edge {station}"],
                "name": station,
                "manufacturer": "vision-edge",
            },
        }
        if kind == "camera":
            document |= {
                "state_topic": self._topics.state(source),
                "value_template": "{{ value_json.state }}",
                "entity_category": "diagnostic",
            }
        else:
            template = "value_json.label or 'unknown'" if kind == "label" else "value_json.score"
            document["state_topic"] = self._topics.verdict(source)
            document["value_template"] = "{{ %s }}" % template  # noqa: UP031 (braces)
        return json.dumps(document, ensure_ascii=False).encode()

    def _announced(self) -> list[str]:
        try:
            topics = json.loads(self._file.read_text(encoding="utf-8"))
            return [topic for topic in topics if isinstance(topic, str)]
        except (OSError, ValueError, TypeError):
            return []

    def _keep(self, topics: list[str]) -> None:
        if topics == self._announced():
            return
        try:
            with atomic_file(self._file) as temporary:
                temporary.write_text(json.dumps(topics), encoding="utf-8")
        except OSError as error:
            _LOG.warning("%s cannot be written: %s", self._file, error)
