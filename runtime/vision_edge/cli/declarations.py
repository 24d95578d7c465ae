"""Options of commands, each declared once: its field, its flag, its help, its range, its modes.

A command takes settings, not loose values. A group says which options fill a settings class, the
one that the pipeline takes; defaults are the class's own. An option that counts in one mode alone
says so beside its flag, and is refused by its name elsewhere, before any work:

    RECYCLE = chosen("method", "recycle")
    INVERSION = Group(
        InversionSettings,
        Option("per_class", "--per-class", int, "Images a class.", min=1),
        only=(RECYCLE,),
    )

    @command(app)  # see `grouped_command`
    def build(hub: HubPath, inversion: Annotated[Given[InversionSettings], INVERSION]) -> None: ...

A parameter of the settings' own type gets them made, one of type `Given` gets what was said, to be
laid over other defaults. `Only` beside a `typer.Option` gives a single parameter its modes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Annotated, Any, Generic, TypeVar

import typer

from vision_edge.runtime.errors import VisionEdgeError

T = TypeVar("T")
Values = Mapping[str, Any]
"""A command's parameters by name: `per_class` of `--per-class`, `source` of the argument SOURCE."""


class OptionError(VisionEdgeError):
    """An option was given where it would do nothing, or with a value that cannot be."""


@dataclass(frozen=True)
class Mode:
    """What a command is told to do, where that decides which options count.

    Attributes:
        said: How a user gets there, such as `"--method recycle"`.
        holds: Whether a command's values are of that mode.
        way: What to do to get there; by default, to give what is said.
    """

    said: str
    holds: Callable[[Values], bool]
    way: str | None = None

    @property
    def fix(self) -> str:
        """What to do to get there."""
        return self.way or f"give {self.said}"


def chosen(name: str, *choices: str) -> Mode:
    """Return the mode in which an option has one of these values."""
    said = f"{flag_of(name)} {' or '.join(choices)}"
    return Mode(said, lambda values: str(getattr(values[name], "value", values[name])) in choices)


def present(name: str, said: str | None = None) -> Mode:
    """Return the mode in which an option or argument was given."""
    return Mode(said or flag_of(name), lambda values: values[name] not in (None, False, "", []))


def absent(name: str, said: str) -> Mode:
    """Return the mode in which an option or argument was not given."""
    empty: tuple[object, ...] = (None, False, "", [])
    return Mode(said, lambda values: values[name] in empty, f"leave {flag_of(name)} out")


def flag_of(name: str) -> str:
    """Return the flag of an option's name: `--per-class` of `per_class`."""
    return "--" + name.replace("_", "-")


class Only:
    """Modes in which alone a parameter counts; all of them must hold."""

    def __init__(self, *modes: Mode) -> None:
        self.modes = modes


class Option:
    """One option of a settings class.

    Args:
        target: The class's field that it fills.
        flag: What a user types, such as `"--per-class"`, or `"--compile/--no-compile"`.
        kind: Type of the value as typed.
        text: The help.
        only: Modes in which alone it counts, besides its group's.
        parse: Makes the field's value of the typed one, and raises if it cannot.
        more: What `typer.Option` takes besides: `min`, `max`, `metavar`.
    """

    def __init__(
        self,
        target: str,
        flag: str,
        kind: Any,
        text: str,
        *,
        only: Sequence[Mode] = (),
        parse: Callable[[Any], Any] | None = None,
        **more: Any,
    ) -> None:
        self.target, self.flag, self.kind, self.text = target, flag, kind, text
        self.only, self.parse, self.more = tuple(only), parse, more

    @property
    def name(self) -> str:
        """The parameter's name: `per_class` of `--per-class`."""
        return self.flag.split("/")[0].lstrip("-").replace("-", "_")

    def parameter(self, default: Any, panel: str | None) -> inspect.Parameter:
        """Return it as a parameter that Typer understands.

        Args:
            default: The class's own, if it can be shown.
            panel: Heading in the help.
        """
        typed = typer.Option(self.flag, help=self.text, rich_help_panel=panel, **self.more)
        shown = default if type(default) is self.kind or default is REQUIRED else None
        kind = self.kind if shown is not None else self.kind | None
        return keyword(self.name, Annotated[kind, typed], shown)


REQUIRED = inspect.Parameter.empty


class Group:
    """The options that fill one settings class.

    Args:
        made: The class, or any function whose keywords they are. One whose module needs packages
            that `--help` must not load is named as `"module:name"`; its defaults are not shown.
        options: Its options.
        only: Modes in which alone all of them count.
        panel: Heading in the help.
    """

    def __init__(
        self,
        made: Callable[..., Any] | str,
        *options: Option,
        only: Sequence[Mode] = (),
        panel: str | None = None,
    ) -> None:
        self.made, self.options, self.only, self.panel = made, options, tuple(only), panel

    def maker(self) -> Callable[..., Any]:
        """Return the class, imported now if it was named."""
        if not isinstance(self.made, str):
            return self.made
        module, name = self.made.split(":")
        found: Callable[..., Any] = getattr(import_module(module), name)
        return found

    def parameters(self, *, all_needed: bool) -> Iterator[inspect.Parameter]:
        """Yield the options as parameters, with the defaults that can be shown.

        Args:
            all_needed: Whether those without a default must be given.
        """
        known = {} if isinstance(self.made, str) else inspect.signature(self.made).parameters
        for option in self.options:
            default = known[option.target].default if option.target in known else None
            needed = all_needed or default is not REQUIRED
            yield option.parameter(default if needed else None, self.panel)

    def given(self, values: Values, typed: Callable[[str], bool]) -> Given[Any]:
        """Return what was said of the class."""
        said = [option for option in self.options if typed(option.name)]
        found = {option.target: _parsed(option, values[option.name]) for option in said}
        words = {o.target: f"{o.flag} {_shown(values[o.name])}".rstrip() for o in said}
        return Given(self.maker, found, words)


@dataclass(frozen=True)
class Given(Generic[T]):
    """What a command line said of a settings class; the rest is left to defaults.

    Attributes:
        maker: Returns the class.
        values: By field, what was said.
        words: By field, how.
    """

    maker: Callable[[], Callable[..., T]]
    values: Values = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    def made(self, **more: Any) -> T:
        """Return the settings, over the class's own defaults.

        Args:
            more: Fields that are no options of the group.

        Raises:
            VisionEdgeError: What the class refuses, with the option's name.
        """
        made = self.maker()
        return self._named(lambda values: made(**{**more, **values}))

    def on(self, made: Callable[..., Any], **fields: str) -> Given[Any]:
        """Return what was said as settings of another class.

        Args:
            made: That class.
            fields: Of each field here, its name there; others are left out.
        """
        values = {there: self.values[here] for here, there in fields.items() if here in self.values}
        words = {there: self.words[here] for here, there in fields.items() if here in self.words}
        return Given(lambda: made, values, words)

    def over(self, base: T, **more: Any) -> T:
        """Return other settings, a preset's for instance, with what was said.

        Args:
            base: A frozen dataclass.
            more: Fields to change that are no options of the group.

        Raises:
            VisionEdgeError: What the class refuses, with the option's name.
        """
        return self._named(lambda values: replace(base, **{**more, **values}))  # type: ignore[type-var]

    def _named(self, make: Callable[[Values], T]) -> T:
        try:
            return make(self.values)
        except (VisionEdgeError, ValueError) as error:
            raise _with_flags(error, self._culprits(make)) from None

    def _culprits(self, make: Callable[[Values], T]) -> str:
        """Return which option is refused by itself; all of them where it is their combination."""
        for target, value in self.values.items():
            if _refuses(make, {target: value}):
                return self.words[target]
        return " ".join(self.words.values())


def _refuses(make: Callable[[Values], Any], values: Values) -> bool:
    try:
        make(values)
    except (VisionEdgeError, ValueError):
        return True
    return False


def _with_flags(error: Exception, words: str) -> VisionEdgeError:
    """Return the error of a settings class with the options' names before it."""
    if isinstance(error, VisionEdgeError):
        if words and words.split()[0] not in error.what:
            error.what = f"{words}: {error.what}"
            error.args = (error.what if error.fix is None else f"{error.what}\n  fix: {error.fix}",)
        return error
    problem = str(error.errors()[0]["msg"] if hasattr(error, "errors") else error)
    problem = problem.removeprefix("Value error, ")
    return OptionError(f"{words}: {problem}", fix="see the command's --help for its range")


def _parsed(option: Option, value: Any) -> Any:
    if option.parse is None:
        return value
    try:
        return option.parse(value)
    except VisionEdgeError as error:
        raise _with_flags(error, f"{option.flag} {_shown(value)}") from None


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return ""
    if isinstance(value, (list, tuple)):
        return " ".join(map(_shown, value))
    return str(getattr(value, "value", value))


def keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """Return a parameter as Typer reads it."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )
