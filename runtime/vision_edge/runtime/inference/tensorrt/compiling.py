"""From a bundle to an engine that is in its cache and, where it can run here, through its gate."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone

from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.errors import EngineError
from vision_edge.runtime.inference.agreement import MIN_COSINE_TF32, ProbeImages, probe
from vision_edge.runtime.inference.tensorrt.builder import build, compiler
from vision_edge.runtime.inference.tensorrt.gpu import Gpu
from vision_edge.runtime.inference.tensorrt.key import BuildSettings, EngineKey, key_for
from vision_edge.runtime.inference.tensorrt.possible import impossible
from vision_edge.runtime.inference.tensorrt.runner import EngineRunner
from vision_edge.runtime.inference.tensorrt.store import EngineRecord, EngineStore, Gate

Say = Callable[[str], None]


@dataclass(frozen=True)
class Compiled:
    """What `compile_bundle` did.

    Attributes:
        record: The engine's record.
        new: Whether it was built now, rather than found.
        removed: How many engines of other keys were removed.
        refused: Why it is not for some of the cards that were wanted, by compute capability.
    """

    record: EngineRecord
    new: bool
    removed: int
    refused: dict[str, str] = field(default_factory=dict)


def compile_bundle(
    bundle: Bundle,
    settings: BuildSettings,
    gpu: Gpu | None,
    *,
    force: bool = False,
    say: Say = lambda _: None,
) -> Compiled:
    """Build an engine, unless a whole one of the same key is there; remove outdated ones.

    A card that TensorRT-RTX cannot build for is left out, if others remain.

    Two processes that compile one bundle at once build one engine: the second waits and finds it.

    Args:
        bundle: A verified bundle.
        settings: How to build.
        gpu: The GPU here, if there is one; TensorRT needs it.
        force: Build even so.
        say: Gets what a user should know while it lasts.

    Raises:
        BundleError: If the model is not a bundle's.
        EngineError: If the engine cannot be built or kept; what was there before stays.
    """
    if settings.flavour == "tensorrt" and gpu is None:
        raise EngineError(
            "TensorRT builds on the device that runs the engine, and here is no GPU",
            fix="run `vision-edge compile` on the device, or use --target tensorrt-rtx",
        )
    refused = impossible(bundle, settings)
    settings = _without(settings, refused)
    key = key_for(bundle, settings, compiler(settings.flavour).__version__, gpu)
    store = EngineStore(bundle.path)
    with store.lock(lambda: say("another process compiles this bundle; waiting for it")):
        store.sweep()
        found = None if force else _whole(store, key, say)
        if found is not None:
            return Compiled(found, new=False, removed=0, refused=refused)
        record = _build(bundle, key, store)
        removed = _remove_outdated(store, key, gpu, say)
    return Compiled(record, new=True, removed=removed, refused=refused)


def _without(settings: BuildSettings, refused: dict[str, str]) -> BuildSettings:
    """Return settings for the cards that remain.

    Raises:
        EngineError: If none does.
    """
    left = tuple(one for one in settings.compute_capabilities if one not in refused)
    if refused and not left:
        card, reason = next(iter(refused.items()))
        what, _, fix = reason.partition("; ")
        raise EngineError(f"no engine can be built for compute capability {card}: {what}", fix=fix)
    return settings.model_copy(update={"compute_capabilities": left})


def pass_gate(
    bundle: Bundle,
    record: EngineRecord,
    runner: EngineRunner,
    gpu: Gpu,
    images: ProbeImages,
    minimum: float | None = None,
) -> Gate:
    """Probe an engine on this device and record what was found.

    Where the bundle cannot be written, nothing is recorded, and every session probes again.
    """
    if minimum is None and record.key.settings.tf32 and bundle.manifest.precision == "fp32":
        minimum = MIN_COSINE_TF32
    gate = Gate(**asdict(probe(bundle, runner, images, minimum)), time=_now())
    store = EngineStore(bundle.path)
    with contextlib.suppress(EngineError), store.lock():
        latest = store.find(record.key) or record
        store.update(latest.model_copy(update={"gates": {**latest.gates, str(gpu): gate}}))
    return gate


def _whole(store: EngineStore, key: EngineKey, say: Say) -> EngineRecord | None:
    """Return the record of an engine of this key if its file is whole."""
    record = store.find(key)
    if record is None:
        return None
    try:
        store.read(record)
    except EngineError as error:
        say(f"{error.what}; building it again")
        return None
    return record


def _build(bundle: Bundle, key: EngineKey, store: EngineStore) -> EngineRecord:
    cache = f"timing-{key.version}.cache"
    started = time.monotonic()
    data, timing = build(bundle, key.settings, store.read_cache(cache))
    record = EngineRecord(
        key=key,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        built=_now(),
        seconds=round(time.monotonic() - started, 1),
    )
    store.write(record, data)
    if timing is not None:
        store.write_cache(cache, timing)
    return record


def _remove_outdated(store: EngineStore, key: EngineKey, gpu: Gpu | None, say: Say) -> int:
    """Remove engines that the new one replaces: of its flavour, for no other kind of device."""
    outdated = [
        record.key
        for record in store.records()
        if record.key != key
        and record.key.settings.flavour == key.settings.flavour
        and record.key.gpu in (None, key.gpu)
        and set(record.key.settings.compute_capabilities) <= set(key.settings.compute_capabilities)
    ]
    for old in outdated:
        say(f"removing {old.name}: the new engine takes its place")
        store.discard(old)
    return len(outdated)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
