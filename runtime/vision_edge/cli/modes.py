"""Options that count in some modes of a command alone: there they are used, elsewhere refused.

A command says so in one table above it; nothing given is ever passed over:

    @app.command()
    @modes(Only("--method recycle", lambda o: o["method"] == "recycle", "meta_steps", "prior"))
    def build(...): ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import typer

from vision_edge.runtime.errors import VisionEdgeError

Values = Mapping[str, Any]
F = TypeVar("F", bound=Callable[..., Any])
_GIVEN = ("COMMANDLINE", "ENVIRONMENT")
_CONTEXT = "context_"


class OptionError(VisionEdgeError):
    """An option was given where it would do nothing."""


class Only:
    """Options that count in one mode alone.

    Attributes:
        mode: What a user gives to be in that mode, such as `"--method recycle"`.
        holds: Whether a command's values, by parameter name, are of that mode.
        options: Names of the parameters that count there alone.
    """

    def __init__(self, mode: str, holds: Callable[[Values], bool], *options: str) -> None:
        self.mode, self.holds, self.options = mode, holds, options


def modes(*rules: Only) -> Callable[[F], F]:
    """Refuse an option, by its name, in a mode in which it would do nothing.

    Args:
        rules: All that a command's options depend on, in the order in which they are looked at.
    """

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def checked(*arguments: Any, **values: Any) -> Any:
            context = values.pop(_CONTEXT, None)  # absent where Python calls the command
            if context is not None:
                refuse_idle(context, rules, values)
            return command(*arguments, **values)

        asked = inspect.Parameter(
            _CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
        )
        signature = inspect.signature(command, eval_str=True)
        checked.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), asked]
        )
        checked.__annotations__ = {**command.__annotations__, _CONTEXT: typer.Context}
        checked.rules = rules  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return decorate


def refuse_idle(context: typer.Context, rules: tuple[Only, ...], values: Values) -> None:
    """Raise for the first option that was given and does not count.

    Args:
        context: Of the command, which knows what was given and what is a default.
        rules: The command's.
        values: Its parameters, by name.

    Raises:
        OptionError: If there is one.
    """
    flags = {p.name: p.opts[0] for p in context.command.params if p.param_type_name == "option"}
    for rule in rules:
        if rule.holds(values):
            continue
        for name in rule.options:
            source = context.get_parameter_source(name)
            if source is not None and source.name in _GIVEN:
                raise OptionError(
                    f"{flags[name]} belongs to {rule.mode}, and would do nothing here",
                    fix=f"leave {flags[name]} out, or give {rule.mode}",
                )


def live(name: str = "source") -> Callable[[Values], bool]:
    """Return whether the source of that parameter is a camera or stream."""

    def holds(values: Values) -> bool:
        from vision_edge.runtime.sources.addresses import live_address

        source = values[name]
        return source is not None and live_address(source) is not None

    return holds


def on_this_machine(values: Values) -> bool:
    """Whether the provider is not a server elsewhere."""
    return not str(values["provider"]).startswith("triton://")


def takes_precision_hint(values: Values) -> bool:
    """Whether the provider computes in another precision than the graph's when it is told to."""
    return values["provider"] in ("auto", "openvino", "cuda")
