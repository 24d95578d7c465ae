"""An address of single pictures is polled as a camera is; a page is refused as what it is."""

from __future__ import annotations

import base64
import hashlib
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from support.runtime import picture

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.reading import Reading
from vision_edge.runtime.sources.live import LiveSettings
from vision_edge.runtime.sources.opening import open_source


class Digest:
    """The server's side of RFC 7616 (and of RFC 2069, which has no `qop`), written from them.

    Args:
        password: `user:password`.
        algorithm: `MD5`, `SHA-256`, or one that nobody knows.
        qop: Whether the server asks for protection `auth`.
        others: Challenges that come before it.
    """

    def __init__(
        self, password: str, algorithm: str, *, qop: bool = True, others: tuple[str, ...] = ()
    ) -> None:
        self.user, _, self.password = password.partition(":")
        self.algorithm, self.qop, self.others = algorithm, qop, others
        self.nonces: list[str] = []

    def challenges(self) -> list[str]:
        """Return new challenges; each nonce is good for one answer."""
        self.nonces.append(f"nonce{len(self.nonces)}")
        own = f'Digest realm="camera", nonce="{self.nonces[-1]}", algorithm={self.algorithm}'
        return [*self.others, own + (', qop="auth"' if self.qop else "")]

    def accepts(self, method: str, given: str | None) -> bool:
        """Whether a request's answer is right."""
        scheme, _, rest = (given or "").partition(" ")
        if scheme != "Digest" or self.algorithm not in ("MD5", "SHA-256"):
            return False
        said = urllib.request.parse_keqv_list(urllib.request.parse_http_list(rest))
        known = said["nonce"] in self.nonces[-1:]
        self.nonces.clear()
        secret = self._hash(f"{self.user}:{said['realm']}:{self.password}")
        asked = self._hash(f"{method}:{said['uri']}")
        middle = f":{said['nc']}:{said['cnonce']}:{said['qop']}" if self.qop else ""
        right = self._hash(f"{secret}:{said['nonce']}{middle}:{asked}")
        return known and said["username"] == self.user and said["response"] == right

    def _hash(self, text: str) -> str:
        return hashlib.new(self.algorithm.replace("-", ""), text.encode()).hexdigest()


@contextmanager
def camera(
    kind: str, body: bytes | None, password: str | None = None, digest: Digest | None = None
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
            if digest is not None and not digest.accepts("GET", self.headers.get("Authorization")):
                self.send_response(401)
                for challenge in digest.challenges():
                    self.send_header("WWW-Authenticate", challenge)
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
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
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


@pytest.mark.parametrize(
    ("algorithm", "qop", "others", "user"),
    [
        ("MD5", True, (), "operator:p@ss/1"),
        ("MD5", False, (), "operator:p@ss/1"),
        ("MD5", True, (), "Größe:ß:ß"),
        ("SHA-256", True, (), "Größe:ß:ß"),
        ("MD5", True, ('Digest realm="camera", nonce="x", algorithm=SHA-512-256',), "a:bcd"),
        ("SHA-256", True, ('Basic realm="camera"',), "a:bcd"),
    ],
)
def test_a_challenge_by_digest_is_answered_at_every_request(
    algorithm: str, qop: bool, others: tuple[str, ...], user: str
) -> None:
    asks = Digest(user, algorithm, qop=qop, others=others)
    name, _, password = user.partition(":")
    given = f"{urllib.parse.quote(name)}:{urllib.parse.quote(password, safe='')}"
    with camera("image/jpeg", None, digest=asks) as (host, asked):
        live = LiveSettings(give_up_after=5)
        source = open_source(f"http://{given}@{host}/s.jpg?channel=1", live=live)
        frames = [frame for frame, _ in zip(source, range(2), strict=False)]
        source.close()
    assert len(frames) == 2
    assert len(asked) >= 3
    assert password not in frames[0].source


@pytest.mark.parametrize(
    ("algorithm", "password"), [("MD5", "wrong"), ("SHA-512-256", "p"), ("MD5", "")]
)
def test_a_digest_that_is_not_accepted_is_said(algorithm: str, password: str) -> None:
    asks = Digest("user:p", algorithm)
    with (
        camera("image/jpeg", None, digest=asks) as (host, _),
        pytest.raises(SourceError, match="401"),
    ):
        open_source(f"http://user:{password}@{host}/s.jpg")


# --- what pictures do not say of themselves ---------------------------------------------------


def _deep(bits: int) -> bytes:
    """A PNG of 16 bits a channel, of which a camera uses fewer."""
    grey = (picture(3).astype(np.uint16)) << (bits - 8)
    return bytes(cv2.imencode(".png", grey)[1].tobytes())


def test_pictures_of_a_deep_camera_are_read_by_the_bits_that_are_said() -> None:
    with camera("image/png", _deep(12)) as (host, _):
        live = LiveSettings(give_up_after=5)
        source = open_source(f"http://{host}/s.png", live=live, reading=Reading(bits=12))
        frame = next(iter(source))
        source.close()
        with pytest.raises(SourceError, match="12 bits are used") as caught:
            open_source(f"http://{host}/s.png", live=live)
    assert "--bits 12" in str(caught.value.fix)
    assert np.abs(frame.image.astype(int) - picture(3)).max() <= 1


def test_transparency_is_laid_on_the_colour_that_is_said() -> None:
    clear = np.zeros((32, 32, 4), np.uint8)
    body = bytes(cv2.imencode(".png", clear)[1].tobytes())
    with camera("image/png", body) as (host, _):
        live = LiveSettings(give_up_after=5)
        reading = Reading(background=(255, 0, 0))
        source = open_source(f"http://{host}/s.png", live=live, reading=reading)
        frame = next(iter(source))
        source.close()
    assert (frame.image == (0, 0, 255)).all()


def test_for_a_stream_it_has_no_meaning_and_is_refused() -> None:
    with (
        camera("multipart/x-mixed-replace; boundary=b", b"--b") as (host, _),
        pytest.raises(SourceError, match="gives a stream"),
    ):
        open_source(f"http://{host}/video", reading=Reading(bits=12))


def test_a_damaged_picture_is_no_frame_and_nothing_is_made_up() -> None:
    good = encode_jpeg(picture(1))
    with camera("image/jpeg", good[: len(good) // 2]) as (host, _):
        source = open_source(f"http://{host}/s.jpg", live=LiveSettings(give_up_after=0.5))
        with pytest.raises(SourceError, match=r"lost.*cut short") as caught:
            next(iter(source))
        assert "cable" not in str(caught.value)
        assert "one whole, still picture" in str(caught.value)
        source.close()


def test_an_empty_answer_is_named_as_empty() -> None:
    for kind in ("image/jpeg", "application/octet-stream"):
        with camera(kind, b"") as (host, _), pytest.raises(SourceError, match="an empty body"):
            open_source(f"http://{host}/s.jpg")


def test_an_address_that_answers_nothing_says_why() -> None:
    with pytest.raises(SourceError, match="no camera or stream answers"):
        open_source("http://127.0.0.1:9/s.jpg")
