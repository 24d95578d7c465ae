"""What a bundle's trial found, as figures and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from vision_edge.station.settings.fleet import ShadowLimits

Pair = tuple[str | None, str | None]
MOST_NAMED = 20


@dataclass(frozen=True)
class Figures:
    """What one bundle reaches on the station's own pictures.

    Attributes:
        name: The bundle's name.
        fingerprint: Of its model.
        precision: Its arithmetic.
        embedding_dim: Length of an embedding.
        accuracy: Share of snapshots, each left out in turn, that are nearest to their own product;
            None if no product has two snapshots.
        tested: How many snapshots that is of.
        false_accepts: Pictures of what is not a product that are taken for it.
        latency_ms: Median of an inference.
        latency_p95_ms: 95th percentile.
    """

    name: str
    fingerprint: str
    precision: str
    embedding_dim: int
    accuracy: float | None
    tested: int
    false_accepts: int
    latency_ms: float
    latency_p95_ms: float


@dataclass(frozen=True)
class Report:
    """A trial's outcome.

    Attributes:
        accepted: Whether the new bundle may take over.
        reasons: Why not.
        created: UTC, ISO 8601.
        pictures: How many it was tried on.
        agreement: Share of them with one verdict from both; None without pictures.
        differing: The most frequent differences: present verdict, new verdict, how often.
        present: The bundle in use.
        new: The new one.
        limits: What was asked of it.
    """

    accepted: bool
    reasons: tuple[str, ...]
    created: str
    pictures: int
    agreement: float | None
    differing: tuple[tuple[str | None, str | None, int], ...]
    present: Figures
    new: Figures
    limits: ShadowLimits

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **fields,
            "reasons": list(self.reasons),
            "differing": [list(pair) for pair in self.differing],
            "present": asdict(self.present),
            "new": asdict(self.new),
            "limits": self.limits.model_dump(mode="json"),
        }

    def text(self) -> str:
        """Return it for a person, a few lines."""
        old, new = self.present, self.new
        lines = [
            f"{new.name} ({new.precision}) instead of {old.name} ({old.precision}): "
            + ("accepted" if self.accepted else "refused"),
            *(f"  because {reason}" for reason in self.reasons),
            f"  tried on {self.pictures} pictures of this station; the same verdict on "
            f"{_percent(self.agreement)}",
            f"  left-one-out accuracy {_percent(old.accuracy)} -> {_percent(new.accuracy)} "
            f"({new.tested} snapshots); taken for what they are not: {old.false_accepts} -> "
            f"{new.false_accepts}",
            f"  an inference {old.latency_ms:.1f} ms -> {new.latency_ms:.1f} ms (median), "
            f"{old.latency_p95_ms:.1f} -> {new.latency_p95_ms:.1f} ms (95 %)",
        ]
        for before, after, count in self.differing[:5]:
            lines.append(f"  {count} x {before or 'unknown'} -> {after or 'unknown'}")
        return "\n".join(lines)


def judged(
    present: Figures, new: Figures, pairs: Sequence[Pair], pictures: int, limits: ShadowLimits
) -> Report:
    """Return the report on a trial.

    Args:
        present: Figures of the bundle in use.
        new: Figures of the new one.
        pairs: Both verdicts on each picture.
        pictures: How many there were.
        limits: What is asked.
    """
    differing = Counter(pair for pair in pairs if pair[0] != pair[1])
    same = None if not pairs else 1 - sum(differing.values()) / len(pairs)
    named = tuple((*pair, count) for pair, count in differing.most_common(MOST_NAMED))
    reasons = tuple(_reasons(present, new, same, pictures, limits))
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Report(not reasons, reasons, now, pictures, same, named, present, new, limits)


def _reasons(
    present: Figures, new: Figures, agreement: float | None, pictures: int, limits: ShadowLimits
) -> list[str]:
    """Return what the new bundle falls short of."""
    found = []
    if pictures < limits.min_pictures:
        found.append(
            f"there are {pictures} pictures to try it on, at least {limits.min_pictures} are needed"
        )
    if agreement is not None and agreement < limits.min_agreement:
        found.append(
            f"it agrees on {_percent(agreement)} of the pictures, "
            f"{_percent(limits.min_agreement)} are asked"
        )
    if present.accuracy is not None and new.accuracy is not None:
        loss = present.accuracy - new.accuracy
        if loss > limits.max_accuracy_loss + 1e-9:
            found.append(
                f"accuracy falls by {_percent(loss)}, {_percent(limits.max_accuracy_loss)} may"
            )
    if new.false_accepts > present.false_accepts:
        found.append(
            f"it takes {new.false_accepts} pictures for what an operator said they are not, "
            f"the present one {present.false_accepts}"
        )
    if new.latency_ms > present.latency_ms * limits.max_latency_ratio:
        found.append(
            f"an inference takes {new.latency_ms / max(present.latency_ms, 1e-9):.2f} times as "
            f"long, {limits.max_latency_ratio:g} times may"
        )
    if limits.max_latency_ms is not None and new.latency_ms > limits.max_latency_ms:
        found.append(
            f"an inference takes {new.latency_ms:.1f} ms, {limits.max_latency_ms:g} ms may"
        )
    return found


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
