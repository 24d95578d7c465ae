"""The layers hold: toolkit -> export -> runtime, never backwards; and the check can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

pytest.importorskip("importlinter")
LINT = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(sys.argv[1], no_cache=True))
"""


def lint(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, str(config)], cwd=ROOT, capture_output=True, text=True
    )


def test_no_layer_imports_one_above_it() -> None:
    done = lint(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout
    kept = re.search(r"Contracts: (\d+) kept, (\d+) broken", done.stdout)
    assert kept is not None
    assert int(kept[1]) >= 2
    assert kept[2] == "0"


def test_the_check_fails_where_a_layer_is_crossed(tmp_path: Path) -> None:
    config = tmp_path / "pyproject.toml"
    config.write_text(
        """
[tool.importlinter]
root_packages = ["vision_edge.runtime", "vision_edge.toolkit"]
include_external_packages = true
[[tool.importlinter.contracts]]
name = "upside down"
type = "layers"
layers = ["vision_edge.runtime", "vision_edge.toolkit"]
[[tool.importlinter.contracts]]
name = "the runtime needs no numpy"
type = "forbidden"
source_modules = ["vision_edge.runtime"]
forbidden_modules = ["numpy"]
"""
    )
    done = lint(config)
    assert done.returncode == 1
    assert "Contracts: 0 kept, 2 broken" in done.stdout
