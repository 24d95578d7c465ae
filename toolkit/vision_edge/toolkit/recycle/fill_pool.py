"""Filling a synthetic pool: inverting every adapter of a hub that is not in it yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import AdapterError
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.toolkit.adapters.adapter import Adapter, read_adapter
from vision_edge.toolkit.adapters.hub import adapter_paths, name_in_hub
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.compiling import worth_compiling
from vision_edge.toolkit.data.dataset import images_of
from vision_edge.toolkit.inversion.inversion import Inverter
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.pool.pool import Pool, PoolPart, existing_pool, open_pool
from vision_edge.toolkit.recycle.settings import RecycleSettings, Watch, Where

POOL_FOLDER = "pool"
GPU_IMAGES = 800
CPU_IMAGES = 100
"""Images inverted in one batch, by which adapters are grouped."""


def fill_pool(
    hub: Path,
    backbone: Backbone,
    settings: RecycleSettings,
    where: Where,
    watch: Watch,
    skipped: Mapping[str, str],
) -> list[PoolPart]:
    """Return the pool's parts of this hub, having inverted what is not there yet.

    Args:
        hub: A folder of adapters.
        backbone: What they belong to.
        settings: See `RecycleSettings`.
        where: Device, folders, prior; with a pool that was made earlier, its parts are returned.
        watch: Hears how it gets on.
        skipped: Names of adapters to leave out.

    Raises:
        AdapterError: If no adapter has a head, or an inversion diverges.
        DataError: If the pool is of other settings or another backbone.
    """
    if where.pool is not None:
        return existing_pool(where.pool, backbone).parts()
    prior = where.prior.name if where.prior else "total variation"
    start = where.frames.name if where.frames else "noise"
    folder = where.work / POOL_FOLDER
    if where.ranks.first:
        open_pool(folder, backbone, settings.inversion.document(), prior, start)
    where.ranks.wait()
    pool = open_pool(folder, backbone, settings.inversion.document(), prior, start)
    found, headless = [], []
    for path, adapter in _usable(hub, backbone, skipped, where.trust_base):
        if adapter.head is None:
            headless.append(adapter)
            continue
        way, part = len(adapter.head.weight), pool.part(adapter)
        found.append(Found(path, adapter.name, way, part, pool.has(adapter)))
    if not found:
        reasons = {note for adapter in headless for note in adapter.notes if "head" in note}
        raise AdapterError(
            f"{hub}: none of its adapters has a head that can be used, so there are no classes to "
            f"invert{': ' + '; '.join(sorted(reasons)[:3]) if reasons else ''}",
            fix="use --method average, which needs no heads",
        )
    if headless and where.ranks.first:
        names = ", ".join(adapter.name for adapter in headless[:10])
        more = f" and {len(headless) - 10} more" if len(headless) > 10 else ""
        watch.note(f"averaged and not inverted, for want of a head: {names}{more}")
    _invert_all(found, pool, backbone, settings, where, watch)
    where.ranks.wait()
    return [part for part in pool.parts() if part.path in {item.part for item in found}]


@dataclass(frozen=True)
class Found:
    """An adapter with a head: path, name, number of classes, its images' file, whether done."""

    path: Path
    name: str
    way: int
    part: Path
    done: bool


def _usable(
    hub: Path, backbone: Backbone, skipped: Mapping[str, str], trust_base: bool
) -> Iterator[tuple[Path, Adapter]]:
    for path in adapter_paths(hub):
        name = name_in_hub(path, hub)
        if name not in skipped:
            adapter = read_adapter(path, backbone, trust_base=trust_base)
            yield path, replace(adapter, name=name)


def _invert_all(
    found: Sequence[Found],
    pool: Pool,
    backbone: Backbone,
    settings: RecycleSettings,
    where: Where,
    watch: Watch,
) -> None:
    """Invert this process's share of the adapters that are not done, group by group."""
    batch = settings.batch or (GPU_IMAGES if where.device.startswith("cuda") else CPU_IMAGES)
    todo = where.ranks.share([item for item in found if not item.done])
    iterations, total = settings.inversion.iterations, len(todo) * settings.inversion.iterations
    passes = sum(item.way for item in todo) * settings.inversion.per_class * iterations
    inverter = Inverter(
        backbone,
        where.prior,
        settings.inversion,
        device=where.device,
        compiled=worth_compiling(where.device, passes, where.compiled),
    )
    done = 0
    for group in even_groups(todo, batch, settings.inversion.per_class):
        adapters = [
            replace(read_adapter(item.path, backbone, trust_base=where.trust_base), name=item.name)
            for item in group
        ]
        before, size = done * iterations, len(group)

        def progress(step: int, before: int = before, size: int = size) -> None:
            watch.inverted(before + step * size, total)

        watch.adapter(adapters[0].name)
        start = _frames(where, backbone, adapters, settings.inversion)
        results = inverter.invert(adapters, start, progress)
        for adapter, result in zip(adapters, results, strict=True):
            pool.add(adapter, result)
        done += size


def even_groups(todo: Sequence[Found], batch: int, per_class: int) -> Iterator[list[Found]]:
    """Group adapters whose heads have the same number of classes into batches of images.

    Groups are as even as can be, since each size is compiled anew.
    """
    for way in sorted({item.way for item in todo}):
        same = [item for item in todo if item.way == way]
        groups = math.ceil(len(same) * way * per_class / batch)
        size = math.ceil(len(same) / groups)
        for first in range(0, len(same), size):
            yield same[first : first + size]


def _frames(
    where: Where,
    backbone: Backbone,
    adapters: Sequence[Adapter],
    settings: InversionSettings,
) -> list[Image] | None:
    """Return for each adapter the frames that its images start from, drawn by its own seed."""
    if where.frames is None:
        return None
    result = []
    for adapter in adapters:
        assert adapter.head is not None
        count = len(adapter.head.weight) * settings.per_class
        seed = int(adapter.sha256[:8] or "0", 16) + settings.seed
        drawn = images_of(where.frames, count, seed, where.reading)
        images = [prepare(image, backbone.spec) for image in drawn]
        rows = np.random.default_rng(seed).permutation(np.arange(count) % len(images))
        result.append(np.stack(images)[rows])
    return result
