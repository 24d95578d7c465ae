"""What the README shows works as it is written there."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from support.commands import COMMANDS, check_line, command_lines
from support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND_LINES = command_lines(README)


def test_the_readme_shows_commands() -> None:
    assert len(COMMAND_LINES) >= 7


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_line_is_understood(line: str) -> None:
    check_line(line)


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
