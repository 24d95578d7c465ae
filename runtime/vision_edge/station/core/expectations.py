"""Which product each source should show, who said so, and what speaks against it.

The settings say it first; whoever sets it later is remembered over a restart, and holds until the
settings themselves change. A product that is not registered cannot be verified: every part is
unsure then, and the source's status says why. Nothing falls back to identifying in silence.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from vision_edge.runtime.system.files import atomic_file
from vision_edge.station.core.errors import ExpectationError

log = logging.getLogger(__name__)
BY_SETTINGS = "the settings"
"""No user is called so: names have no blanks."""
CONTESTED = timedelta(seconds=2)
"""Two that set different products within so short a time do not know of each other."""


@dataclass(frozen=True)
class Expected:
    """What one source should show.

    Attributes:
        product: The product; None if every part is to be identified.
        by: Who set it: a user, a wire, or the settings.
        since: When, UTC.
        note: What a person should know of how it was set; empty if nothing.
        problem: Why it cannot be verified now; empty if it can.
    """

    product: str | None
    by: str = BY_SETTINGS
    since: datetime = datetime(1970, 1, 1, tzinfo=timezone.utc)
    note: str = ""
    problem: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        since = self.since.isoformat(timespec="milliseconds")
        return {
            "product": self.product,
            "by": self.by,
            "since": since,
            "note": self.note,
            "problem": self.problem,
        }


class Expectations:
    """Keeps what each source should show; read and set from any thread.

    Args:
        path: The file in which what was set is kept.
        configured: By source, what the settings say.
        changed: Called with a source's name after each change.
    """

    def __init__(
        self, path: Path, configured: dict[str, str | None], changed: Callable[[str], None]
    ) -> None:
        self._path, self._configured, self._changed = path, configured, changed
        self._lock = threading.Lock()
        self._labels: frozenset[str] = frozenset()
        self._renamed: Callable[[str], str] = lambda label: ""
        self._now = {name: Expected(product) for name, product in configured.items()}
        self._now |= self._kept()

    def of(self, source: str) -> Expected:
        """Return what a source should show."""
        return self._now[source]

    def product(self, source: str) -> str | None:
        """Return the product that a source should show; None to identify."""
        return self._now[source].product

    def registered(self, labels: Sequence[str], renamed: Callable[[str], str]) -> None:
        """Take in which products there are from now on.

        Args:
            labels: Their names.
            renamed: Says in words what a product that is gone is called now.
        """
        with self._lock:
            self._labels, self._renamed = frozenset(labels), renamed
            before = dict(self._now)
            self._now = {name: self._checked(now) for name, now in before.items()}
            different = [name for name, now in self._now.items() if now != before[name]]
        for name in different:
            if self._now[name].problem:
                log.warning("%s: %s", name, self._now[name].problem)
            self._changed(name)

    def set(
        self, source: str, product: str | None, by: str, *, unregistered: bool = False
    ) -> Expected:
        """Have a source show a product from now on, or anything.

        Args:
            source: The source's name.
            product: The product; None to identify every part.
            by: Who sets it.
            unregistered: Whether a product that is not registered is taken all the same, so that
                every part is unsure: for who cannot be told that it was refused.

        Raises:
            ExpectationError: If the product is not registered, or it cannot be kept.
        """
        with self._lock:
            before = self._now[source]
            now = Expected(product, by, _now())
            now = self._checked(replace(now, note=_contested(before, now)))
            if now.problem and not unregistered:
                raise ExpectationError(
                    now.problem, fix="register it first, or expect one of those that are"
                )
            self._keep({**self._now, source: now})
            self._now[source] = now
        if now.note:
            log.warning("%s: %s", source, now.note)
        self._changed(source)
        return now

    def _checked(self, now: Expected) -> Expected:
        problem = ""
        if now.product is not None and now.product not in self._labels:
            problem = f"{now.product!r} is not registered{self._renamed(now.product)}"
        return replace(now, problem=problem)

    def _kept(self) -> dict[str, Expected]:
        """Return what was set before a restart, where the settings have not changed since."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            kept = {
                name: Expected(
                    None if one["product"] is None else str(one["product"]),
                    str(one["by"]),
                    datetime.fromisoformat(one["since"]),
                )
                for name, one in document.items()
                if name in self._configured and one["configured"] == self._configured[name]
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%s cannot be read (%s): the settings hold", self._path, error)
            note = "what was set before the restart could not be read: set it again"
            return {name: Expected(p, note=note) for name, p in self._configured.items()}
        return kept

    def _keep(self, now: dict[str, Expected]) -> None:
        document = {
            name: {**one.document(), "configured": self._configured[name]}
            for name, one in now.items()
            if one.by != BY_SETTINGS
        }
        try:
            with atomic_file(self._path) as temporary:
                temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise ExpectationError(
                f"what is expected cannot be kept ({error.strerror}); it stays as it was",
                fix="check the state folder and the room on its disk",
            ) from error


def _now() -> datetime:
    """Return the time as it is kept: to the millisecond."""
    now = datetime.now(timezone.utc)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _contested(before: Expected, now: Expected) -> str:
    """Say that two set different products at the same time, or nothing."""
    if before.by in (now.by, BY_SETTINGS) or before.product == now.product:
        return ""
    if now.since - before.since > CONTESTED:
        return ""
    first, last = (repr(one.product) if one.product else "nothing" for one in (before, now))
    return (
        f"{before.by} set {first} and {now.by} set {last} at the same time: {last} holds; "
        "let only one of them set it"
    )
