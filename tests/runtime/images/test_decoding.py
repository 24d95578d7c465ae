"""Every kind of picture: told by content, counted before decoding, whole, upright, opaque.

Pillow is the reference: another reader, with other libraries below it.
"""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_edge.runtime.errors import ImageError, UnsaidError
from vision_edge.runtime.images.coding import MAX_BYTES, MAX_PIXELS, decode_image, read_image
from vision_edge.runtime.images.picture_header import read_header
from vision_edge.runtime.images.picture_kinds import readable
from vision_edge.runtime.images.reading import Reading, parse_colour

pillow = pytest.importorskip("PIL.Image")
operations = pytest.importorskip("PIL.ImageOps")
WHITE, WIDTH, HEIGHT = (255, 255, 255), 64, 48


def scene(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> np.ndarray[Any, Any]:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def saved(picture: Any, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def in_mode(mode: str) -> Any:
    plain = pillow.fromarray(scene()[:, :, ::-1])
    if mode == "I;16":
        return pillow.fromarray(scene()[:, :, 0].astype(np.uint16) * 257)
    if mode in ("RGBA", "LA"):
        opaque = plain.convert("L" if mode == "LA" else "RGB")
        opaque.putalpha(pillow.fromarray(np.tile(np.arange(0, 256, 4, np.uint8), (HEIGHT, 1))))
        return opaque
    return plain.convert(mode)


def as_seen_by_pillow(data: bytes) -> np.ndarray[Any, Any]:
    seen = operations.exif_transpose(pillow.open(io.BytesIO(data)))
    if seen.mode.startswith("I"):
        seen = pillow.fromarray((np.asarray(seen) // 257).astype(np.uint8))
    if seen.mode in ("RGBA", "LA", "PA") or "transparency" in seen.info:
        seen = seen.convert("RGBA")
        seen = pillow.alpha_composite(pillow.new("RGBA", seen.size, (*WHITE, 255)), seen)
    return np.asarray(seen.convert("RGB"))[:, :, ::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "modes"),
    [
        ("JPEG", ("RGB", "L", "CMYK")),
        ("MPO", ("RGB",)),
        ("PNG", ("RGB", "L", "RGBA", "LA", "P", "1", "I;16")),
        ("WEBP", ("RGB", "RGBA")),
        ("TIFF", ("RGB", "L", "RGBA", "P", "1", "I;16")),
        ("AVIF", ("RGB", "RGBA")),
    ],
)
def test_it_is_seen_as_another_reader_sees_it(
    kind: str, modes: tuple[str, ...], orientation: int
) -> None:
    if not readable({"WEBP": "WebP", "MPO": "JPEG"}.get(kind, kind)):
        pytest.skip("this OpenCV was built without it")
    exif = pillow.Exif()
    exif[274] = orientation
    for mode in modes:
        data = saved(in_mode(mode), kind, exif=exif, quality=95)
        got, expected = decode_image(data, "x.bin"), as_seen_by_pillow(data)
        assert got.shape == expected.shape, mode
        assert np.abs(got.astype(int) - expected).mean() < 4, mode


@pytest.mark.parametrize("suffix", [".ppm", ".pam", ".ras", ".bmp", ".jp2", ".tiff", ".png"])
def test_a_format_that_opencv_writes_is_read_whatever_its_name(suffix: str) -> None:
    data = cv2.imencode(suffix, scene())[1].tobytes()
    header = read_header(data, "x.txt")
    assert (header.width, header.height, header.pictures) == (WIDTH, HEIGHT, 1)
    assert np.abs(decode_image(data, "x.txt").astype(int) - scene()).mean() < 1


# --- transparency ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "GIF", "JPEG2000"])
def test_pixels_that_nobody_sees_decide_nothing(kind: str) -> None:
    if kind in ("AVIF", "GIF") and not readable(kind):
        pytest.skip("this OpenCV was built without it")
    results = []
    for hidden in ((255, 0, 255), (0, 0, 0)):
        pixels = np.full((HEIGHT, WIDTH, 4), (*hidden, 0), np.uint8)
        pixels[12:36, 16:48] = (10, 200, 60, 255)
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        results.append(decode_image(saved(pillow.fromarray(pixels), kind, **options), "x"))
    assert all((result[:8] == 255).all() for result in results)
    edge = np.abs(results[0].astype(int) - results[1])
    assert edge.mean() < 2 if kind == "AVIF" else edge.max() == 0  # AVIF smears over edges


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_one_colour_may_be_the_transparent_one(mode: str) -> None:
    key = {"L": 40, "RGB": (1, 2, 3), "P": 3, "1": 0}[mode]
    data = saved(in_mode(mode), "PNG", transparency=key)
    assert np.array_equal(decode_image(data, "x"), as_seen_by_pillow(data))


def test_the_background_is_the_one_that_is_said() -> None:
    empty = cv2.imencode(".png", np.zeros((4, 4, 4), np.uint8))[1].tobytes()
    assert (decode_image(empty, "x") == 255).all()
    assert (decode_image(empty, "x", Reading(background=(1, 2, 3))) == (3, 2, 1)).all()
    assert parse_colour("#0a0B0c") == (10, 11, 12)
    for bad in ("white", "#fff", "", "#gggggg", "1,2,3"):
        with pytest.raises(ImageError, match="no colour"):
            parse_colour(bad)


def test_transparency_that_the_decoder_drops_is_refused() -> None:
    with pytest.raises(ImageError, match=r"transparency .* cannot read"):
        decode_image(saved(in_mode("LA"), "TIFF"), "x")


# --- depth -----------------------------------------------------------------------------------


def deep(bits: int, suffix: str = ".png") -> bytes:
    """A grey ramp from 0 to what `bits` bits hold, in 16."""
    ramp = np.linspace(0, (1 << bits) - 1, 256).round().astype(np.uint16)
    return bytes(cv2.imencode(suffix, np.tile(ramp, (8, 1)))[1].tobytes())


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_bits_that_nobody_states_are_asked_for(bits: int, suffix: str) -> None:
    data = deep(bits, suffix)
    with pytest.raises(ImageError, match=f"(?s)16 bits.*only {bits} bits.*--bits {bits}") as caught:
        decode_image(data, "x")
    assert "--bits 16" in str(caught.value)
    got = decode_image(data, "x", Reading(bits=bits))
    assert np.abs(got[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    dark = decode_image(data, "x", Reading(bits=16))
    assert dark.max() == round(255 * ((1 << bits) - 1) / 65535)


def test_all_sixteen_bits_need_no_word_and_too_few_are_refused() -> None:
    assert np.abs(decode_image(deep(16), "x")[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    assert decode_image(deep(15), "x").max() == 127  # more than 14 bits: no camera's but 16
    with pytest.raises(ImageError, match=r"4095, more than 10 bits"):
        decode_image(deep(12), "x", Reading(bits=10))
    for bits in (7, 17, 0):
        with pytest.raises(ImageError, match="bits"):
            Reading(bits=bits)


def test_a_black_picture_is_black_whatever_its_bits() -> None:
    data = cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].tobytes()
    assert (decode_image(data, "x") == 0).all()


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + struct.pack(">I", len(data)) + kind + data + checksum + png[33:]


def test_what_a_file_says_of_its_bits_is_believed() -> None:
    stated = with_chunk(deep(12), b"sBIT", b"\x0c")
    assert np.abs(decode_image(stated, "x")[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    ramp = np.tile(np.linspace(0, 4095, 256).round().astype(">u2"), (8, 1))
    pgm = b"P5\n# twelve bits\n256 8\n4095\n" + ramp.tobytes()
    assert np.abs(decode_image(pgm, "x")[0, :, 0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("opaque", [4095, 65535])
def test_what_nobody_sees_decides_no_depth_and_alpha_has_its_own(opaque: int) -> None:
    colours = (scene().astype(np.uint32) * 4095 // 255).astype(np.uint16)
    alpha = np.full((HEIGHT, WIDTH), opaque, np.uint16)
    colours[0], alpha[0] = 65535, 0
    data = cv2.imencode(".png", np.dstack([colours, alpha]))[1].tobytes()
    with pytest.raises(UnsaidError, match="--bits 12"):
        decode_image(data, "x")
    seen = decode_image(data, "x", Reading(bits=12))
    assert (seen[0] == 255).all()
    assert np.abs(seen[1:].astype(int) - scene()[1:]).max() <= 1
    with pytest.raises(UnsaidError, match="more than 10 bits"):
        decode_image(data, "x", Reading(bits=10))


def test_a_png_that_says_its_bits_may_be_scaled_to_all_of_them() -> None:
    low = np.tile(np.linspace(0, 4095, 256).round().astype(np.uint16), (8, 1))
    for values in (low, low << 4, low << 4 | low >> 8):
        stated = with_chunk(cv2.imencode(".png", values)[1].tobytes(), b"sBIT", b"\x0c")
        for reading in (Reading(), Reading(bits=12)):
            seen = decode_image(stated, "x", reading)[0, :, 0]
            assert np.abs(seen.astype(int) - np.arange(256)).max() <= 1
    dark = with_chunk(deep(12), b"sBIT", b"\x0c")
    assert decode_image(dark, "x", Reading(bits=16)).max() == 16


@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6", "P7"])
@pytest.mark.parametrize("most", [1, 2, 15, 100, 127, 254, 600, 1000, 4095, 65534])
def test_a_pnm_is_scaled_by_the_largest_value_that_it_says(kind: str, most: int) -> None:
    grey = np.tile(np.arange(256), (8, 1))
    values = np.rint(grey * most / 255).astype(np.uint8 if most < 256 else ">u2")
    values = np.repeat(values, 3, 1) if kind in ("P3", "P6") else values
    head = f"{kind}\n256 8\n{most}\n"
    if kind == "P7":
        head = f"P7\nWIDTH 256\nHEIGHT 8\nDEPTH 1\nMAXVAL {most}\nTUPLTYPE GRAYSCALE\nENDHDR\n"
    text = " ".join(str(value) for value in values.ravel()).encode()
    data = head.encode() + (text + b"\n" if kind in ("P2", "P3") else values.tobytes())
    if kind == "P7" and most == 1:
        with pytest.raises(ImageError, match="0 and 1"):
            decode_image(data, "x")
        return
    expected = np.rint(np.rint(grey * most / 255) * 255 / most)
    assert np.abs(decode_image(data, "x")[..., 0] - expected).max() <= 1


def test_a_pnm_whose_values_exceed_what_it_says_is_damaged() -> None:
    for most in (100, 1000):
        pixels = np.full((4, 4), most + 1, np.uint8 if most < 256 else ">u2").tobytes()
        with pytest.raises(ImageError, match=f"{most + 1}, more than the {most}"):
            decode_image(f"P5\n4 4\n{most}\n".encode() + pixels, "x")


def test_pixels_without_an_agreed_white_are_refused() -> None:
    for suffix in (".tiff", ".hdr", ".pfm"):
        data = cv2.imencode(suffix, scene().astype(np.float32))[1].tobytes()
        with pytest.raises(ImageError):
            decode_image(data, "x")


# --- pixels before decoding ------------------------------------------------------------------


def claims(kind: str, side: int) -> bytes:
    """A small file of a kind that says it is `side` pixels wide and high."""
    if kind == "PNG":
        row = zlib.compress(bytes(3 * side + 1), 9)
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", head), (b"IDAT", row), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
            for k, d in chunks
        )
    little, big = struct.pack("<I", side), struct.pack(">I", side)
    if kind == "BMP":
        data = bytearray(cv2.imencode(".bmp", scene())[1].tobytes())
        data[18:26] = little * 2
    elif kind == "TIFF":
        data = bytearray(saved(in_mode("RGB"), "TIFF"))
        for tag in (256, 257):
            at = data.index(struct.pack("<HH", tag, 4))
            data[at + 8 : at + 12] = little
    elif kind == "JPEG 2000":
        data = bytearray(cv2.imencode(".jp2", scene())[1].tobytes())
        at = data.index(b"\xff\x4f\xff\x51")
        data[at + 8 : at + 16] = big * 2
    elif kind == "GIF":
        data = bytearray(saved(in_mode("P"), "GIF"))
        data[6:10] = struct.pack("<HH", side, side)
    elif kind == "AVIF":
        data = bytearray(saved(in_mode("RGB"), "AVIF"))
        at = data.index(b"ispe") + 8
        data[at : at + 8] = big * 2
    elif kind == "WebP":
        packed = struct.pack("<I", (side - 1) | (side - 1) << 14)
        data = bytearray(saved(in_mode("RGB"), "WEBP", lossless=True))
        at = data.index(b"VP8L") + 9
        data[at : at + 4] = packed
    elif kind == "Sun raster":
        data = bytearray(cv2.imencode(".ras", scene())[1].tobytes())
        data[4:12] = big * 2
    else:
        return b"P6\n%d %d\n255\n" % (side, side) + bytes(100)
    return bytes(data)


@pytest.mark.parametrize(
    "kind", ["PNG", "BMP", "TIFF", "JPEG 2000", "GIF", "AVIF", "WebP", "Sun raster", "PNM"]
)
def test_pixels_are_counted_before_a_decoder_takes_memory_for_them(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not readable(kind):
        pytest.skip("this OpenCV was built without it")

    def decoder(*_: object) -> None:
        raise AssertionError("it was decoded")

    data = claims(kind, 16_000)
    assert len(data) < 300_000
    monkeypatch.setattr(cv2, "imdecode", decoder)
    with pytest.raises(ImageError, match=f"16000x16000 pixels is over the limit of {MAX_PIXELS:,}"):
        decode_image(data, "x")


# --- several pictures, and others ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_several_pictures_in_a_file_are_not_one(kind: str) -> None:
    if kind == "GIF" and not readable(kind):
        pytest.skip("this OpenCV was built without it")
    pictures = [pillow.fromarray(scene(seed=seed)) for seed in (1, 2, 3)]
    data = saved(pictures[0], kind, save_all=True, append_images=pictures[1:])
    with pytest.raises(ImageError, match="several pictures"):
        decode_image(data, "x")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(64), "HEIC"),
        (b"\xff\x0a" + bytes(64), "JPEG XL"),
        (b"8BPS" + bytes(64), "Photoshop"),
        (b"%PDF-1.7" + bytes(64), "PDF"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(64), "camera raw"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp42" + bytes(64), "video"),
    ],
)
def test_other_kinds_are_refused_by_name(head: bytes, kind: str) -> None:
    with pytest.raises(ImageError, match=f"x.jpg: {kind}, which is not read") as caught:
        decode_image(head, "x.jpg")
    assert caught.value.fix


# --- damage ----------------------------------------------------------------------------------


def jpeg(quality: int = 95, size: tuple[int, int] = (320, 240), **options: int) -> bytes:
    noise = np.random.default_rng(1).normal(0, 6, (size[1], size[0], 3))
    image = np.clip(scene(*size) + noise, 0, 255).astype(np.uint8)
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    for name, value in options.items():
        flags += [getattr(cv2, f"IMWRITE_JPEG_{name}"), value]
    return bytes(cv2.imencode(".jpg", image, flags)[1].tobytes())


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    quality=st.integers(1, 100),
    progressive=st.booleans(),
    restart=st.sampled_from([0, 1, 3, 16]),
    grey=st.booleans(),
    tail=st.sampled_from([b"", b"\0", bytes(700), b"\xff" * 9, b"\xff\xd8\xff"]),
)
def test_no_good_jpeg_is_called_damaged(
    width: int, height: int, quality: int, progressive: bool, restart: int, grey: bool, tail: bytes
) -> None:
    image = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    flags = [
        cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive),
        cv2.IMWRITE_JPEG_RST_INTERVAL, restart,
    ]  # fmt: skip
    data = cv2.imencode(".jpg", image[:, :, 0] if grey else image, flags)[1].tobytes() + tail
    assert decode_image(data, "x").shape == (height, width, 3)


@pytest.mark.parametrize("options", [{}, {"PROGRESSIVE": 1}, {"RST_INTERVAL": 4}, {"OPTIMIZE": 1}])
@pytest.mark.parametrize("filler", ["zeros", "ones", "noise", "cut"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_jpeg_that_is_damaged_inside_is_refused(
    options: dict[str, int], filler: str, share: float
) -> None:
    data = jpeg(**options)
    at = round(share * len(data))
    lost = len(data) - 2 - at
    rest = {
        "zeros": bytes(lost),
        "ones": b"\xff" * lost,
        "noise": np.random.default_rng(0).integers(0, 255, lost, dtype=np.uint8).tobytes(),
        "cut": b"",
    }[filler]
    with pytest.raises(ImageError, match=r"damaged inside|cut short|cannot be decoded"):
        decode_image(data[:at] + rest + b"\xff\xd9", "x")


@pytest.mark.parametrize(
    ("bytes_too_many", "good"), [(1, True), (8, True), (16, True), (64, False)]
)
def test_a_little_padding_before_the_end_is_no_damage(bytes_too_many: int, good: bool) -> None:
    data = jpeg()
    padded = data[:-2] + bytes(bytes_too_many) + data[-2:]
    if good:
        assert np.array_equal(decode_image(padded, "x"), decode_image(data, "x"))
    else:
        with pytest.raises(ImageError, match="damaged inside"):
            decode_image(padded, "x")


def test_a_png_with_a_wrong_checksum_is_refused_wherever_it_is() -> None:
    data = cv2.imencode(".png", scene())[1].tobytes()
    for at in (20, 30, 60, len(data) // 2, len(data) - 20):
        with pytest.raises(ImageError, match=r"damaged|cut short|without pixels|over the limit"):
            decode_image(data[:at] + bytes([data[at] ^ 0x5A]) + data[at + 1 :], "x")
    assert decode_image(data + b"whatever follows its end", "x").shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.8, 0.99])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("WEBP", {}), ("WEBP", {"lossless": True}), ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}), ("GIF", {}), ("AVIF", {}), ("PPM", {}),
        ("JPEG2000", {}), ("MPO", {}),
    ],
)  # fmt: skip
def test_what_is_cut_short_is_refused(kind: str, options: dict[str, Any], share: float) -> None:
    data = saved(in_mode("RGB"), kind, **options)
    with pytest.raises(ImageError):
        decode_image(data[: round(share * len(data))], "x")


COMPRESSED: dict[str, dict[str, Any]] = {
    "WEBP": {}, "WEBP without loss": {"lossless": True}, "JPEG2000": {},
    "TIFF of LZW": {"compression": "tiff_lzw"}, "TIFF of deflate": {"compression": "tiff_deflate"},
}  # fmt: skip


def compressed(kind: str, picture: np.ndarray[Any, Any]) -> bytes:
    return saved(pillow.fromarray(picture), kind.partition(" ")[0], **COMPRESSED[kind])


@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
@pytest.mark.parametrize("kind", COMPRESSED)
def test_blocks_that_were_never_written_are_damage(kind: str, filler: bytes) -> None:
    """As a disk or a card leaves them that lost its power; the file keeps its length."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    data = compressed(kind, noise)
    at, lost = len(data) // 2, 4096
    with pytest.raises(ImageError, match=r"damaged|cut short|cannot decode"):
        decode_image(data[:at] + filler * lost + data[at + lost :], "x")
    assert decode_image(data, "x").shape == (120, 160, 3)


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("look", ["white", "black", "gradient", "stripes", "part on white"])
def test_no_flat_picture_is_called_damaged(kind: str, look: str) -> None:
    """Rows of equal bytes are longest where there is least to say."""
    side = 1500
    picture = np.full((side, side, 3), 255, np.uint8)
    if look == "black":
        picture[:] = 0
    elif look == "gradient":
        picture[:] = np.linspace(0, 255, side).astype(np.uint8)[None, :, None]
    elif look == "stripes":
        picture[::2] = 0
    elif look == "part on white":
        picture[700:800, 700:800] = np.random.default_rng(0).integers(0, 256, (100, 100, 3))
    assert decode_image(compressed(kind, picture), "x").shape == picture.shape


def test_a_tiffs_deflate_has_a_checksum() -> None:
    data = compressed("TIFF of deflate", scene())
    for at in range(len(data) // 4, len(data) - len(data) // 8, 97):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(ImageError, match="damaged inside"):
            decode_image(changed, "x")


@pytest.mark.parametrize(("width", "height"), [(64, 64), (320, 240), (640, 480), (1500, 1000)])
def test_zeros_in_a_lossy_webp_are_told_from_a_flat_picture(width: int, height: int) -> None:
    for method, quality in ((0, 100), (2, 100), (4, 75), (6, 50)):
        for value in (0, 128, 255):
            flat = pillow.fromarray(np.full((height, width, 3), value, np.uint8))
            data = saved(flat, "WEBP", quality=quality, method=method)
            assert decode_image(data, "x").shape == (height, width, 3)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    data = saved(pillow.fromarray(noise), "WEBP", quality=75)
    lost = max(64, -(-width // 16) * -(-height // 16))
    at = len(data) // 2
    with pytest.raises(ImageError, match=r"zeros in a row"):
        decode_image(data[:at] + bytes(lost) + data[at + lost :], "x")


@pytest.mark.parametrize("mode", ["RGB", "L", "YCbCr"])
@pytest.mark.parametrize("filler", ["zeros", "ones", "noise"])
def test_a_jpeg_within_a_tiff_is_checked_as_a_jpeg_is(mode: str, filler: str) -> None:
    picture = pillow.fromarray(scene(320, 240)).convert(mode)
    data = saved(picture, "TIFF", compression="jpeg", quality=90)
    assert decode_image(data, "x").shape == (240, 320, 3)
    at, lost = data.index(b"\xff\xda") + 300, 600
    rest = {"zeros": bytes(lost), "ones": b"\xff" * lost}.get(filler)
    rest = rest or np.random.default_rng(0).integers(0, 255, lost, dtype=np.uint8).tobytes()
    with pytest.raises(ImageError, match=r"TIFF that is damaged inside"):
        decode_image(data[:at] + rest + data[at + lost :], "x")


def test_zeros_within_group_4_are_damage_and_white_pages_are_not() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (120, 160)).astype(bool)
    data = saved(pillow.fromarray(noise), "TIFF", compression="group4")
    assert decode_image(data, "x").shape == (120, 160, 3)
    at = len(data) // 2
    with pytest.raises(ImageError, match="zeros in a row"):
        decode_image(data[:at] + bytes(256) + data[at + 256 :], "x")
    for value in (False, True):
        for side in (16, 3000):
            flat = pillow.fromarray(np.full((side, side), value))
            assert decode_image(saved(flat, "TIFF", compression="group4"), "x").shape[0] == side
    stripes = pillow.fromarray(np.arange(1500)[:, None] % 2 < np.ones((1, 1500)))
    decode_image(saved(stripes, "TIFF", compression="group4"), "x")


@pytest.mark.parametrize("options", [{}, {"RST_INTERVAL": 3}, {"PROGRESSIVE": 1}])
def test_noise_in_the_middle_of_a_jpeg_is_damage_whatever_the_decoder_calls_it(
    options: dict[str, int],
) -> None:
    """Noise holds markers: of other frames, of unknown kinds, of restarts."""
    data = jpeg(**options)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        at, lost = len(data) // 3 + 40 * seed, len(data) // (4 if seed % 2 else 16)
        noisy = data[:at] + rng.bytes(lost) + data[at + lost :]
        with pytest.raises(ImageError, match=r"damaged|cut short|cannot be decoded"):
            decode_image(noisy, "x")


@pytest.mark.parametrize("suffix", [".pgm", ".jp2", ".tif"])
def test_that_all_bits_are_used_is_said_of_every_deep_picture_and_counts_for_nothing(
    suffix: str,
) -> None:
    """OpenCV writes 65535 as the largest value of whatever has 16 bits."""
    grey = scene()[..., 0].astype(np.uint16)
    data = cv2.imencode(suffix, grey << 2)[1].tobytes()
    with pytest.raises(UnsaidError, match="10 bits are used"):
        decode_image(data, "x")
    read = decode_image(data, "x", Reading(bits=10))[..., 0]
    assert np.abs(read.astype(int) - grey).max() <= 1
    assert decode_image(cv2.imencode(suffix, grey << 8)[1].tobytes(), "x").max() > 200


def test_a_whole_picture_of_a_kind_that_is_not_read_is_not_called_damaged() -> None:
    data = cv2.imencode(".tif", scene().astype(np.float32))[1].tobytes()
    with pytest.raises(ImageError, match=r"(16|32)-bit pixels") as caught:
        decode_image(data, "x")
    assert "damaged" not in str(caught.value)
    assert caught.value.kind == "TIFF of a kind that is not read"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_never_ends_in_anything_but_a_picture_or_a_refusal(data: st.DataObject) -> None:
    kinds = ["PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "JPEG", "AVIF", "JPEG2000"]
    good = bytearray(saved(in_mode("RGB"), data.draw(st.sampled_from(kinds))))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, min(len(good) - 1, 400)))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(good), "x")
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3


def test_what_was_registered_before_is_still_shown(tmp_path: Path) -> None:
    data = jpeg()
    half = data[: len(data) // 2] + bytes(len(data) // 2 - 2) + b"\xff\xd9"
    assert decode_image(half, "x", damaged_too=True).shape == (240, 320, 3)


def test_a_file_larger_than_any_picture_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse.bmp"
    with path.open("wb") as stream:
        stream.write(b"BM")
        stream.truncate(MAX_BYTES + 1)
    tracemalloc.start()
    with pytest.raises(ImageError, match="more than 1,024 MiB"):
        read_image(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["", "a\0b.jpg", "x" * 300, "no/such.jpg"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(name)


@pytest.mark.parametrize(("colours", "said"), [(8, "CIELab"), (32803, "raw mosaic"), (77, "77")])
def test_a_tiff_of_colours_that_would_get_a_cast_is_refused_by_name(
    colours: int, said: str
) -> None:
    data = bytearray(cv2.imencode(".tiff", np.full((8, 8, 3), 119, np.uint8))[1].tobytes())
    entry = data.index(struct.pack("<HHI", 262, 3, 1))
    struct.pack_into("<H", data, entry + 8, colours)
    with pytest.raises(ImageError, match=said):
        decode_image(bytes(data), "lab.tif")
