"""Every option of every command, in every mode: used, or refused by its name.

Each command runs up to the functions that do its work, which only record here what they are given.
An option counts as used if another value than its default changes that, or what is printed or
written; as refused if the command fails, names the option, and has written nothing. One that is
neither would do nothing in silence.
"""

from __future__ import annotations

import importlib
import re
import typing
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import cv2
import pytest
import typer.main
from support.options import FORMS, MODES, VALUES, WORK, Reached
from support.runtime import picture
from typer.testing import CliRunner

from vision_edge.cli.commands import announced
from vision_edge.cli.declarations import Given
from vision_edge.cli.grouped_command import declared
from vision_edge.runtime.errors import VisionEdgeError

pytest.importorskip("torch")

APPS = {command.name: importlib.import_module(command.module).app for command in announced()}


def leaves() -> dict[str, Any]:
    """Return every command by its full name, those of a group too."""
    found = {}
    for name, app in APPS.items():
        command = typer.main.get_command(app)
        children = getattr(command, "commands", None) or {}
        found.update({f"{name} {child}": each for child, each in children.items()})
        if not children:
            found[name] = command
    return found


LEAVES = leaves()
PICTURE = cv2.imencode(".png", picture(1, 32))[1].tobytes()
CASES = [(full, mode) for full in LEAVES for mode in MODES.get(full, {})]


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        record: All that its work was given, what it printed and what it wrote.
        error: What it said when it failed, or None.
        written: Names of the files that it made.
    """

    record: str
    error: str | None
    written: tuple[str, ...]


@contextmanager
def recorded(full: str) -> Iterator[MagicMock]:
    """Put recorders in place of a command's work; yield what hears of all their calls."""
    root = MagicMock()
    with ExitStack() as stack:
        for name, answers in WORK.get(full, {}).items():
            recorder = MagicMock(name=name, **answers)
            root.attach_mock(recorder, name.rpartition(".")[2])
            stack.enter_context(patch(name, recorder))
        yield root


def outcome(full: str, words: list[str], folder: Path, root: MagicMock) -> Outcome:
    """Run a command, whose work is recorded, in a folder of its own."""
    folder.mkdir(parents=True)
    before = files_beside(folder)
    root.reset_mock()
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        result = CliRunner().invoke(_app(LEAVES[full]), words)
    failed = result.exit_code != 0 and not isinstance(result.exception, Reached)
    if failed and not isinstance(result.exception, (VisionEdgeError, SystemExit)):
        raise AssertionError((full, words)) from result.exception
    made = {
        path.name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in before
    }
    record = f"{root.mock_calls} {result.output} {made}"
    error = f"{result.output} {result.exception}" if failed else None
    return Outcome(re.sub(r"0x[0-9a-f]+|id='\d+'|\d+:\d+:\d+", "", record), error, tuple(made))


def _app(command: Any) -> Any:
    """Return what the runner takes for an app of one command."""
    return command


@pytest.fixture(autouse=True)
def _commands_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the runner take a command instead of an app: it is made once, not for every run."""
    monkeypatch.setattr("typer.testing._get_command", lambda command: command)


def files_beside(folder: Path) -> set[str]:
    """Write what commands find where they are run; return the names."""
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(PICTURE)
    (folder / "clip.mp4").write_bytes(b"no picture")
    (folder / "pictures").mkdir()
    for name, port in (("station.toml", 8000), ("other.toml", 8001)):
        text = f'bundle = "B"\ngallery = "G"\n[server]\nport = {port}\n'
        (folder / name).write_text(text + '[[sources]]\nname = "a"\naddress = "0"\n')
    return {path.name for path in folder.iterdir()}


def words_of(full: str, mode: str, parameter: Any) -> list[str] | None:
    """Return an option with another value than its mode has; None where that gives it already."""
    flag = parameter.opts[0]
    if parameter.is_flag:
        return None if flag in MODES[full][mode] else [flag]
    for key in ((full, mode, parameter.name), (full, parameter.name), parameter.name):
        if key in VALUES:
            return [flag, *([VALUES[key]] if isinstance(VALUES[key], str) else VALUES[key])]
    kind = kind_of(full, parameter.name)
    return [flag, str(list(kind)[-1].value) if issubclass(kind, Enum) else FORMS[kind]]


def kind_of(full: str, name: str) -> Any:
    """Return the type of an option's value, out of `Annotated`, `list` and `| None`."""
    flat = [parameter for part in parts_of(full) for parameter in part.flat()]
    kind = next(parameter.annotation for parameter in flat if parameter.name == name)
    while typing.get_args(kind):
        kind = typing.get_args(kind)[0]
    return kind


def options_of(full: str) -> list[Any]:
    """Return a command's options, without its help."""
    params = LEAVES[full].params
    return [p for p in params if p.param_type_name == "option" and p.name != "help"]


def idle(full: str, mode: str, folder: Path) -> tuple[list[str], list[str]]:
    """Return which options do nothing in silence, and which are used, in a mode of a command."""
    base = MODES[full][mode]
    silent, used = [], []
    with recorded(full) as root:
        plain = outcome(full, base, folder / "plain", root)
        assert plain.error is None, (full, base, plain.error)
        for parameter in options_of(full):
            given = words_of(full, mode, parameter)
            if given is None:
                continue
            flag = parameter.opts[0]
            got = outcome(full, [*base, *given], folder / parameter.name, root)
            if got.error is not None:
                check_refusal(f"{full}, {mode}", flag, got)
            else:
                (silent if got.record == plain.record else used).append(flag)
    return silent, used


def check_refusal(where: str, flag: str, got: Outcome) -> None:
    """Check that a command that failed named the option, and wrote nothing."""
    named = re.search(rf"{flag}(?![\w-])", str(got.error))
    assert named, f"{where}: {flag} is refused without its name: {got.error}"
    assert not got.written, f"{where}: {flag} is refused and {got.written} written"


@pytest.mark.parametrize(("full", "mode"), CASES)
def test_every_option_is_used_or_refused_by_its_name(full: str, mode: str, tmp_path: Path) -> None:
    silent, used = idle(full, mode, tmp_path)
    assert not silent, f"{full}, {mode}: in silence, these do nothing: {silent}"
    USED[full, mode] = set(used)


USED: dict[tuple[str, str], set[str]] = {}
"""By command and mode, what the test above found to be used, in this process."""


def test_every_command_has_its_modes_here() -> None:
    assert set(LEAVES) == set(MODES)


@pytest.mark.parametrize("full", MODES)
def test_every_option_counts_in_some_mode(full: str, tmp_path: Path) -> None:
    used = set()
    for mode in MODES[full]:
        known = USED.get((full, mode))
        used |= set(idle(full, mode, tmp_path / mode)[1]) if known is None else known
    given = {word for words in MODES[full].values() for word in words}
    assert {p.opts[0] for p in options_of(full)} <= used | given


# --- and it can fail ------------------------------------------------------------------------------


def parts_of(full: str) -> Any:
    """Return what a command's parameters were declared by."""
    callback = LEAVES[full].callback
    while not hasattr(callback, "parts"):
        callback = callback.__wrapped__
    return callback.parts


def every_mode() -> list[tuple[str, str]]:
    """Return every option that is bound to modes, by command."""
    return [(full, one.name) for full in LEAVES for one in declared(parts_of(full)) if one.modes]


SILENT_WITHOUT = {
    ("build", "meta_steps"): "average",
    ("build", "prior_weights"): "average",
    ("run", "debounce"): "pictures",
    ("run", "empty"): "pictures",
    ("run", "rotate_mb"): "pictures",
    ("register", "shots"): "files",
    ("export", "split"): "onnx",
    ("export", "public"): "onnx",
    ("demo", "seed"): "camera",
    ("bench", "weights"): "alone",
    ("doctor", "provider"): "machine",
    ("update", "dry_run"): "undo",
}
"""Options that would do nothing in a mode, were it not for their declaration."""


@pytest.mark.parametrize(("full", "name"), SILENT_WITHOUT)
def test_a_declaration_that_is_dropped_is_noticed(
    full: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (full, name) in every_mode()
    for part in parts_of(full):
        if part.name == name:
            monkeypatch.setattr(part, "_only", ())
        for option in part.group.options if part.group else ():
            if option.name == name:
                monkeypatch.setattr(option, "only", ())
                monkeypatch.setattr(part.group, "only", ())
                monkeypatch.setattr(part, "_only", ())
    silent, _ = idle(full, SILENT_WITHOUT[full, name], tmp_path)
    assert "--" + name.replace("_", "-") in silent


def test_a_use_that_is_forgotten_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the command did not lay what was said over its preset."""
    monkeypatch.setattr(Given, "over", lambda _, base, **more: base)
    silent, _ = idle("build", "recycle", tmp_path)
    assert {"--meta-steps", "--per-class", "--start", "--scale"} <= set(silent)
