"""What the README shows works as it is written there."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer.main
from support.paths import ROOT

from vision_edge.cli.commands import announced

COMMANDS = {command.name: command for command in announced()}
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND_LINES = re.findall(r"^    (vision-edge .+?)(?:\s{2,}#.*)?$", README, flags=re.MULTILINE)


def options_of(command: str, words: list[str]) -> set[str]:
    """Return the options that a command, or a command's sub-command, understands."""
    module = COMMANDS[command].module
    found = typer.main.get_command(importlib.import_module(module).app)
    children = getattr(found, "commands", {})
    if children:
        found = children[words[0]]
    return {name for parameter in found.params for name in (*parameter.opts, "--help")}


def test_the_readme_shows_commands() -> None:
    assert len(COMMAND_LINES) >= 7


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_line_is_understood(line: str) -> None:
    _, command, *words = shlex.split(line)
    if command not in COMMANDS:
        pytest.fail(f"{command!r} is no command")
    if command in ("tune", "build", "evaluate", "export"):
        pytest.importorskip("torch")
    given = {word for word in words if word.startswith("--")}
    assert given <= options_of(command, words)


def test_every_command_is_in_the_table() -> None:
    table = README.split("## Commands", 1)[1].split("##", 1)[0]
    assert set(re.findall(r"^\| `([a-z]+)", table, flags=re.MULTILINE)) == set(COMMANDS)


def test_the_python_example_runs(
    bundle_path: Path,
    registered: Path,
    shots: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = re.findall(r"```python\n(.+?)```", README, flags=re.DOTALL)
    place = tmp_path / "station"
    shutil.copytree(bundle_path, place / "bundle")
    shutil.copytree(shots, place / "frames")
    shutil.copy(registered, place / "line1.db")
    monkeypatch.chdir(place)
    exec(compile(example, "README.md", "exec"), {})
    verdicts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [verdict["frame"] for verdict in verdicts] == list(range(len(verdicts)))
    assert {verdict["nearest"] for verdict in verdicts} == {"bolt", "nut", "washer"}
