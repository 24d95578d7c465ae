"""Codes of products for controllers: given by rule, and kept for good.

The settings' codes count first. Any other product gets the next number above all that were ever
given, when it is registered. A code is never given to another product, also when its own was
removed; a renamed product keeps it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_edge.runtime.system.files import atomic_file

log = logging.getLogger(__name__)
LARGEST = 65533


@dataclass(frozen=True)
class Rename:
    """A product's change of name.

    Attributes:
        old: Its name before.
        new: Its name since.
    """

    old: str
    new: str


class ProductCodes:
    """Which code each product has; from any thread.

    Args:
        path: The file that keeps them, JSON; made when the first code is given.
        fixed: The settings' codes by label, 1 to 65533.
        first: The least code that is given by rule.
    """

    def __init__(self, path: Path, fixed: Mapping[str, int], first: int = 1) -> None:
        self._path, self._fixed, self._first = path, dict(fixed), first
        self._lock = threading.Lock()
        self._given = _read(path)

    def code(self, label: str) -> int | None:
        """Return a product's code; None if it has none (yet)."""
        return self._fixed.get(label, self._given.get(label))

    def get(self, label: str) -> int | None:
        """Return a product's code; None if it has none (yet)."""
        return self.code(label)

    def items(self) -> list[tuple[str, int]]:
        """Return the codes of all products; of one that was renamed, its latest name is last."""
        return list({**self._given, **self._fixed}.items())

    def follow(self, labels: Sequence[str], renames: Sequence[Rename] = ()) -> None:
        """Give codes to products that have none.

        Args:
            labels: The products that are registered, in the order in which they came.
            renames: Changes of name that may be new, in order.
        """
        with self._lock:
            before = dict(self._given)
            for rename in renames:
                code = self.code(rename.old)
                if code is not None and self.code(rename.new) is None:
                    self._given[rename.new] = code
            taken = {self._fixed[label] for label in labels if label in self._fixed}
            for label in labels:
                if label in self._fixed:
                    continue
                if self._given.get(label) is None or self._given[label] in taken:
                    self._give(label)
                taken.add(self._given.get(label, 0))
            if self._given != before:
                self._keep()

    def _give(self, label: str) -> None:
        """Give the next code, above all that were ever given."""
        ever = [*self._given.values(), *self._fixed.values(), self._first - 1]
        code = max(ever) + 1
        if code > LARGEST:
            log.warning("no code is left for %r: all up to %d were given", label, LARGEST)
            self._given.pop(label, None)
            return
        if label in self._given:
            log.warning(
                "%r has code %d now: another product has %d", label, code, self._given[label]
            )
        self._given[label] = code

    def _keep(self) -> None:
        try:
            with atomic_file(self._path) as temporary:
                temporary.write_text(json.dumps(self._given, indent=1), encoding="utf-8")
        except OSError as error:
            log.warning("%s cannot be written: %s; codes given now may change", self._path, error)


def _read(path: Path) -> dict[str, int]:
    """Return the codes that a file keeps; of a damaged file none, and it is put aside."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if not all(
            isinstance(k, str) and type(v) is int and 0 < v <= LARGEST for k, v in read.items()
        ):
            raise ValueError("no codes")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        log.warning("%s holds no codes (%s); it is put aside", path, error)
        path.replace(path.with_name(path.name + ".damaged"))
        return {}
    return dict(read)
