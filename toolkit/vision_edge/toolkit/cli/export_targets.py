"""`export --target`: what is made of a bundle besides its ONNX model."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path

import typer

from vision_edge.cli.declarations import Given
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import ExportError, VisionEdgeError


class TargetFormat(str, Enum):
    """What is exported."""

    onnx = "onnx"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"
    triton = "triton"
    npu = "npu"

    @property
    def is_engine(self) -> bool:
        """Whether an engine is compiled."""
        return self in (TargetFormat.tensorrt, TargetFormat.tensorrt_rtx)


def check_target(target: TargetFormat, capabilities: list[str]) -> None:
    """Find out now, rather than after minutes of exporting, that a target cannot be made here.

    Args:
        target: What is asked for.
        capabilities: Compute capabilities to compile for, such as `8.9`.

    Raises:
        EngineError: If there is no GPU here and the target needs one.
        MissingExtraError: If the compiler is not installed.
    """
    if not target.is_engine:
        return
    from vision_edge.runtime.inference.tensorrt.builder import compiler
    from vision_edge.runtime.inference.tensorrt.gpu import find_gpu

    compiler(target.value)  # type: ignore[arg-type]
    if not capabilities:
        find_gpu()


def write_target(
    bundle: Path, target: TargetFormat, capabilities: list[str], repository: Path | None
) -> None:
    """Make what was asked for besides the ONNX model.

    Args:
        bundle: The bundle that was just written.
        target: What is asked for.
        capabilities: Compute capabilities to compile for; by default, that of the GPU here.
        repository: Triton's model repository; by default, beside the bundle.

    Raises:
        ExportError: If that fails; the bundle itself stays.
    """
    if target.is_engine:
        _after_bundle(bundle, target, lambda: _compile(bundle, target, capabilities))
    elif target is TargetFormat.triton:
        folder = repository or bundle.with_name(f"{bundle.name}-triton")
        _after_bundle(bundle, target, lambda: _into_repository(bundle, folder))
    elif target is TargetFormat.npu:
        _after_bundle(bundle, target, lambda: _static(bundle))


def _compile(bundle: Path, target: TargetFormat, capabilities: list[str]) -> None:
    from vision_edge.cli.compile import BUILD, compile_command
    from vision_edge.runtime.inference.tensorrt.key import BatchProfile

    compile_command(bundle, BatchProfile(), Given(BUILD.maker), target.value, capabilities or None)


def _into_repository(bundle: Path, repository: Path) -> None:
    from vision_edge.export.triton_repository import write_triton_repository

    written = write_triton_repository(load_bundle(bundle), repository)
    typer.echo(f"{written}: a model for Triton; tritonserver --model-repository {repository}")


def _static(bundle: Path) -> None:
    from vision_edge.export.static_model import write_static_model

    written = write_static_model(load_bundle(bundle), bundle.with_name(f"{bundle.name}-npu"))
    typer.echo(f"{written}: float input, fixed shapes; for pnnx, OpenVINO and compilers of NPUs")


def _after_bundle(bundle: Path, target: TargetFormat, make: Callable[[], None]) -> None:
    """Make something of a bundle; what goes wrong says that the bundle is there."""
    try:
        make()
    except VisionEdgeError as error:
        raise ExportError(
            f"{bundle}: the bundle is written and sound, but {target.value} failed: {error.what}",
            fix=error.fix or "export with --target onnx, and see the message",
        ) from error
