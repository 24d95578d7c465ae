"""`vision-edge demo`: the whole product on a rendered line, or on your camera."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Only, absent, present
from vision_edge.cli.grouped_command import command
from vision_edge.runtime.system.files import atomic_file

app = command_app()


RENDERED = absent("source", "the rendered line (no --source)")


@command(app)
def demo(
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="Decides parts, line and light."),
        Only(RENDERED),
    ] = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder for what it makes.")] = Path(
        "vision-edge-demo"
    ),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the summary here too.")
    ] = None,
    passes: Annotated[
        int, typer.Option("--passes", min=1, help="How often each part passes."), Only(RENDERED)
    ] = 3,
    source: Annotated[
        str | None, typer.Option("--source", help="Your camera instead of the rendered line.")
    ] = None,
    seconds: Annotated[
        float,
        typer.Option("--seconds", min=1, help="With --source: how long to inspect."),
        Only(present("source")),
    ] = 60.0,
) -> None:
    """Show the whole product at work: adapters, meta-LoRA, bundle, one snapshot each, verdicts.

    The line is rendered, its truth is known, and the figures are measured against it.
    """
    if source is not None:
        from vision_edge.demo.camera_demo import run_camera_demo

        summary = run_camera_demo(out, source, seconds, ask=typer.prompt, say=typer.echo)
    else:
        from vision_edge.demo.rendered_demo import run_demo

        summary = run_demo(out, seed, passes, typer.echo)
        typer.echo(_report(summary))
    if json_file is not None:
        with atomic_file(json_file) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def _report(summary: dict[str, Any]) -> str:
    rows = [
        "",
        f"Seed {summary['seed']}, {summary['frames']} rendered frames, model on "
        f"{summary['provider']}",
        f"  parts named rightly    {summary['parts_right']:3d} of {summary['parts']:3d}   "
        f"{summary['parts_right_percent']:5.1f} %   (8 products, one snapshot each)",
        f"  strangers refused      {summary['strangers_refused']:3d} of "
        f"{summary['stranger_passages']:3d}   {summary['strangers_refused_percent']:5.1f} %   "
        "(4 parts never registered)",
        f"  verdicts on nothing    {summary['spurious_verdicts']:3d}",
        f"  parts in view at once  {summary['parts_at_once']:3d}          "
        "at most; each has its box and its name in the video",
        f"  speed                  {summary['frames_per_second']:.0f} frames/s, "
        f"{summary['ms_per_frame']:.1f} ms a frame; model {summary['model_ms']:.1f} ms an image",
        "",
    ]
    for label, count in summary["by_part"].items():
        kind = "stranger" if label in summary["strangers"] else "product"
        rows.append(f"  {label:16s} {kind:9s} {count['right']} of {count['of']} right")
    times = ", ".join(f"{name} {value:.1f} s" for name, value in summary["step_seconds"].items())
    rows += [
        "",
        f"  {times}; {summary['total_seconds']:.0f} s in all",
        f"  video          {summary['video']}",
        f"  contact sheet  {summary['contact_sheet']}",
        f"  several parts  {summary['several']}",
    ]
    return "\n".join(rows)
