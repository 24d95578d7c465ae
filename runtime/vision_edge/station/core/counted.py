"""What a verdict counts as: one definition for the shift, the parts' counts and the metrics.

*Unknown* is what is like no product; *unsure* is what may be one, the band `review`. Where nothing
was in view there was no part, whatever was said of the picture.
"""

from __future__ import annotations

from typing import Literal, cast

from vision_edge.station.core.wire import Record

Counted = Literal["accept", "review", "unknown", "nothing"]
BANDS: tuple[Counted, ...] = ("accept", "review", "unknown", "nothing")
"""What is counted apart; `nothing` are verdicts while nothing was in view."""
Kind = Literal["product", "unsure", "unknown", "missed"]
"""What a part counts as; `missed` are those that were in view and got no verdict."""
KINDS: dict[Counted, Kind] = {"accept": "product", "review": "unsure", "unknown": "unknown"}
"""What a part is, by what its verdict counts as; with nothing in view there is none."""


def counted_as(record: Record) -> Counted:
    """Return what a verdict counts as: its band, or `nothing` where nothing was in view."""
    return cast(Counted, record["band"] if record.get("in_view", True) else "nothing")
