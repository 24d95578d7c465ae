"""LoRA Recycle as one resumable pipeline: average, invert, meta-learn.

Source: LoRA Recycle (Hu et al., CVPR 2025, arXiv 2412.02220). What is finished is kept in a work
folder: the synthetic pool adapter by adapter, meta-learning by a checkpoint. Killed at any moment
and started again with the same options, the pipeline goes on from there.
"""

from __future__ import annotations

import csv
import io
import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vision_edge.export.merge import LowRank
from vision_edge.runtime.errors import AdapterError, VisionEdgeError
from vision_edge.runtime.files import atomic_file
from vision_edge.runtime.preprocess import Image, prepare
from vision_edge.toolkit.adapters import Adapter, read_adapter
from vision_edge.toolkit.average import AverageResult, AverageSettings, average_hub
from vision_edge.toolkit.backbones import Backbone
from vision_edge.toolkit.data import images_of
from vision_edge.toolkit.hub import adapter_paths
from vision_edge.toolkit.inversion import InversionSettings, Inverter
from vision_edge.toolkit.meta_lora import random_updates
from vision_edge.toolkit.meta_settings import MetaSettings
from vision_edge.toolkit.metalearn import MetaResult, Row, meta_learn
from vision_edge.toolkit.pool import Pool, PoolPart, existing_pool, open_pool
from vision_edge.toolkit.prior import BatchNormPrior
from vision_edge.toolkit.ranks import Ranks
from vision_edge.toolkit.subspace import SubspaceAverage, SubspaceSettings, subspace_average
from vision_edge.toolkit.tokens import check_tokens

STARTS = ("subspace", "average", "random")
CURVES_FILE = "curves.csv"
CHECKPOINT_FILE = "meta.safetensors"
POOL_FOLDER = "pool"
GPU_IMAGES = 800
CPU_IMAGES = 100
"""Images inverted in one batch, by which adapters are grouped."""


@dataclass(frozen=True)
class RecycleSettings:
    """Settings of `build --method recycle`.

    Attributes:
        subspace: The subspace average.
        average: The average of products, a baseline of the report.
        inversion: LoRA Inversion.
        meta: Meta-learning.
        start: Where the meta-LoRA starts: `subspace`, `average`, or `random` as in the paper.
        batch: Images inverted together; adapters are grouped to fill it. None: by the device.
    """

    subspace: SubspaceSettings = field(default_factory=SubspaceSettings)
    average: AverageSettings = field(default_factory=AverageSettings)
    inversion: InversionSettings = field(default_factory=InversionSettings)
    meta: MetaSettings = field(default_factory=MetaSettings)
    start: str = "subspace"
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise VisionEdgeError(
                f"start {self.start!r} is unknown", fix=f"use one of {', '.join(STARTS)}"
            )

    def document(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {
            "subspace": asdict(self.subspace),
            "average": asdict(self.average),
            "inversion": self.inversion.document(),
            "meta": self.meta.document(),
            "start": self.start,
        }


@dataclass(frozen=True)
class Where:
    """On what, and with what at hand, the pipeline runs.

    Attributes:
        work: Folder for what is finished.
        device: `"cpu"` or a CUDA device.
        compiled: Whether to compile the models.
        ranks: The processes that share the work; all must see the same `work` folder.
        prior: The BatchNorm prior, on `device`; None for the total variation.
        frames: Unlabelled images to start inversion from; None for noise.
        pool: A pool made earlier, which takes the place of inversion.
        skip_bad: Leave out adapters that cannot be used.
    """

    work: Path
    device: str = "cpu"
    compiled: bool = False
    ranks: Ranks = field(default_factory=Ranks)
    prior: BatchNormPrior | None = None
    frames: Path | None = None
    pool: Path | None = None
    skip_bad: bool = False


@dataclass
class Watch:
    """Hears how the pipeline gets on; every method may be replaced."""

    stage: Callable[[str], None] = lambda _: None
    adapter: Callable[[str], None] = lambda _: None
    inverted: Callable[[int, int], None] = lambda _done, _total: None
    row: Callable[[Row], None] = lambda _: None


@dataclass(frozen=True)
class RecycleResult:
    """What the pipeline gives.

    Attributes:
        updates: The meta-LoRA.
        average: The average of products.
        subspace: The subspace average.
        meta: The result of meta-learning.
        parts: The synthetic pool.
        stages: By stage, `seconds` and `peak_mb` (of the GPU where there is one).
    """

    updates: dict[str, LowRank]
    average: AverageResult
    subspace: SubspaceAverage
    meta: MetaResult
    parts: list[PoolPart]
    stages: dict[str, dict[str, float]]


def recycle_hub(
    hub: Path,
    backbone: Backbone,
    settings: RecycleSettings,
    where: Where,
    watch: Watch | None = None,
) -> RecycleResult:
    """Recycle a hub into a meta-LoRA.

    Args:
        hub: A folder of adapters.
        backbone: What they belong to.
        settings: See `RecycleSettings`.
        where: Device, folders, prior.
        watch: Hears how it gets on.

    Raises:
        AdapterError: If no adapter has a head, or one cannot be used.
        BackboneError: If the backbone's tokens cannot be pruned.
        DataError: If the work folder or the pool is of other settings or another backbone.
        VisionEdgeError: If a loss is not finite.
    """
    watch = watch or Watch()
    check_tokens(backbone.model, backbone.name)
    settings.inversion.pruning.check(len(backbone.model.blocks))
    stages: dict[str, dict[str, float]] = {}
    with _measured(stages, "average", watch):
        average = average_hub(
            hub, backbone, settings.average, skip_bad=where.skip_bad, progress=watch.adapter
        )
        subspace = subspace_average(
            hub,
            backbone,
            settings.subspace,
            skipped=average.report["skipped"],
            progress=watch.adapter,
        )
    with _measured(stages, "invert", watch):
        parts = _parts(hub, backbone, settings, where, watch, average.report["skipped"])
    with _measured(stages, "meta-learn", watch):
        start = subspace.updates if settings.start == "subspace" else average.updates
        if settings.start == "random":
            start = random_updates(backbone.model, settings.average.rank, settings.meta.seed)
        meta = meta_learn(
            backbone,
            start,
            parts,
            settings.meta,
            device=where.device,
            compiled=where.compiled,
            checkpoint=where.work / CHECKPOINT_FILE,
            ranks=where.ranks,
            progress=watch.row,
        )
    if where.ranks.first:
        write_curves(where.work / CURVES_FILE, meta.curves)
    return RecycleResult(meta.updates, average, subspace, meta, parts, stages)


def _parts(
    hub: Path,
    backbone: Backbone,
    settings: RecycleSettings,
    where: Where,
    watch: Watch,
    skipped: Mapping[str, str],
) -> list[PoolPart]:
    """Return the pool's parts of this hub, having inverted what is not there yet."""
    if where.pool is not None:
        return existing_pool(where.pool, backbone).parts()
    prior = where.prior.name if where.prior else "total variation"
    start = where.frames.name if where.frames else "noise"
    folder = where.work / POOL_FOLDER
    if where.ranks.first:
        open_pool(folder, backbone, settings.inversion, prior, start)
    where.ranks.wait()
    pool = open_pool(folder, backbone, settings.inversion, prior, start)
    found = [
        _Found(path, len(adapter.head.weight), pool.part(adapter), pool.has(adapter))
        for path, adapter in _usable(hub, backbone, skipped)
        if adapter.head is not None
    ]
    if not found:
        raise AdapterError(
            f"{hub}: none of its adapters has a head, so there are no classes to invert",
            fix="use --method average, which needs no heads",
        )
    _invert_all(found, pool, backbone, settings, where, watch)
    where.ranks.wait()
    return [part for part in pool.parts() if part.path in {item.part for item in found}]


@dataclass(frozen=True)
class _Found:
    """An adapter with a head: its path, its number of classes, its images' file, whether done."""

    path: Path
    way: int
    part: Path
    done: bool


def _usable(
    hub: Path, backbone: Backbone, skipped: Mapping[str, str]
) -> Iterator[tuple[Path, Adapter]]:
    for path in adapter_paths(hub):
        if path.name not in skipped:
            yield path, read_adapter(path, backbone)


def _invert_all(
    found: Sequence[_Found],
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
    inverter = Inverter(
        backbone,
        where.prior,
        settings.inversion,
        device=where.device,
        compiled=where.compiled,
    )
    done = 0
    for group in _groups(todo, batch, settings.inversion.per_class):
        adapters = [read_adapter(item.path, backbone) for item in group]
        before, size = done * iterations, len(group)

        def progress(step: int, before: int = before, size: int = size) -> None:
            watch.inverted(before + step * size, total)

        watch.adapter(adapters[0].name)
        start = _frames(where.frames, backbone, adapters, settings.inversion)
        results = inverter.invert(adapters, start, progress)
        for adapter, result in zip(adapters, results, strict=True):
            pool.add(adapter, result)
        done += size


def _groups(todo: Sequence[_Found], batch: int, per_class: int) -> Iterator[list[_Found]]:
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
    frames: Path | None,
    backbone: Backbone,
    adapters: Sequence[Adapter],
    settings: InversionSettings,
) -> list[Image] | None:
    """Return for each adapter the frames that its images start from, drawn by its own seed."""
    if frames is None:
        return None
    result = []
    for adapter in adapters:
        assert adapter.head is not None
        count = len(adapter.head.weight) * settings.per_class
        seed = int(adapter.sha256[:8] or "0", 16) + settings.seed
        images = [prepare(image, backbone.spec) for image in images_of(frames, count, seed)]
        rows = np.random.default_rng(seed).permutation(np.arange(count) % len(images))
        result.append(np.stack(images)[rows])
    return result


def write_curves(path: Path, curves: Sequence[Row]) -> None:
    """Write the curves of meta-learning as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(curves[0]))
    writer.writeheader()
    writer.writerows(curves)
    with atomic_file(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


@contextmanager
def _measured(stages: dict[str, dict[str, float]], name: str, watch: Watch) -> Iterator[None]:
    """Note a stage's time and its peak of memory."""
    watch.stage(name)
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    started = time.monotonic()
    yield
    peak = (
        torch.cuda.max_memory_allocated() / 1e6
        if gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    )
    stages[name] = {"seconds": round(time.monotonic() - started, 3), "peak_mb": round(peak, 1)}
