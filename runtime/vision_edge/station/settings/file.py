"""Reading the settings: TOML, environment and command line; every mistake named with its place."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.sources.addresses import live_address, without_credentials
from vision_edge.station.settings.station import StationSettings

ENVIRONMENT = "VISION_EDGE_"
_SECRET = ("password", "secret", "token")


class SettingsError(VisionEdgeError):
    """The settings of a station are not fit; it does not start."""


def load_settings(path: Path | None = None, **given: Any) -> StationSettings:
    """Read the settings of a station.

    Args:
        path: The TOML file; None for the environment and `given` alone.
        given: Values of the command line, which count most.

    Raises:
        SettingsError: If the file cannot be read, or a value or key is not fit: with the file, the
            key, the value and what to do.
    """
    from_file = {} if path is None else _read(path)
    anchored = from_file if path is None else _anchored(from_file, StationSettings, path.parent)
    try:
        return StationSettings(from_file=anchored, **given)  # type: ignore[call-arg]
    except ValidationError as error:
        raise SettingsError(*_explained(error, path)) from None
    except ValueError as error:  # a list in the environment that is no JSON
        raise SettingsError(f"the environment's {ENVIRONMENT}… settings: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        read: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror})", fix="check the path"
        ) from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise SettingsError(f"{path}: not a TOML file: {error}", fix="correct that line") from error
    return read


def _anchored(table: Mapping[str, Any], model: type[BaseModel], folder: Path) -> dict[str, Any]:
    """Return a table with its relative paths counted from `folder`."""
    anchored: dict[str, Any] = {}
    for key, value in table.items():
        field = model.model_fields.get(key)
        inner = None if field is None else _model_in(field.annotation)
        if inner is not None and isinstance(value, dict):
            anchored[key] = _anchored(value, inner, folder)
        elif inner is not None and isinstance(value, list):
            anchored[key] = [
                _anchored(item, inner, folder) if isinstance(item, dict) else item for item in value
            ]
        elif isinstance(value, str) and value and _is_path(model, key, value):
            anchored[key] = str(folder / Path(value).expanduser())
        else:
            anchored[key] = value
    return anchored


def _is_path(model: type[BaseModel], key: str, value: str) -> bool:
    field = model.model_fields.get(key)
    if field is None:
        return False
    if key == "address":
        return live_address(value) is None
    return Path in (field.annotation, *get_args(field.annotation))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an annotation holds: itself, one of a union, or of a tuple's items."""
    if get_origin(annotation) in (Union, types.UnionType, tuple, list):
        found = (_model_in(argument) for argument in get_args(annotation))
        return next((model for model in found if model is not None), None)
    is_class = isinstance(annotation, type) and get_origin(annotation) is None
    return annotation if is_class and issubclass(annotation, BaseModel) else None


def _explained(error: ValidationError, path: Path | None) -> tuple[str]:
    """Return one message over all that is wrong."""
    lines = [_line(problem, path) for problem in error.errors(include_url=False)]
    return ("\n  ".join(["the station's settings are not fit:", *lines]),)


def _line(problem: Mapping[str, Any], path: Path | None) -> str:
    location = tuple(problem["loc"])
    key = ".".join(map(str, location)) or "the whole"
    where = _origin(location, path)
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}; {_nearest(location)}"
    if problem["type"] == "missing":
        return f"{where}: {key} is missing; add it"
    reason = str(problem["msg"]).removeprefix("Value error, ")
    if isinstance(problem["input"], (dict, list, BaseModel)):
        return f"{where}: {key}: {reason}"
    return f"{where}: {key} = {_shown(key, problem['input'])}: {reason}"


def _origin(location: Sequence[int | str], path: Path | None) -> str:
    """Return where a value came from: a variable, the file, or the command line."""
    variable = ENVIRONMENT + "__".join(str(part) for part in location).upper()
    for name in os.environ:
        if name.upper() == variable:
            return f"environment variable {name}"
    return str(path) if path is not None else "command line"


def _shown(key: str, value: object) -> str:
    if any(word in key.lower() for word in _SECRET):
        return "***"
    if isinstance(value, str) and "://" in value:
        value = without_credentials(value)
    return repr(value)[:120]


def _nearest(location: Sequence[int | str]) -> str:
    """Return which key an unknown one was perhaps meant to be."""
    known = list(_keys(location[:-1]))
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"known are: {', '.join(known)}"


def _keys(location: Sequence[int | str]) -> Iterator[str]:
    model: type[BaseModel] | None = StationSettings
    for part in location:
        field = model.model_fields.get(str(part)) if model else None
        if field is not None:
            model = _model_in(field.annotation)
    yield from model.model_fields if model else ()
