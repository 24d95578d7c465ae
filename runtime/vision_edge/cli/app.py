"""The `vision-edge` command: one Typer app whose commands load when they are called.

Nothing heavy is imported for `vision-edge --help`. A command whose packages are missing says which
extra brings them.
"""

from __future__ import annotations

import importlib
import io
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from vision_edge.cli.commands import announced
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.system.native_threads import leave

_INTERRUPTED = 128 + signal.SIGINT
app = typer.Typer(
    name="vision-edge",
    help="Few-shot visual recognition for the edge, without training at the edge.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vision-edge {version('vision-edge')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def _forwarder(name: str, module: str) -> Callable[[typer.Context], None]:
    """Return a command that imports the real one and passes all its arguments on."""

    def forward(context: typer.Context) -> None:
        command = typer.main.get_command(importlib.import_module(module).app)
        status = command.main(
            args=context.args, prog_name=f"vision-edge {name}", standalone_mode=False
        )
        if isinstance(status, int) and status:
            raise typer.Exit(status)

    return forward


for _command in announced():
    app.command(
        _command.name,
        help=_command.summary,
        rich_help_panel=_command.panel,
        add_help_option=False,
        context_settings={
            "ignore_unknown_options": True,
            "allow_extra_args": True,
            "allow_interspersed_args": False,
        },
    )(_forwarder(_command.name, _command.module))


_terminated = threading.Event()


def main() -> NoReturn:
    """Run the command line; a user's mistake ends with a message and status 1.

    SIGTERM and Ctrl-C end a command alike: what it writes is finished, or vanishes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a label that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    status = _status()
    leave(128 + signal.SIGTERM if status == _INTERRUPTED and _terminated.is_set() else status)


def _status() -> int:
    """Run the command; return the status of the process."""
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except VisionEdgeError as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        typer.secho("terminated" if _terminated.is_set() else "interrupted", err=True)
        return _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except OSError as error:  # a path that cannot be written, a full disk
        return _failed(f"{error}\n  fix: check the path, its permissions and the room on the disk")
    return 0


def _failed(message: str) -> int:
    typer.secho(f"error: {message}", err=True, fg=typer.colors.RED)
    return 1


def _terminate(*_: object) -> NoReturn:
    _terminated.set()
    raise KeyboardInterrupt


def command_app(help_text: str | None = None, *, group: bool = False) -> typer.Typer:
    """Return a Typer app for one command, with the settings that all commands share."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=group,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
