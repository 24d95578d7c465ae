"""The state folder of a station: one station at a time, and which bundle it had switched to."""

from __future__ import annotations

import fcntl
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.system.files import atomic_file


class StateError(VisionEdgeError):
    """The state folder cannot be used."""


@dataclass(frozen=True)
class BundleState:
    """Which bundle a station runs.

    Attributes:
        configured: The settings' bundle; when that changes, it counts.
        current: The bundle that it has switched to.
        former: The bundle before, to return to.
    """

    configured: str
    current: str
    former: str | None = None


class StateFolder:
    """A station's own folder, locked while it runs.

    Args:
        path: The folder; made if there is none.

    Raises:
        StateError: If another station runs with it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (path / "lock").open("a+", encoding="utf-8")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise StateError(
                f"{path}: another station runs with this state folder",
                fix="stop it, or give this one another state_dir",
            ) from error
        except OSError as error:
            self.close()
            raise StateError(
                f"{path}: cannot be written ({error.strerror})", fix="set state_dir in [station]"
            ) from error
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    def close(self) -> None:
        """Let another station have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def bundle(self, configured: Path) -> BundleState:
        """Return which bundle was last switched to; `configured` if that has changed since."""
        fresh = BundleState(str(configured.absolute()), str(configured.absolute()))
        try:
            read = BundleState(**json.loads(self._file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return fresh
        return read if read.configured == fresh.configured else fresh

    def keep_bundle(self, state: BundleState) -> None:
        """Remember which bundle is switched to."""
        with atomic_file(self._file) as temporary:
            temporary.write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")

    def last_identifier(self) -> str | None:
        """Return an identifier that no record of an earlier run exceeds; None if there is none."""
        try:
            kept = (self.path / "last-identifier").read_text(encoding="ascii").strip()
        except (OSError, UnicodeError):
            return None
        return kept if re.fullmatch(r"[0-7][0-9a-f]{23}", kept) else None

    def keep_identifier(self, identifier: str) -> None:
        """Remember an identifier that no record of this run exceeds."""
        with atomic_file(self.path / "last-identifier") as temporary:
            temporary.write_text(f"{identifier}\n", encoding="ascii")

    @property
    def _file(self) -> Path:
        return self.path / "bundle.json"
