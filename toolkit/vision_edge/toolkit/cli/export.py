"""`vision-edge export`: a bundle for devices."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vision_edge.cli.app import command_app
from vision_edge.cli.modes import Only, modes
from vision_edge.cli.options import Background, Bits, reading_of
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import DataError, ExportError, require
from vision_edge.toolkit.cli.export_targets import TargetFormat, check_target, write_target
from vision_edge.toolkit.cli.options import (
    Activation,
    BackboneName,
    Interpolation,
    Mean,
    Projection,
    Size,
    Std,
    TrustBase,
    Weights,
    chosen_backbone,
)

app = command_app()
MAX_IMAGES = 512


class Precision(str, Enum):
    """Arithmetic of the exported graph."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


@app.command()
@modes(
    Only("--adapter", lambda o: o["adapter"] is not None, "trust_base"),
    Only("--images", lambda o: o["images"] is not None, "public"),
    Only("--precision int8", lambda o: o["precision"] is Precision.int8, "calibrate"),
    Only(
        "pictures (--images, --calibrate or --gate-data)",
        lambda o: any(o[name] is not None for name in ("images", "calibrate", "gate_data")),
        "bits",
        "background",
    ),
    Only("--gate-data", lambda o: o["gate_data"] is not None, "split"),
    Only("--target triton", lambda o: o["target"] is TargetFormat.triton, "repository"),
    Only(
        "--target tensorrt-rtx",
        lambda o: o["target"] is TargetFormat.tensorrt_rtx,
        "compute_capability",
    ),
)
def export(
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder.")],
    backbone: BackboneName = None,
    weights: Weights = None,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", help="Adapter to merge, such as a meta-LoRA.")
    ] = None,
    trust_base: TrustBase = False,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Folder or zip of images like those the device will see (none of a product): "
            "for the parity gate, the centre and the thresholds. If there are none, some hundred "
            "photographs of anything (--public) tell strangers better than the default, generated "
            "scenes.",
        ),
    ] = None,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="The --images are photographs of whatever, not of this station: they tell what "
            "resembles everything, but set no thresholds.",
        ),
    ] = False,
    name: Annotated[str | None, typer.Option("--name", help="Name; default: the folder's.")] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option("--evaluation", help="JSON of `vision-edge evaluate` to carry along."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Arithmetic; int8 needs --calibrate.")
    ] = Precision.fp32,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            help="For int8: folder or zip of images like those the device will see, a pool that "
            "`build` left, or a gallery. A quarter is held out for the parity gate.",
        ),
    ] = None,
    prune: Annotated[
        str,
        typer.Option(
            "--prune",
            help="Leave out patches, BLOCK:SHARE: 9:0.5 drops half of them after the ninth "
            "block's attention; 4:0.25,7:0.25 drops in two steps. Faster, less accurate.",
        ),
    ] = "",
    gate_data: Annotated[
        Path | None,
        typer.Option(
            "--gate-data",
            metavar="DATA",
            help="Labelled images, class/image or split/class/image, for the gate's few-shot "
            "accuracy. Default: views of its images.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="First-level folder of --gate-data; default: test."),
    ] = None,
    min_cosine: Annotated[
        float | None,
        typer.Option(
            "--min-cosine",
            help="Least cosine of an image to PyTorch's embedding (fp32 0.9999, fp16 0.999, int8 "
            "0.98); with --prune, least mean to the model with all patches.",
        ),
    ] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            "--max-accuracy-drop", help="Most points of few-shot accuracy that it may cost."
        ),
    ] = None,
    half_weights: Annotated[
        bool,
        typer.Option(
            "--half-weights", help="Store weights in float16, compute in float32: half the size."
        ),
    ] = False,
    fused_attention: Annotated[
        bool,
        typer.Option(
            "--fused-attention",
            help="Write attention as ONNX Runtime's own operator: quicker with --provider cuda, "
            "not for TensorRT and OpenVINO.",
        ),
    ] = False,
    patches: Annotated[
        bool,
        typer.Option(
            "--patches",
            help="Return patches as well, by which the nearest products are ranked anew.",
        ),
    ] = False,
    target: Annotated[
        TargetFormat,
        typer.Option(
            "--target",
            help="A bundle (onnx), one with an engine compiled in it, or Triton's files beside it.",
        ),
    ] = TargetFormat.onnx,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            "--compute-capability",
            help="For tensorrt-rtx: compile for this GPU, such as 8.9; may be repeated.",
        ),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(
            "--repository", help="For triton: the model repository; default: beside the bundle."
        ),
    ] = None,
    bits: Bits = None,
    background: Background = "#ffffff",
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    activation: Activation = None,
    projection: Projection = None,
) -> None:
    """Merge an adapter into its backbone and export a bundle that is provably the same model.

    The exported model must give PyTorch's embeddings and few-shot accuracy, to a limit that
    depends on the precision, or nothing is written.
    """
    require("torch")
    from vision_edge.export.model.pruning import Pruning
    from vision_edge.export.precision.variant import check_calibration
    from vision_edge.export.settings import ExportImages, ExportSettings
    from vision_edge.toolkit import export_images as calibration
    from vision_edge.toolkit.exporting import export_backbone

    if public and images is None:
        raise DataError("--public says what --images are, and there are none", fix="add --images")
    settings = ExportSettings(
        precision.value,
        Pruning.parse(prune),
        half_weights,
        min_cosine,
        max_accuracy_drop,
        fused_attention,
        patches,
    )
    if patches and target is TargetFormat.triton:
        raise ExportError(
            "Triton is asked for embeddings alone, and --patches was given",
            fix="leave it out, or serve the bundle by another provider",
        )
    if fused_attention and target.is_engine:
        raise ExportError(
            f"--fused-attention is ONNX Runtime's own operator, unknown to {target.value}",
            fix="leave it out: the compiler fuses attention by itself",
        )
    check_target(target, compute_capability or [], repository)
    figures = _evaluation(evaluation)
    reading = reading_of(bits, background)
    calibrating = None
    if calibrate:
        calibrating = calibration.calibration_images(calibrate, reading=reading, tell=_note)
    check_calibration(precision.value, None if calibrating is None else len(calibrating.images))
    loaded = chosen_backbone(
        backbone, weights, size, mean, std, interpolation, activation, projection
    )
    chosen = None
    if images is not None:
        named = f"images of {images.name}"
        taken = calibration.told_images(images, MAX_IMAGES, reading, _note)
        chosen = ExportImages(taken, named, from_station=not public)
    labelled = None
    if gate_data:
        labelled = calibration.gate_data(gate_data, split, loaded.spec, reading, _note)
    with Console(stderr=True).status("exporting, then comparing with PyTorch"):
        bundle = export_backbone(
            loaded,
            out,
            adapter=adapter,
            trust_base=trust_base,
            note=lambda text: typer.echo(f"note: {text}", err=True),
            name=name,
            images=chosen,
            calibration=calibrating,
            labelled=labelled,
            evaluation=figures,
            settings=settings,
            for_tensorrt=target.is_engine,
        )
    typer.echo(_summary(bundle, out))
    write_target(out, target, compute_capability or [], repository)


def _note(line: str) -> None:
    typer.echo(f"note: {line}", err=True)


def _summary(bundle: Bundle, out: Path) -> str:
    """Say what was written, and how well it agrees."""
    manifest, parity = bundle.manifest, bundle.manifest.parity
    lines = [
        f"{out}: {len(bundle.model) / 1e6:.1f} MB, {manifest.precision}, embeddings "
        f"({manifest.embedding_dim},), parity with PyTorch on {parity.images} images: "
        f"cosine at least {parity.min_cosine:.6f}, {parity.mean_cosine:.6f} on average"
    ]
    if parity.pruning:
        lines.append(
            f"patches left out ({parity.pruning.steps}): cosine to the model with all of them "
            f"{parity.pruning.mean_cosine:.4f} on average, at least {parity.pruning.min_cosine:.4f}"
        )
    if parity.accuracy:
        accuracy = parity.accuracy
        lines.append(
            f"{accuracy.way}-way {accuracy.shot}-shot accuracy on {accuracy.data}: "
            f"{accuracy.exported:.2f} %, PyTorch {accuracy.float32:.2f} %"
        )
    if parity.verdicts:
        lines.append(
            f"the same verdict on {parity.verdicts.agreement:.1%} of {parity.verdicts.pictures} "
            "pictures"
        )
    if manifest.patches:
        found = manifest.patches
        lines.append(
            f"{found.count} patches an image, found again in PyTorch's: {found.mean_agreement:.4f} "
            f"on average, at least {found.min_agreement:.4f}"
        )
    lines += [f"note: {note}" for note in parity.notes or ()]
    return "\n".join(lines)


def _evaluation(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"--evaluation {path}: {error}", fix="give evaluate's --json") from error
    if not isinstance(document, dict):
        raise DataError(f"--evaluation {path}: not a JSON object", fix="give evaluate's --json")
    return document
