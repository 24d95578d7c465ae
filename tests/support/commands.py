"""Command lines as pages show them, and what commands understand."""

from __future__ import annotations

import importlib
import re
import shlex

import pytest
import typer.main

from vision_edge.cli.commands import announced

COMMANDS = {command.name: command for command in announced()}
SERVER = ("tune", "build", "evaluate", "export")


def command_lines(page: str) -> list[str]:
    """Return the lines of a page's code that call `vision-edge`, without prompt and remark."""
    found = re.findall(r"^ *(?:\$ )?(vision-edge .+?)(?:\s{2,}#.*)?$", page, flags=re.MULTILINE)
    return [line for line in found if line.split()[1].strip("-") in {*COMMANDS, "help"}]


def check_line(line: str) -> None:
    """Fail unless the command of a line knows each of its options."""
    _, command, *words = shlex.split(line)
    if command in SERVER:
        pytest.importorskip("torch")
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= _options(command, words)


def _options(command: str, words: list[str]) -> set[str]:
    found = typer.main.get_command(importlib.import_module(COMMANDS[command].module).app)
    children = getattr(found, "commands", {})
    found = children[words[0]] if children else found
    return {name for parameter in found.params for name in (*parameter.opts, "--help")}
