"""Options as they are declared: what fills a settings class, and what refuses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import (
    Given,
    Group,
    Mode,
    Only,
    Option,
    OptionError,
    absent,
    chosen,
    present,
)
from vision_edge.cli.grouped_command import command
from vision_edge.runtime.errors import VisionEdgeError


@dataclass(frozen=True)
class Oven:
    """Settings.

    Attributes:
        heat: Degrees.
        minutes: How long.
        fan: Whether it blows.
        name: What it is called.
    """

    heat: int = 180
    minutes: float = 20.0
    fan: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.heat > 250:
            raise VisionEdgeError(f"heat is at most 250; got {self.heat}", fix="lower it")
        if self.fan and self.heat > 200:
            raise VisionEdgeError("too hot for the fan", fix="choose one of both")


class Rack(BaseModel):
    """Settings by pydantic."""

    level: Annotated[int, Field(ge=1, le=4)] = 2


BAKING = chosen("work", "bake")
OVEN = Group(
    Oven,
    Option("heat", "--heat", int, "Degrees.", only=(BAKING,)),
    Option("minutes", "--minutes", float, "How long.", min=1),
    Option("fan", "--fan", bool, "Blow.", only=(absent("quiet", "a loud oven"),)),
    Option("name", "--called", str, "Its name.", parse=str.upper),
)


LEVELS = Group(Rack, Option("level", "--level", int, "Where."))


def run(*words: str, given: bool = False) -> Any:
    """Run a command of these options; return what its function got, or raise what refused it."""
    app, got = command_app(), []

    def bake(oven: Any, rack: Any, work: Any = "bake", quiet: Any = False, shots: Any = 1) -> None:
        """Bake."""
        got.append((oven, rack, shots))

    bake.__annotations__ = {
        "oven": Annotated[Given[Oven] if given else Oven, OVEN],
        "rack": Annotated[Rack, LEVELS],
        "work": Annotated[str, typer.Option("--work")],
        "quiet": Annotated[bool, typer.Option("--quiet")],
        "shots": Annotated[int, typer.Option("--shots"), Only(present("quiet"))],
    }
    command(app)(bake)
    result = CliRunner().invoke(app, list(words))
    if isinstance(result.exception, VisionEdgeError):
        raise result.exception
    return got[0] if got else result


def test_defaults_are_the_class_s_own() -> None:
    oven, rack, shots = run()
    assert (oven, rack, shots) == (Oven(), Rack(), 1)
    shown = run("--help").output
    assert "180" in shown
    assert "20.0" in shown


def test_what_is_given_fills_the_class() -> None:
    oven, rack, _ = run("--heat", "90", "--called", "Agnes", "--fan", "--level", "4")
    assert oven == Oven(90, 20.0, True, "AGNES")
    assert rack.level == 4


def test_given_is_laid_over_other_settings() -> None:
    said, _, _ = run("--heat", "90", given=True)
    assert said.values == {"heat": 90}
    assert said.over(Oven(70, 5.0)) == Oven(90, 5.0)
    assert said.made(minutes=3.0) == Oven(90, 3.0)
    assert said.on(Rack, heat="level").values == {"level": 90}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--heat", "300"], "--heat 300: heat is at most 250"),
        (["--heat", "220", "--fan"], "--heat 220 --fan: too hot for the fan"),
        (["--level", "9"], "--level 9: Input should be less than or equal to 4"),
    ],
)
def test_what_a_class_refuses_is_told_with_the_option_s_name(words: list[str], told: str) -> None:
    with pytest.raises(VisionEdgeError) as caught:
        run(*words)
    assert told in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("words", "told", "fix"),
    [
        (["--work", "boil", "--heat", "180"], "--heat belongs to --work bake", "give --work bake"),
        (["--quiet", "--fan"], "--fan belongs to a loud oven", "leave --quiet out"),
        (["--shots", "2"], "--shots belongs to --quiet", "give --quiet"),
    ],
)
def test_an_option_is_refused_where_it_does_not_count(
    words: list[str], told: str, fix: str
) -> None:
    with pytest.raises(OptionError) as caught:
        run(*words)
    assert told in caught.value.what
    assert fix in str(caught.value.fix)


def test_a_default_is_not_refused_where_it_does_not_count() -> None:
    assert run("--work", "boil")[0] == Oven()


def test_a_range_of_the_option_itself_is_told_by_its_name() -> None:
    result = run("--minutes", "0")
    assert result.exit_code == 2
    assert "--minutes" in result.output


def test_a_mode_says_how_to_get_there() -> None:
    assert Mode("--x", lambda _: True).fix == "give --x"
    assert Mode("--x", lambda _: True, "do y").fix == "do y"
