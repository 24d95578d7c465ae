"""Every option of every command, in every mode: used, or refused by its name.

Used is shown by what reaches the pipeline: each command runs up to the functions that do its work,
which are replaced here by recorders; an option counts as used if a value other than its default
changes what they are given. What only counts after the work is done (a file to write) is shown to
be used by the tests of each command, and named in `AFTERWARDS`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
import typer.main
from support.runtime import picture
from typer.testing import CliRunner

from vision_edge.cli.commands import Command, announced
from vision_edge.cli.modes import Only, OptionError, modes

COMMANDS = {command.name: command for command in announced()}
SERVER = ("tune", "build", "evaluate", "export")


def leaves(command: Command) -> Iterator[tuple[str, Any]]:
    """Give a command's own name and command, or those of each of its sub-commands."""
    if command.name in SERVER:
        pytest.importorskip("torch")
    found = typer.main.get_command(importlib.import_module(command.module).app)
    children = getattr(found, "commands", None)
    if children is None:
        yield command.name, found
        return
    yield from ((f"{command.name} {name}", child) for name, child in children.items())


def function_of(command: Any) -> Callable[..., Any]:
    """Return the function of a command, out of what wraps it."""
    return inspect.unwrap(command.callback)  # type: ignore[arg-type]


def rules_of(command: Any) -> tuple[Only, ...]:
    wrapped = command.callback
    while wrapped is not None:
        if hasattr(wrapped, "rules"):
            return tuple(wrapped.rules)
        wrapped = getattr(wrapped, "__wrapped__", None)
    return ()


def unread(function: Callable[..., Any]) -> set[str]:
    """Return the parameters that a function never reads."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return {name for name in inspect.signature(function).parameters if name not in names}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_leaves_a_parameter_unread(name: str) -> None:
    for full, command in leaves(COMMANDS[name]):
        assert not unread(function_of(command)), full


@pytest.mark.parametrize("name", COMMANDS)
def test_rules_name_options_that_there_are(name: str) -> None:
    for full, command in leaves(COMMANDS[name]):
        known = {parameter.name for parameter in command.params}
        for rule in rules_of(command):
            assert set(rule.options) <= known, f"{full}: {rule.mode}"


# --- refused where they do nothing --------------------------------------------------------------

BASE: dict[str, list[str]] = {
    "run": ["B", "folder", "--gallery", "G"],
    "register": ["B", "bolt", "a.png", "--gallery", "G"],
    "bench": [],
    "compile": ["B", "--compute-capability", "8.9"],
    "gallery import": ["A", "--gallery", "G"],
    "update": ["B"],
    "doctor": [],
    "build": ["HUB", "--out", "OUT"],
    "evaluate": ["D", "--bundle", "B"],
    "export": ["--out", "OUT"],
    "demo": ["--source", "0"],
}
MODES: dict[tuple[str, str], list[str]] = {
    ("run", "a --trigger other than interval"): ["--trigger", "interval"],
    ("run", "a run without --closed-set"): ["--closed-set"],
    ("run", "a run without --threshold"): ["--threshold", "0.5"],
    ("run", "a video file"): ["--also", "0"],
    ("run", "pictures, or a folder of them"): ["--also", "1"],
    ("register", "image files"): ["--source", "0"],
    ("register", "a register without --burst"): ["--source", "0", "--burst", "2"],
    ("register", "a register without --catalogue"): ["--catalogue"],
    ("run", "--provider cuda"): ["--provider", "cpu"],
    ("run", "a provider of this machine"): ["--provider", "triton://h:1/m"],
    ("run", "--provider openvino or cuda"): ["--provider", "cpu"],
    ("run", "--trigger interval"): ["--trigger", "motion"],
    ("run", "--trigger presence"): ["--trigger", "motion"],
    ("register", "--provider openvino or cuda"): ["--provider", "cpu"],
    ("build", "a build that inverts (no --pool)"): ["--method", "recycle", "--pool", "P"],
    ("build", "--prior NAME"): ["--method", "recycle", "--prior", "none"],
    ("build", "a build that meta-learns (--meta-steps above 0)"): [
        "--method", "recycle", "--meta-steps", "0",
    ],
    ("demo", "--source"): [],
    ("update", "BUNDLE"): ["--undo"],
}  # fmt: skip
"""What puts a command into the mode in which a rule does not hold, where its base does not."""


def value_of(command: Any, parameter: Any) -> list[str]:
    """Return a value that an option takes and that is not its default."""
    if parameter.is_flag:
        return []
    hint = typing.get_type_hints(function_of(command))[parameter.name]
    kind = next((k for k in typing.get_args(hint) if k is not type(None)), hint)
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return [str(choice.value) for choice in kind if choice != parameter.default][:1]
    if kind is int and parameter.name not in SPECIAL:
        return [str((parameter.default or 1) + 1)]
    if kind is float:
        return [str((parameter.default or 0.25) * 1.5)]
    return [SPECIAL.get(parameter.name, "some.thing")]


SPECIAL = {
    "rotate": "90", "flip": "vertical", "roi": "0,0,8,8", "backend": "opencv", "provider": "cpu",
    "precision_hint": "bf16", "background": "#102030", "bits": "12", "consensus": "votes",
    "report": "leave", "device": "cpu",
    "frame": "640x480", "batch": "2", "prune": "1:0.5", "start": "random", "mean": "0.1,0.2,0.3",
    "std": "0.2,0.2,0.3", "interpolation": "bilinear", "activation": "quick_gelu",
    "author": "someone", "also": "1",
    "threads": "2", "trigger": "command",
}  # fmt: skip


def refusals() -> list[tuple[str, str, str]]:
    rows = []
    for command in COMMANDS.values():
        try:
            found = list(leaves(command))
        except pytest.skip.Exception:
            continue
        for full, leaf in found:
            rows += [(full, rule.mode, name) for rule in rules_of(leaf) for name in rule.options]
    return rows


def leaf(full: str) -> Any:
    return dict(leaves(COMMANDS[full.split()[0]]))[full]


@pytest.mark.parametrize(("full", "mode", "name"), refusals())
def test_an_option_that_would_do_nothing_is_refused_by_name(
    full: str, mode: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = leaf(full)
    parameter = next(p for p in command.params if p.name == name)
    base = [] if full == "update" and mode == "BUNDLE" else BASE[full]
    if (full, mode) in {("demo", "--source")}:
        base = []
    words = [*base, *MODES.get((full, mode), []), parameter.opts[0], *value_of(command, parameter)]
    if full == "run" and mode in ("a video file", "pictures, or a folder of them"):
        words[1] = "0"
    if full == "register" and mode == "image files":
        words.remove("a.png")
    result = CliRunner().invoke(typer_app(full), words)
    assert isinstance(result.exception, OptionError), (words, result.output, result.exception)
    assert parameter.opts[0] in str(result.exception)
    assert not list(tmp_path.iterdir()), "nothing is written"


def typer_app(full: str) -> Any:
    """Return an app of one command."""
    return SimpleNamespace(_command=leaf(full))


@pytest.fixture(autouse=True)
def _invoke_click(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the runner take commands as they are, to see the very exception."""

    def invoke(_: CliRunner, app: Any, words: list[str]) -> Any:
        try:
            app._command.main(args=words, prog_name="vision-edge", standalone_mode=False)
        except Exception as error:
            return SimpleNamespace(exception=error, output="", exit_code=1)
        return SimpleNamespace(exception=None, output="", exit_code=0)

    monkeypatch.setattr(CliRunner, "invoke", invoke)


# --- used where they count ----------------------------------------------------------------------


class ReachedError(Exception):
    """The work would begin now."""


@dataclass
class Recorder:
    """Records what the functions that do a command's work are given."""

    calls: list[str] = field(default_factory=list)

    def stand_in(self, name: str, gives: Any) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            said = f"{name}{arguments!r}{sorted(options.items())!r}"
            self.calls.append(re.sub(r" at 0x[0-9a-f]+", "", said))
            for made in arguments:
                if "_trigger" in getattr(made, "__qualname__", ""):
                    made()  # what makes a trigger is asked for one, as each camera does
            if gives is ReachedError:
                raise ReachedError
            return gives

        return called


class Images(list[Any]):
    """A data set that is not read."""

    name, classes = "images", ()
    found = SimpleNamespace(lines=list)


BACKBONE = SimpleNamespace(model=SimpleNamespace(blocks=[0, 0]), name="tiny", spec=None, notes=())
TOOLKIT = "vision_edge.toolkit"
WORK: dict[str, list[tuple[str, Any]]] = {
    "build": [
        (f"{TOOLKIT}.backbones.backbone.load_backbone", BACKBONE),
        (f"{TOOLKIT}.cli.build_recycle.load_prior", SimpleNamespace(to=lambda _: None)),
        (f"{TOOLKIT}.cli.build_recycle.open_dataset", "dataset"),
        (f"{TOOLKIT}.cli.build_recycle.chosen_device", "cpu"),
        (f"{TOOLKIT}.recycle.building.build_average", ReachedError),
        (f"{TOOLKIT}.data.dataset.open_dataset", "dataset"),
        (f"{TOOLKIT}.cli.build_recycle.build_recycled", ReachedError),
    ],
    "tune": [
        (f"{TOOLKIT}.backbones.backbone.load_backbone", BACKBONE),
        (f"{TOOLKIT}.data.dataset.open_dataset", Images()),
        (f"{TOOLKIT}.cli.tune.chosen_device", "cpu"),
        (f"{TOOLKIT}.tuning.tune.tune_hub", ReachedError),
    ],
}  # fmt: skip
SOURCE = SimpleNamespace(live=False, fps=None, name="source", close=lambda: None)
NOW = SimpleNamespace(now=SimpleNamespace(labels=()))
RUN = "vision_edge.cli.run"
WORK["run"] = [
    *((f"{RUN}.{name}", name) for name in ("load_bundle", "open_session", "_introduce")),
    (f"{RUN}.CurrentClassifier", NOW),
    (f"{RUN}.open_sources", SOURCE),
    (f"{RUN}.PacedSource", SOURCE),
    (f"{RUN}.ViewedSource", SOURCE),
    (f"{RUN}.presence_of", "presence"),
    (f"{RUN}.IntervalTrigger", "trigger"),
    (f"{RUN}.verdicts", ReachedError),
    (f"{RUN}.part_verdicts", ReachedError),
]
AFTERWARDS = {"run": {"jsonl", "rotate_mb", "csv", "save", "review", "max_frames"}}
"""Options that count when verdicts are given: `tests/runtime/cli/test_run.py` shows them."""
ALWAYS: dict[tuple[str, str], list[str]] = {
    ("run", "frames of files"): ["B", "clip.mp4", "--gallery", "G"],
    ("run", "frames of a camera"): ["B", "0", "--gallery", "G"],
    ("run", "parts by motion"): ["B", "0", "--gallery", "G", "--trigger", "motion"],
    ("run", "parts by interval"): ["B", "0", "--gallery", "G", "--trigger", "interval"],
    ("run", "parts by presence"): [
        "B",
        "0",
        "--gallery",
        "G",
        "--trigger",
        "presence",
        "--empty",
        "some.thing.png",
    ],
    ("build", "average"): ["HUB", "--out", "OUT"],
    ("build", "recycle"): ["HUB", "--out", "OUT", "--method", "recycle"],
    ("tune", "only"): ["D", "--out", "OUT"],
}
NEEDS: dict[str, list[str]] = {
    "prior_weights": ["--prior", "resnet18"],
    "view_budget_ms": ["--views", "3"],
    "preset": [],
}
VALUES = {
    "preset": "gpu", "method": None, "prune": "1:0.5", "sparsity": "0.3", "meta_lr": "0.001",
    "device": "cuda", "prior": "none", "lr": "0.01", "scale": "3.0", "empty": "other.png",
    "precision_hint": "tf32", "exposure": "3", "weights_of": "grocery-*=2", "views": "3",
}  # fmt: skip
NOT_HERE = {("build", "average", "seed")}
"""Recorded in the report alone, and given to the function: see `build_average`."""


FILES = {"exposure", "backend", "wait", "give_up_after", "also", "max_age_ms"}
"""Options of cameras alone."""
FILE_PICTURES = {"bits", "background", "realtime"}
IDLE = {
    "frames of files": {*FILES, "interval", "consensus", "report", "debounce", "empty"},
    "frames of a camera": {
        *FILE_PICTURES, "interval", "consensus", "report", "debounce", "empty",
    },
    "parts by motion": {*FILE_PICTURES, "interval", "empty"},
    "parts by interval": {*FILE_PICTURES, "report", "empty"},
    "parts by presence": {*FILE_PICTURES, "interval"},
}  # fmt: skip
"""What each mode refuses; that it does is shown above."""


def used_options() -> list[tuple[str, str, str]]:
    pytest.importorskip("torch")
    rows = []
    for (full, mode), words in ALWAYS.items():
        command = leaf(full)
        refused = AFTERWARDS.get(full, set()) | IDLE.get(mode, set())
        if mode == "average":
            refused = {name for rule in rules_of(command) for name in rule.options}
        given = {word for word in words if word.startswith("--")}
        for parameter in command.params:
            known = parameter.opts[0] in given or parameter.name in ("help", "method")
            if parameter.param_type_name == "option" and not known | (parameter.name in refused):
                rows.append((full, mode, str(parameter.name)))
    return rows


def reached(full: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    recorder = Recorder()
    with monkeypatch.context() as patch:
        for name, gives in WORK[full]:
            patch.setattr(name, recorder.stand_in(name, gives))
        result = CliRunner().invoke(typer_app(full), words)
    assert isinstance(result.exception, ReachedError), (words, result.exception)
    return recorder.calls


@pytest.mark.parametrize(("full", "mode", "name"), used_options())
def test_an_option_changes_what_reaches_the_pipeline(
    full: str, mode: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("some.thing.png", picture(1, 32))
    command = leaf(full)
    parameter = next(p for p in command.params if p.name == name)
    base = [*ALWAYS[full, mode], *NEEDS.get(name, [])]
    if name == "cuda_graph":
        base += ["--provider", "cuda"]
    value = [VALUES[name]] if VALUES.get(name) else value_of(command, parameter)
    if name in ("size",):
        value = ["64"]
    plain = reached(full, base, monkeypatch)
    changed = reached(full, [*base, parameter.opts[0], *value], monkeypatch)
    assert changed != plain


# --- and this can fail --------------------------------------------------------------------------


def test_a_parameter_that_is_dropped_is_noticed() -> None:
    def command(out: str, meta_steps: int) -> str:
        return out

    assert unread(command) == {"meta_steps"}


def test_a_rule_that_is_dropped_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its rule, an option of recycle would be taken and do nothing in an average."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    command = leaf("build")
    monkeypatch.setitem(globals(), "leaf", lambda _: command)
    base = ALWAYS["build", "average"]
    rules = tuple(rule for rule in rules_of(command) if "meta_steps" not in rule.options)
    monkeypatch.setattr(command, "callback", modes(*rules)(function_of(command)))
    plain = reached("build", base, monkeypatch)
    assert reached("build", [*base, "--meta-steps", "7"], monkeypatch) == plain
