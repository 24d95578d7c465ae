"""The dependencies of each extra: those that are pinned, down to the last one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
BASE = "base"
"""What is installed without any extra."""
TOOLS = ("dev", "docs")
"""Extras of who works on the product; nobody runs them in a plant."""


class SupplyError(Exception):
    """What is asked cannot be told; with what to do."""


@dataclass(frozen=True)
class Package:
    """A dependency.

    Attributes:
        name: Canonical.
        version: As it is pinned, or as it is installed here; None where it is neither.
        pinned: Whether constraints.txt says the version.
        needs: Names of what it depends on itself; None where it is not installed here, so that
            nobody looked.
    """

    name: str
    version: str | None
    pinned: bool
    needs: tuple[str, ...] | None

    @property
    def distribution(self) -> Distribution | None:
        """Its metadata, if it is installed."""
        return _installed(self.name)


def project(root: Path = ROOT) -> dict[str, Any]:
    """Return the table `project` of pyproject.toml."""
    with (root / "pyproject.toml").open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)["project"]
    return found


def extras(root: Path = ROOT) -> list[str]:
    """Return the names of all extras, after `base`."""
    return [BASE, *project(root)["optional-dependencies"]]


def pins(root: Path = ROOT, *, everywhere: bool = False) -> dict[str, set[str]]:
    """Return the versions that constraints.txt pins for this Python.

    Args:
        root: The checkout.
        everywhere: Those for other Pythons too.
    """
    found: dict[str, set[str]] = {}
    for line in (root / "constraints.txt").read_text().splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        pinned = Requirement(text)
        if everywhere or pinned.marker is None or pinned.marker.evaluate():
            versions = {one.version for one in pinned.specifier if one.operator == "=="}
            found.setdefault(canonicalize_name(pinned.name), set()).update(versions)
    return found


def packages_of(extra: str, root: Path = ROOT) -> dict[str, Package]:
    """Return all that an extra brings, by name, what the base install brings among it.

    Raises:
        SupplyError: If a package is installed in another version than is pinned.
    """
    table, pinned = project(root), pins(root)
    asked = [*table["dependencies"]]
    if extra != BASE:
        asked += table["optional-dependencies"][extra]
    found: dict[str, Package] = {}
    waiting = list(_meant(asked, ()))
    looked: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in looked:
            continue
        looked.add((name, wanted))
        installed = _installed(name)
        needs = None if installed is None else list(_meant(installed.requires or [], wanted))
        waiting += needs or []
        before = found.get(name)
        names = {*(before.needs or () if before else ()), *(one for one, _ in needs or [])}
        found[name] = Package(
            name,
            _version(name, pinned, installed),
            name in pinned,
            None if needs is None else tuple(sorted(names)),
        )
    return dict(sorted(found.items()))


def direct(extra: str, root: Path = ROOT) -> list[str]:
    """Return what an extra asks for itself, with what the base install does."""
    table = project(root)
    asked = [*table["dependencies"], *table["optional-dependencies"].get(extra, [])]
    return sorted({name for name, _ in _meant(asked, ())})


def _meant(
    requirements: list[str], wanted: tuple[str, ...] | frozenset[str]
) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the requirements that hold here, each with its own extras."""
    for text in requirements:
        one = Requirement(text)
        asked = [{"extra": extra} for extra in ("", *wanted)]
        if one.marker is None or any(one.marker.evaluate(environment) for environment in asked):
            yield canonicalize_name(one.name), frozenset(one.extras)


def _version(name: str, pinned: dict[str, set[str]], installed: Distribution | None) -> str | None:
    versions = pinned.get(name)
    if versions is None:
        return None if installed is None else installed.version
    (version,) = versions
    if installed is not None and installed.version != version:
        raise SupplyError(
            f"{name} {installed.version} is installed, and constraints.txt pins {version}: "
            "install what is pinned, or pin what was tested"
        )
    return version


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
