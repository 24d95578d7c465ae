"""An address that gives one picture a request, as most IP cameras have one: polled as a camera."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPMessage
from typing import Any

from vision_edge.runtime.errors import ImageError, SourceError, UnsaidError
from vision_edge.runtime.images.coding import decode_image
from vision_edge.runtime.images.picture_kinds import READ, kind_of
from vision_edge.runtime.sources.grabber import (
    Grabbed,
    Grabber,
    GrabberOptions,
    UnreadablePictureError,
)

PERIOD = 0.1
"""Least seconds from one request to the next: ten pictures a second are more than cameras make."""

_ONE_STILL = (
    "open the address in a browser: it is to answer every request with one whole, still picture, "
    "such as a JPEG snapshot"
)
_MOST_BYTES = 64_000_000
_FAILURES = (OSError, http.client.HTTPException, ValueError)
_STREAMS = ("multipart/", "video/", "audio/", "application/vnd.apple.mpegurl", "application/x-mpeg")


def picture_address(address: str, name: str, options: GrabberOptions) -> SnapshotGrabber | None:
    """Ask an address what it gives; return what polls it if that is a picture, else None.

    Args:
        address: `http://` or `https://`; user name and password may be in it.
        name: What to call it in an error; without credentials.
        options: How long answers may take.

    Raises:
        SourceError: If nothing answers, or nothing but an empty body, or a page to be read.
    """
    opener, plain = _opener_for(address)
    try:
        with _asked(opener, plain, options.open_timeout) as answer:
            kind = str(answer.headers.get_content_type()).lower()
            if kind.startswith(_STREAMS):
                return None
            data = answer.read(64)
            if kind_of(data) in READ:
                data += answer.read(_MOST_BYTES)
    except _FAILURES as error:
        raise SourceError(
            f"no camera or stream answers at {name!r} ({_reason(error)})",
            fix="check the address, user name and password, and that the stream plays elsewhere",
        ) from None
    if not data:
        raise _empty(name)
    if kind_of(data) in READ:
        grabber = SnapshotGrabber(opener, plain, name, options)
        grabber.check(data)
        return grabber
    if kind.startswith("image/") or kind in ("text/html", "application/json"):
        raise SourceError(
            f"{name!r} gives {kind}, which is neither a stream nor a picture that is read",
            fix="give the camera's stream (rtsp://…) or the address of its JPEG snapshot",
        )
    return None


class SnapshotGrabber(Grabber):
    """Asks for one picture after the other.

    A picture is stamped with the time of its request, so that a slow answer is known to be late.

    Args:
        opener: What answers challenges for user name and password.
        address: Without user name and password.
        name: What to call it in an error; without credentials.
        options: How long an answer may take, and what pictures do not say of themselves.
    """

    fps: float | None = None

    def __init__(self, opener: Any, address: str, name: str, options: GrabberOptions) -> None:
        self._opener, self._address, self._name = opener, address, name
        self._timeout, self._reading = options.read_timeout, options.reading
        self._asked = -PERIOD

    def grab(self) -> Grabbed | None:
        """Ask for a picture.

        Raises:
            SourceError: If none came, or one that cannot be read, with the reason.
        """
        time.sleep(max(0.0, self._asked + PERIOD - time.monotonic()))
        self._asked = time.monotonic()
        try:
            with _asked(self._opener, self._address, self._timeout) as answer:
                data = answer.read(_MOST_BYTES)
        except _FAILURES as error:
            raise SourceError(f"no picture came from {self._name!r} ({_reason(error)})") from None
        if not data:
            raise _empty(self._name)
        try:
            return Grabbed(decode_image(data, self._name, self._reading), self._asked)
        except UnsaidError as error:
            raise UnreadablePictureError(_said(error), fix=error.fix) from None
        except ImageError as error:
            raise UnreadablePictureError(error.what, fix=_ONE_STILL) from None

    def check(self, data: bytes) -> None:
        """Raise if the first picture leaves open how it is to be read: none after it will say more.

        Raises:
            SourceError: With the question.
        """
        try:
            decode_image(data, self._name, self._reading)
        except UnsaidError as error:
            raise SourceError(_said(error), fix=error.fix) from None
        except ImageError:
            return  # damaged on its way; the next may be whole

    def close(self) -> None:
        """Nothing stays open between pictures."""


class _Digest(urllib.request.HTTPDigestAuthHandler):
    """Answers a challenge by digest (RFC 7616), by MD5 or SHA-256; of several the first it knows.

    What came with the challenge is closed, not left lying.
    """

    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """Ask again with the answer."""
        fp.close()
        chosen = _challenge(headers, lambda text: _algorithm_of(text) in _ALGORITHMS)
        if chosen is None:
            return None  # the handler of Basic is asked next
        return super().http_error_401(req, fp, code, msg, chosen)

    def get_algorithm_impls(self, algorithm: str) -> Any:
        """Return the hash of a text, and that of a secret and a text."""
        named = _ALGORITHMS[algorithm.upper()]

        def hashed(text: str) -> str:
            return hashlib.new(named, text.encode()).hexdigest()

        return hashed, lambda secret, text: hashed(f"{secret}:{text}")


_ALGORITHMS = {"MD5": "md5", "SHA": "sha1", "SHA-256": "sha256"}


def _algorithm_of(challenge: str) -> str | None:
    """Return a digest challenge's algorithm; None for a challenge of another scheme."""
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() != "digest":
        return None
    said = urllib.request.parse_keqv_list(urllib.request.parse_http_list(rest))
    return str(said.get("algorithm", "MD5")).upper()


class _Basic(urllib.request.HTTPBasicAuthHandler):
    """Answers a challenge with user name and password, likewise."""

    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """Ask again with both."""
        fp.close()
        chosen = _challenge(headers, lambda text: text.lower().startswith("basic"))
        return None if chosen is None else super().http_error_401(req, fp, code, msg, chosen)


def _challenge(headers: Any, known: Callable[[str], bool]) -> HTTPMessage | None:
    """Return the first of a server's challenges that is known, alone; None if there is none."""
    offered = filter(known, headers.get_all("WWW-Authenticate") or [])
    first = next(offered, None)
    if first is None:
        return None
    chosen = HTTPMessage()
    chosen["WWW-Authenticate"] = first
    return chosen


def _opener_for(address: str) -> tuple[Any, str]:
    """Return what opens an address, with its user name and password, and the address without."""
    parts = urllib.parse.urlsplit(address)
    authority = parts.netloc.rpartition("@")[2]
    plain = urllib.parse.urlunsplit(parts._replace(netloc=authority))
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if parts.username is not None:
        user, password = (urllib.parse.unquote(v or "") for v in (parts.username, parts.password))
        passwords.add_password(None, plain, user, password)
    return urllib.request.build_opener(
        _Digest(passwords),
        _Basic(passwords),
    ), plain


def _asked(opener: Any, address: str, timeout: float) -> Any:
    """Ask for what is there now, not for what a proxy remembers."""
    request = urllib.request.Request(address, headers={"Cache-Control": "no-cache"})  # noqa: S310 (called with http and https alone)
    try:
        return opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise


def _empty(name: str) -> UnreadablePictureError:
    return UnreadablePictureError(f"{name!r} answers with an empty body", fix=_ONE_STILL)


def _said(error: ImageError) -> str:
    """Return an error with what to do, for a state that shows one sentence."""
    return error.what if error.fix is None else f"{error.what}; {error.fix}"


def _reason(error: Exception) -> str:
    """Return what went wrong in a few words, without the address."""
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
