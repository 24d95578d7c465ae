"""Users and tokens: who may use a station, in two files that hold no password.

The users' file is TOML, with Argon2 hashes, and written by `vision-edge user`. The tokens' file has
one token a line, for programs: `TOKEN ROLE NAME`, or `sha256:DIGEST ROLE NAME`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.runtime.system.files import atomic_file

Role = Literal["operator", "engineer"]
ROLES: tuple[Role, ...] = ("operator", "engineer")
MIN_PASSWORD, MAX_PASSWORD, MIN_TOKEN = 10, 256, 20
_USER_NAME = re.compile(r"[^\W_][\w.@-]{0,63}")


class UsersError(VisionEdgeError):
    """A file of users or tokens cannot be used, or a name or password is not fit."""


@dataclass(frozen=True)
class User:
    """Who makes a request.

    Attributes:
        name: As the gallery's history and the audit log have it.
        role: `"operator"` registers and reviews; `"engineer"` may do everything.
    """

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether the user may do what `role` may."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Account:
    """A user and the Argon2 hash of the password."""

    user: User
    password_hash: str


def checked_user(name: str, role: str) -> User:
    """Return a user of that name and role.

    Raises:
        UsersError: If one of them is not fit.
    """
    if not _USER_NAME.fullmatch(name):
        raise UsersError(
            f"{name[:40]!r} cannot be a user's name", fix="use 1 to 64 letters, digits, . @ _ -"
        )
    if role not in ROLES:
        raise UsersError(f"unknown role {role[:40]!r}", fix=f"use one of {', '.join(ROLES)}")
    return User(name, role)


def hashed(password: str) -> str:
    """Return the Argon2 hash of a new password.

    It is computed in one lane (RFC 9106, section 4, has four): a guess then takes one of the cores
    that verdicts need, and an attacker's machine as long as before.

    Raises:
        UsersError: If it is too short or too long.
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UsersError(
            f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters; got {len(password)}",
            fix="take several words",
        )
    made: str = require("argon2").PasswordHasher(parallelism=1).hash(password)
    return made


def read_accounts(path: Path) -> dict[str, Account]:
    """Return the accounts of a users' file by name.

    Raises:
        UsersError: If it cannot be read, or is not such a file.
    """
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        read = toml.loads(_text(path))
    except ValueError as error:
        raise UsersError(f"{path}: not a TOML file: {error}", fix="correct that line") from error
    users = read.get("users", {})
    if not isinstance(users, dict) or set(read) - {"users"}:
        raise UsersError(f"{path}: not a file of users", fix="make one with `vision-edge user add`")
    return {name: _account(path, name, entry) for name, entry in users.items()}


def write_accounts(path: Path, accounts: Mapping[str, Account]) -> None:
    """Write a users' file, atomically; only its owner may read it."""
    lines = ["# Written by `vision-edge user`.\n"]
    for name, account in sorted(accounts.items()):
        lines.append(f"\n[users.{json.dumps(name, ensure_ascii=False)}]\n")
        lines.append(f'role = "{account.user.role}"\npassword = "{account.password_hash}"\n')
    umask = os.umask(0o077)
    try:
        with atomic_file(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
    finally:
        os.umask(umask)


def read_tokens(path: Path) -> dict[str, User]:
    """Return the users of a tokens' file, by the SHA-256 of their token.

    Raises:
        UsersError: If it cannot be read, holds no token, or one that is too short.
    """
    tokens: dict[str, User] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        token, role, name = (*fields, *("operator", "token")[len(fields) - 1 :])[:3]
        digest = token.removeprefix("sha256:")
        if digest == token and len(token) < MIN_TOKEN:
            raise UsersError(
                f"{path}, line {number}: a token has at least {MIN_TOKEN} characters",
                fix="make one with `vision-edge user token`",
            )
        tokens[digest if digest != token else digest_of(token)] = checked_user(name, role)
    if not tokens:
        raise UsersError(f"{path}: holds no token", fix="make one with `vision-edge user token`")
    return tokens


def digest_of(token: str) -> str:
    """Return the SHA-256 of a token, in hexadecimal; chance enough is in the token itself."""
    return hashlib.sha256(token.encode()).hexdigest()


def _account(path: Path, name: str, entry: Any) -> Account:
    fits = isinstance(entry, dict) and set(entry) == {"role", "password"}
    if not fits or not str(entry["password"]).startswith("$argon2"):
        raise UsersError(
            f"{path}: user {name!r} needs a role and the Argon2 hash of a password",
            fix="make it with `vision-edge user add`",
        )
    return Account(checked_user(name, str(entry["role"])), str(entry["password"]))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UsersError(f"{path}: cannot be read ({error})", fix="check the path") from error
