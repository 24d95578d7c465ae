"""The share of strangers that may pass for a product: the settings' own, or what was set since.

What was set on the page holds over a restart, until the settings' own value changes: then that
holds, and the station says so.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vision_edge.runtime.recognition.prototypes import MIN_RATE
from vision_edge.runtime.system.files import atomic_file
from vision_edge.station.core.errors import RateError
from vision_edge.station.core.expectations import BY_SETTINGS
from vision_edge.station.settings.station import ScoringSettings

log = logging.getLogger(__name__)
MOST_RATE = 0.5
"""A station that takes half of all strangers for products says nothing any more."""


@dataclass(frozen=True)
class Asked:
    """Which share of strangers is asked for.

    Attributes:
        rate: The share, from 0 to 1.
        by: Who set it.
        since: When, UTC, ISO 8601; empty for the settings' own.
        former: What it was before, to return to; None if that was the settings' own.
        note: What a person should know; empty if nothing.
    """

    rate: float
    by: str = BY_SETTINGS
    since: str = ""
    former: float | None = None
    note: str = ""


class AskedRate:
    """Keeps the asked rate.

    Args:
        path: The file in which what was set is kept.
        settings: What the settings say.
    """

    def __init__(self, path: Path, settings: ScoringSettings) -> None:
        self._path, self._settings = path, settings
        self.now = self._read()

    @property
    def settings(self) -> ScoringSettings:
        """The settings, with the rate that is asked for."""
        return with_rate(self._settings, self.now.rate)

    @property
    def configured(self) -> float:
        """What the settings say."""
        return self._settings.false_accept_rate

    @property
    def fixed(self) -> float | None:
        """The fixed score that decides instead; None if a rate does."""
        return self._settings.threshold

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "false_accept_rate": self.now.rate,
            "configured": self.configured,
            "threshold": self.fixed,
            "by": self.now.by,
            "since": self.now.since,
            "note": self.now.note,
            "can_undo": self.now.by != BY_SETTINGS,
        }

    def made(self, rate: float, by: str) -> Asked:
        """Return what would be asked from now on.

        Raises:
            RateError: If the rate is none, or a fixed score decides.
        """
        if self.fixed is not None:
            raise RateError(
                f"a fixed score decides here (threshold = {self.fixed:g} in [scoring])",
                fix="take threshold out of the settings",
            )
        if not MIN_RATE <= rate <= MOST_RATE:
            raise RateError(
                f"the share of strangers must be {MIN_RATE:g} to {MOST_RATE:g}; got {rate:g}",
                fix="0.05 accepts one stranger in twenty",
            )
        since = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        former = None if self.now.by == BY_SETTINGS else self.now.rate
        return Asked(rate, by, since, former)

    def undone(self, by: str) -> Asked:
        """Return what was asked before.

        Raises:
            RateError: If nothing was set.
        """
        if self.now.by == BY_SETTINGS:
            raise RateError("the settings' own rate holds", fix="there is nothing to take back")
        if self.now.former is None:
            return Asked(self.configured)
        return replace(self.made(self.now.former, by), former=None)

    def keep(self, now: Asked) -> None:
        """Ask for that from now on, also after a restart.

        Raises:
            RateError: If it cannot be kept.
        """
        try:
            with atomic_file(self._path) as temporary:
                document = {**asdict(now), "configured": self.configured}
                temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise RateError(
                f"the rate cannot be kept ({error.strerror}); it stays as it was",
                fix="check the state folder and the room on its disk",
            ) from error
        self.now = now

    def _read(self) -> Asked:
        own = Asked(self.configured)
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            configured = float(document.pop("configured"))
            kept = Asked(**document)
            if not MIN_RATE <= float(kept.rate) <= MOST_RATE:
                raise ValueError(f"{kept.rate} is no rate")
        except FileNotFoundError:
            return own
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%s cannot be read (%s): the settings' rate holds", self._path, error)
            return replace(own, note="what was set before the restart could not be read")
        if kept.by == BY_SETTINGS:
            return own
        if self.fixed is not None or configured != self.configured:
            note = f"the settings have changed: they hold, and not the {kept.rate:g} of {kept.by}"
            log.warning("%s", note)
            return replace(own, note=note)
        return kept


def with_rate(settings: ScoringSettings, rate: float) -> ScoringSettings:
    """Return settings with another share of strangers."""
    return settings.model_copy(update={"false_accept_rate": rate})
