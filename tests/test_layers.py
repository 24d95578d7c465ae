"""Every import contract holds, and every one of them can fail."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

pytest.importorskip("importlinter")
tomllib = pytest.importorskip("tomllib")

LINT = """
import sys
from importlinter.cli import lint_imports
ids = tuple(sys.argv[1:])
sys.exit(lint_imports("pyproject.toml", limit_to_contracts=ids, no_cache=True))
"""
CONTRACTS = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
}
TRESPASSES = {
    "whole": ("runtime/vision_edge/runtime/errors.py", "vision_edge.station"),
    "training-stack": ("runtime/vision_edge/bench/chart.py", "torch"),
    "runtime": ("runtime/vision_edge/runtime/bundles/bundle.py", "vision_edge.runtime.gallery"),
    "recognition": ("runtime/vision_edge/runtime/recognition/strangers.py", "cv2"),
    "export": ("export/vision_edge/export/model/merge.py", "vision_edge.export.gate"),
    "toolkit": ("toolkit/vision_edge/toolkit/pool/pool.py", "vision_edge.toolkit.inversion"),
    "station": ("runtime/vision_edge/station/core/audit.py", "vision_edge.station.http"),
    "circles": ("runtime/vision_edge/runtime/system/files.py", "vision_edge.runtime.gallery"),
}
"""A file of each contract and an import that it must not have."""


def lint(root: Path, *ids: str) -> subprocess.CompletedProcess[str]:
    packages = [str(root / name) for name in ("toolkit", "export", "runtime")]
    code = f"import sys; sys.path[:0] = {packages!r}\n{LINT}"
    return subprocess.run(
        [sys.executable, "-c", code, *ids], cwd=root, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources alone, to trespass in."""
    root = tmp_path_factory.mktemp("sources")
    for name in ("toolkit", "export", "runtime"):
        ignored = shutil.ignore_patterns("assets", "static", "__pycache__")
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def test_every_contract_holds() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken" in done.stdout


def test_every_contract_has_its_trespass() -> None:
    assert set(TRESPASSES) == set(CONTRACTS)


@pytest.mark.parametrize("contract", TRESPASSES)
def test_a_contract_fails_where_it_is_broken(copy: Path, contract: str) -> None:
    file, imported = TRESPASSES[contract]
    path = copy / file
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n\ndef _trespass() -> None:\n    import {imported}\n", "utf-8")
    try:
        done = lint(copy, contract)
    finally:
        path.write_text(before, encoding="utf-8")
    assert done.returncode == 1, done.stdout
    assert re.search(rf"{re.escape(CONTRACTS[contract])} BROKEN", done.stdout), done.stdout


def test_the_runtime_distribution_names_the_toolkit_nowhere() -> None:
    named = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "runtime").rglob("*")
        if path.suffix in (".py", ".html", ".js", ".json", ".toml")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "vision_edge.toolkit" in line or "vision_edge.export" in line
    ]
    assert not named
