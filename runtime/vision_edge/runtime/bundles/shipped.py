"""Assets that ship with the program, each verified by its hash before it is used.

`assets.json` in a package's `assets` folder lists its files; nothing unlisted is an asset.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.system.files import sha256_file

GROUP = "vision_edge.assets"
"""Entry points that name the packages which bring assets; the server's part adds its own."""

INDEX = "assets.json"


@dataclass(frozen=True)
class Asset:
    """One shipped file or folder.

    Attributes:
        name: Its path below the package's `assets` folder.
        path: Where it lies.
        sha256: By file: the hash that each must have.
        bytes: Size of all of it.
        what: What it is, in a sentence.
        license: Its licence's SPDX identifier.
    """

    name: str
    path: Path
    sha256: dict[str, str]
    bytes: int
    what: str
    license: str

    def verify(self) -> Path:
        """Check every file's hash and return the asset's path.

        Raises:
            VisionEdgeError: If a file is absent or altered.
        """
        for file, expected in self.sha256.items():
            path = self.path.parent / file
            got = sha256_file(path) if path.is_file() else None
            if got != expected:
                state = "missing" if got is None else "altered"
                raise VisionEdgeError(
                    f"asset {self.name}: {path} is {state}", fix="install vision-edge again"
                )
        return self.path


def list_assets() -> list[Asset]:
    """Return every asset of the packages that are installed."""
    return [asset for package in _packages() if find_spec(package) for asset in _assets_of(package)]


def asset(name: str) -> Path:
    """Return the path of an asset, verified.

    Raises:
        VisionEdgeError: If there is none of that name here, or it is altered.
    """
    known = list_assets()
    for candidate in known:
        if candidate.name == name:
            return candidate.verify()
    names = ", ".join(candidate.name for candidate in known) or "none"
    raise VisionEdgeError(f"there is no asset {name!r} here", fix=f"installed are: {names}")


def _packages() -> list[str]:
    return [point.value for point in sorted(entry_points(group=GROUP), key=lambda p: p.name)]


def _assets_of(package: str) -> list[Asset]:
    folder = Path(str(resources.files(package))) / "assets"
    index = folder / INDEX
    if not index.is_file():
        return []
    entries = json.loads(index.read_text(encoding="utf-8"))
    return [Asset(path=folder / entry["name"], **entry) for entry in entries]
