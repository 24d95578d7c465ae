"""What a station remembers of its verdicts: what waits for a person, a history, and counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.locating import Locator
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.core.review_queue import ReviewQueue
from vision_edge.station.core.second_look import Judged
from vision_edge.station.core.shift_statistics import ShiftStatistics
from vision_edge.station.core.tables import NEWEST
from vision_edge.station.core.verdict_history import NO_PRODUCT, VerdictHistory
from vision_edge.station.core.wire import Record
from vision_edge.station.settings.station import StationSettings

log = logging.getLogger(__name__)


class Memory:
    """Takes every verdict, and every decision of a person on one.

    Args:
        folder: The state folder.
        settings: Of the station.
        pending: Called with how many pictures wait, after each change.
        shown: Called with the source and the JPEG of each verdict that is kept.

    Attributes:
        review: Pictures that wait for a person.
        history: The latest verdicts with their pictures.
        statistics: Counts by the minute.

    Raises:
        VisionEdgeError: If a file cannot be opened.
    """

    def __init__(
        self,
        folder: Path,
        settings: StationSettings,
        pending: Callable[[int], None],
        shown: Callable[[str, bytes], object],
    ) -> None:
        with ExitStack() as opened:
            self.review = ReviewQueue(folder / "review.db", settings.review, pending)
            opened.callback(self.review.close)
            self.history = VerdictHistory(folder / "history.db", settings.history, shown)
            opened.callback(self.history.close)
            self.statistics = ShiftStatistics(folder / "statistics.db", settings.statistics)
            opened.pop_all()

    def take(
        self,
        frame: Frame,
        record: Record,
        locator: Locator | None,
        vector: Embeddings | None,
        judged: Judged | None = None,
        trigger: str = "none",
    ) -> None:
        """Take a verdict; never waits.

        Args:
            frame: What it rests on most.
            record: The verdict.
            locator: Finds its source's parts.
            vector: Its embedding's `direction`.
            judged: That embedding.
            trigger: Of its source.
        """
        self.statistics.take(record)
        self.review.offer(frame, record, locator, vector, judged, trigger)
        self.history.take(frame, record, locator, vector, trigger)

    def state(self, source: str, state: str) -> None:
        """Note a source's state."""
        try:
            self.statistics.state(source, state)
        except VisionEdgeError as error:
            log.warning("%s", error.what)

    def decided(self, identifiers: Sequence[str], right: str, author: str, version: int) -> None:
        """Note that a person has decided what verdicts show: they wait no longer.

        Args:
            identifiers: Verdicts of the review queue or of the history.
            right: The product; empty for none.
            author: Who said so.
            version: The gallery's version that it made.
        """
        waited = self.review.some(identifiers)
        # what is no product stays unknown, and would ask again at once if it were forgotten
        self.review.remove(identifiers, forget=right != NO_PRODUCT)
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        decided = self.history.decide(identifiers, right, author, at, version)
        kept = {row["id"]: row for row in decided}
        for row in ({item["id"]: item for item in waited} | kept).values():
            self.statistics.corrected(row, right, author, version)

    def returned(self, version: int, before: int = NEWEST) -> None:
        """Take back what was decided after a version of the gallery, to which it has returned.

        Args:
            version: That one.
            before: The version that it made by returning; what was decided from then on stays.
        """
        self.history.withdraw(version, before)
        self.statistics.withdraw(version, before)

    def close(self) -> None:
        """Write all, and close the files."""
        for part in (self.review, self.history, self.statistics):
            part.close()
