"""Downloads over https: bounded, verified by a hash, and taken up where they broke off."""

from __future__ import annotations

import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.system.files import fsync_path, sha256_file

_CHUNK = 1 << 18
_TIMEOUT_S = 20.0
_ATTEMPTS = 5
_HASH = re.compile(rb"\s*([0-9a-fA-F]{64})(?:\s|$)")


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if urlsplit(newurl).scheme != "https":
            raise BundleError(
                f"{req.full_url}: sends on to {newurl[:100]!r}, which is not https",
                fix="publish the bundle under https",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Downloader:
    """Fetches files over https.

    Args:
        authorities: A PEM file of the authorities to trust; None takes the system's.

    Raises:
        BundleError: If the file cannot be read.
    """

    def __init__(self, authorities: Path | None = None) -> None:
        try:
            context = ssl.create_default_context(cafile=authorities)
        except (OSError, ssl.SSLError) as error:
            raise BundleError(
                f"{authorities}: cannot be read as certificates ({error})", fix="give a PEM file"
            ) from error
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
            _OnlyHttps(),
        ):
            self._opener.add_handler(handler)

    def hash_beside(self, url: str) -> str:
        """Return the SHA-256 that `URL.sha256` says, as `sha256sum` writes it.

        Raises:
            BundleError: If there is none.
        """
        address = url + ".sha256"
        try:
            with self._open(address, {}) as response:
                match = _HASH.match(response.read(4096))
        except (OSError, http.client.HTTPException) as error:
            raise _failed(address, error) from error
        if match is None:
            raise BundleError(f"{address}: no SHA-256", fix="write it with sha256sum")
        return match[1].decode().lower()

    def small(self, address: str, most: int) -> bytes:
        """Return a small file's bytes.

        Raises:
            BundleError: If it cannot be had, or has more than `most` bytes.
        """
        try:
            with self._open(address, {}) as response:
                data: bytes = response.read(most + 1)
        except (OSError, http.client.HTTPException) as error:
            raise _failed(address, error) from error
        if len(data) > most:
            raise BundleError(f"{address}: larger than {most} bytes", fix="publish it anew")
        return data

    def fetch(self, url: str, path: Path, sha256: str, max_bytes: int) -> None:
        """Download a file to `path`; a part that is there already is gone on with.

        Raises:
            BundleError: If it cannot be had, is too large, or is not what its hash says. The part
                stays for the next time, unless it is wrong.
        """
        for attempt in range(_ATTEMPTS):
            before = _size(path)
            try:
                self._append(url, path, max_bytes)
                break
            except (OSError, http.client.HTTPException) as error:
                client_error = isinstance(error, urllib.error.HTTPError) and error.code < 500
                hopeless = client_error or isinstance(
                    getattr(error, "reason", None), ssl.SSLCertVerificationError
                )
                if attempt + 1 == _ATTEMPTS or hopeless:
                    raise _failed(url, error) from error
                time.sleep(0.0 if _size(path) > before else 0.2 * 2**attempt)
        if sha256_file(path) != sha256:
            path.unlink()
            raise BundleError(
                f"{url}: its SHA-256 is not the one given ({sha256[:12]}…)",
                fix="publish bundle and hash anew",
            )
        fsync_path(path)

    def _append(self, url: str, path: Path, max_bytes: int) -> None:
        have = _size(path)
        tag = path.with_name(path.name + ".etag")
        headers = {}
        if have and tag.exists() and (known := tag.read_text()):
            headers = {"Range": f"bytes={have}-", "If-Range": known}
        try:
            response = self._open(url, headers)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is of another file
                path.unlink()
                raise http.client.HTTPException("the file has changed") from error
            raise
        with response:
            start = have if response.status == 206 and _starts_at(response, have) else 0
            expected = int(response.headers.get("Content-Length") or 0)
            if start + expected > max_bytes:
                raise _too_large(url, max_bytes)
            tag.write_text(_strong_tag(response))
            with path.open("r+b" if start else "wb") as file:
                file.seek(start)
                size = start
                while chunk := response.read(_CHUNK):
                    size += len(chunk)
                    if size > max_bytes:
                        raise _too_large(url, max_bytes)
                    file.write(chunk)
            if expected and size < start + expected:
                raise http.client.IncompleteRead(b"", start + expected - size)
        tag.unlink()

    def _open(self, url: str, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - https only, see above
        if request.type != "https":
            raise BundleError(f"{url[:100]!r} is not an https address", fix="use https://…")
        return self._opener.open(request, timeout=_TIMEOUT_S)


def file_hash_beside(path: Path) -> str:
    """Return the SHA-256 that `PATH.sha256` says.

    Raises:
        BundleError: If there is none.
    """
    beside = path.with_name(path.name + ".sha256")
    try:
        with beside.open("rb") as stream:
            match = _HASH.match(stream.read(4096))
    except OSError as error:
        raise _failed(str(beside), error) from error
    if match is None:
        raise BundleError(f"{beside}: no SHA-256", fix="write it with sha256sum")
    return match[1].decode().lower()


def _strong_tag(response: Any) -> str:
    tag = str(response.headers.get("ETag") or response.headers.get("Last-Modified") or "")
    return "" if tag.startswith("W/") else tag


def _starts_at(response: Any, offset: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {offset}-")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _too_large(url: str, max_bytes: int) -> BundleError:
    return BundleError(
        f"{url}: larger than {max_bytes / 1e6:.0f} MB", fix="raise [fleet] max_bundle_mb"
    )


def _failed(where: str, error: Exception) -> BundleError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return BundleError(f"{where}: cannot be had ({reason[:200]})", fix="check address and network")
