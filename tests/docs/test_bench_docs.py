"""What the pages on doctor, bench and Triton show works as it is written there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support.paths import ROOT

from vision_edge.bench.report import PARTS
from vision_edge.runtime.inference.triton_address import CA, TOKEN, parse_triton

DOCS = ROOT / "docs"
PAGES = {
    name: next(DOCS.rglob(name)).read_text(encoding="utf-8") for name in ("bench.md", "triton.md")
}


def test_the_pages_addresses_of_servers_are_understood() -> None:
    addresses = re.findall(r"triton://[^\s,`]+/[^\s,`]+", "\n".join(PAGES.values()))
    assert len(addresses) >= 2
    for address in addresses:
        parse_triton(address.rstrip("."))


def test_the_example_of_triton_runs(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```python\n(.+?)```", PAGES["triton.md"], flags=re.DOTALL)
    shutil.copytree(bundle_path, tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "triton.md", "exec"), {})
    config = (tmp_path / "models" / "tiny" / "config.pbtxt").read_text()
    shown = re.search(r"^dynamic_batching \{.+?^\}", PAGES["triton.md"], re.M | re.S)
    assert shown is not None
    assert shown[0] in config


def test_names_that_the_pages_explain_exist() -> None:
    assert TOKEN in PAGES["triton.md"]
    assert CA in PAGES["triton.md"]
    assert ", ".join(PARTS) in PAGES["bench.md"]
