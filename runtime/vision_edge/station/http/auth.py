"""Who makes a request, and whether it may: sessions, tokens, roles, and the CSRF token.

On loopback without users everyone is the engineer `local`; the CSRF token still keeps other sites'
pages from using a browser on that machine.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from typing import Any, Generic, TypeVar

from fastapi import Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from starlette.requests import HTTPConnection
from starlette.types import Scope

from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.station.core.limits import Key, LoginBrake, login_keys
from vision_edge.station.http.request_error import RequestError
from vision_edge.station.http.users import (
    Account,
    Role,
    User,
    digest_of,
    hashed,
    read_accounts,
    read_tokens,
)
from vision_edge.station.settings.station import ServerSettings

T = TypeVar("T")
log = logging.getLogger(__name__)
COOKIE = "vision_edge_session"
CSRF_HEADER = "X-CSRF-Token"
LOCAL = User("local", "engineer")
MAX_SESSIONS = 1000
MAX_LOGINS = 8
"""At once: each holds a thread, and waits for those before it."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SCHEMES = [
    Security(APIKeyCookie(name=COOKIE, auto_error=False, description="A session of `POST login`.")),
    Security(APIKeyHeader(name=CSRF_HEADER, auto_error=False, description="`csrf` of `GET me`.")),
    Security(HTTPBearer(auto_error=False, description="A token of the tokens' file.")),
]
"""The ways to be known, for the OpenAPI document."""


@dataclass(frozen=True)
class Identity:
    """Who makes a request, and the CSRF token that its POSTs must bear; None where none is needed.

    A bearer token needs none: no browser sends one by itself.
    """

    user: User
    csrf: str | None


@dataclass
class _Session:
    user: str
    password_hash: str
    csrf: str
    used: float


class Auth:
    """Knows users, tokens and sessions.

    Args:
        settings: Of the server.

    Raises:
        UsersError: If a file of users or tokens cannot be used.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.brake = LoginBrake()
        self._accounts: _Watched[dict[str, Account]] = _Watched(
            settings.users_file, read_accounts, {}
        )
        self._tokens: _Watched[dict[str, User]] = _Watched(settings.token_file, read_tokens, {})
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._local_csrf = secrets.token_urlsafe(24)
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._waiting = threading.BoundedSemaphore(MAX_LOGINS)
        self._ended: list[Callable[[], object]] = []
        self._nobody = hashed(secrets.token_urlsafe(16)) if settings.users_file else ""

    def identify(self, request: HTTPConnection, *, use: bool = True) -> Identity | None:
        """Return who makes a request, or None if nobody known does.

        Args:
            request: What was asked, of which only the headers count.
            use: Whether this counts as a use of its session, which then lasts anew.

        Raises:
            RequestError: If it bears a token that is not known.
        """
        if not self.settings.guarded:
            return Identity(LOCAL, self._local_csrf)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            user = self._tokens.value.get(digest_of(token.strip()))
            if user is None:
                raise RequestError(
                    401, "unauthorised", "the token is not known", "check the token file"
                )
            return Identity(user, None)
        return self._of_session(request.cookies.get(COOKIE, ""), use)

    def authority(self, request: HTTPConnection) -> Callable[[], bool]:
        """Return what says whether a request would be allowed as it was when this is called.

        It holds no longer once its user is removed, has another role or password, has logged out,
        its token is gone, or its session has run out; asking is no use of that session.
        """
        began = self.identify(request, use=False)

        def holds() -> bool:
            try:
                now = self.identify(request, use=False)
            except RequestError:
                return False
            return began is not None and now is not None and now.user == began.user

        return holds

    def when_one_ends(self, call: Callable[[], object]) -> None:
        """Have `call` called, in whichever thread it is, when a session ends before its time."""
        self._ended.append(call)

    def login(self, name: str, password: str, request: HTTPConnection) -> tuple[str, Identity]:
        """Open a session; return its cookie's value, and who it is.

        Who holds a session of that user has attempts of their own: nobody else's count for them.

        Raises:
            RequestError: If name or password are wrong, or there were too many attempts.
        """
        if not self._waiting.acquire(blocking=False):
            raise RequestError(
                503, "busy", "others are logging in", "try again", headers={"Retry-After": "1"}
            )
        try:
            keys = self._attempted(name, request)
            account = self._accounts.value.get(name)
            fits = self._verified(account.password_hash if account else self._nobody, password)
        finally:
            self._waiting.release()
        if account is None or not fits:
            raise RequestError(401, "wrong_password", "name or password are wrong", "try again")
        self.brake.worked(*keys)
        return self._open(account)

    def _attempted(self, name: str, request: HTTPConnection) -> tuple[Key, ...]:
        """Count an attempt at a user's password; return what it is counted by.

        Raises:
            RequestError: If there were too many.
        """
        cookie = request.cookies.get(COOKIE, "")
        held = self._of_session(cookie, use=False)
        keys: tuple[Key, ...] = login_keys(name, client_of(request.scope))
        if held is not None and held.user.name == name:
            keys = ((name, f"session {digest_of(cookie)}"),)
        wait = self.brake.attempt(*keys)
        if wait > 0:
            raise RequestError(
                429, "too_many_attempts", "too many failed logins", f"wait {wait:.0f} s",
                headers={"Retry-After": str(int(wait) + 1)},
            )  # fmt: skip
        return keys

    def logout(self, request: HTTPConnection) -> None:
        """End the session of a request, if it has one."""
        with self._lock:
            self._sessions.pop(digest_of(request.cookies.get(COOKIE, "")), None)
        for call in self._ended:
            call()

    def _open(self, account: Account) -> tuple[str, Identity]:
        value, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        with self._lock:
            self._sessions[digest_of(value)] = _Session(
                account.user.name, account.password_hash, csrf, time.monotonic()
            )
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return value, Identity(account.user, csrf)

    def _of_session(self, cookie: str, use: bool) -> Identity | None:
        key, now = digest_of(cookie), time.monotonic()
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            account = self._accounts.value.get(session.user)
            changed = account is None or account.password_hash != session.password_hash
            if changed or now - session.used > 3600 * self.settings.session_hours:
                del self._sessions[key]
                return None
            if use:
                session.used = now
                self._sessions.move_to_end(key)
        assert account is not None
        return Identity(account.user, session.csrf)

    def _verified(self, password_hash: str, password: str) -> bool:
        """Whether a password fits; one at a time, since each takes 64 MiB."""
        argon2 = require("argon2")
        if not password_hash:
            return False
        with self._hashing:
            try:
                return bool(argon2.PasswordHasher().verify(password_hash, password))
            except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
                return False


def allowed(role: Role) -> Any:
    """Return a dependency: the user of a request, who must be allowed to do what `role` may.

    What changes something must bear the CSRF token, too.
    """

    def user(request: Request) -> User:
        auth: Auth = request.app.state.auth
        identity = auth.identify(request)
        if identity is None:
            raise RequestError(
                401, "unauthorised", "you are not logged in", "log in, or send a token"
            )
        request.state.user = identity.user.name
        if request.method not in SAFE_METHODS:
            _check_csrf(request, identity)
        if not identity.user.may(role):
            raise RequestError(
                403, "forbidden", f"this needs the role {role}", "ask someone who has that role"
            )
        return identity.user

    return Security(user)


def _check_csrf(request: Request, identity: Identity) -> None:
    if identity.csrf is None:
        return
    sent = request.headers.get(CSRF_HEADER, "")
    if not compare_digest(sent.encode(), identity.csrf.encode()):
        raise RequestError(
            403, "csrf", f"the header {CSRF_HEADER} is missing or wrong", "send csrf of GET me"
        )


def client_of(scope: Scope) -> str:
    """Return the address of who makes a request, `-` if there is none."""
    return str((scope.get("client") or ("-",))[0])


class _Watched(Generic[T]):
    """A file's contents, read again when it changes; while it is unfit the last good ones hold."""

    def __init__(self, path: Path | None, read: Callable[[Path], T], nothing: T) -> None:
        self._path, self._read = path, read
        self._stamp = self._stat()
        self._value = nothing if path is None else read(path)

    @property
    def value(self) -> T:
        """The contents now."""
        stamp = self._stat()
        if self._path is not None and stamp is not None and stamp != self._stamp:
            self._stamp = stamp
            try:
                self._value = self._read(self._path)
            except VisionEdgeError as error:
                log.warning("%s; what was read before still holds", error.what)
        return self._value

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return stat and (stat.st_mtime_ns, stat.st_size, stat.st_ino)
