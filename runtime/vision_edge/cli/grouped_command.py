"""A command whose function takes settings, made of the loose options that a user types."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer

from vision_edge.cli.declarations import (
    REQUIRED,
    Given,
    Group,
    Mode,
    Only,
    OptionError,
    Values,
    keyword,
)

F = TypeVar("F", bound=Callable[..., Any])
_CONTEXT = "context_"
_GIVEN = ("COMMANDLINE", "ENVIRONMENT")


@dataclass(frozen=True)
class Declared:
    """A parameter of a command as typed, and where it counts."""

    name: str
    modes: tuple[Mode, ...]


def command(app: typer.Typer, name: str | None = None) -> Callable[[F], F]:
    """Return what makes a function a command of an app; the function itself stays as it is.

    Args:
        app: The app.
        name: What a user types; by default the function's name.
    """

    def register(function: F) -> F:
        app.command(name)(flattened(function))
        return function

    return register


def flattened(function: Callable[..., Any]) -> Callable[..., None]:
    """Return a function of loose options, as Typer wants it, that calls one of settings."""
    signature = inspect.signature(function, eval_str=True)
    parts = [_Part(parameter) for parameter in signature.parameters.values()]

    @functools.wraps(function)
    def called(**values: Any) -> None:
        context: typer.Context = values.pop(_CONTEXT)
        refuse_idle(context, declared(parts), values)
        typed = functools.partial(_was_given, context)
        function(**{part.name: part.value(values, typed) for part in parts})

    flat = [parameter for part in parts for parameter in part.flat()]
    flat.append(keyword(_CONTEXT, typer.Context, REQUIRED))
    called.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    called.parts = parts  # type: ignore[attr-defined]
    return called


def declared(parts: Sequence[_Part]) -> list[Declared]:
    """Return all of a command's parameters as typed, in the order of its signature."""
    return [one for part in parts for one in part.declared()]


class _Part:
    """One parameter of a command's function: a group of options, or a single one."""

    def __init__(self, parameter: inspect.Parameter) -> None:
        self.name, self._parameter = parameter.name, parameter
        is_annotated = get_origin(parameter.annotation) is Annotated
        base, *extras = get_args(parameter.annotation) if is_annotated else [parameter.annotation]
        self.group = next((extra for extra in extras if isinstance(extra, Group)), None)
        self._only = next((extra.modes for extra in extras if isinstance(extra, Only)), ())
        self._wants_given = Given in (base, get_origin(base))
        kept = [extra for extra in extras if not isinstance(extra, (Group, Only))]
        self._annotation = Annotated[(base, *kept)] if kept else base

    def flat(self) -> Iterator[inspect.Parameter]:
        if self.group is not None:
            yield from self.group.parameters(all_needed=not self._wants_given)
            return
        yield keyword(self.name, self._annotation, self._parameter.default)

    def declared(self) -> Iterator[Declared]:
        if self.group is None:
            yield Declared(self.name, self._only)
            return
        for option in self.group.options:
            yield Declared(option.name, (*self._only, *self.group.only, *option.only))

    def value(self, values: Values, typed: Callable[[str], bool]) -> Any:
        if self.group is None:
            return values[self.name]
        given = self.group.given(values, typed)
        return given if self._wants_given else given.made()


def refuse_idle(context: typer.Context, options: Sequence[Declared], values: Values) -> None:
    """Raise for the first option that was given and would do nothing.

    Args:
        context: Of the command, which knows what was given and what is a default.
        options: The command's.
        values: Its parameters, by name.

    Raises:
        OptionError: If there is one.
    """
    flags = {p.name: p.opts[0] for p in context.command.params}
    for option in options:
        idle = next((mode for mode in option.modes if not mode.holds(values)), None)
        if idle is not None and _was_given(context, option.name):
            flag = flags[option.name]
            raise OptionError(
                f"{flag} belongs to {idle.said}, and would do nothing here",
                fix=f"leave {flag} out, or {idle.fix}",
            )


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in _GIVEN
