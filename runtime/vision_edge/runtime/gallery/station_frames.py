"""What a station's camera saw: embeddings of its own frames, a bounded sample, no pictures.

They lie in the gallery's file beside the snapshots, by the model that made them. Which of them stay
is drawn by lot: each has a random key, the least stay, so that several processes may add to one
file, and the sample is as good as if one had seen all frames. A key grows smaller with its time
(Cormode et al. 2009, Forward decay; Efraimidis and Spirakis 2006, weighted random sampling), so
that frames of a former light or line fade.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import GalleryError
from vision_edge.runtime.gallery.database import Database

MOST_FRAMES = 256
"""So many frames of each model are kept: 0.2 MB with 192 floats each."""
HALF_LIFE = 7 * 86_400.0
"""Seconds after which a frame is half as likely to stay as one of now."""
TABLE = "station_frames"


@dataclass(frozen=True)
class SeenFrame:
    """A frame to be kept.

    Attributes:
        embedding: float32 (D,).
        time: When it was seen, in seconds since 1970.
        times: How many frames that are all but the same it stands for, itself included.
    """

    embedding: Embeddings
    time: float
    times: int = 1


@dataclass(frozen=True)
class KeptFrames:
    """The frames that are kept.

    Attributes:
        identifiers: int64 (N,).
        embeddings: float32 (N, D).
        times: int64 (N,), how many frames each stands for.
        since: When the oldest of them was seen first, ISO 8601; None without any.
        last: When one was seen last.
    """

    identifiers: NDArray[np.int64]
    embeddings: Embeddings
    times: NDArray[np.int64]
    since: str | None
    last: str | None


class StationFrames:
    """The station's frames in a gallery's file.

    Args:
        db: The gallery's file.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def stamp(self, model: ModelIdentity) -> str:
        """Return a number that changes when the sample is another by a fifth or so, or is cleared.

        To classify anew by every single frame would cost much and change nothing.
        """
        if not self._db.has_table(TABLE):
            return ""
        [(count, last)] = self._db.rows(
            "SELECT count(*), coalesce(max(id), 0) FROM station_frames WHERE fingerprint = ?",
            (model.fingerprint,),
        )
        if not count:
            return ""
        return f"{int(4 * np.log2(count + 1))}.{int(4 * np.log2(last + 1))}"

    def kept(self, model: ModelIdentity) -> KeptFrames:
        """Return the frames that are kept for a model."""
        rows = []
        if self._db.has_table(TABLE):
            rows = self._db.rows(
                "SELECT id, vector, times, first, last FROM station_frames "
                "WHERE fingerprint = ? ORDER BY priority",
                (model.fingerprint,),
            )
        with self._db.consistent():
            vectors = [np.frombuffer(row[1], "<f4") for row in rows]
            stacked = np.asarray(vectors, np.float32).reshape(-1, model.embedding_dim)
            if not np.isfinite(stacked).all():
                raise ValueError("an embedding is not finite")
        return KeptFrames(
            np.array([row[0] for row in rows], np.int64),
            stacked,
            np.array([row[2] for row in rows], np.int64),
            _text(min((row[3] for row in rows), default=None)),
            _text(max((row[4] for row in rows), default=None)),
        )

    def count(self, model: ModelIdentity) -> int:
        """Return how many frames are kept for a model."""
        if not self._db.has_table(TABLE):
            return 0
        sql = "SELECT count(*) FROM station_frames WHERE fingerprint = ?"
        return int(self._db.rows(sql, (model.fingerprint,))[0][0])

    def add(
        self,
        model: ModelIdentity,
        frames: Sequence[SeenFrame],
        again: dict[int, int],
        rng: np.random.Generator,
    ) -> None:
        """Keep frames as far as the lot falls on them; within the caller's transaction.

        Args:
            model: What embedded them.
            frames: New ones.
            again: By the number of a kept frame, how many were all but the same.
            rng: Draws the lots.

        Raises:
            GalleryError: If an embedding is of the wrong length or not finite.
        """
        self._db.add_table(TABLE)
        now = time.time()
        for identifier, times in again.items():
            self._db.rows(
                "UPDATE station_frames SET times = times + ?, last = ? WHERE id = ?",
                (times, now, identifier),
            )
        for frame in frames:
            vector = frame.embedding
            if vector.shape != (model.embedding_dim,) or not np.isfinite(vector).all():
                raise GalleryError(
                    f"a frame's embedding is finite float32 ({model.embedding_dim},); "
                    f"got {vector.dtype} {vector.shape}"
                )
            self._db.rows(
                "INSERT INTO station_frames (fingerprint, vector, times, first, last, priority) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    model.fingerprint,
                    np.ascontiguousarray(vector, dtype="<f4").tobytes(),
                    frame.times,
                    frame.time,
                    frame.time,
                    _priority(frame.time, rng),
                ),
            )
        self._db.rows(
            "DELETE FROM station_frames WHERE fingerprint = ? AND id NOT IN "
            "(SELECT id FROM station_frames WHERE fingerprint = ? ORDER BY priority LIMIT ?)",
            (model.fingerprint, model.fingerprint, MOST_FRAMES),
        )

    def clear(self) -> int:
        """Forget all of them, of every model; return how many; within the caller's transaction."""
        if not self._db.has_table(TABLE):
            return 0
        [(count,)] = self._db.rows("SELECT count(*) FROM station_frames")
        self._db.rows("DELETE FROM station_frames")
        return int(count)


def _priority(seen: float, rng: np.random.Generator) -> float:
    """Return a frame's key; those with the least stay."""
    return float(np.log(rng.exponential()) - np.log(2.0) * seen / HALF_LIFE)


def _text(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
