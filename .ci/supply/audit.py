"""Known vulnerabilities of what constraints.txt pins, by a copy of OSV's database.

The copy is `all.zip` of the ecosystem PyPI, as OSV exports it, or a folder of its JSON files. It is
asked here: nothing of the project leaves the machine, and nothing is fetched.
An audit that has no database says so, and does not pass.

Source: OSV schema 1.7, "Evaluation": `affected[].versions`, and
`affected[].ranges[].events` of the types ECOSYSTEM and SEMVER.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from supply.dependencies import ROOT, SupplyError, pins

MOST_DAYS = 30
"""Age of the database's last entry from which on it has missed too much to be believed."""
_LEAST = 1000
"""Advisories that a copy of the whole database has at least; there were over 15,000 in 2025."""


class NotAskedError(SupplyError):
    """There is no database to ask, or none that can be believed."""


@dataclass
class Audit:
    """What an audit found.

    Attributes:
        advisories: How many there were to ask.
        newest: When the last of them was changed.
        packages: How many pinned versions were looked up.
        found: Package and version, the advisory's names, and what it says in a line.
    """

    advisories: int
    newest: str
    packages: int
    found: list[tuple[str, str, str]] = field(default_factory=list)

    def text(self) -> str:
        """Return it in words."""
        asked = (
            f"{self.packages} pinned versions, asked of {self.advisories} advisories, the last of "
            f"{self.newest[:10]}"
        )
        if not self.found:
            return f"{asked}: none is known to be vulnerable"
        lines = [f"{what}: {names}: {summary}" for what, names, summary in self.found]
        return "\n".join([*lines, f"{asked}: {len(self.found)} found"])


def audited(
    database: str, root: Path = ROOT, *, least: int = _LEAST, now: datetime | None = None
) -> Audit:
    """Look every pinned version up, those for other Pythons too.

    Args:
        database: File or folder.
        root: The checkout.
        least: Advisories that it must have.
        now: The time, for its age.

    Raises:
        NotAskedError: If there is none, it is not whole, or too old.
    """
    if not database:
        raise NotAskedError(
            "no database was given; have all.zip of OSV's export for PyPI, and give it: "
            "make audit OSV=all.zip"
        )
    path = Path(database)
    advisories = list(_read(path))
    newest = max((str(one.get("modified", "")) for one in advisories), default="")
    if len(advisories) < least:
        raise NotAskedError(f"{path} has {len(advisories)} advisories; a whole copy has {least}")
    days = ((now or datetime.now(timezone.utc)) - _time(newest)).days
    if days > MOST_DAYS:
        raise NotAskedError(f"the last advisory of {path} is {days} days old: fetch it anew")
    versions = pins(root, everywhere=True)
    told = Audit(len(advisories), newest, sum(map(len, versions.values())))
    told.found = sorted(_matches(advisories, versions))
    return told


def _matches(
    advisories: Iterable[dict[str, Any]], versions: dict[str, set[str]]
) -> Iterator[tuple[str, str, str]]:
    for advisory in advisories:
        if advisory.get("withdrawn"):
            continue
        names = ", ".join([advisory["id"], *advisory.get("aliases", [])])
        for affected in advisory.get("affected", []):
            package = affected.get("package", {})
            if package.get("ecosystem") != "PyPI":
                continue
            name = canonicalize_name(package["name"])
            for version in versions.get(name, ()):
                if is_affected(affected, version):
                    summary = advisory.get("summary") or advisory.get("details", "")[:200]
                    yield f"{name} {version}", names, " ".join(summary.split())


def is_affected(affected: dict[str, Any], version: str) -> bool:
    """Whether a version is among those that an advisory's entry names."""
    ours = Version(version)
    if any(ours == one for text in affected.get("versions", ()) if (one := _version(text))):
        return True
    return any(
        _in_range(span.get("events", ()), ours)
        for span in affected.get("ranges", ())
        if span.get("type") in ("ECOSYSTEM", "SEMVER")
    )


def _in_range(events: Iterable[dict[str, str]], ours: Version) -> bool:
    """Follow a range's events up to a version; the last that counts for it decides."""
    at: list[tuple[Version, int, bool]] = []
    for event in events:
        for kind, order, vulnerable in (("fixed", 0, False), ("introduced", 1, True)):
            if kind in event and (version := _version(event[kind])) is not None:
                at.append((version, order, vulnerable))
    inside = False
    for version, _, vulnerable in sorted(at):
        if version <= ours:
            inside = vulnerable
    lasts = [_version(event["last_affected"]) for event in events if "last_affected" in event]
    return inside and not any(last is not None and ours > last for last in lasts)


def _version(text: str) -> Version | None:
    """Return a version; `0` is before all; None for one that is none of PyPI's."""
    try:
        return Version("0.dev0" if text == "0" else text)
    except InvalidVersion:
        return None


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text[:19]).replace(tzinfo=timezone.utc)
    except ValueError:
        raise NotAskedError(f"the database's last advisory is of {text[:40]!r}") from None


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a database's advisories.

    Raises:
        NotAskedError: If it cannot be read.
    """
    try:
        if path.is_dir():
            for file in sorted(path.rglob("*.json")):
                yield json.loads(file.read_bytes())
        else:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(".json"):
                        yield json.loads(archive.read(name))
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise NotAskedError(f"{path} cannot be read as OSV's database: {error}") from None
