"""The command line: see the package's docstring. Status 1: something is wrong; 3: not asked."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from supply.dependencies import SupplyError, extras, packages_of

NOT_ASKED = 3
"""Status of an audit that could not ask: it says nothing about vulnerabilities."""


def main() -> int:
    """Do what the arguments say, and return the status."""
    parser = argparse.ArgumentParser(prog="supply")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sbom").add_argument("folder", type=Path)
    commands.add_parser("licences").add_argument("--check", action="store_true")
    audit = commands.add_parser("audit")
    audit.add_argument("database", nargs="?", default="", help="all.zip of OSV's PyPI, a folder")
    commands.add_parser("wheel-twice")
    args = parser.parse_args()
    try:
        if args.command == "audit":
            return _audit(args.database)
        if args.command == "sbom":
            _sbom(args.folder)
        elif args.command == "licences":
            _licences(check=args.check)
        else:
            _wheel_twice()
    except SupplyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _sbom(folder: Path) -> None:
    from supply.sbom import write_all

    for path in write_all(folder):
        print(path)


def _licences(*, check: bool) -> None:
    from supply.licences import PAGE, objection, table, told_by

    packages = {p.name: p for extra in extras() for p in packages_of(extra).values()}
    objections = [said for p in packages.values() if (said := objection(p)) is not None]
    if objections:
        raise SupplyError("; ".join(sorted(objections)))
    if not check:
        PAGE.write_text(table())
    elif not told_by(PAGE.read_text()):
        raise SupplyError(f"{PAGE.name} is not what is installed: make licences")
    print(f"{len(packages)} packages, each under a licence that is accepted")


def _audit(database: str) -> int:
    from supply.audit import NotAskedError, audited

    try:
        told = audited(database)
    except NotAskedError as error:
        print(f"NOT ASKED: {error}", file=sys.stderr)
        print("nothing is known of vulnerabilities; this is no pass", file=sys.stderr)
        return NOT_ASKED
    print(told.text())
    return 1 if told.found else 0


def _wheel_twice() -> None:
    from supply.wheels import build_twice

    for name, digest in sorted(build_twice().items()):
        print(f"{digest}  {name}")


if __name__ == "__main__":
    sys.exit(main())
