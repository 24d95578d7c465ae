"""Building an engine from a bundle's ONNX file, strongly typed: the file decides every type."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import EngineError, require
from vision_edge.runtime.inference.runner import Port, check_ports
from vision_edge.runtime.inference.tensorrt.key import FLAVOURS, NAMES, BuildSettings, Flavour

T = TypeVar("T")
_MB = 1 << 20


def compiler(flavour: Flavour) -> ModuleType:
    """Return the Python module of TensorRT or TensorRT-RTX.

    Raises:
        MissingExtraError: If it is not installed.
    """
    return require(FLAVOURS[flavour])


def build(
    bundle: Bundle, settings: BuildSettings, timing: bytes | None = None
) -> tuple[bytes, bytes | None]:
    """Compile a bundle's model; takes seconds for TensorRT-RTX and minutes for TensorRT.

    Args:
        bundle: A verified bundle.
        settings: How to build.
        timing: TensorRT's timing cache of an earlier build on this device.

    Returns:
        The serialised engine, and the timing cache after the build (TensorRT only).

    Raises:
        BundleError: If the model is not a bundle's.
        EngineError: If it cannot be parsed or built.
        MissingExtraError: If the compiler is not installed.
    """
    trt = compiler(settings.flavour)
    log = _log(trt)
    builder = trt.Builder(log)
    network = _network(trt, builder, bundle, log)
    config = builder.create_builder_config()
    _configure(trt, config, settings)
    profile = builder.create_optimization_profile()
    size, batch = bundle.manifest.preprocessing.size, settings.batch
    sides = (size, size, 3)
    shapes = [(count, *sides) for count in (batch.minimum, batch.optimum, batch.maximum)]
    profile.set_shape("images", *shapes)
    config.add_optimization_profile(profile)
    # A timing cache would make TensorRT-RTX ask for a GPU, and it times nothing.
    cache = config.create_timing_cache(timing or b"") if settings.flavour == "tensorrt" else None
    if cache is not None:
        config.set_timing_cache(cache, ignore_mismatch=False)
    data = builder.build_serialized_network(network, config)
    if data is None:
        raise EngineError(
            f"{bundle.path}: {NAMES[settings.flavour]} could not build an engine ({log.said()})",
            fix="try a smaller --max-batch or --workspace-mb, and close what uses the GPU's memory",
        )
    return bytes(data), None if cache is None else bytes(config.get_timing_cache().serialize())


def look_at(bundle: Bundle, flavour: Flavour, look: Callable[[Any, Any], T]) -> T:
    """Return what a function says of the compiler's module and a bundle's parsed network.

    Raises:
        BundleError: If the model is not a bundle's.
        EngineError: If it cannot be parsed.
        MissingExtraError: If the compiler is not installed.
    """
    trt = compiler(flavour)
    log = _log(trt)
    builder = trt.Builder(log)  # must outlive the network
    return look(trt, _network(trt, builder, bundle, log))


def capabilities(trt: Any) -> list[str]:
    """Return the compute capabilities that TensorRT-RTX builds for, such as `8.9`."""
    numbers = [name[2:] for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
    return [f"{number[:-1]}.{number[-1]}" for number in numbers]


def _network(trt: Any, builder: Any, bundle: Bundle, log: Any) -> Any:
    """Parse the model, and check that it takes and gives what a bundle's does."""
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(bundle.model):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise EngineError(
            f"{bundle.path}: TensorRT's parser refuses the model ({'; '.join(reasons[:3])})",
            fix="export the bundle again with this version of vision-edge, or use another provider",
        )
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    check_ports(bundle, _ports(trt, inputs), _ports(trt, outputs))
    for second in outputs[1:]:  # the engine gives embeddings alone
        network.unmark_output(second)
    return network


def _configure(trt: Any, config: Any, settings: BuildSettings) -> None:
    if not settings.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if settings.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mb * _MB)
    if settings.flavour == "tensorrt":
        if settings.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        return
    targets = [_capability(trt, text) for text in settings.compute_capabilities]
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        if not config.set_compute_capability(target, index):
            raise EngineError(f"TensorRT-RTX refuses compute capability {target}")


def _capability(trt: Any, text: str) -> Any:
    known = trt.ComputeCapability.__members__
    name = f"SM{text.replace('.', '')}"
    if name not in known:
        raise EngineError(
            f"TensorRT-RTX {trt.__version__} builds nothing for compute capability {text}",
            fix=f"it knows {', '.join(capabilities(trt))}; on another GPU use TensorRT or "
            "--provider cuda",
        )
    return known[name]


def _ports(trt: Any, tensors: list[Any]) -> list[Port]:
    names = {trt.DataType.UINT8: "uint8", trt.DataType.FLOAT: "float32"}
    return [
        Port(
            tensor.name,
            names.get(tensor.dtype, str(tensor.dtype)),
            tuple(None if side < 0 else side for side in tensor.shape),
        )
        for tensor in tensors
    ]


def _log(trt: Any) -> Any:
    """Return a logger that keeps the errors for ours and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

        def said(self) -> str:
            return self.errors[-1].splitlines()[0] if self.errors else "it gave no reason"

    return Log()
