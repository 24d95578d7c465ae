"""Cameras that take a picture on command: no command line sends one, so no frame would come."""

from __future__ import annotations

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources.addresses import without_credentials
from vision_edge.runtime.sources.genicam_address import fired_by_software


def refuse_fired(*addresses: str) -> None:
    """Refuse sources that would wait for ever.

    Raises:
        SourceError: If one is a GenICam camera with `trigger=Software`, or says what none can be
            told.
    """
    for address in addresses:
        if fired_by_software(address):
            raise SourceError(
                f"{without_credentials(address)} takes pictures on command, and nothing here gives "
                "one",
                fix="leave trigger=Software out of its address; a station gives commands: "
                'trigger = "command" of its source',
            )
