"""LoRA Recycle as one resumable pipeline: average, invert, meta-learn.

Source: LoRA Recycle (Hu et al., CVPR 2025, arXiv 2412.02220). What is finished is kept in a work
folder: the synthetic pool adapter by adapter, meta-learning by a checkpoint. Killed at any moment
and started again with the same options, the pipeline goes on from there.
"""

from __future__ import annotations

import csv
import io
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.system.files import atomic_file
from vision_edge.toolkit.averaging.average import AverageResult, AverageSettings, average_hub
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.backbones.tokens import check_tokens
from vision_edge.toolkit.compiling import keep_compiled, worth_compiling
from vision_edge.toolkit.meta.learner import MetaResult, Row, meta_learn
from vision_edge.toolkit.meta.meta_lora import random_updates
from vision_edge.toolkit.pool.pool import PoolPart
from vision_edge.toolkit.recycle.fill_pool import fill_pool
from vision_edge.toolkit.recycle.settings import RecycleSettings, Watch, Where

CURVES_FILE = "curves.csv"
CHECKPOINT_FILE = "meta.safetensors"


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
    subspace: AverageResult
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
    keep_compiled()
    check_tokens(backbone.model, backbone.name)
    settings.inversion.pruning.check(len(backbone.model.blocks))
    stages: dict[str, dict[str, float]] = {}
    with _measured(stages, "average", watch):

        def averaged(chosen: AverageSettings) -> AverageResult:
            return average_hub(
                hub,
                backbone,
                chosen,
                skip_bad=where.skip_bad,
                trust_base=where.trust_base,
                progress=watch.adapter,
            )

        average, subspace = averaged(settings.average), averaged(settings.subspace)
    with _measured(stages, "invert", watch):
        parts = fill_pool(hub, backbone, settings, where, watch, average.report["skipped"])
    with _measured(stages, "meta-learn", watch):
        start = subspace.updates if settings.start == "subspace" else average.updates
        if settings.start == "random":
            start = random_updates(backbone.model, settings.average.rank, settings.meta.seed)
        passes = settings.meta.steps * settings.meta.images_a_step // where.ranks.world
        meta = meta_learn(
            backbone,
            start,
            parts,
            settings.meta,
            device=where.device,
            compiled=worth_compiling(where.device, passes, where.compiled),
            checkpoint=where.work / CHECKPOINT_FILE,
            ranks=where.ranks,
            progress=watch.row,
        )
    if where.ranks.first:
        write_curves(where.work / CURVES_FILE, meta.curves)
    return RecycleResult(meta.updates, average, subspace, meta, parts, stages)


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
