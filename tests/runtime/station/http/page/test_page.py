"""The pages as the server sends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("jinja2")

from fastapi import FastAPI
from fastapi.testclient import TestClient

from vision_edge.station.http.page.page import PAGES, Visitor, page_router

EVIL = '"><script>alert(1)</script>'


class Host:
    name = EVIL

    def status(self) -> dict[str, Any]:
        return {"sources": [{"name": EVIL, "state": "live", "trigger": "none"}]}


def client(visitor: Visitor | None, *, sign_in: bool = False) -> TestClient:
    app = FastAPI()
    app.include_router(page_router(Host(), lambda request: visitor, sign_in=sign_in))
    return TestClient(app, follow_redirects=False)


@pytest.fixture
def engineer() -> TestClient:
    return client(Visitor("local", "engineer"))


@pytest.mark.parametrize("path", PAGES.values())
def test_pages_are_sent_with_a_strict_policy(engineer: TestClient, path: str) -> None:
    answer = engineer.get(path)

    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", [*PAGES.values(), "/login"])
def test_names_are_escaped(path: str) -> None:
    html = client(Visitor(EVIL, "operator"), sign_in=True).get(path).text

    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_names_in_addresses_are_quoted(engineer: TestClient) -> None:
    assert 'href="/register?source=%22%3E%3Cscript%3E' in engineer.get("/").text


def test_a_stranger_is_sent_to_the_login_and_back() -> None:
    stranger = client(None, sign_in=True)

    answer = stranger.get("/register?source=a&label=b")

    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/register%3Fsource%3Da%26label%3Db"
    login = stranger.get("/login")
    assert login.status_code == 200
    assert "tabs" not in login.text


def test_without_users_there_is_no_login(engineer: TestClient) -> None:
    assert engineer.get("/login").headers["location"] == "/"
    assert "sign-out" not in engineer.get("/").text.split("data-texts")[0]


def test_static_files_are_revalidated(engineer: TestClient) -> None:
    first = engineer.get("/static/live.js")
    assert first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "no-cache"

    again = engineer.get("/static/live.js", headers={"If-None-Match": first.headers["etag"]})

    assert again.status_code == 304


@pytest.mark.parametrize("name", ["absent.js", "..%2Fpage.py", "%2e%2e%2fpage.py", "%00"])
def test_nothing_else_is_sent(engineer: TestClient, name: str) -> None:
    assert engineer.get(f"/static/{name}").status_code == 404


def test_texts_can_be_others() -> None:
    from vision_edge.station.http.page.texts import ENGLISH

    app, german = FastAPI(), {**ENGLISH, "language": "de", "tab.review": "Prüfen"}
    visitor: Callable[[object], Visitor] = lambda request: Visitor("x", "operator")  # noqa: E731
    app.include_router(page_router(Host(), visitor, texts=german))

    html = TestClient(app).get("/review").text

    assert '<html lang="de">' in html
    assert "<span>Prüfen</span>" in html
