from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.runtime import invoke, invoked
from support.station import API, Served, eventually, make_certificate, served, settings_for

from vision_edge.station.core.limits import Buckets, LoginBrake, login_keys, neighbourhood
from vision_edge.station.http.users import (
    Account,
    User,
    UsersError,
    hashed,
    read_accounts,
    read_tokens,
    write_accounts,
)

PASSWORDS = {"anna": "three plain words", "boss": "four more plain words"}
ROUTES: list[tuple[str, str, Any, str]] = [
    ("GET", "/status", None, "operator"),
    ("GET", "/verdicts", None, "operator"),
    ("GET", "/products", None, "operator"),
    ("GET", "/review", None, "operator"),
    ("GET", "/history", None, "operator"),
    ("GET", "/me", None, "operator"),
    ("GET", "/snapshots/1.jpg", None, "operator"),
    ("GET", "/sources/source-0/frame.jpg", None, "operator"),
    ("POST", "/sources/source-0/freeze", None, "operator"),
    ("POST", "/products/rename", {"label": "gone", "new": "x"}, "operator"),
    ("POST", "/review/dismiss", {"ids": ["0" * 24]}, "operator"),
    ("POST", "/undo", None, "operator"),
    ("POST", "/products/remove", {"label": "gone"}, "engineer"),
    ("POST", "/rollback", {"version": 999}, "engineer"),
    ("POST", "/snapshots/999/drop", None, "engineer"),
]


def add_user(file: Path, name: str, role: str, password: str) -> None:
    from typer.testing import CliRunner

    from vision_edge.cli.user import app

    arguments = ["add", name, "--role", role, "--file", str(file)]
    result = CliRunner().invoke(app, arguments, input=f"{password}\n")
    assert result.exit_code == 0, result.output or result.exception


@pytest.fixture(scope="module")
def guarded(
    bundle_path: Path, _registered: Path, shots: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, str]]:
    """A served station with users and tokens, and a token of an operator."""
    folder = tmp_path_factory.mktemp("guarded")
    gallery = folder / "parts.gallery"
    gallery.write_bytes(_registered.read_bytes())
    users, tokens = folder / "users.toml", folder / "tokens.txt"
    add_user(users, "anna", "operator", PASSWORDS["anna"])
    add_user(users, "boss", "engineer", PASSWORDS["boss"])
    token = invoked("user", "token", "plc", "--file", tokens).strip()
    server = {"users_file": users, "token_file": tokens, "host": "127.0.0.1"}
    with served(settings_for(bundle_path, gallery, shots, server=server)) as running:
        eventually(lambda: running.station.line("source-0").latest)
        yield running, token


@contextmanager
def logged_in(running: Served, name: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url) as client:
        answer = client.post(f"{API}/login", json={"user": name, "password": PASSWORDS[name]})
        assert answer.status_code == 200, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        yield client


def test_every_route_needs_a_user_and_the_right_role(guarded: tuple[Served, str]) -> None:
    running, token = guarded
    with (
        logged_in(running, "anna") as anna,
        logged_in(running, "boss") as boss,
        httpx.Client(base_url=running.url) as nobody,
        httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {token}"}) as plc,
    ):
        for method, path, body, role in ROUTES:
            for client, may in ((anna, "operator"), (plc, "operator"), (boss, "engineer")):
                status = client.request(method, API + path, json=body).status_code
                refused = role == "engineer" and may == "operator"
                assert (status == 403) is refused, (method, path, may, status)
                assert status not in (401, 500)
            assert nobody.request(method, API + path, json=body).status_code == 401, path
        for path in ("/livez", "/readyz"):
            assert nobody.get(path).status_code == 200
        assert nobody.get("/metrics").status_code == 401
        assert plc.get("/metrics").status_code == 200


def test_a_session_needs_its_csrf_token_and_ends(guarded: tuple[Served, str]) -> None:
    running, _ = guarded
    with logged_in(running, "anna") as anna:
        own = anna.headers.pop("X-CSRF-Token")
        assert anna.post(f"{API}/undo").json()["error"]["code"] == "csrf"
        assert anna.get(f"{API}/me").json() == {"user": "anna", "role": "operator", "csrf": own}
        with logged_in(running, "boss") as boss:
            stolen = boss.headers["X-CSRF-Token"]
        assert anna.post(f"{API}/undo", headers={"X-CSRF-Token": stolen}).status_code == 403
        cookie = anna.cookies["vision_edge_session"]
        anna.headers["X-CSRF-Token"] = own
        assert anna.post(f"{API}/logout").status_code == 200
        headers = {"Cookie": f"vision_edge_session={cookie}"}
        assert httpx.get(f"{running.url}{API}/me", headers=headers).status_code == 401


def test_the_cookie_is_kept_from_scripts_and_other_sites(guarded: tuple[Served, str]) -> None:
    running, _ = guarded
    answer = httpx.post(
        f"{running.url}{API}/login", json={"user": "anna", "password": PASSWORDS["anna"]}
    )
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "secure" not in cookie


def test_over_tls_the_cookie_is_secure(
    guarded: tuple[Served, str], bundle_path: Path, registered: Path, shots: Path, tmp_path: Path
) -> None:
    key, certificate = make_certificate(tmp_path)
    users = guarded[0].station.settings.server.users_file
    server = {"users_file": users, "tls_cert": certificate, "tls_key": key}
    settings = settings_for(bundle_path, registered, shots, server=server)
    trusted = ssl.create_default_context(cafile=str(certificate))
    with served(settings, verify=trusted) as running:
        assert running.url.startswith("https://")
        asked = {"user": "boss", "password": PASSWORDS["boss"]}
        answer = running.client.post(f"{API}/login", json=asked, headers={"Origin": running.url})
        assert "secure" in answer.headers["set-cookie"].lower()
        assert running.get("/me").json()["user"] == "boss"


def test_unknown_tokens_are_refused(guarded: tuple[Served, str]) -> None:
    running, token = guarded
    for sent in ("x", token[:-1], f"{token} x", f"sha256:{token}"):
        headers = {"Authorization": f"Bearer {sent}"}
        assert httpx.get(f"{running.url}{API}/me", headers=headers).status_code == 401
    basic = {"Authorization": "Basic YW5uYTpx"}
    assert httpx.get(f"{running.url}{API}/me", headers=basic).status_code == 401


def test_a_removed_user_is_out_at_once(guarded: tuple[Served, str]) -> None:
    running, _ = guarded
    users = running.station.settings.server.users_file
    assert users is not None
    add_user(users, "carl", "engineer", "yet another password")
    with httpx.Client(base_url=running.url) as carl:
        asked = {"user": "carl", "password": "yet another password"}
        assert carl.post(f"{API}/login", json=asked).status_code == 200
        assert carl.get(f"{API}/me").status_code == 200
        invoked("user", "remove", "carl", "--file", users)
        assert carl.get(f"{API}/me").status_code == 401


def test_wrong_passwords_are_slowed_down_and_written_down(guarded: tuple[Served, str]) -> None:
    running, _ = guarded
    running.station.audit.write("-", "before", "ok", deed=False)
    codes = []
    for number in range(7):
        asked = {"user": "anna" if number % 2 else "nobody", "password": f"wrong {number}"}
        codes.append(httpx.post(f"{running.url}{API}/login", json=asked).status_code)
    assert codes[0] == 401 and codes[-1] == 429
    right = {"user": "anna", "password": PASSWORDS["anna"]}
    blocked = httpx.post(f"{running.url}{API}/login", json=right)
    assert blocked.status_code == 429 and int(blocked.headers["retry-after"]) >= 1
    text = (running.station.settings.state_dir / "requests.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    failed = [line for line in lines if line["result"] == 401 and line["what"].endswith("/login")]
    assert failed and failed[-1]["user"] in ("anna", "nobody")
    for secret in (*PASSWORDS.values(), "wrong", guarded[1]):
        assert secret not in text


def test_the_users_file_is_private_and_holds_no_password(tmp_path: Path) -> None:
    file = tmp_path / "users.toml"
    add_user(file, "anna", "operator", PASSWORDS["anna"])
    assert file.stat().st_mode & 0o077 == 0
    assert PASSWORDS["anna"] not in file.read_text()
    assert "$argon2id$" in file.read_text()
    assert "operator  anna" in invoked("user", "list", "--file", file)
    result = invoke("user", "add", "a b", "--file", file)
    assert isinstance(result.exception, UsersError)
    assert "name" in str(result.exception)
    result = invoke("user", "add", "eve", "--role", "king", "--file", file)
    assert result.exit_code == 2
    assert "--role" in result.output
    assert list(read_accounts(file)) == ["anna"]


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "short operator plc", f"{'x' * 30} king plc", "\udce4"]
)
def test_a_tokens_file_that_is_not_fit(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsersError, match=str(file) if text != f"{'x' * 30} king plc" else "king"):
        read_tokens(file)


@pytest.mark.parametrize("text", ["x = 1", "[users.a]\nrole = 'operator'", "users = 3", "["])
def test_a_users_file_that_is_not_fit(tmp_path: Path, text: str) -> None:
    file = tmp_path / "users.toml"
    file.write_text(text)
    with pytest.raises(UsersError, match=str(file)):
        read_accounts(file)


def test_a_bucket_fills_again() -> None:
    now = 0.0
    buckets = Buckets(2.0, 3.0, clock=lambda: now)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    now = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]


def test_guessing_gets_ever_slower() -> None:
    now = 0.0
    brake = LoginBrake(free=2, longest=100, longest_alone=8, clock=lambda: now)
    pair, account, address = keys = login_keys("anna", "10.0.0.7")
    waits = []
    for _ in range(9):
        waits.append(brake.attempt(pair))
        now += waits[-1]
        assert not waits[-1] or brake.attempt(pair) == 0
    assert waits == [0, 0, 2, 4, 8, 16, 32, 64, 100]
    for key in (account, address):
        for _ in range(9):
            now += (longest := brake.attempt(key))
        assert longest == 8
    now += 8
    brake.worked(*keys)
    assert brake.attempt(pair) == brake.attempt(account) == 0
    assert brake.attempt(address) == 0 < brake.attempt(address)


def test_who_logs_in_between_guesses_gains_no_further_ones() -> None:
    brake = LoginBrake(clock=lambda: 0.0)
    for number in range(5):
        assert brake.attempt(*login_keys(f"user {number}", "10.0.0.7")) == 0
        own = login_keys("own", "10.0.0.7")
        if brake.attempt(*own) == 0:
            brake.worked(*own)
    assert brake.attempt(*login_keys("user 9", "10.0.0.7")) > 0


def test_one_host_of_many_addresses_is_one() -> None:
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:2%eth0")
    assert neighbourhood("2001:db8:0:1::1") != neighbourhood("2001:db8::1")
    assert neighbourhood("::ffff:10.0.0.7") == neighbourhood("10.0.0.7") == "10.0.0.7"
    assert len(neighbourhood("x" * 10_000)) == 64


@pytest.fixture
def behind_proxy(
    bundle_path: Path, registered: Path, shots: Path, tmp_path: Path
) -> Iterator[Served]:
    users = tmp_path / "users.toml"
    account = Account(User("anna", "operator"), hashed(PASSWORDS["anna"]))
    write_accounts(
        users, {"anna": account, "boss": replace(account, user=User("boss", "engineer"))}
    )
    server = {"users_file": users, "trusted_proxies": ["127.0.0.1"]}
    with served(settings_for(bundle_path, registered, shots, server=server)) as running:
        yield running


def attempt(running: Served, user: str, password: str, client: str, **headers: str) -> int:
    asked = {"user": user, "password": password}
    headers |= {"X-Forwarded-For": client}
    answer = httpx.post(f"{running.url}{API}/login", json=asked, headers=headers, timeout=30.0)
    return answer.status_code


def test_many_guesses_at_once_are_no_more_than_in_turn(behind_proxy: Served) -> None:
    running, right = behind_proxy, PASSWORDS["anna"]
    held = httpx.post(f"{running.url}{API}/login", json={"user": "anna", "password": right})
    began = time.monotonic()
    with ThreadPoolExecutor(60) as pool:
        guesses = [pool.submit(attempt, running, "anna", f"{n}", "10.0.0.66") for n in range(60)]
        codes = [guess.result() for guess in guesses]
    waited = sum(time.monotonic() - began > seconds for seconds in (2, 2 + 4, 2 + 4 + 8))
    assert 1 <= codes.count(401) <= 5 + waited and set(codes) <= {401, 429, 503}
    cookie = f"vision_edge_session={held.cookies['vision_edge_session']}"
    assert attempt(running, "boss", right, "10.0.0.1") == 200  # behind the same proxy
    assert httpx.get(f"{running.url}{API}/me", headers={"Cookie": cookie}).status_code == 200
    assert attempt(running, "anna", right, "10.0.0.66", Cookie=cookie) == 200


def test_a_forwarded_address_counts_only_from_a_trusted_proxy(guarded: tuple[Served, str]) -> None:
    running, _ = guarded
    codes = [attempt(running, "nobody", "x", f"10.0.0.{n}") for n in range(7)]
    assert codes[-1] == 429


def test_behind_a_trusted_proxy_with_tls_the_origin_is_its(behind_proxy: Served) -> None:
    host = behind_proxy.url.removeprefix("http://")
    for proto, status in (("https", 422), ("http", 403)):
        headers = {"Origin": f"https://{host}", "X-Forwarded-Proto": proto, "X-Forwarded-For": "x"}
        answer = behind_proxy.client.post(f"{API}/login", json={}, headers=headers)
        assert answer.status_code == status
