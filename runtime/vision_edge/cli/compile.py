"""`vision-edge compile`: an engine for this device, or ahead of time for RTX GPUs elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.modes import Only, modes
from vision_edge.cli.options import BundlePath
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.errors import EngineError, MissingExtraError, VisionEdgeError

if TYPE_CHECKING:
    from vision_edge.runtime.inference.agreement import ProbeImages
    from vision_edge.runtime.inference.tensorrt.gpu import Gpu
    from vision_edge.runtime.inference.tensorrt.key import BuildSettings, Flavour
    from vision_edge.runtime.inference.tensorrt.store import EngineRecord

app = command_app()
TARGETS = ("auto", "tensorrt", "tensorrt-rtx")


@app.command("compile")
@modes(
    Only(
        "an engine for this device (no --compute-capability), which is checked at once",
        lambda o: not o["compute_capability"],
        "gallery",
        "min_cosine",
    ),
)
def compile_command(
    bundle: BundlePath,
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
    min_batch: Annotated[int, typer.Option("--min-batch", min=1, help="Smallest batch.")] = 1,
    opt_batch: Annotated[int, typer.Option("--opt-batch", min=1, help="Batch to tune for.")] = 1,
    max_batch: Annotated[int, typer.Option("--max-batch", min=1, help="Largest batch.")] = 8,
    workspace_mb: Annotated[
        int | None, typer.Option("--workspace-mb", min=1, help="Memory for building a layer.")
    ] = None,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Allow shorter float32 products: quicker, less exact.")
    ] = False,
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="TensorRT: newer versions may run it too."),
    ] = False,
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", help="Check with this gallery's snapshots, not scenes."),
    ] = None,
    min_cosine: Annotated[
        float | None, typer.Option("--min-cosine", help="Agreement that the check asks for.")
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
    settings = _settings(
        flavour=_flavour(target, compute_capability, gpu),
        batch=(min_batch, opt_batch, max_batch),
        workspace_mb=workspace_mb,
        tf32=tf32,
        version_compatible=version_compatible,
        capabilities=compute_capability or [],
        gpu=gpu,
    )
    started = time.monotonic()
    typer.echo(f"compiling {loaded.manifest.name} with {settings.flavour} …", err=True)
    done = compile_bundle(loaded, settings, gpu, force=force, say=_note)
    record = done.record
    words = "built" if done.new else "already there, whole and of the same key"
    typer.echo(
        f"{record.key.name}: {words}; {record.bytes / 1e6:.1f} MB, "
        f"{time.monotonic() - started:.1f} s, batches {min_batch} to {max_batch}"
    )
    if gpu is None:
        typer.echo("not checked here: the device that first uses it checks it, for some seconds")
        return
    _check(loaded, record, gpu, gallery, min_cosine)


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


def _flavour(target: str, capabilities: list[str] | None, gpu: Gpu | None) -> Flavour:
    """Return the compiler to use: TensorRT where it is installed, unless built for elsewhere."""
    from importlib.util import find_spec

    if target not in TARGETS:
        raise VisionEdgeError(f"unknown target {target!r}", fix=f"use one of {', '.join(TARGETS)}")
    if target == "auto":
        native = not capabilities and find_spec("tensorrt") is not None
        target = "tensorrt" if native else "tensorrt-rtx"
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


def _settings(
    *,
    flavour: Flavour,
    batch: tuple[int, int, int],
    workspace_mb: int | None,
    tf32: bool,
    version_compatible: bool,
    capabilities: list[str],
    gpu: Gpu | None,
) -> BuildSettings:
    from pydantic import ValidationError

    from vision_edge.runtime.inference.tensorrt.key import BatchProfile, BuildSettings

    here = [gpu.compute_capability] if gpu is not None else []
    try:
        return BuildSettings(
            flavour=flavour,
            batch=BatchProfile(minimum=batch[0], optimum=batch[1], maximum=batch[2]),
            workspace_mb=workspace_mb,
            tf32=tf32,
            version_compatible=version_compatible,
            compute_capabilities=tuple(sorted(set(capabilities or here))),
        )
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"]) or "batch sizes"
        raise VisionEdgeError(
            f"{field}: {problem['msg']}", fix="see `vision-edge compile --help`"
        ) from error


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
