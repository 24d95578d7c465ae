"""`vision-edge update`: have a running station take a new bundle, or try it, or go back."""

from __future__ import annotations

import json
import re
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Mode, Only, present
from vision_edge.cli.grouped_command import command
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.system.files import atomic_file

app = command_app()
_PAUSE_S, _TIMEOUT_S = 0.5, 30.0
_RUNNING = ("fetching", "trying", "switching")
_GOOD = ("switched", "accepted")


class UpdateError(VisionEdgeError):
    """A station did not take a bundle, or could not be asked to."""


TAKES = present("bundle", "BUNDLE")


@command(app)
def update(
    bundle: Annotated[
        str | None,
        typer.Argument(
            metavar="BUNDLE", help="Its name in the folder, or under the address, `bundle_from`."
        ),
    ] = None,
    url: Annotated[
        str, typer.Option("--station", help="The station's address.")
    ] = "http://127.0.0.1:8080",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only try it."), Only(TAKES)] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Return to the bundle before.")] = False,
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", help="Of the archive; default: BUNDLE.sha256 says it."),
        Only(TAKES),
    ] = None,
    allow_older: Annotated[
        bool,
        typer.Option("--allow-older", help="Take one older than what was taken there before."),
        Only(TAKES),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File with an engineer's token alone."),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option("--ca", help="PEM file of who vouches for the station."),
        Only(Mode("an https:// --station", lambda values: values["url"].startswith("https:"))),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--json", help="Write the report here."), Only(TAKES)
    ] = None,
) -> None:
    """Have a running station take a new bundle, if it does well on the station's own pictures."""
    if (bundle is None) == (not undo):
        raise UpdateError("give a bundle, or --undo", fix="see vision-edge update --help")
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise UpdateError(
            f"--sha256 {sha256!r} is no SHA-256", fix="give its 64 hexadecimal digits"
        )
    station = _Station(url, token_file, ca)
    if bundle is None:
        station.call("POST", "/bundle/undo")
        typer.echo("the bundle before is in use again")
        return
    kind = "url" if "://" in bundle else "path"
    asked = {kind: bundle, "dry_run": dry_run, "allow_older": allow_older}
    asked |= {} if sha256 is None else {"sha256": sha256}
    station.call("POST", "/bundle", asked)
    document = _awaited(station)
    if out is not None:
        with atomic_file(out) as temporary:
            temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    if document["text"]:
        typer.echo(document["text"])
    if document["state"] not in _GOOD:
        said = document["error"] or "it is not good enough"
        raise UpdateError(
            f"{bundle}: {document['state']}: {said}",
            fix="nothing was changed; put right what is said here, or the limits in [fleet.shadow]",
        )
    typer.echo("tried only" if dry_run else "the new bundle is in use")


def _awaited(station: _Station) -> dict[str, Any]:
    """Wait for the end of an update, saying how far it is."""
    said = ""
    while True:
        document = station.call("GET", "/bundle")
        if document["state"] not in _RUNNING:
            return document
        if document["state"] != said:
            said = document["state"]
            typer.echo(f"{said} …", err=True)
        time.sleep(_PAUSE_S)


class _Station:
    """A station's API, asked as the holder of a token, or as the one who sits at it."""

    def __init__(self, url: str, token_file: Path | None, ca: Path | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UpdateError(f"{url!r} is no address of a station", fix="give http://HOST:PORT")
        self._url = url.rstrip("/") + "/api/v1"
        self._headers = {"Content-Type": "application/json"}
        self._context = None
        try:
            if parts.scheme == "https":
                self._context = ssl.create_default_context(cafile=ca)
            if token_file is not None:
                self._headers["Authorization"] = f"Bearer {_token(token_file)}"
        except OSError as error:
            raise UpdateError(
                f"{error.filename or ca}: cannot be read ({error.strerror})", fix="check the path"
            ) from error
        if token_file is None:
            self._headers["X-CSRF-Token"] = str(self.call("GET", "/me")["csrf"])

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Return an answer's JSON values.

        Raises:
            UpdateError: If the station cannot be reached, or refuses.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - http and https only, see above
            self._url + path, data=data, headers=self._headers, method=method
        )
        try:
            opened = urllib.request.urlopen(  # noqa: S310
                request, timeout=_TIMEOUT_S, context=self._context
            )
            with opened as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
        except (OSError, ValueError) as error:
            raise UpdateError(
                f"{self._url}: the station cannot be asked ({error})",
                fix="check that it runs and that --station is its address",
            ) from error


def _token(path: Path) -> str:
    """Return a token's file: the token alone, on one line."""
    token = path.read_text(encoding="utf-8").strip()
    if not token or not token.isascii() or len(token.split()) != 1:
        raise UpdateError(
            f"{path}: is no token's file", fix="write into it what `vision-edge user token` shows"
        )
    return token


def _refusal(error: urllib.error.HTTPError) -> UpdateError:
    try:
        said = json.load(error)["error"]
        return UpdateError(f"the station refuses: {said['what']}", fix=said["fix"])
    except (ValueError, KeyError, TypeError):
        return UpdateError(f"the station refuses: {error}", fix="see the station's log")
