"""axe-core, the accessibility checker: one pinned version, fetched once and kept in a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from support.page import Page

VERSION = "4.10.2"
SHA512 = (
    "444de6750ecfdc54527bb7aa096a1e43f67d417aed9e24a3a75c148ede67442d"
    "d6229cf9ad20af7baa377ec676682a49b6b663499823c170284cee64e2d108d3"
)
"""Of the package's archive."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def axe_script() -> str:
    """Return axe-core's script, or skip where it is neither cached nor to be had."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "vision-edge-tests"
    archive = folder / f"axe-core-{VERSION}.tgz"
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _fetched(folder)
    if hashlib.sha512(archive.read_bytes()).hexdigest() != SHA512:
        archive.unlink()
        pytest.fail(f"{archive}: not axe-core {VERSION} as pinned; it is deleted")
    with tarfile.open(archive) as packed:
        member = packed.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode("utf-8")


def violations(page: Page, script: str) -> list[str]:
    """Return what axe-core finds wrong with a page, as rule, place and reason."""
    page.chrome.execute_script(script)
    found: dict[str, Any] = page.chrome.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {runOnly: arguments[0], resultTypes: ['violations']})"
        ".then(done, (error) => done({violations: [], error: String(error)}));",
        RULES,
    )
    assert "error" not in found, found["error"]
    return [
        f"{rule['id']}: {node['target'][0]}: {node['failureSummary'].splitlines()[-1].strip()}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def _fetched(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"needs npm, to fetch axe-core {VERSION} once")
    command = [npm, "pack", f"axe-core@{VERSION}", "--pack-destination", str(folder)]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"axe-core {VERSION} is not cached and cannot be fetched: {error}")
