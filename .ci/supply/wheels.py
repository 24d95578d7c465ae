"""Wheels and sdist that are the same whoever builds them: time from the commit, pinned tools."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
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


def build(folder: Path, root: Path = ROOT) -> dict[str, str]:
    """Build wheels and sdist with the tools that are installed; return sha256 by file name.

    Raises:
        SupplyError: If they cannot be built.
    """
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(commit_time(root))}
    told = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", "--outdir",
         str(folder), str(root)],
        env=env, capture_output=True, text=True,
    )  # fmt: skip
    if told.returncode:
        raise SupplyError(f"not built: {(told.stderr or told.stdout)[-2000:]}")
    devices = str(ROOT / ".ci" / "wheel_for_devices.py")
    subprocess.run([sys.executable, devices, str(folder)], check=True, env=env, stdout=sys.stderr)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def build_twice(root: Path = ROOT) -> dict[str, str]:
    """Build here, and a copy with other times, modes and zone elsewhere; return the hashes.

    Raises:
        SupplyError: If they differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        first, second, copy = (Path(folder) / name for name in ("first", "second", "copy"))
        one = build(first, root)
        before, zone = os.umask(0o077), os.environ.get("TZ")
        os.environ.update(TZ="Asia/Tokyo", SOURCE_DATE_EPOCH=str(commit_time(root)))
        try:
            _copied(root, copy)
            other = build(second, copy)
        finally:
            os.umask(before)
            os.environ.pop("SOURCE_DATE_EPOCH")
            os.environ.pop("TZ") if zone is None else os.environ.update(TZ=zone)
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
