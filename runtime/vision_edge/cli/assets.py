"""`vision-edge assets`: what ships with the program."""

from __future__ import annotations

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.grouped_command import command
from vision_edge.runtime.bundles.shipped import list_assets
from vision_edge.runtime.errors import VisionEdgeError

app = command_app()


@command(app)
def assets() -> None:
    """List the models that ship with the program, and verify each by its hash."""
    bad = []
    for asset in list_assets():
        state = "verified"
        try:
            asset.verify()
        except VisionEdgeError as error:
            state = "ALTERED"
            bad.append(str(error))
        typer.echo(f"{asset.name}  {asset.bytes / 1e6:.2f} MB  {asset.license}  {state}")
        typer.echo(f"    {asset.what}")
        typer.echo(f"    {asset.path}")
    if bad:
        raise VisionEdgeError("\n".join(bad), fix="install vision-edge again")
