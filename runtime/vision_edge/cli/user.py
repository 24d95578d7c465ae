"""`vision-edge user`: who may use a station."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.grouped_command import command
from vision_edge.station.http.users import (
    Account,
    Role,
    UsersError,
    checked_user,
    digest_of,
    hashed,
    read_accounts,
    write_accounts,
)

app = command_app(
    "Say who may use a station: people with passwords, programs with tokens.", group=True
)

Name = Annotated[str, typer.Argument(help="The user's name.")]
File = Annotated[Path, typer.Option("--file", help="The users' file: users_file in [server].")]
RoleName = Annotated[
    Role, typer.Option("--role", help="operator: registers and reviews; engineer: everything.")
]


@command(app)
def add(name: Name, file: File, role: RoleName = "operator") -> None:
    """Add a user, or set another role and password; the password is asked for, or read from stdin.

    A station that runs sees it at once.
    """
    user = checked_user(name, role)
    accounts = read_accounts(file) if file.exists() else {}
    accounts[name] = Account(user, hashed(_password()))
    write_accounts(file, accounts)
    typer.echo(f"{name} is {role} in {file}", err=True)


@command(app)
def remove(name: Name, file: File) -> None:
    """Remove a user; sessions end at once."""
    accounts = read_accounts(file)
    if name not in accounts:
        raise UsersError(
            f"{file}: there is no user {name!r}", fix=f"there are: {', '.join(accounts) or 'none'}"
        )
    del accounts[name]
    write_accounts(file, accounts)
    typer.echo(f"{name} is removed from {file}", err=True)


@command(app, "list")
def list_users(file: File) -> None:
    """List users and roles."""
    for name, account in read_accounts(file).items():
        typer.echo(f"{account.user.role:10}{name}")


@command(app)
def token(
    name: Annotated[str, typer.Argument(help="What the program is called, in the audit log.")],
    file: Annotated[Path, typer.Option("--file", help="The tokens' file: token_file in [server].")],
    role: RoleName = "operator",
) -> None:
    """Make a token for a program and print it; the file only gets its hash."""
    user = checked_user(name, role)
    made = secrets.token_urlsafe(32)
    file.touch(mode=0o600)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(f"sha256:{digest_of(made)} {user.role} {user.name}\n")
    typer.echo(made)


def _password() -> str:
    if sys.stdin.isatty():
        entered: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return entered
    return sys.stdin.readline().rstrip("\n")
