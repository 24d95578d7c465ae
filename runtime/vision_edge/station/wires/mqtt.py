"""MQTT: verdicts out with QoS 1 from an outbox, triggers in.

Every connection is a new session, and what to send is decided here alone: from the oldest entry
that the outbox still holds, in order. The outbox lets go of an entry only when the broker was alive
for some seconds after it had acknowledged it, since a broker that crashes loses what it has not yet
written. Each message bears the outbox's number, by which a consumer drops what it has had
(`payload.OnlyNew`). QoS 2 would not do: a broker that loses its memory between PUBREC and PUBREL
answers PUBCOMP all the same.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections import deque
from collections.abc import Collection
from pathlib import Path

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.wire import Record
from vision_edge.station.settings.connections import host_and_port
from vision_edge.station.settings.wires import MqttSettings
from vision_edge.station.wires.discovery import Discovery
from vision_edge.station.wires.mqtt_connection import LinkError, check_files
from vision_edge.station.wires.mqtt_link import Link
from vision_edge.station.wires.mqtt_topics import Topics
from vision_edge.station.wires.outbox_wire import OutboxWire
from vision_edge.station.wires.payload import encoded, numbered

_LOG = logging.getLogger(__name__)
_ANSWER_S = 10.0  # for a broker to answer a connection
_STUCK_S = 30.0  # without an acknowledgement of what was sent
_ASK_AGAIN_S = 0.5  # whether anybody subscribes
_STEADY_S = 10.0  # after which a connection counts as one that worked
_LAST_WORDS_S = 0.3


class MqttWire(OutboxWire):
    """Verdicts to a broker, and triggers from it.

    Args:
        settings: The section `[mqtt]`.
        station: The station's name.
        state_dir: Folder for the outbox and what discovery has announced.
        sources: Names of the station's sources.
        commanded: Those of them that are judged on command.

    Raises:
        VisionEdgeError: If the outbox, the password's file or a certificate cannot be read.
    """

    def __init__(
        self,
        settings: MqttSettings,
        station: str,
        state_dir: Path,
        sources: list[str],
        commanded: Collection[str] = (),
    ) -> None:
        check_files(settings)
        super().__init__("mqtt", state_dir, settings, settings.repeat_s)
        self._settings = settings
        self._client_id = settings.client_id or f"vision-edge-{station}"
        self._where = host_and_port(settings.host, settings.real_port)
        self._topics = Topics(settings.topic_prefix, station)
        self._by_topic = {self._topics.expect(source): source for source in sources}
        self._discovery = Discovery(settings, self._topics, sources, state_dir, commanded)
        self._pictures: dict[str, bytes] = {}
        self._unshown: set[str] = set()  # sources whose picture is not published yet
        self._retained: dict[str, bytes] = {}  # by topic, the newest
        self._cursor = 0  # number of the last verdict sent on this connection
        self._heard = False  # whether somebody subscribes, as far as the broker says
        self._send_at = self._open_at = 0.0
        self._untold: set[str] = set()  # topics of those that are not published yet
        self._posts: deque[tuple[str, bytes]] = deque()  # other retained messages that wait

    def state(self, source: str, document: Record) -> None:
        """Take a source's state, published retained; the newest is published on every connection.

        Args:
            source: The source's name.
            document: JSON values; `state` says it in a word.
        """
        self._retain(self._topics.state(source), document)

    def counts(self, document: Record) -> None:
        """Take the parts' counts, published retained; the newest on every connection."""
        self._retain(self._topics.counts, document)

    def _retain(self, topic: str, document: Record) -> None:
        self._retained[topic] = encoded(document)
        self._untold.add(topic)
        self._awake.set()

    def picture(self, source: str, jpeg: bytes) -> None:
        """Take the picture of a source's latest verdict, published retained if that is asked for.

        Args:
            source: The source's name.
            jpeg: The picture.
        """
        if self._settings.pictures:
            self._pictures[source] = jpeg
            self._unshown.add(source)
            self._awake.set()

    def _deliver(self) -> None:
        """Hold one connection as long as it lasts."""
        where = self._where
        try:
            link = Link(self._settings, self._client_id, self._topics, self._awake.set)
        except (OSError, ValueError, VisionEdgeError) as error:
            tls = isinstance(error, (ssl.SSLError, VisionEdgeError))
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._say("down" if tls else "connecting", f"no connection to {where}: {reason}")
            return
        began = time.monotonic()
        try:
            self._await_welcome(link)
            self._announce()
            self._pump(link)
            self._said = ("connecting", "closed")
        except LinkError as error:
            self._say("down" if error.lasting else "connecting", f"{where}: {error}")
        finally:
            self.outbox.rewind()
            link.close()
            if time.monotonic() - began > _STEADY_S:
                self._backoff.reset()

    def _await_welcome(self, link: Link) -> None:
        deadline = time.monotonic() + _ANSWER_S
        while not link.connected:
            link.check()
            if time.monotonic() > min(deadline, self._deadline):
                raise LinkError("the broker does not answer")
            self._sleep(0.2)

    def _announce(self) -> None:
        """Prepare to say that the station is there, what it has, and how its sources are."""
        self._posts.clear()
        self._posts.extend(self._discovery.messages())
        self._unshown.update(list(self._pictures))
        self._untold.update(list(self._retained))
        self._posts.append((self._topics.status, b"online"))

    def _pump(self, link: Link) -> None:
        """Send what the outbox holds and note what is acknowledged, until the connection ends."""
        self._cursor = self.outbox.rewind()
        self._heard, self._send_at = False, 0.0
        self._open_at = time.monotonic() + self._settings.subscriber_wait_s
        progress = time.monotonic()
        while not self._finished():
            link.check()
            self._command(link)
            if self._note_acknowledged(link) or not link.waiting:
                progress = time.monotonic()
            if time.monotonic() - progress > _STUCK_S:
                raise LinkError(f"the broker acknowledged nothing for {_STUCK_S:.0f} s")
            self._say_ok(link)
            sent = self._post(link)
            after = max(self._cursor, self.outbox.start)
            for entry in self.outbox.read(after, self._room(link)):
                payload = numbered(entry.payload, entry.sequence)
                link.send(self._topics.verdict(entry.source), payload, entry.sequence)
                self._cursor, sent = entry.sequence, True
            if not sent:
                self._sleep(0.5)
                self._probe(link)
        link.last_words(self._topics.status, b"offline")
        link.flush(_LAST_WORDS_S)

    def _room(self, link: Link) -> int:
        """Return how many verdicts to send: one at a time until somebody is known to listen."""
        now = time.monotonic()
        if self._heard or now > self._open_at:
            return link.room
        return 0 if link.waiting or now < self._send_at else 1

    def _say_ok(self, link: Link) -> None:
        heard = "; nobody subscribes to the verdicts" if link.unheard else ""
        self._say("ok", f"connected to {self._where}{link.warning}{heard}")

    def _post(self, link: Link) -> bool:
        """Send retained messages that wait; return whether there was one."""
        sent = False
        while self._posts and link.room:
            topic, payload = self._posts.popleft()
            link.send(topic, payload, retain=True)
            sent = True
        if sent and not self._posts:
            self._discovery.done()
        while self._untold and link.room:
            topic = self._untold.pop()
            link.send(topic, self._retained[topic], retain=True)
            sent = True
        while self._unshown and link.room:
            source = self._unshown.pop()
            link.send(self._topics.picture(source), self._pictures[source], retain=True)
            sent = True
        return sent

    def _probe(self, link: Link) -> None:
        """Have the broker answer something, where that would settle what it has acknowledged."""
        if self.outbox.doubtful and not link.waiting and not self._posts:
            self._posts.append((self._topics.status, b"online"))

    def _note_acknowledged(self, link: Link) -> bool:
        """Pass acknowledgements on to the outbox; return whether there was one."""
        delivered, refused = link.acknowledged()
        if refused:
            self._give_up(refused, "the broker refuses them as malformed")
        if delivered is None:
            return False
        if delivered and link.unheard and time.monotonic() < self._open_at and not self._heard:
            self._cursor, self._send_at = self.outbox.rewind(), time.monotonic() + _ASK_AGAIN_S
            return True
        self.outbox.acknowledge(delivered)
        if delivered:
            self._heard = True
            self._backoff.reset()
        return True

    def _command(self, link: Link) -> None:
        """Carry out the commands that have come in, in their order."""
        while link.resets:
            link.resets.popleft()
            try:
                self._commands.reset_counts(self.name)
            except VisionEdgeError as error:
                _LOG.warning("%s: a reset was refused: %s", self, error.what)
        while link.commands:
            topic, payload = link.commands.popleft()
            try:
                self._carry_out(topic, payload.decode("utf-8").strip() or None)
            except (VisionEdgeError, UnicodeError) as error:
                what = "a trigger" if topic == self._topics.trigger else "an expected product"
                _LOG.warning("%s: %s was refused: %s", self, what, str(error).splitlines()[0])

    def _carry_out(self, topic: str, name: str | None) -> None:
        if topic == self._topics.trigger:
            self._commands.trigger(name)
        else:
            self._commands.expect(self._by_topic.get(topic, topic), name, True)
