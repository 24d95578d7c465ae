"""What a page that connects again is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("fastapi")

from vision_edge.station.core.event_hub import Hub
from vision_edge.station.core.identifiers import Identifiers
from vision_edge.station.http.sse import event_stream


def test_a_page_of_an_earlier_run_gets_every_verdict_of_this_one() -> None:
    class OneStation:
        identifiers = Identifiers()
        hub = Hub()

        def records(self, limit: int) -> list[dict[str, Any]]:
            return [{"id": self.identifiers.new()}]

        def subscribe(self) -> Any:
            return self.hub.subscribe()

    async def heard(after: str) -> list[str]:
        station = OneStation()
        stream = event_stream(station, after)  # type: ignore[arg-type]
        told = [await anext(stream), await anext(stream)]
        station.hub.publish("verdict", {"id": station.identifiers.new()})
        told.append(await anext(stream))
        await stream.aclose()
        return told

    later = "7f" * 8 + "0" * 8  # an hour ahead, or more
    told = asyncio.run(asyncio.wait_for(heard(later), 5))
    assert [text.count("event: verdict") for text in told] == [0, 1, 1]
