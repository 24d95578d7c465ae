"""Sources: every frame in order, nothing invented, and credentials never shown."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from vision_edge.runtime.errors import ImageError, SourceError
from vision_edge.runtime.images.reading import Reading
from vision_edge.runtime.sources.addresses import live_address, without_credentials
from vision_edge.runtime.sources.files import ImageSource, VideoSource, images_below
from vision_edge.runtime.sources.live import LiveSource
from vision_edge.runtime.sources.opencv_grabber import quiet_opencv
from vision_edge.runtime.sources.opening import open_source
from vision_edge.runtime.sources.paced import PacedSource


def write_image(path: Path, value: int, shape: tuple[int, int] = (6, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix.lower(), np.full((*shape, 3), value, np.uint8))
    assert done
    path.write_bytes(data.tobytes())


def values(spec: str) -> list[int]:
    """Return the grey level of each frame of a source of plain images."""
    return [round(float(frame.image.mean())) for frame in open_source(spec)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """b.png 20, a.JPG 10, sub/c.bmp 30, sub/deep/d.webp 40; and files that are no images."""
    for name, value in [("b.png", 20), ("a.JPG", 10), ("sub/c.bmp", 30), ("sub/deep/d.webp", 40)]:
        write_image(tmp_path / "images" / name, value)
    (tmp_path / "images" / "notes.txt").write_text("x")
    (tmp_path / "images" / "folder.png").mkdir()
    return tmp_path / "images"


def test_one_image_is_a_source_of_one_frame(folder: Path) -> None:
    started = time.monotonic()
    (frame,) = open_source(str(folder / "b.png"))
    assert (frame.source, frame.number) == (str(folder / "b.png"), 0)
    assert started <= frame.captured <= time.monotonic()
    assert frame.image.shape == (6, 8, 3)
    assert (frame.image == 20).all()


def test_a_folder_gives_its_images_sorted_and_those_below(folder: Path) -> None:
    source = open_source(str(folder))
    assert isinstance(source, ImageSource)
    assert (source.live, source.fps, source.name) == (False, None, str(folder))
    frames = list(source)
    names = [Path(frame.source).relative_to(folder).as_posix() for frame in frames]
    assert names == ["a.JPG", "b.png", "sub/c.bmp", "sub/deep/d.webp"]
    assert [frame.number for frame in frames] == [0, 1, 2, 3]
    assert values(str(folder)) == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", [20]),
        ("*", [10, 20]),
        ("**/*", [10, 20, 30, 40]),
        ("[ab].*", [10, 20]),
        ("sub/?.bmp", [30]),
    ],
)
def test_a_glob_gives_the_images_it_matches_sorted(
    folder: Path, pattern: str, expected: list[int]
) -> None:
    (folder / "folder.png").rmdir()
    assert values(f"{folder}/{pattern}") == expected


def test_a_glob_is_relative_to_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert values("sub/*.bmp") == [30]


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "[ab]" / "x.png", 50)
    assert values(str(tmp_path / "[ab]")) == [50]


def test_images_of_any_size_follow_each_other(tmp_path: Path) -> None:
    for number, shape in enumerate([(6, 8), (1, 1), (40, 3)]):
        write_image(tmp_path / f"{number}.png", 9, shape)
    shapes = [frame.image.shape[:2] for frame in open_source(str(tmp_path))]
    assert shapes == [(6, 8), (1, 1), (40, 3)]


def test_an_unreadable_image_is_reported_and_the_rest_go_on(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"not an image")
    (folder / "sub" / "c.bmp").write_bytes(b"")
    reported: list[ImageError] = []
    frames = list(open_source(str(folder), on_error=reported.append))
    assert [frame.number for frame in frames] == [0, 3]  # numbers count files
    assert [str(error).split(":")[0] for error in reported] == [
        str(folder / "b.png"),
        str(folder / "sub" / "c.bmp"),
    ]


def test_an_unreadable_image_ends_a_source_that_nobody_listens_to(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"not an image")
    frames = iter(open_source(str(folder)))
    assert next(frames).number == 0
    with pytest.raises(ImageError, match=r"b\.png"):
        next(frames)


def test_file_names_that_are_no_utf8_can_be_printed(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png", 9)
    (tmp_path / "x.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/st\xfcck.png"))
    (frame,) = open_source(str(tmp_path))
    assert frame.source.encode().decode() == str(tmp_path / r"st\udcfcck.png")


@pytest.mark.parametrize("spec", ["absent", "absent.png", "absent/*.png", "a\0b", "12345", "*.mp4"])
def test_what_names_nothing_is_refused_by_name(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        open_source(spec)
    assert repr(spec) in str(caught.value)
    assert "device index" in str(caught.value)


@pytest.mark.parametrize("spec", ["", "  "])
def test_an_empty_name_is_not_the_current_folder(
    spec: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SourceError, match="no name"):
        open_source(spec)


def test_a_folder_without_images_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for action in (lambda: images_below(tmp_path), lambda: open_source(str(tmp_path))):
        with pytest.raises(
            SourceError, match=r"no images in this folder .*left out: 1 \.txt file \(notes\.txt\)"
        ):
            action()


def write_video(path: Path, count: int, fps: float = 12.0) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (64, 48))
    assert writer.isOpened()
    for number in range(count):
        writer.write(np.full((48, 64, 3), number * 20, np.uint8))
    writer.release()


def test_a_video_gives_every_frame_in_order(tmp_path: Path) -> None:
    write_video(tmp_path / "line.mp4", 12)
    source = open_source(str(tmp_path / "line.mp4"))
    assert isinstance(source, VideoSource)
    assert not source.live
    assert source.fps == pytest.approx(12.0)
    frames = list(source)
    source.close()
    assert [frame.number for frame in frames] == list(range(12))
    assert {frame.source for frame in frames} == {str(tmp_path / "line.mp4")}
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert [round(float(frame.image.mean()) / 20) for frame in frames] == list(range(12))
    assert [frame.captured for frame in frames] == sorted(frame.captured for frame in frames)


def test_a_video_that_ends_mid_frame_gives_its_whole_frames_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    """Motion JPEG in AVI can be read without its index, as a recorder that lost power leaves it."""
    path = tmp_path / "line.avi"
    fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), fourcc, 12.0, (64, 48))
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    for image in noise:
        writer.write(image)
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source = open_source(str(path))
    assert isinstance(source, VideoSource)
    with quiet_opencv():
        frames = list(source)
    assert 5 <= len(frames) < 12
    for frame, drawn in zip(frames, noise, strict=False):
        assert np.corrcoef(frame.image.ravel(), drawn.ravel())[0, 1] > 0.5
    if source.promised is not None:
        assert source.missing == source.promised - len(frames)


def test_a_video_at_its_own_rate_gives_no_frame_before_its_time(tmp_path: Path) -> None:
    write_video(tmp_path / "line.mp4", 4)  # 12 frames a second
    paced = PacedSource(open_source(str(tmp_path / "line.mp4")))
    started = time.monotonic()
    late = [frame.captured - started - frame.number / 12 for frame in paced]
    paced.close()
    assert len(late) == 4
    assert min(late) >= 0


def test_images_have_no_rate_to_be_played_at(folder: Path) -> None:
    with pytest.raises(SourceError, match="frame rate"):
        PacedSource(open_source(str(folder)))


def test_frames_of_a_video_do_not_share_memory(tmp_path: Path) -> None:
    write_video(tmp_path / "line.mp4", 3)
    first, second, _ = open_source(str(tmp_path / "line.mp4"))
    assert not np.shares_memory(first.image, second.image)


@pytest.mark.parametrize("content", [b"a text file\n" * 50, b"", b"\0" * 4096])
@pytest.mark.parametrize("name", ["x.mp4", "x.avi", "x.txt", "x.NFO", "x"])
def test_what_is_no_video_is_refused_quietly(
    tmp_path: Path, name: str, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=r"cannot open it as a video|no frame could be decoded"):
        list(open_source(str(tmp_path / name)))
    assert "OpenCV" not in capfd.readouterr().err


@pytest.mark.parametrize("spec", ["97", "/dev/video97", "v4l2:///dev/video97"])
def test_an_absent_camera_is_an_error_at_once_with_a_way_on(
    spec: str, capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    with pytest.raises(SourceError, match="no camera or stream answers") as caught:
        open_source(spec)
    assert time.monotonic() - started < 3.0
    assert "ls /dev/video*" in str(caught.value)
    assert spec.removeprefix("v4l2://") in str(caught.value)
    assert capfd.readouterr().err == ""


def test_an_absent_stream_is_an_error_without_its_credentials() -> None:
    with pytest.raises(SourceError) as caught:
        open_source("rtsp://user:secret@127.0.0.1:9/line?token=hidden")
    assert "'rtsp://127.0.0.1:9/line'" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://host/x", "rtsp://host/x"),
        ("rtsp://host", "rtsp://host"),
        ("rtsp://host:554/stream@1", "rtsp://1"),  # too little is shown rather than too much
        ("rtsp://user:pass@host/x?token=1", "rtsp://host/x"),
        ("rtsp://user@host:554/x", "rtsp://host:554/x"),
        ("rtsp://user:p@ss@host/x", "rtsp://host/x"),
        ("rtsp://user:p/ss@host/x", "rtsp://host/x"),
        ("rtsp://user:p?ss@host/x?q", "rtsp://host/x"),
        ("rtsp://user:p#ss@host/x#q", "rtsp://host/x"),
        ("rtsp://user:1/2@host/x", "rtsp://host/x"),
        ("http://[fe80::1]:80/a?b=c", "http://[fe80::1]:80/a"),
        ("http://host/a#token", "http://host/a"),
        ("http://user:a://b@host/x", "http://host/x"),
    ],
)
def test_a_streams_name_holds_no_credentials(address: str, shown: str) -> None:
    assert without_credentials(address) == shown


@pytest.mark.parametrize(
    ("spec", "device", "name"),
    [
        ("0", 0, "0"),
        ("12", 12, "12"),
        ("/dev/video2", "/dev/video2", "/dev/video2"),
        ("v4l2:///dev/video2", "/dev/video2", "/dev/video2"),
        ("rtsp://u:p@host/x?t=1", "rtsp://u:p@host/x?t=1", "rtsp://host/x"),
    ],
)
def test_a_live_source_is_opened_by_its_device_and_shown_by_its_name(
    spec: str, device: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(LiveSource, "__init__", lambda _, *given, **__: opened.extend(given))
    assert isinstance(open_source(spec), LiveSource)
    assert opened[:2] == [device, name]


def test_opencvs_log_level_is_put_back() -> None:
    log = cv2 if hasattr(cv2, "getLogLevel") else cv2.utils.logging
    before = log.getLogLevel()
    with pytest.raises(ZeroDivisionError), quiet_opencv():
        assert log.getLogLevel() == 0
        raise ZeroDivisionError
    assert log.getLogLevel() == before


# --- pictures and videos, told apart by their content ----------------------------------------


def film(path: Path, fourcc: str = "mp4v") -> None:
    writer = cv2.VideoWriter(str(path.absolute()), cv2.VideoWriter_fourcc(*fourcc), 10, (64, 48))
    for value in (10, 100, 200):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()


@pytest.mark.parametrize("name", ["x.jfif", "x.jpe", "x.mpo", "x.HEIC", "x.mp4", "x", "x.mjpg"])
def test_a_still_picture_never_goes_to_a_video_decoder(tmp_path: Path, name: str) -> None:
    data = cv2.imencode(".jpg", np.full((48, 64, 3), 77, np.uint8))[1].tobytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    block = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / name).write_bytes(data[:2] + block + data[2:])
    source = open_source(str(tmp_path / name))
    assert isinstance(source, ImageSource)
    (frame,) = source
    assert frame.image.shape == (64, 48, 3)  # upright


def test_pictures_one_behind_the_other_and_a_gif_that_moves_are_videos(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", np.full((48, 64, 3), 77, np.uint8))[1].tobytes()
    (tmp_path / "x.mjpeg").write_bytes(data * 3)
    assert len(list(open_source(str(tmp_path / "x.mjpeg")))) == 3
    pillow = pytest.importorskip("PIL.Image")
    pictures = [pillow.new("RGB", (64, 48), (value, 0, 0)) for value in (10, 200)]
    pictures[0].save(tmp_path / "x.gif", save_all=True, append_images=pictures[1:])
    assert isinstance(open_source(str(tmp_path / "x.gif")), VideoSource)
    pictures[0].save(tmp_path / "still.gif")
    assert isinstance(open_source(str(tmp_path / "still.gif")), ImageSource)


@pytest.mark.parametrize(
    "name", ["cam:1.mp4", "http:x.mp4", "file:a.mp4", "a b:c.avi", "10:30:00.mp4"]
)
def test_a_colon_in_a_relative_name_is_no_address(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / name, "MJPG" if name.endswith("avi") else "mp4v")
    monkeypatch.chdir(tmp_path)
    frames = list(open_source(name))
    assert [frame.source for frame in frames] == [name] * 3


def test_what_a_pattern_matches_and_is_not_read_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 10)
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    source = open_source(str(tmp_path / "*"))
    assert isinstance(source, ImageSource)
    assert source.found.passed_over.counts == {"HEIC": 1}
    with pytest.raises(SourceError, match="1 HEIC"):
        open_source(str(tmp_path / "*.heic"))


def test_twelve_bits_are_read_as_said(tmp_path: Path) -> None:
    path = tmp_path / "g12.png"
    path.write_bytes(cv2.imencode(".png", np.full((6, 8), 4095, np.uint16))[1].tobytes())
    with pytest.raises(ImageError, match="12 bits"):
        list(open_source(str(path)))
    (frame,) = open_source(str(path), reading=Reading(bits=12))
    assert (frame.image == 255).all()


@pytest.mark.parametrize("scheme", ["file", "FILE", "File"])
def test_the_address_of_a_file_is_refused_with_its_path(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(SourceError, match="address of a file") as caught:
        open_source(f"{scheme}://{tmp_path}/one%20part.jpg")
    assert f"{tmp_path}/one part.jpg" in caught.value.fix


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("HTTP://Camera/Snap.JPG", "http://Camera/Snap.JPG"),
        ("RTSP://h/Main", "rtsp://h/Main"),
        ("CSI://0", "csi://0"),
    ],
)
def test_a_scheme_is_the_same_in_upper_case(written: str, address: str) -> None:
    assert live_address(written) == (address, address)
