"""A second look at pictures that wait for a person, once the gallery has changed.

What is recognised by now needs nobody any more.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.station.core.live_model import Model
from vision_edge.station.core.tables import Tables

log = logging.getLogger(__name__)
SCHEMA = """
CREATE TABLE IF NOT EXISTS judged (
  id TEXT PRIMARY KEY, model TEXT NOT NULL, embedding BLOB NOT NULL
) STRICT;
"""
MOST, AT_ONCE = 2048, 256
"""Waiting pictures that are looked at again after a change, the newest; and how many of them while
the gallery is held."""
Steady = Callable[[], AbstractContextManager[Model]]
"""Keeps the gallery from being changed for a block, and gives the model."""


@dataclass(frozen=True)
class Judged:
    """What a picture was judged by: float32 (D,), of the model with that fingerprint."""

    model: str
    embedding: Embeddings


class SecondLook:
    """Judges waiting pictures anew by what they were judged by; in the thread that writes.

    Args:
        tables: The review queue's file.
        recognised: Called with the pictures that are known by now, while the gallery is held.
    """

    def __init__(self, tables: Tables, recognised: Callable[[list[str]], object]) -> None:
        self._tables, self._recognised = tables, recognised
        self._asked: Steady | None = None

    def ask(self, steady: Steady) -> None:
        """Have the waiting pictures judged anew soon; never waits."""
        self._asked = steady

    def keep(self, db: sqlite3.Connection, identifier: str, judged: Judged) -> None:
        """Keep what a picture was judged by, within the caller's change."""
        values = (identifier, judged.model, judged.embedding.astype("<f4").tobytes())
        db.execute("INSERT OR IGNORE INTO judged VALUES (?, ?, ?)", values)

    def take(self) -> None:
        """Judge anew, if that was asked for; what cannot be done now is done later."""
        steady, self._asked = self._asked, None
        if steady is None:
            return
        try:
            waiting = self._tables.rows(
                "SELECT id FROM items JOIN judged USING (id) ORDER BY id DESC LIMIT ?", (MOST,)
            )
            for first in range(0, len(waiting), AT_ONCE):
                with steady() as model:  # nobody decides on them meanwhile
                    self._look(model, [row[0] for row in waiting[first : first + AT_ONCE]])
        except VisionEdgeError as error:
            log.info("waiting pictures are judged anew later: %s", error.what)
            self._asked = self._asked or steady

    def _look(self, model: Model, identifiers: list[str]) -> None:
        fingerprint = model.session.bundle.manifest.identity.fingerprint
        marks = ", ".join("?" * len(identifiers))
        rows = self._tables.rows(
            f"SELECT id, embedding FROM judged JOIN items USING (id) "  # noqa: S608
            f"WHERE model = ? AND id IN ({marks})",
            [fingerprint, *identifiers],
        )
        if not rows or model.classifier is None:
            return
        embeddings = np.stack([np.frombuffer(row[1], "<f4") for row in rows]).astype(np.float32)
        decisions = model.classifier.classify(embeddings)
        known = [row[0] for row, one in zip(rows, decisions, strict=True) if one.known]
        if known:
            self._recognised(known)
