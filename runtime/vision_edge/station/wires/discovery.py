"""Discovery: announces a station's sources to Home Assistant, and takes it back.

Format: Home Assistant's documentation, "MQTT Discovery": one retained message an entity.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from vision_edge.runtime.system.files import atomic_file
from vision_edge.station.settings.wires import MqttSettings
from vision_edge.station.wires.mqtt_topics import Topics

_LOG = logging.getLogger(__name__)
Announcement = tuple[str, bytes]


class Discovery:
    """What to announce on a connection: some entities a source, and nothing that is gone.

    A source has sensors for label, score and camera; a button where it is judged on command; and
    an image where pictures are published. What is known of a verdict is available only while the
    source is live, and expires.

    Which topics were announced is kept in a file: those of a source that was removed, or of all of
    them when discovery is switched off, are cleared with an empty message.

    Args:
        settings: The section `[mqtt]`.
        topics: The station's topics.
        sources: Names of the sources.
        state_dir: Folder of that file.
        commanded: Those of them that are judged on command.
    """

    def __init__(
        self,
        settings: MqttSettings,
        topics: Topics,
        sources: list[str],
        state_dir: Path,
        commanded: Collection[str] = (),
    ) -> None:
        self._file = state_dir / "mqtt-discovery.json"
        self._topics, self._prefix = topics, settings.discovery_prefix
        self._settings, self._commanded = settings, commanded
        self._now = dict(self._announcements(sources)) if settings.discovery else {}

    def messages(self) -> list[Announcement]:
        """Return the messages to publish, retained; an empty one clears its topic."""
        before = self._announced()
        self._keep(sorted({*before, *self._now}))
        return [*self._now.items(), *((topic, b"") for topic in before if topic not in self._now)]

    def done(self) -> None:
        """Note that the messages are on their way."""
        self._keep(sorted(self._now))

    def _announcements(self, sources: list[str]) -> Iterator[Announcement]:
        for source in sources:
            for kind, component, more in self._entities(source):
                topic = f"{self._prefix}/{component}/{self._id(source, kind)}/config"
                yield topic, self._config(source, kind, more)

    def _entities(self, source: str) -> Iterator[tuple[str, str, dict[str, object]]]:
        """Yield kind, component and configuration of each entity of a source."""
        verdict, live = self._topics.verdict(source), self._while_live(source)
        expires = {"expire_after": self._settings.expire_s} if self._settings.expire_s else {}
        for kind, template in (
            ("label", "{{ value_json.label or 'unknown' }}"),
            ("score", "{{ value_json.score }}"),
        ):
            yield kind, "sensor", {
                "state_topic": verdict, "value_template": template, **expires, **live,
            }  # fmt: skip
        yield "camera", "sensor", {
            "state_topic": self._topics.state(source),
            "value_template": "{{ value_json.state }}",
            "entity_category": "diagnostic",
            "availability": [{"topic": self._topics.status}],
        }  # fmt: skip
        if source in self._commanded:
            yield "trigger", "button", {
                "command_topic": self._topics.trigger, "payload_press": source, **live,
            }  # fmt: skip
        if self._settings.pictures:
            yield "picture", "image", {
                "image_topic": self._topics.picture(source), "content_type": "image/jpeg", **live,
            }  # fmt: skip

    def _while_live(self, source: str) -> dict[str, object]:
        """Return what makes an entity available only while station and source are there."""
        return {
            "availability_mode": "all",
            "availability": [
                {"topic": self._topics.status},
                {
                    "topic": self._topics.state(source),
                    "value_template": "{{ 'online' if value_json.state == 'live' else 'offline' }}",
                },
            ],
        }

    def _id(self, source: str, kind: str) -> str:
        """Return a name that is unique, and that names of any signs may be made into."""
        text = f"{self._topics.prefix}\0{self._topics.station}\0{source}"
        return f"vision_edge_{hashlib.sha256(text.encode()).hexdigest()[:12]}_{kind}"

    def _config(self, source: str, kind: str, more: dict[str, object]) -> bytes:
        station = self._topics.station
        document = {
            "name": f"{source} {kind}",
            "unique_id": self._id(source, kind),
            "device": {
                "identifiers": [f"vision-edge {station}"],
                "name": station,
                "manufacturer": "vision-edge",
            },
            **more,
        }
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
