"""What the figures of a hub say to whoever builds from it: warnings, and advice.

Every threshold comes from hubs that were measured; `docs/recycling.md` has them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vision_edge.toolkit.averaging.size import HARM

NARROW = 10
"""Classes an adapter below which wider ones are advised."""

FEW = 10
"""Classes of all adapters together below which a build may end below the plain backbone."""

FEWEST = 2
"""Classes that an adapter knows at the least, where nothing says how many."""

TRIED_RANK, TRIED_ADAPTERS = 64, 120
"""The highest rank and the most adapters that the rule was tried with."""

TRIED_SHARE = 0.12
"""Share of the weights' norm beyond what any hub that was tried came to (0.01 to 0.09)."""

HARDLY = 0.005
"""Agreement (mean cosine) below which adapters have hardly anything in common."""

Report = Mapping[str, Any]


def warnings(report: Report) -> list[str]:
    """Return in plain sentences why this build may end below the plain backbone.

    Args:
        report: Of an average: `adapters`, `size`, `agreement`.
    """
    return [*_of_size(report["size"]), *_of_adapters(report["adapters"])]


def _of_size(size: Report) -> Iterator[str]:
    if size["turn"] >= HARM:
        yield (
            f"it turns embeddings by {size['turn']:.2f}; from {HARM:g} on, hubs that were tried "
            "ended below the plain backbone on some set. A smaller --scale is safer"
        )
    if size["share"] > TRIED_SHARE:
        yield (
            f"its norm is {100 * size['share']:.0f} % of that of the weights it changes; hubs that "
            "were tried came to 1 to 9 %, so its adapters may be noise. Test it (--test)"
        )


def _of_adapters(adapters: Sequence[Report]) -> Iterator[str]:
    known = sum(fact["way"] or FEWEST for fact in adapters)
    if known < FEW:
        unsaid = any(not fact["way"] for fact in adapters)
        some = f"may know as few as {known} classes" if unsaid else f"know {known} classes"
        yield (
            f"its adapters {some} in all; so few may end below the plain backbone (a single 2-way "
            "adapter did). Test it on your own images (--test)"
        )
    ranks = [fact["rank"] for fact in adapters]
    if max(ranks) > TRIED_RANK:
        yield f"rank {max(ranks)} is more than was tried ({TRIED_RANK}); test it (--test)"


def counsel(report: Report) -> list[str]:
    """Return advice in plain sentences.

    Args:
        report: Of an average: `adapters`, `agreement`, `groups`, `size`.
    """
    return [*_on_classes(report), *_on_agreement(report), *_on_groups(report), *_on_size(report)]


def _on_classes(report: Report) -> Iterator[str]:
    ways = [fact["way"] for fact in report["adapters"] if fact["way"]]
    if not ways:
        yield "how many classes its adapters know is not said; those of 20 and more are worth most"
        return
    middle = statistics.median(ways)
    if middle < NARROW:
        yield (
            f"its adapters know {middle:g} classes each; few wide adapters beat many narrow ones "
            "(one of 32 classes did better than 120 of 5), so tune with --way 20 or more"
        )


def _on_agreement(report: Report) -> Iterator[str]:
    if report["agreement"] < HARDLY:
        yield (
            f"its adapters hardly agree (mean cosine {report['agreement']:.4f}); what they have in "
            "common is little, and so may the gain be"
        )
    outliers = [fact["name"] for fact in report["adapters"] if fact["outlier"]]
    if outliers:
        yield (
            f"hardly agree with the rest: {listed(outliers)}; see whether they belong, and leave "
            "them out with --weights-of NAME=0 if not"
        )


def _on_groups(report: Report) -> Iterator[str]:
    if report["groups"] is None:
        yield "the hub is too large to look for groups of adapters that agree among themselves"
        return
    groups = [group for group in report["groups"] if len(group["adapters"]) > 1]
    if len(groups) < 2:
        return
    named = "; ".join(f"{listed(g['adapters'])}{_about(g['classes'])}" for g in groups[:4])
    yield (
        f"it serves {len(groups)} domains whose adapters have little in common: {named}. Where a "
        "station sees one of them alone, build from that one (--weights-of PATTERN=0 for the rest)"
    )


def _about(classes: Sequence[str]) -> str:
    return f" ({', '.join(classes[:3])}, ...)" if classes else ""


def _on_size(report: Report) -> Iterator[str]:
    size = report["size"]
    limit = f"; {size['limit']}" if size["limit"] else ""
    yield (
        f"it turns embeddings of generated scenes by {size['turn']:.3f}, with a norm of "
        f"{100 * size['share']:.1f} % of the weights it changes{limit}"
    )


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


UNTESTED = (
    "it was compared with the plain backbone on no pictures, so whether it is better on yours is "
    "not known: --test DATA does, with a folder of classes"
)
"""Said of a build without `--test`."""


def below_plain(document: Report, own: str) -> str | None:
    """Return a warning if labelled images put a meta-LoRA below the plain backbone.

    Args:
        document: A table as `evaluate.to_document` makes it, the plain backbone first.
        own: The meta-LoRA's name in it.

    Returns:
        None unless the difference is more than the interval.
    """
    plain = document["results"][0]
    mine = next(result for result in document["results"] if result["name"] == own)
    loss = plain["accuracy"] - mine["accuracy"]
    if loss <= max(plain["ci95"], mine["ci95"]):
        return None
    return (
        f"on {document['data']} it is {loss:.1f} points BELOW the plain backbone "
        f"({mine['accuracy']:.1f} against {plain['accuracy']:.1f} %): do not use it there"
    )
