"""What a chain of records keeps beside its files: where it stands, and what it has lost."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vision_edge.runtime.provenance.record_lines import NOTHING, now
from vision_edge.runtime.system.files import atomic_file

CHAIN_FILE = "chain.json"


@dataclass(frozen=True)
class Kept:
    """Where the chain goes on though all files were taken away, and what no line tells yet.

    Attributes:
        number: Of the file that was sealed last.
        head: Hash of its last line.
        lost: By kind, what could not be written.
        since: From when on.
        why: Why.
    """

    number: int = 0
    head: str = NOTHING
    lost: Counter[str] = field(default_factory=Counter)
    since: datetime = field(default_factory=now)
    why: str = ""

    @staticmethod
    def read(folder: Path) -> Kept:
        """Read it; where it is absent or damaged the files alone say how to go on."""
        try:
            told = json.loads((folder / CHAIN_FILE).read_text())
            kept = Kept(int(told["number"]), str(told["head"]))
            if "lost" not in told:
                return kept
            lost = Counter({str(kind): int(count) for kind, count in told["lost"].items()})
            since = datetime.fromisoformat(told["since"])
            return Kept(kept.number, kept.head, lost, since, str(told["why"])[:300])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Kept()

    def write(self, folder: Path) -> None:
        """Write it.

        Raises:
            OSError: If it cannot be written; the one before is then still there.
        """
        told: dict[str, object] = {"number": self.number, "head": self.head}
        if self.lost:
            told |= {"lost": self.lost, "since": self.since.isoformat(), "why": self.why}
        with atomic_file(folder / CHAIN_FILE) as temporary:
            temporary.write_text(json.dumps(told) + "\n")
