"""`vision-edge compile`: an engine for this device, or ahead of time for RTX GPUs elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import (
    Given,
    Group,
    Mode,
    Only,
    Option,
    OptionError,
    Values,
    absent,
)
from vision_edge.cli.grouped_command import command
from vision_edge.cli.options import BundlePath
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.errors import EngineError, MissingExtraError, VisionEdgeError
from vision_edge.runtime.inference.tensorrt.key import BatchProfile, BuildSettings, Flavour

if TYPE_CHECKING:
    from vision_edge.runtime.inference.agreement import ProbeImages
    from vision_edge.runtime.inference.tensorrt.gpu import Gpu
    from vision_edge.runtime.inference.tensorrt.store import EngineRecord

app = command_app()
TARGETS = ("auto", "tensorrt", "tensorrt-rtx")


HERE = absent(
    "compute_capability",
    "an engine for this device (no --compute-capability), which is checked at once",
)
NATIVE = Mode("--target tensorrt", lambda values: _takes_native(values))


def _takes_native(values: Values) -> bool:
    return _chosen_flavour(values["target"], values["compute_capability"]) != "tensorrt-rtx"


BATCHES = Group(
    BatchProfile,
    Option("minimum", "--min-batch", int, "Smallest batch.", min=1),
    Option("optimum", "--opt-batch", int, "Batch to tune for.", min=1),
    Option("maximum", "--max-batch", int, "Largest batch.", min=1),
)
BUILD = Group(
    BuildSettings,
    Option("workspace_mb", "--workspace-mb", int, "Memory for building a layer.", min=1),
    Option("tf32", "--tf32", bool, "Allow shorter float32 products: quicker, less exact."),
    Option(
        "version_compatible",
        "--version-compatible",
        bool,
        "TensorRT: newer versions may run it too.",
        only=(NATIVE,),
    ),
)


@command(app, "compile")
def compile_command(
    bundle: BundlePath,
    batches: Annotated[BatchProfile, BATCHES],
    build: Annotated[Given[BuildSettings], BUILD],
    target: Annotated[
        str, typer.Option("--target", help="auto, tensorrt (Jetson), or tensorrt-rtx (RTX GPUs).")
    ] = "auto",
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            "--compute-capability",
            help="TensorRT-RTX: build ahead of time for this one, such as 8.9; repeatable.",
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", help="Check with this gallery's snapshots, not scenes."),
        Only(HERE),
    ] = None,
    min_cosine: Annotated[
        float | None,
        typer.Option("--min-cosine", help="Agreement that the check asks for."),
        Only(HERE),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build even if it is there.")] = False,
) -> None:
    """Compile a bundle into an engine, keep it in the bundle, and check it on this device.

    The engine lies in the bundle's folder `engines`; `--provider engine` and `auto` take it. One
    whose embeddings differ from ONNX Runtime's on the CPU is refused. Built ahead of time, it is
    checked by the device that first uses it.
    """
    from vision_edge.runtime.inference.tensorrt.compiling import compile_bundle

    loaded = load_bundle(bundle)
    gpu = None if compute_capability else _gpu()
    here = [gpu.compute_capability] if gpu is not None else []
    settings = _settings(
        build,
        flavour=_flavour(target, compute_capability, gpu),
        batch=batches,
        compute_capabilities=tuple(sorted(set(compute_capability or here))),
    )
    started = time.monotonic()
    typer.echo(f"compiling {loaded.manifest.name} with {settings.flavour} …", err=True)
    done = compile_bundle(loaded, settings, gpu, force=force, say=_note)
    record = done.record
    words = "built" if done.new else "already there, whole and of the same key"
    typer.echo(
        f"{record.key.name}: {words}; {record.bytes / 1e6:.1f} MB, "
        f"{time.monotonic() - started:.1f} s, batches {batches.minimum} to {batches.maximum}"
    )
    if gpu is None:
        typer.echo("not checked here: the device that first uses it checks it, for some seconds")
    else:
        _check(loaded, record, gpu, gallery, min_cosine)
    if done.refused:
        raise EngineError(
            "not for every card: "
            + "; ".join(f"{card}: {reason}" for card, reason in done.refused.items()),
            fix="leave those cards out; the others have their engine",
        )


def _gpu() -> Gpu | None:
    """Return the GPU here, or None where there is none that CUDA can use."""
    from vision_edge.runtime.inference.tensorrt.gpu import find_gpu

    try:
        return find_gpu()
    except MissingExtraError as error:
        _note(error.what)
    except EngineError:
        pass
    return None


def _chosen_flavour(target: str, capabilities: list[str] | None) -> str:
    """Return the compiler to use: TensorRT where it is installed, unless built for elsewhere."""
    from importlib.util import find_spec

    if target not in TARGETS:
        raise VisionEdgeError(
            f"--target {target!r} is unknown", fix=f"use one of {', '.join(TARGETS)}"
        )
    if target != "auto":
        return target
    native = not capabilities and find_spec("tensorrt") is not None
    return "tensorrt" if native else "tensorrt-rtx"


def _flavour(target: str, capabilities: list[str] | None, gpu: Gpu | None) -> Flavour:
    """Return the compiler to use, if it can build here."""
    target = _chosen_flavour(target, capabilities)
    if target == "tensorrt" and capabilities:
        raise VisionEdgeError(
            "TensorRT builds for the GPU it runs on; --compute-capability is for TensorRT-RTX",
            fix="leave it out, or add --target tensorrt-rtx",
        )
    if target == "tensorrt-rtx" and not capabilities and gpu is None:
        raise EngineError(
            "there is no GPU here whose compute capability could be taken",
            fix="say for which: --compute-capability 8.6 (RTX 30), 8.9 (RTX 40), 12.0 (RTX 50)",
        )
    return cast("Flavour", target)


def _settings(build: Given[BuildSettings], **more: Any) -> BuildSettings:
    """Return how an engine is built.

    Raises:
        VisionEdgeError: If a compute capability, which is checked with the rest, is none.
    """
    try:
        return build.made(**more)
    except OptionError as error:
        named = ", ".join(more["compute_capabilities"])
        raise VisionEdgeError(
            f"--compute-capability {named}: {error.what}", fix=error.fix
        ) from None


def _check(
    bundle: Bundle,
    record: EngineRecord,
    gpu: Gpu,
    gallery: Path | None,
    min_cosine: float | None,
) -> None:
    """Put a new engine through the gate; a refused one stays recorded as such.

    Raises:
        EngineError: If it is refused.
    """
    from vision_edge.runtime.inference.tensorrt.compiling import pass_gate
    from vision_edge.runtime.inference.tensorrt.opening import load_engine
    from vision_edge.runtime.inference.tensorrt.store import EngineStore

    runner = load_engine(bundle, record, EngineStore(bundle.path))
    gate = pass_gate(bundle, record, runner, gpu, _probe_images(bundle, gallery), min_cosine)
    found = f"cosine at least {gate.min_cosine:.5f} to ONNX Runtime on the CPU"
    told = f"{gate.images} images ({gate.source})"
    if not gate.passed:
        raise EngineError(
            f"{record.key.name}: refused on {gpu}: {found}, {gate.minimum} is asked, on {told}",
            fix="sessions fall back to another provider; export in fp32, or report this model",
        )
    typer.echo(f"checked on {gpu}: {found}, on {told}")


def _probe_images(bundle: Bundle, gallery: Path | None) -> ProbeImages:
    """Return a gallery's snapshots to probe with, or generated scenes."""
    from vision_edge.runtime.inference.agreement import MAX_PICTURES, probe_images

    if gallery is None:
        return probe_images(bundle)
    from vision_edge.runtime.gallery.reader import GalleryReader

    with GalleryReader(gallery) as opened:
        known = [snapshot for ids in opened.state().values() for snapshot in ids]
        chosen = known[:: max(1, len(known) // MAX_PICTURES)][:MAX_PICTURES]
        pictures = [opened.snapshots.image(snapshot) for snapshot in chosen]
    return probe_images(bundle, pictures, f"snapshots of {gallery.name}")


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)
