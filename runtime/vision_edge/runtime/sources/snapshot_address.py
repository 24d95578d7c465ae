"""An address that gives one picture a request, as most IP cameras have one: polled as a camera."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from vision_edge.runtime.errors import ImageError, SourceError
from vision_edge.runtime.images.coding import decode_image
from vision_edge.runtime.images.picture_kinds import READ, kind_of
from vision_edge.runtime.sources.grabber import Grabbed, Grabber, GrabberOptions

PERIOD = 0.1
"""Least seconds from one request to the next: ten pictures a second are more than cameras make."""

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
        SourceError: If nothing answers, or it is a page to be read.
    """
    opener, plain = _opener_for(address)
    try:
        with _asked(opener, plain, options.open_timeout) as answer:
            kind = str(answer.headers.get_content_type()).lower()
            if kind.startswith(_STREAMS):
                return None
            head = answer.read(64)
    except _FAILURES as error:
        raise SourceError(
            f"no camera or stream answers at {name!r} ({_reason(error)})",
            fix="check the address, user name and password, and that the stream plays elsewhere",
        ) from None
    if kind_of(head) in READ:
        return SnapshotGrabber(opener, plain, options.read_timeout)
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
        address: Without credentials.
        timeout: Seconds that an answer may take.
    """

    fps: float | None = None

    def __init__(self, opener: Any, address: str, timeout: float) -> None:
        self._opener, self._address, self._timeout = opener, address, timeout
        self._asked = -PERIOD

    def grab(self) -> Grabbed | None:
        """Ask for a picture; None if none came, or a damaged one."""
        time.sleep(max(0.0, self._asked + PERIOD - time.monotonic()))
        self._asked = time.monotonic()
        try:
            with _asked(self._opener, self._address, self._timeout) as answer:
                data = answer.read(_MOST_BYTES)
            return Grabbed(decode_image(data, self._address), self._asked)
        except (*_FAILURES, ImageError):
            return None

    def close(self) -> None:
        """Nothing stays open between pictures."""


class _Digest(urllib.request.HTTPDigestAuthHandler):
    """Answers a challenge by digest; what came with the challenge is closed, not left lying."""

    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """Ask again with the answer."""
        fp.close()
        return super().http_error_401(req, fp, code, msg, headers)


class _Basic(urllib.request.HTTPBasicAuthHandler):
    """Answers a challenge with user name and password, likewise."""

    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """Ask again with both."""
        fp.close()
        return super().http_error_401(req, fp, code, msg, headers)


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


def _reason(error: Exception) -> str:
    """Return what went wrong in a few words, without the address."""
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
