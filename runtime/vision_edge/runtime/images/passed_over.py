"""What was passed over while pictures were looked for: counted and named by kind, never silent."""

from __future__ import annotations

from typing import Any

_NAMED = 3
"""Names that are kept of each kind; the rest is counted."""


class PassedOver:
    """What was passed over, by kind: how many, and the first few names."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._names: dict[str, list[str]] = {}

    def add(self, kind: str, name: str) -> None:
        """Count one thing of a kind, in words such as `"HEIC"` or `"hidden"`."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        names = self._names.setdefault(kind, [])
        if len(names) < _NAMED:
            names.append(name.encode("utf-8", "backslashreplace").decode("utf-8"))

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def counts(self) -> dict[str, int]:
        """How many, by kind."""
        return dict(self._counts)

    def text(self) -> str:
        """Return a line's text: `5 HEIC (0.heic, 1.heic, 2.heic and 2 more), 1 hidden (.x)`."""
        return ", ".join(
            f"{count} {kind} ({self._named(kind)})" for kind, count in self._counts.items()
        )

    def document(self) -> dict[str, Any]:
        """Return it for JSON: for each kind its `count` and the first `names`."""
        return {
            kind: {"count": count, "names": list(self._names[kind])}
            for kind, count in self._counts.items()
        }

    def _named(self, kind: str) -> str:
        names, count = self._names[kind], self._counts[kind]
        more = f" and {count - len(names)} more" if count > len(names) else ""
        return ", ".join(names) + more
