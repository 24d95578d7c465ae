"""Registration: pictures become snapshots only if they are good, and like their product.

A blurred or wrong snapshot poisons every verdict that follows, so what is wrong is said before
anything is kept, and nothing is kept unless the operator insists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import RegistrationError, VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.catalogue import encode_catalogue, inspect_catalogue
from vision_edge.runtime.images.coding import decode_image, encode_jpeg, is_jpeg, read_bytes
from vision_edge.runtime.images.locating import Found, Locator, most_prominent
from vision_edge.runtime.images.part_crops import crop_alone
from vision_edge.runtime.images.quality import Finding, inspect_picture, whole_part
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading
from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.pipeline.snapshot_embedding import kept_snapshot
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.sources.frame import Frame, Source
from vision_edge.runtime.system.files import printable

OUTLIER_RATE = 0.5
"""A snapshot is an outlier when so large a share of strangers would be as near to its product."""


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


def read_picture(
    item: Path | Frame,
    locator: Locator | None = None,
    reading: Reading = AS_IT_SAYS,
    part: int | None = None,
) -> Picture:
    """Read and inspect a file, or a frame of a source.

    Args:
        item: An image file, or a frame.
        locator: Finds parts: the picture is checked for a whole one, and cut to it.
        reading: What a file does not say of its pixels.
        part: Which of several parts that are wholly in view, from 1, from left to right. By
            default there must be one; of several the largest is taken, with a finding.

    Raises:
        ImageError: If a file is not a readable image.
        RegistrationError: If there is no such part.
    """
    if isinstance(item, Frame):
        image, jpeg, origin = item.image, None, item.source
    else:
        data = read_bytes(item)
        image, origin = decode_image(data, str(item), reading), printable(item)
        jpeg = data if is_jpeg(data) else None
    findings = inspect_picture(image)
    if locator is not None:
        found = locator.find_all(image)
        chosen = chosen_part(found, part, origin)
        findings = findings or whole_part(chosen) or ([] if part else several_parts(found))
        if chosen is not None:
            image, jpeg = crop_alone(image, chosen, found, locator.scene), None
    return Picture(image, jpeg, origin, tuple(findings))


def chosen_part(found: Sequence[Found], part: int | None, origin: str) -> Found | None:
    """Return the part of a number, or without one the largest that is wholly in view.

    Raises:
        RegistrationError: If there is no part of that number.
    """
    if part is None:
        return most_prominent(found)
    whole = [one for one in found if one.complete]
    if not 1 <= part <= len(whole):
        raise RegistrationError(
            f"{origin}: there is no part {part}: {len(whole)} are wholly in view{_listed(whole)}",
            fix="give the number of one of them" if whole else "put the part wholly into view",
        )
    return whole[part - 1]


def several_parts(found: Sequence[Found]) -> list[Finding]:
    """Return the finding that it is not clear which of several parts is meant."""
    whole = [one for one in found if one.complete]
    if len(whole) < 2:
        return []
    message = f"{len(whole)} parts are wholly in view{_listed(whole)}"
    fix = "give the number of the one that is meant, or leave it alone in view"
    return [Finding("several", message, fix)]


def _listed(whole: Sequence[Found]) -> str:
    """Return where parts are: `: 1 at 12,40 to 90,120, 2 at ...`."""
    said = [
        f"{number} at {one.box[0]},{one.box[1]} to {one.box[2]},{one.box[3]}"
        for number, one in enumerate(whole, 1)
    ]
    return f": {', '.join(said)}" if said else ""


def read_catalogue_picture(path: Path, reading: Reading = AS_IT_SAYS) -> Picture:
    """Read and inspect a catalogue picture: one product, alone on a plain background.

    Args:
        path: An image file.
        reading: What the file does not say of its pixels; a transparent background becomes white.

    Raises:
        ImageError: If it is not a readable image.
    """
    image = decode_image(read_bytes(path), str(path), reading)
    return catalogue_picture(image, printable(path))


def catalogue_picture(image: Image, origin: str) -> Picture:
    """Inspect a catalogue picture, uint8 (H, W, 3) BGR; what is kept says that it is one."""
    return Picture(image, encode_catalogue(image), origin, tuple(inspect_catalogue(image)))


def snapshot_from(picture: Picture, embedder: Embedder) -> Snapshot:
    """Embed a picture; what is embedded is the JPEG that is kept, decoded."""
    jpeg = encode_jpeg(picture.image) if picture.jpeg is None else picture.jpeg
    return kept_snapshot(embedder, jpeg, picture.origin)


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


def snapshot_of(image: Image, embedder: Embedder, origin: str) -> Snapshot:
    """Make a snapshot of a frame, uint8 (H, W, 3) BGR, without any gate.

    Args:
        image: The frame.
        embedder: A session.
        origin: Where the image came from.
    """
    return snapshot_from(Picture(image, None, origin, ()), embedder)


def register(
    gallery: Gallery, embedder: Embedder, label: str, frames: Sequence[Path | Frame]
) -> int:
    """Register image files or frames as one product: all of them, or none.

    Args:
        gallery: An open gallery of the embedder's model.
        embedder: A session.
        label: The product's name.
        frames: Image files, or frames of a source.

    Returns:
        The gallery's new version.

    Raises:
        VisionEdgeError: If an image is unreadable or the gallery refuses it.
    """
    return gallery.add(label, snapshots_of(embedder, frames))


def snapshots_of(embedder: Embedder, frames: Sequence[Path | Frame]) -> list[Snapshot]:
    """Make snapshots of image files, or frames of a source, without any gate.

    Raises:
        ImageError: If one of the files is not a readable image.
    """
    return [snapshot_from(read_picture(item), embedder) for item in frames]


def take_frame(source: Source, settle: int = 5, after: float = 0.0) -> Frame:
    """Take one frame of a source; of a live one, after `settle` frames for exposure to settle.

    Args:
        source: The source.
        settle: Frames of a live source to let pass.
        after: Time of `time.monotonic` before which no frame counts: when a key was pressed.

    Raises:
        VisionEdgeError: If the source ends before.
    """
    skip = settle if source.live else 0
    for index, frame in enumerate(source):
        if index >= skip and frame.captured >= after:
            return frame
    raise VisionEdgeError(f"{source.name}: no frame to register", fix="check the source")
