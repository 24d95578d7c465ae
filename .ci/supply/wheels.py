"""Wheels and sdist that are the same whoever builds them: time from the commit, pinned tools."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from supply.dependencies import ROOT, SupplyError


def commit_time(root: Path = ROOT) -> int:
    """Return when the commit was made, in seconds; of a folder that is none, the zip format's 1980.

    `SOURCE_DATE_EPOCH` of the environment goes before.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdecimal():
        return int(given)
    told = subprocess.run(
        ["git", "-C", str(root), "log", "-1", "--format=%ct"], capture_output=True, text=True
    )
    return int(told.stdout) if told.returncode == 0 and told.stdout.strip() else 315532800


def build(
    folder: Path, root: Path, epoch: int, *, umask: int = -1, zone: str | None = None
) -> dict[str, str]:
    """Build wheels and sdist with the tools that are installed; return sha256 by file name.

    Args:
        folder: Where they are written.
        root: The checkout, or a copy of one.
        epoch: The time that they bear, in seconds since 1970.
        umask: Modes that the builders' files lack; default: this process' own.
        zone: The builders' time zone; default: this process' own.

    Raises:
        SupplyError: If they cannot be built.
    """
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), **({"TZ": zone} if zone else {})}
    devices = [str(ROOT / ".ci" / "wheel_for_devices.py"), str(folder)]
    for arguments in (
        ["-m", "build", "--no-isolation", "--wheel", "--sdist", "--outdir", str(folder), str(root)],
        devices,
    ):
        told = subprocess.run(
            [sys.executable, *arguments], env=env, umask=umask, capture_output=True, text=True
        )
        if told.returncode:
            raise SupplyError(f"not built: {(told.stderr or told.stdout)[-2000:]}")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def build_twice(root: Path = ROOT) -> dict[str, str]:
    """Build here, and a copy with other times, modes and zone elsewhere; return the hashes.

    Both at once: they share nothing but the tools.

    Raises:
        SupplyError: If they differ.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        first, second, copy = (Path(folder) / name for name in ("first", "second", "copy"))
        _copied(root, copy)
        here = pool.submit(build, first, root, commit_time(root))
        other = build(second, copy, commit_time(root), umask=0o077, zone="Asia/Tokyo")
        one = here.result()
    different = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    if different:
        raise SupplyError(f"built twice, and not the same: {', '.join(different)}")
    return one


def _copied(root: Path, folder: Path) -> None:
    """Copy what belongs to a checkout, without the times of its files."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-coz", "--exclude-standard"],
        capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
            (folder / name).chmod(0o700 if os.access(root / name, os.X_OK) else 0o600)
