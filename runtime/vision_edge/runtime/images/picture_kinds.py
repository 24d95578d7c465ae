"""What a file holds, by its first bytes: the suffix is only a name that somebody gave it."""

from __future__ import annotations

from functools import cache

from vision_edge.runtime.errors import require

HEAD = 64
"""Bytes of a file's beginning that tell its kind."""

_BUILT_IN = {"AVIF": ".avif", "GIF": ".gif", "JPEG 2000": ".jp2"}
"""Kinds that not every build of OpenCV reads, by a suffix that it knows them by."""

READ = frozenset(
    {"JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF", "AVIF", "JPEG 2000", "PNM", "Sun raster"}
)
"""Kinds of pictures that are read."""

IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".jif",
        ".mpo",
        ".png",
        ".apng",
        ".webp",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".gif",
        ".avif",
        ".jp2",
        ".j2k",
        ".jpc",
        ".pbm",
        ".pgm",
        ".ppm",
        ".pnm",
        ".pam",
        ".ras",
        ".sr",
    ]
)
"""Suffixes that promise such a picture: what has one and holds none is an error, not a stranger."""

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"CR\x02\x00", "camera raw"),
    (b"BM", "BMP"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"PF\n", "PFM"),
    (b"Pf\n", "PFM"),
    (b"\x00\x00\x01\x00", "icon"),
    (b"version https://git-lfs", "Git LFS pointer"),
    (b"<svg", "SVG"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"FLV", "video"),
    (b"\x00\x00\x01\xba", "video"),
)
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"msf1"), "HEIC"),
    b"crx ": "camera raw",
}


def kind_of(head: bytes) -> str | None:
    """Return the kind of file that begins so, in words; None if it is no kind that is known.

    Args:
        head: The first `HEAD` bytes, or more.
    """
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "camera raw" if head[8:10] == b"CR" else "TIFF"
    if head[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"AVI ": "video"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _brand(head)
    if head[:1] == b"P" and head[1:2] in b"1234567" and head[2:3].isspace():
        return "PNM"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def readable(kind: str | None) -> bool:
    """Whether pictures of a kind are read, here: some kinds are not in every OpenCV."""
    return kind in READ and (kind not in _BUILT_IN or _knows(_BUILT_IN[str(kind)]))


def _brand(head: bytes) -> str:
    """Return the kind of an ISO media file: its major brand, or else those it is compatible to."""
    length = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(length, len(head)), 4))]
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), "video")


@cache
def _knows(suffix: str) -> bool:
    """Whether this OpenCV was built with a format; it writes what it reads of these."""
    return bool(require("cv2").haveImageWriter(f"x{suffix}"))
