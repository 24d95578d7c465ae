"""The server's commands; each module's `app` is loaded when its command is called."""

from vision_edge.cli.commands import Command

_SERVER = "On the server"
COMMANDS = [
    Command(
        "tune", "vision_edge.toolkit.cli.tune", "Tune a hub of LoRAs from labelled images.", _SERVER
    ),
    Command(
        "build",
        "vision_edge.toolkit.cli.build",
        "Build the meta-LoRA from a hub, without its data.",
        _SERVER,
    ),
    Command(
        "evaluate",
        "vision_edge.toolkit.cli.evaluate",
        "Compare models on N-way K-shot episodes.",
        _SERVER,
    ),
    Command(
        "export",
        "vision_edge.toolkit.cli.export",
        "Merge, export and check a bundle for devices.",
        _SERVER,
    ),
]
