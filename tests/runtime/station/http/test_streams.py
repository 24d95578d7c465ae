"""A stream lasts as long as the authority of who asked for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from support.runtime import invoked
from support.station import API, Served, eventually, served, settings_for

from vision_edge.station.http.users import Account, User, hashed, write_accounts

PASSWORD = "three plain words"
STREAMS = ("/verdicts/stream", "/sources/source-0/preview.mjpeg?fps=15")
SOON = 2.5
"""Seconds: what the check's second and a slow machine take together."""


class People:
    """A served station's users and tokens, which tests change."""

    def __init__(self, folder: Path) -> None:
        self.users, self.tokens = folder / "users.toml", folder / "tokens"
        self.hash = hashed(PASSWORD)
        self.write(anna="operator", boss="engineer")
        self.token = invoked("user", "token", "plc", "--file", self.tokens).strip()
        self.kept = self.tokens.read_text()

    def write(self, **roles: str) -> None:
        accounts = {n: Account(User(n, role), self.hash) for n, role in roles.items()}  # type: ignore[arg-type]
        write_accounts(self.users, accounts)


@pytest.fixture(scope="module")
def served_people(
    bundle_path: Path, _registered: Path, shots: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, People]]:
    folder = tmp_path_factory.mktemp("streams")
    gallery = folder / "parts.gallery"
    gallery.write_bytes(_registered.read_bytes())
    people = People(folder)
    server = {
        "users_file": people.users, "token_file": people.tokens, "session_hours": 1.5 / 3600,
    }  # fmt: skip
    with served(settings_for(bundle_path, gallery, shots, server=server)) as running:
        eventually(lambda: running.station.line("source-0").latest)
        yield running, people


def headers_of(running: Served, who: str, people: People) -> dict[str, str]:
    if who == "plc":
        return {"Authorization": f"Bearer {people.token}"}
    answer = httpx.post(f"{running.url}{API}/login", json={"user": who, "password": PASSWORD})
    cookie = answer.cookies["vision_edge_session"]
    return {"Cookie": f"vision_edge_session={cookie}", "X-CSRF-Token": answer.json()["csrf"]}


class Watching:
    """A client that reads a stream in a thread, and notes when it ends."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.bytes, self.ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._read, args=(url, headers), daemon=True)
        self._thread.start()
        eventually(lambda: self.bytes)

    def _read(self, url: str, headers: dict[str, str]) -> None:
        with httpx.stream("GET", url, headers=headers, timeout=10.0) as answer:
            for part in answer.iter_raw():
                self.bytes += len(part)
        self.ended.set()


def logged_out(running: Served, people: People, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{running.url}{API}/logout", headers=headers)
    assert answer.status_code == 200


def revoked(running: Served, people: People, headers: dict[str, str]) -> None:
    people.tokens.write_text(f"sha256:{'0' * 64} operator another\n")


ENDS: dict[str, tuple[str, Callable[[Served, People, dict[str, str]], None]]] = {
    "removed": ("anna", lambda r, p, h: p.write(boss="engineer")),
    "lowered": ("boss", lambda r, p, h: p.write(anna="operator", boss="operator")),
    "logged out": ("anna", logged_out),
    "token revoked": ("plc", revoked),
    "expired": ("anna", lambda r, p, h: None),
}


@pytest.mark.parametrize("why", ENDS)
def test_streams_end_with_their_authority(served_people: tuple[Served, People], why: str) -> None:
    running, people = served_people
    people.write(anna="operator", boss="engineer")
    people.tokens.write_text(people.kept)
    who, end = ENDS[why]
    headers = headers_of(running, who, people)
    watching = [Watching(f"{running.url}{API}{path}", headers) for path in STREAMS]
    end(running, people, headers)
    for stream in watching:
        assert stream.ended.wait(SOON + (1.5 if why == "expired" else 0.0))
    eventually(lambda: not running.station.hub.subscribers)


def test_a_stream_goes_on_while_its_authority_holds(served_people: tuple[Served, People]) -> None:
    running, people = served_people
    people.tokens.write_text(people.kept)
    watching = Watching(f"{running.url}{API}{STREAMS[1]}", headers_of(running, "plc", people))
    assert not watching.ended.wait(1.5)
    revoked(running, people, {})
    assert watching.ended.wait(SOON)
