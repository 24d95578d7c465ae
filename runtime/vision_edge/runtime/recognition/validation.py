"""A gallery on labelled pictures: what is named, confused, reviewed, and let in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vision_edge.runtime.recognition.prototypes import MAX_REVIEW_RATE, REVIEW_FACTOR, Decision

UNKNOWN = ""
"""What stands for *unknown* among the answers."""
EXPLORED = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Rates that one may ask for instead."""


@dataclass(frozen=True)
class Tried:
    """One labelled picture.

    Attributes:
        name: The picture, for people.
        truth: The product it shows; None for a stranger.
        decision: What was said of it.
    """

    name: str
    truth: str | None
    decision: Decision


@dataclass(frozen=True)
class Limits:
    """What must be reached; None does not matter. Shares are from 0 to 1.

    Attributes:
        min_named: Least share of the products' pictures that are named rightly.
        max_wrong: Most of them that are named as another product.
        max_strangers: Most strangers that are taken for a product.
    """

    min_named: float | None = None
    max_wrong: float | None = None
    max_strangers: float | None = None


@dataclass(frozen=True)
class Shares:
    """What comes of a rate; each share is from 0 to 1, None where there are no such pictures.

    Attributes:
        rate: The rate that is asked for.
        named: Products' pictures named rightly.
        wrong: Named as another product.
        review: Unknown, and worth a look.
        strangers: Strangers taken for a product.
    """

    rate: float
    named: float | None
    wrong: float | None
    review: float | None
    strangers: float | None


@dataclass(frozen=True)
class Validation:
    """All labelled pictures, judged.

    Attributes:
        tried: Each of them.
        false_accept_rate: What was asked.
    """

    tried: tuple[Tried, ...]
    false_accept_rate: float

    @property
    def products(self) -> list[Tried]:
        """Pictures of registered products."""
        return [one for one in self.tried if one.truth is not None]

    @property
    def strangers(self) -> list[Tried]:
        """Pictures of anything else."""
        return [one for one in self.tried if one.truth is None]

    def at(self, rate: float) -> Shares:
        """Return what would come of another rate, in (0, 1)."""
        most = min(MAX_REVIEW_RATE, REVIEW_FACTOR * rate)

        def share(rows: Sequence[bool]) -> float | None:
            return float(np.mean(rows)) if rows else None

        def known(one: Tried) -> bool:
            stated = one.decision.stranger_rate
            return one.decision.known if stated is None else stated <= rate

        own, others = self.products, self.strangers
        return Shares(
            rate,
            share([known(one) and one.decision.nearest == one.truth for one in own]),
            share([known(one) and one.decision.nearest != one.truth for one in own]),
            share([not known(one) and (one.decision.stranger_rate or 1.0) <= most for one in own]),
            share([known(one) for one in others]),
        )

    @property
    def shares(self) -> Shares:
        """What comes of the rate that was asked for."""
        return self.at(self.false_accept_rate)

    def confusion(self) -> dict[str, dict[str, int]]:
        """Return how often each truth got each answer; `UNKNOWN` is both a stranger and unknown."""
        table: dict[str, dict[str, int]] = {}
        for one in self.tried:
            row = table.setdefault(one.truth or UNKNOWN, {})
            said = one.decision.label or UNKNOWN
            row[said] = row.get(said, 0) + 1
        return table

    def failures(self, limits: Limits) -> list[str]:
        """Return in words each limit that is missed, or that nothing here can show is kept."""
        found, shares = [], self.shares
        for name, value, least, most in (
            ("named rightly", shares.named, limits.min_named, None),
            ("named as another product", shares.wrong, None, limits.max_wrong),
            ("strangers taken for a product", shares.strangers, None, limits.max_strangers),
        ):
            limit = most if least is None else least
            if limit is None:
                continue
            if value is None:
                found.append(f"{name}: no such pictures were given, so the limit is not shown")
            elif (least is not None and value < least) or (most is not None and value > most):
                sign = "at least" if least is not None else "at most"
                found.append(f"{name}: {100 * value:.1f} %, asked {sign} {100 * limit:g} %")
        return found


def validation_document(
    done: Validation, failures: Sequence[str] = (), bad: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the validation as JSON values.

    Args:
        done: The validation.
        failures: Limits that are missed, in words.
        bad: Pictures that could not be read, in words.
    """
    return {
        "passed": not failures and not bad,
        "failures": list(failures),
        "unreadable": list(bad),
        "pictures": len(done.products),
        "strangers": len(done.strangers),
        **{("false_accept_rate" if k == "rate" else k): v for k, v in asdict(done.shares).items()},
        "confusion": {
            truth or "strangers": {said or "unknown": count for said, count in row.items()}
            for truth, row in done.confusion().items()
        },
        "answers": [
            {"shows": truth or None, "said": said or None, "pictures": count}
            for truth, row in done.confusion().items()
            for said, count in sorted(row.items())
        ],
        "rates": [asdict(done.at(rate)) for rate in EXPLORED],
    }
