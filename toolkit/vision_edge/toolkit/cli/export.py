"""`vision-edge export`: a bundle for devices."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Given, Group, Mode, Only, Option, chosen, present
from vision_edge.cli.grouped_command import command
from vision_edge.cli.provenance_options import PassphraseFile, SignWith, private_key
from vision_edge.cli.provenance_options import said as signed_as
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import DataError, require
from vision_edge.runtime.images.reading import Reading
from vision_edge.runtime.system.processor import features_here, gains
from vision_edge.toolkit.cli.export_targets import TargetFormat, check_target, write_target
from vision_edge.toolkit.cli.options import (
    BACKBONE,
    FILES_READ,
    TrustBase,
    chosen_backbone,
    pruning,
)

app = command_app()
MAX_IMAGES = 512


class Precision(str, Enum):
    """Arithmetic of the exported graph."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


INT8 = chosen("precision", "int8")
EMBEDS_TOO = Mode(
    "a target other than triton and npu, which are asked for embeddings alone",
    lambda values: values["target"] not in (TargetFormat.triton, TargetFormat.npu),
    "export another target",
)
PLAIN = Mode(
    "a target other than npu, whose compilers take every patch",
    lambda values: values["target"] is not TargetFormat.npu,
    "export another target",
)
FLOAT_FOR_NPU = Mode(
    "a target other than npu, whose compilers choose the precision themselves",
    lambda values: (
        values["target"] is not TargetFormat.npu or values["precision"] in (None, "fp32")
    ),
    "export in fp32",
)
SETTINGS = Group(
    "vision_edge.export.settings:ExportSettings",
    Option(
        "precision",
        "--precision",
        Precision,
        "Arithmetic, fp32 by default; int8 needs --calibrate.",
        parse=lambda precision: precision.value,
        only=(FLOAT_FOR_NPU,),
    ),
    Option(
        "pruning",
        "--prune",
        str,
        "Leave out patches, BLOCK:SHARE: 9:0.5 drops half of them after the ninth block's "
        "attention; 4:0.25,7:0.25 drops in two steps. Faster, less accurate.",
        parse=pruning,
        only=(PLAIN,),
    ),
    Option(
        "min_cosine",
        "--min-cosine",
        float,
        "Least cosine of an image to PyTorch's embedding (fp32 0.9999, fp16 0.999, int8 0.98); "
        "with --prune, least mean to the model with all patches.",
    ),
    Option(
        "max_accuracy_drop",
        "--max-accuracy-drop",
        float,
        "Most points of few-shot accuracy that it may cost.",
    ),
    Option(
        "half_weights",
        "--half-weights",
        bool,
        "Store weights in float16, compute in float32: half the size.",
    ),
    Option(
        "fused_attention",
        "--fused-attention",
        bool,
        "Write attention as ONNX Runtime's own operator: quicker with --provider cuda, not for "
        "TensorRT and OpenVINO.",
        only=(chosen("target", "onnx", "triton"),),
    ),
    Option(
        "patches",
        "--patches",
        bool,
        "Return patches as well, by which the nearest products are ranked anew.",
        only=(EMBEDS_TOO,),
    ),
)
ANY_PICTURES = Mode(
    "pictures (--images, --calibrate or --gate-data)",
    lambda values: bool(values["images"] or values["calibrate"] or values["gate_data"]),
)


@command(app)
def export(
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder.")],
    backbone: Annotated[Given[Any], BACKBONE],
    said: Annotated[Given[Any], SETTINGS],
    reading: Annotated[Reading, FILES_READ, Only(ANY_PICTURES)],
    adapter: Annotated[
        Path | None, typer.Option("--adapter", help="Adapter to merge, such as a meta-LoRA.")
    ] = None,
    trust_base: Annotated[TrustBase, Only(present("adapter"))] = False,
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
        Only(present("images")),
    ] = False,
    name: Annotated[str | None, typer.Option("--name", help="Name; default: the folder's.")] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option("--evaluation", help="JSON of `vision-edge evaluate` to carry along."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            help="For int8: folder or zip of images like those the device will see, a pool that "
            "`build` left, or a gallery. A quarter is held out for the parity gate.",
        ),
        Only(INT8),
    ] = None,
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
        Only(present("gate_data")),
    ] = None,
    target: Annotated[
        TargetFormat,
        typer.Option(
            "--target",
            help="A bundle (onnx), one with an engine compiled in it, or beside it Triton's files "
            "or the model as compilers of NPUs take it.",
        ),
    ] = TargetFormat.onnx,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            "--compute-capability",
            help="For tensorrt-rtx: compile for this GPU, such as 8.9; may be repeated.",
        ),
        Only(chosen("target", "tensorrt-rtx")),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(
            "--repository", help="For triton: the model repository; default: beside the bundle."
        ),
        Only(chosen("target", "triton")),
    ] = None,
    sign: SignWith = None,
    passphrase_file: Annotated[PassphraseFile, Only(present("sign"))] = None,
) -> None:
    """Merge an adapter into its backbone and export a bundle that is provably the same model.

    The exported model must give PyTorch's embeddings and few-shot accuracy, to a limit that
    depends on the precision, or nothing is written.
    """
    require("torch")
    from vision_edge.export.precision.variant import check_calibration
    from vision_edge.export.settings import ExportImages
    from vision_edge.toolkit import export_images as calibration
    from vision_edge.toolkit.exporting import export_backbone

    settings = said.made()
    key = None if sign is None else private_key(sign, passphrase_file)
    check_target(target, compute_capability or [])
    figures = _evaluation(evaluation)
    calibrating = None
    if calibrate:
        calibrating = calibration.calibration_images(calibrate, reading=reading, tell=_note)
    check_calibration(settings.precision, None if calibrating is None else len(calibrating.images))
    if settings.precision == "int8":
        _note(
            f"what the processor here gives by it: {gains(features_here())}; on the device ask "
            "`vision-edge doctor`"
        )
    loaded = chosen_backbone(backbone)
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
            note=_note,
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
    if key is not None:  # last: engines are signed too
        from vision_edge.cli.sign import sign_bundle
        from vision_edge.runtime.provenance.signing import signature_of

        typer.echo(signed_as(sign_bundle(out, key), signature_of(out)))


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
