"""The commands of the `vision-edge` line: this distribution's, and those that others announce.

A distribution announces commands by an entry point in the group `vision_edge.commands`: a list of
`Command` in a module that is quick to import. Nothing here knows the server's part by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points

GROUP = "vision_edge.commands"


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: What a user types.
        module: Imported when the command is called; its `app` is a Typer app.
        summary: One line for `vision-edge --help`.
        panel: The heading that it stands under.
    """

    name: str
    module: str
    summary: str
    panel: str


_DEVICE = "On the device"
COMMANDS = [
    Command("register", "vision_edge.cli.register", "Register a product from a snapshot.", _DEVICE),
    Command("run", "vision_edge.cli.run", "Give verdicts on a camera, video or images.", _DEVICE),
    Command(
        "serve", "vision_edge.cli.serve", "Run the station: page, API, verdicts, wires.", _DEVICE
    ),
    Command(
        "gallery", "vision_edge.cli.gallery", "Look at and change registered products.", _DEVICE
    ),
    Command("validate", "vision_edge.cli.validate", "Try a gallery on labelled pictures.", _DEVICE),
    Command(
        "compile", "vision_edge.cli.compile", "Compile a bundle for this device's GPU.", _DEVICE
    ),
    Command(
        "update", "vision_edge.cli.update", "Have a station take a new bundle, or go back.", _DEVICE
    ),
    Command("keys", "vision_edge.cli.keys", "Make keys, and say whom to trust.", _DEVICE),
    Command("records", "vision_edge.cli.records", "Check a station's signed records.", _DEVICE),
    Command("sign", "vision_edge.cli.sign", "Sign a bundle or a gallery's archive.", _DEVICE),
    Command(
        "verify",
        "vision_edge.cli.verify",
        "Who signed a bundle or an archive, and is it whole.",
        _DEVICE,
    ),
    Command("user", "vision_edge.cli.user", "Say who may use a station.", _DEVICE),
    Command(
        "demo", "vision_edge.cli.demo", "See the whole product work on a rendered line.", _DEVICE
    ),
    Command(
        "bench", "vision_edge.cli.bench", "Time bundles on this machine, side by side.", _DEVICE
    ),
    Command("camera", "vision_edge.cli.camera", "Set up a camera: focus, light, speed.", _DEVICE),
    Command(
        "doctor", "vision_edge.cli.doctor", "Is this machine fit, and what to do if not.", _DEVICE
    ),
    Command("assets", "vision_edge.cli.assets", "List and verify the models that ship.", _DEVICE),
]


def announced() -> Iterator[Command]:
    """Return every command of the distributions that are installed, the server's first."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name, reverse=True):
        yield from point.load()
