"""Opening a session on a bundle's engine: the right one, whole, and found good on this device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import EngineError, MissingExtraError
from vision_edge.runtime.inference.agreement import ProbeImages, probe_images
from vision_edge.runtime.inference.tensorrt.builder import compiler
from vision_edge.runtime.inference.tensorrt.compiling import pass_gate
from vision_edge.runtime.inference.tensorrt.gpu import Gpu, find_gpu
from vision_edge.runtime.inference.tensorrt.key import FLAVOURS, NAMES, Flavour
from vision_edge.runtime.inference.tensorrt.runner import EngineRunner
from vision_edge.runtime.inference.tensorrt.store import EngineRecord, EngineStore, Gate

_COMPILE = "run `vision-edge compile` on this device"


def has_engines(bundle: Bundle) -> bool:
    """Whether anybody compiled this bundle."""
    return bool(EngineStore(bundle.path).records())


def open_engine(
    bundle: Bundle, notes: list[str], images: ProbeImages | None = None
) -> EngineRunner:
    """Run a bundle by an engine of its folder that fits this device.

    An engine that was never tried on this device passes the gate first, which takes seconds.

    Args:
        bundle: A verified bundle.
        notes: Gets what a user should know.
        images: For the gate; generated scenes by default.

    Raises:
        EngineError: If no engine fits, it is damaged, or the gate refused it.
        MissingExtraError: If CUDA's Python package is not installed.
    """
    store = EngineStore(bundle.path)
    records = store.records()
    if not records:
        raise EngineError(f"{bundle.path}: there is no engine", fix=_COMPILE)
    gpu = find_gpu()
    reasons: list[str] = []
    for record in _fitting(bundle, records, gpu, reasons):
        try:
            runner = load_engine(bundle, record, store)
            _require_passed(bundle, record, runner, gpu, images, notes)
        except EngineError as error:
            reasons.append(f"{record.key.name}: {error.what}")
            continue
        notes.extend(f"engine not used: {reason}" for reason in reasons)
        return runner
    raise EngineError(f"no engine can be used on {gpu}: {'; '.join(reasons)}", fix=_COMPILE)


def load_engine(bundle: Bundle, record: EngineRecord, store: EngineStore) -> EngineRunner:
    """Verify and deserialise an engine, and keep what TensorRT-RTX compiles at its first run.

    Raises:
        EngineError: If it is damaged or TensorRT refuses it.
    """
    key = record.key
    cache = f"kernels-{key.name}.cache"
    known = store.read_cache(cache)
    runner = EngineRunner(
        bundle,
        key.settings.flavour,
        store.read(record),
        key.settings.batch,
        host_code=key.settings.version_compatible,
        runtime_cache=known,
    )
    _warm_up(bundle, runner)
    kernels = runner.runtime_cache
    if kernels is not None and kernels != known:
        with contextlib.suppress(EngineError):  # a read-only bundle compiles at every start
            store.write_cache(cache, kernels)
    return runner


def _warm_up(bundle: Bundle, runner: EngineRunner) -> None:
    size = bundle.manifest.preprocessing.size
    runner.run(np.zeros((1, size, size, 3), np.uint8))


def _fitting(
    bundle: Bundle, records: list[EngineRecord], gpu: Gpu, reasons: list[str]
) -> Iterator[EngineRecord]:
    """Yield records that fit this device; say of the others why not."""
    versions = {flavour: _version(flavour) for flavour in FLAVOURS}
    for record in records:
        flavour = record.key.settings.flavour
        version = versions[flavour]
        if version is None:
            reasons.append(f"{record.key.name}: {NAMES[flavour]} is not installed")
            continue
        reason = record.key.mismatch(bundle, version, gpu)
        if reason is None:
            yield record
        else:
            reasons.append(f"{record.key.name}: {reason}")


def _version(flavour: Flavour) -> str | None:
    try:
        return str(compiler(flavour).__version__)
    except MissingExtraError:
        return None


def _require_passed(
    bundle: Bundle,
    record: EngineRecord,
    runner: EngineRunner,
    gpu: Gpu,
    images: ProbeImages | None,
    notes: list[str],
) -> None:
    """Look up what the gate found on this device, or find out now."""
    gate = record.gates.get(str(gpu))
    if gate is None:
        gate = _gated(bundle, record, runner, gpu, images or probe_images(bundle), notes)
    if not gate.passed:
        raise EngineError(
            f"the gate refused it on {gpu}: cosine {gate.min_cosine:.5f} to ONNX Runtime on the "
            f"CPU, {gate.minimum} is asked ({gate.images} images, {gate.source})"
        )


def _gated(
    bundle: Bundle,
    record: EngineRecord,
    runner: EngineRunner,
    gpu: Gpu,
    images: ProbeImages,
    notes: list[str],
) -> Gate:
    gate = pass_gate(bundle, record, runner, gpu, images)
    if gate.passed:
        notes.append(
            f"the engine was tried on {gate.images} images and agrees with ONNX Runtime on the CPU "
            f"(cosine at least {gate.min_cosine:.5f})"
        )
    return gate
