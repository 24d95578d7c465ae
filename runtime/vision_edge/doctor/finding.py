"""What a probe found, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["ok", "info", "warning", "error"]
"""`"info"` is merely so; `"warning"` should be put right; with an `"error"` nothing works."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        area: What it belongs to, such as `"camera"`.
        name: What was looked at.
        value: What was found, for people.
        state: How good that is.
        fix: What to do about it, with the exact command; None where nothing has to be done.
        facts: The same for programs: JSON values only.
    """

    area: str
    name: str
    value: str
    state: State = "ok"
    fix: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return asdict(self)


def is_usable(findings: list[Finding]) -> bool:
    """Whether nothing essential is broken."""
    return all(finding.state != "error" for finding in findings)
