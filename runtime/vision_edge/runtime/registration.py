"""Registration: pictures become snapshots only if they are good, and like their product.

A blurred or wrong snapshot poisons every verdict that follows, so what is wrong is said before
anything is kept, and nothing is kept unless the operator insists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_edge.runtime.augment import embed_snapshot
from vision_edge.runtime.bundle import Embeddings
from vision_edge.runtime.errors import ImageError, RegistrationError
from vision_edge.runtime.files import printable
from vision_edge.runtime.gallery_reader import GalleryReader
from vision_edge.runtime.preprocess import Image, decode_image, encode_jpeg, is_jpeg
from vision_edge.runtime.presence import Presence, crop_around
from vision_edge.runtime.prototypes import PrototypeClassifier
from vision_edge.runtime.quality import Finding, inspect_picture
from vision_edge.runtime.session import Embedder
from vision_edge.runtime.snapshots import Snapshot
from vision_edge.runtime.sources import Frame

OUTLIER_RATE = 0.5
"""A snapshot is an outlier when so large a share of strangers would be as near to its product."""
ODD_FACTOR, ODD_LEAST = 2.0, 4
"""Among so many snapshots, one is odd when it lies this many times farther off than the median."""


@dataclass(frozen=True)
class Picture:
    """A picture to register.

    Attributes:
        image: uint8 (H, W, 3), BGR; only the part, where the empty scene is known.
        jpeg: The bytes to keep, or None to encode `image`.
        origin: Where it came from.
        findings: What the quality gate says of it.
    """

    image: Image
    jpeg: bytes | None
    origin: str
    findings: tuple[Finding, ...]


def read_picture(item: Path | Frame, presence: Presence | None = None) -> Picture:
    """Read and inspect a file, or a frame of a source.

    Args:
        item: An image file, or a frame.
        presence: Knows the empty scene: the picture is checked for a whole part, and cut to it.

    Raises:
        ImageError: If a file is not a readable image.
    """
    if isinstance(item, Frame):
        image, jpeg, origin = item.image, None, item.source
    else:
        data = _read(item)
        image, origin = decode_image(data, str(item)), printable(item)
        jpeg = data if is_jpeg(data) else None
    findings = tuple(inspect_picture(image, presence))
    found = presence.find(image) if presence is not None else None
    if found is not None:
        image, jpeg = crop_around(image, found.box), None
    return Picture(image, jpeg, origin, findings)


def snapshot_from(picture: Picture, embedder: Embedder) -> Snapshot:
    """Embed a picture; what is embedded is the JPEG that is kept, decoded."""
    if picture.jpeg is not None:
        return Snapshot(picture.jpeg, embed_snapshot(embedder, picture.image), picture.origin)
    jpeg = encode_jpeg(picture.image)
    kept = decode_image(jpeg, picture.origin)
    return Snapshot(jpeg, embed_snapshot(embedder, kept), picture.origin)


def resemblance(
    snapshot: Snapshot, label: str, classifier: PrototypeClassifier | None
) -> list[Finding]:
    """Return what speaks against registering a snapshot as `label`, by its likeness.

    Args:
        snapshot: The snapshot.
        label: The product it is to show.
        classifier: Over the gallery's products; None if there are none yet.
    """
    if classifier is None:
        return []
    (decision,) = classifier.classify(snapshot.embedding)
    if decision.known and decision.label != label:
        message = f"too similar to product {decision.label!r} (score {decision.score:.2f})"
        fix = "is it that product? show what differs, or register it all the same with --force"
        return [Finding("similar", message, fix)]
    if label in classifier.labels:
        rate = float(classifier.rates_for(snapshot.embedding, label)[0])
        if rate > OUTLIER_RATE:
            message = f"unlike the other snapshots of {label!r}: {100 * rate:.0f} % of strangers "
            message += "would be as near"
            return [Finding("outlier", message, "is it that product? else register it on its own")]
    return []


def refuse(found: Sequence[tuple[str, Finding]]) -> None:
    """Raise with every finding, by origin.

    Raises:
        RegistrationError: If there is any.
    """
    if not found:
        return
    lines = [f"{origin}: {finding.message}\n    {finding.fix}" for origin, finding in found]
    raise RegistrationError(
        "nothing was registered:\n  " + "\n  ".join(lines),
        fix="take better pictures, or register these all the same with --force",
    )


def odd_ones(gallery: GalleryReader) -> dict[int, float]:
    """Return snapshots that are unlike the rest of their product, with how many times too far.

    Only products of at least `ODD_LEAST` snapshots can tell.
    """
    found: dict[int, float] = {}
    for snapshots in gallery.state().values():
        if len(snapshots) < ODD_LEAST:
            continue
        distances = _distances_to_the_rest(gallery.snapshots.vectors(snapshots, gallery.model))
        ratios = distances / max(float(np.median(distances)), 1e-9)
        odd = zip(snapshots, ratios, strict=True)
        found.update({i: float(ratio) for i, ratio in odd if ratio > ODD_FACTOR})
    return found


def _distances_to_the_rest(vectors: Embeddings) -> NDArray[np.float64]:
    """Return each row's distance to the mean of the others: float64 (N,)."""
    count = len(vectors)
    others = (vectors.sum(axis=0, dtype=np.float64) - vectors) / (count - 1)
    distances: NDArray[np.float64] = np.linalg.norm(vectors - others, axis=1)
    return distances


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be read ({error.strerror})", fix="check the path"
        ) from error
