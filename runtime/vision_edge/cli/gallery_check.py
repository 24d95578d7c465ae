"""What `vision-edge gallery check` says of a gallery, for people and for programs."""

from __future__ import annotations

from vision_edge.runtime.recognition.gallery_check import GalleryCheck

FEW = 5
"""So many snapshots or fewer of a product are worth adding to, when little will be named."""


def lines(check: GalleryCheck, identifiers: dict[str, list[int]]) -> list[str]:
    """Return the check in words, a line each."""
    told = [f"{check.products} product(s), {check.of} snapshot(s)"]
    if len(check.snapshots) < check.of:
        told.append(f"{len(check.snapshots)} of them, evenly chosen, were looked at")
    asked = f"at {100 * check.false_accept_rate:g} % of strangers"
    if check.named is None:
        told.append("no product has two snapshots, so nothing can be left out and judged")
    else:
        told.append(
            f"about {100 * check.named:.0f} % of parts will be named rightly, {asked}"
            + _told_by(check)
        )
    for name, share in sorted(check.by_product().items(), key=lambda row: row[1])[:FEW]:
        if share < 1.0:
            told.append(f"  {100 * share:3.0f} %  {name}")
    for product, other, count in check.confusions():
        told.append(f"{product!r} will be taken for {other!r} ({count} snapshot(s))")
    for one in check.snapshots:
        number = identifiers[one.product][one.number]
        if one.mislabelled:
            told.append(
                f"snapshot {number} of {one.product!r} looks like {one.nearest!r}: wrong label?"
            )
        elif one.odd:
            told.append(
                f"snapshot {number} of {one.product!r} is unlike its others: a bad picture?"
            )
    if check.lone:
        told.append("one snapshot only, add another: " + ", ".join(map(repr, check.lone)))
    return told


def _told_by(check: GalleryCheck) -> str:
    """Return which products the share is told by, where some have one snapshot only."""
    if not check.lone:
        return ""
    judged = [one.product for one in check.snapshots if one.judged]
    return (
        f"; told by {len(judged)} snapshot(s) of {len(set(judged))} product(s), "
        f"nothing is known of the other {check.products - len(set(judged))}"
    )
