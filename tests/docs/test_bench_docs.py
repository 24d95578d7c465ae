"""What the pages on doctor, bench and Triton show works as it is written there."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer.main
from support.paths import ROOT

from vision_edge.bench.report import PARTS
from vision_edge.cli.commands import announced
from vision_edge.runtime.inference.triton_address import CA, TOKEN, parse_triton

COMMANDS = {command.name: command for command in announced()}
DOCS = ROOT / "docs"
PAGES = {
    name: next(DOCS.rglob(name)).read_text(encoding="utf-8") for name in ("bench.md", "triton.md")
}
LINES = [
    line
    for page in PAGES.values()
    for line in re.findall(r"^    (vision-edge [^\n]+?)(?:\s{2,}#.*)?$", page, flags=re.MULTILINE)
]


def test_the_pages_show_commands() -> None:
    assert {line.split()[1] for line in LINES} >= {"doctor", "bench", "run", "export"}


@pytest.mark.parametrize("line", LINES)
def test_every_command_line_is_understood(line: str) -> None:
    _, command, *words = shlex.split(line)
    if command == "export":
        pytest.importorskip("torch")
    module = COMMANDS[command].module
    found = typer.main.get_command(importlib.import_module(module).app)
    known = {name for parameter in found.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    for address in re.findall(r"triton://\S+", line):
        parse_triton(address.split(",")[-1])


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
