"""`vision-edge serve`: the station, from the command line to its last breath."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Mode, Only
from vision_edge.cli.grouped_command import command
from vision_edge.runtime.errors import require

app = command_app()
PACKAGES = (
    "argon2", "cv2", "fastapi", "jinja2", "onnxruntime", "prometheus_client", "pydantic_settings",
    "python_multipart", "uvicorn",
)  # fmt: skip
"""What a station needs beyond the base installation."""
GRAPHED = Mode(
    "--provider cuda or auto, or what the settings say",
    lambda values: values["provider"] in (None, "auto", "cuda"),
)


@command(app)
def serve(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Folder that `vision-edge export` wrote."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="Device index, stream, video, image or folder."),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", help="The gallery's file; made if there is none.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The station's settings, a TOML file.")
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust", metavar="STORE", help="Trust store: bundles must be signed by its keys."
        ),
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", help="Provider; default: what the settings say.")
    ] = None,
    cuda_graph: Annotated[
        bool,
        typer.Option("--cuda-graph", help="With cuda: replay each batch size as a CUDA graph."),
        Only(GRAPHED),
    ] = False,
    host: Annotated[str | None, typer.Option("--host", help="Address to bind to.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="TCP port; 0: a free one.")] = None,
) -> None:
    """Serve: verdicts on every source, a web page, an API and the plant's wires.

    Give a settings file, or BUNDLE, SOURCE and --gallery.
    """
    for module in PACKAGES:
        require(module)
    from vision_edge.station.core.log_bound import LogBound
    from vision_edge.station.core.log_lines import formatter
    from vision_edge.station.server import run_server
    from vision_edge.station.settings.file import load_settings

    given = _given(bundle, source, gallery, provider, cuda_graph, host, port)
    if trust is not None:
        given["provenance"] = {"trust": trust, "require_signature": True}
    settings = load_settings(config, **given)
    logging.basicConfig(level=logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter(settings.station.log))
        handler.addFilter(LogBound())
    with suppress(KeyboardInterrupt):
        run_server(settings, lambda url: typer.echo(f"serving on {url}", err=True))
    typer.echo("stopped", err=True)


def _given(
    bundle: Path | None,
    source: str | None,
    gallery: Path | None,
    provider: str | None,
    cuda_graph: bool,
    host: str | None,
    port: int | None,
) -> dict[str, Any]:
    """Return what the command line says, as settings."""
    given: dict[str, Any] = {"bundle": bundle, "gallery": gallery, "provider": provider}
    given["cuda_graph"] = cuda_graph or None
    if source is not None:
        given["sources"] = [{"name": "camera", "address": source}]
    server = {"host": host, "port": port}
    given["server"] = {key: value for key, value in server.items() if value is not None} or None
    return {key: value for key, value in given.items() if value is not None}
