"""Which cards TensorRT-RTX can build a bundle for: told before building, within a second."""

from __future__ import annotations

from typing import Any

from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.inference.tensorrt.builder import capabilities, compiler, look_at
from vision_edge.runtime.inference.tensorrt.key import BuildSettings

TURING = "7.5"
"""The one compute capability for which TensorRT-RTX has no float32 matrix product (1.7)."""


def impossible(bundle: Bundle, settings: BuildSettings) -> dict[str, str]:
    """Say for which of the wanted compute capabilities no engine can be built.

    Args:
        bundle: A verified bundle.
        settings: For TensorRT-RTX; other compilers build for the GPU they run on.

    Returns:
        The reason, with what to do instead, by compute capability.

    Raises:
        BundleError: If the model is not a bundle's.
        EngineError: If it cannot be parsed.
        MissingExtraError: If the compiler is not installed.
    """
    if settings.flavour != "tensorrt-rtx":
        return {}
    trt = compiler(settings.flavour)
    known = capabilities(trt)
    wanted = settings.compute_capabilities
    refused = {
        one: f"TensorRT-RTX {trt.__version__} knows {', '.join(known)} alone; use TensorRT or "
        "--provider cuda on that card"
        for one in wanted
        if one not in known
    }
    if TURING in wanted and look_at(bundle, settings.flavour, _multiplies_in_float32):
        refused[TURING] = (
            f"TensorRT-RTX multiplies no float32 matrices there, and this bundle "
            f"({bundle.manifest.precision}) does; export it with --precision fp16, or use "
            "--provider cuda on that card"
        )
    return refused


def _multiplies_in_float32(trt: Any, network: Any) -> bool:
    """Whether a product of matrices has a float32 factor that does not come from int8."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    from_int8 = {
        layer.get_output(0).name for layer in layers if layer.type == trt.LayerType.DEQUANTIZE
    }
    factors = [
        layer.get_input(index)
        for layer in layers
        if layer.type == trt.LayerType.MATRIX_MULTIPLY
        for index in (0, 1)
    ]
    return any(f.dtype == trt.DataType.FLOAT and f.name not in from_int8 for f in factors)
