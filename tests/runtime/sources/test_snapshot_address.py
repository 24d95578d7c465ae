"""An address of single pictures is polled as a camera is; a page is refused as what it is."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from support.runtime import picture

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.sources.live import LiveSettings
from vision_edge.runtime.sources.opening import open_source


@contextmanager
def camera(
    kind: str, body: bytes | None, password: str | None = None
) -> Iterator[tuple[str, list[int]]]:
    """Serve one answer a request; yield host:port and the times it was asked. None counts up."""
    asked: list[int] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if password is not None:
                wanted = "Basic " + base64.b64encode(password.encode()).decode()
                if self.headers.get("Authorization") != wanted:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                    return
            asked.append(1)
            data = encode_jpeg(picture(len(asked))) if body is None else body
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream", "text/plain"])
def test_it_is_polled_for_one_picture_after_the_other(kind: str) -> None:
    with camera(kind, None) as (host, asked):
        source = open_source(f"http://{host}/snapshot.jpg", live=LiveSettings(give_up_after=5))
        frames = [frame for frame, _ in zip(source, range(3), strict=False)]
        source.close()
    assert source.live
    assert [frame.number for frame in frames] == sorted({frame.number for frame in frames})
    assert not np.array_equal(frames[0].image, frames[2].image)
    assert len(asked) >= 4


def test_user_name_and_password_are_given_and_never_shown() -> None:
    with camera("image/jpeg", None, "user:p@ss/1") as (host, _):
        address = f"http://user:p%40ss%2F1@{host}/s.jpg"
        source = open_source(address, live=LiveSettings(give_up_after=5))
        frame = next(iter(source))
        source.close()
        assert "p%40ss" not in frame.source
        with pytest.raises(SourceError, match="401") as caught:
            open_source(f"http://user:wrong@{host}/s.jpg")
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", b"<html>"), ("application/json", b"{}"), ("image/heic", b"x")]
)
def test_what_is_neither_stream_nor_picture_is_refused_as_what_it_is(
    kind: str, body: bytes
) -> None:
    with (
        camera(kind, body) as (host, _),
        pytest.raises(SourceError, match=f"gives {kind}") as caught,
    ):
        open_source(f"http://{host}/")
    assert "snapshot" in str(caught.value.fix)


def test_a_damaged_picture_is_no_frame_and_nothing_is_made_up() -> None:
    good = encode_jpeg(picture(1))
    with camera("image/jpeg", good[: len(good) // 2]) as (host, _):
        source = open_source(f"http://{host}/s.jpg", live=LiveSettings(give_up_after=0.5))
        with pytest.raises(SourceError, match="lost"):
            next(iter(source))
        source.close()


def test_an_address_that_answers_nothing_says_why() -> None:
    with pytest.raises(SourceError, match="no camera or stream answers"):
        open_source("http://127.0.0.1:9/s.jpg")
