"""The topics of a station."""

from __future__ import annotations

import re
from dataclasses import dataclass


def level(name: str) -> str:
    """Return a name as one level of a topic: `/`, `+`, `#`, `%` and control signs in percents."""
    return re.sub(
        r"[/+#%\x00-\x1f\x7f-\x9f]",
        lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8")),
        name,
    )


@dataclass(frozen=True)
class Topics:
    """The topics of one station.

    Attributes:
        prefix: First level or levels.
        station: The station's name, as the user gave it.
    """

    prefix: str
    station: str

    @property
    def base(self) -> str:
        """What all topics begin with."""
        return f"{self.prefix}/{level(self.station)}"

    @property
    def status(self) -> str:
        """`online` or `offline`, retained."""
        return f"{self.base}/status"

    @property
    def trigger(self) -> str:
        """Commands in: a source's name, or nothing for all sources."""
        return f"{self.base}/trigger"

    @property
    def expects(self) -> str:
        """Filter of all topics that say what a source should show."""
        return f"{self.base}/expect/+"

    def expect(self, source: str) -> str:
        """Commands in: the product that a source should show, or nothing to identify."""
        return f"{self.base}/expect/{level(source)}"

    @property
    def reset(self) -> str:
        """Commands in: count parts anew."""
        return f"{self.base}/reset"

    @property
    def counts(self) -> str:
        """How many parts there were, retained."""
        return f"{self.base}/counts"

    def verdict(self, source: str) -> str:
        """Verdicts of a source."""
        return f"{self.base}/verdict/{level(source)}"

    def state(self, source: str) -> str:
        """State of a source, retained."""
        return f"{self.base}/state/{level(source)}"
