"""Settings of the recycling pipeline, and on what it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading
from vision_edge.toolkit.averaging.average import AverageSettings, settings_document
from vision_edge.toolkit.inversion.prior import BatchNormPrior
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.meta.learner import Row
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.processes import Ranks

STARTS = ("subspace", "average", "random")
PLAIN_MEAN = AverageSettings(rank=4, ridge=None)
"""The mean of products at the rank that the paper tunes LoRAs at; as large as the rule says."""


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

    subspace: AverageSettings = field(default_factory=AverageSettings)
    average: AverageSettings = PLAIN_MEAN
    inversion: InversionSettings = field(default_factory=InversionSettings)
    meta: MetaSettings = field(default_factory=MetaSettings)
    start: str = "subspace"
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise VisionEdgeError(
                f"start {self.start!r} is unknown", fix=f"use one of {', '.join(STARTS)}"
            )
        least = self.meta.shape.shot + 1
        if self.meta.steps and self.inversion.per_class < least:
            raise VisionEdgeError(
                f"--per-class {self.inversion.per_class}: meta-learning needs {least} images a "
                f"class, {self.meta.shape.shot} to learn a class from and one to ask about",
                fix=f"give --per-class {least} or more, or --meta-steps 0",
            )

    def document(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {
            "subspace": settings_document(self.subspace),
            "average": settings_document(self.average),
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
        compiled: Whether to compile the models; None: where the work is long enough to gain by it
            (see `worth_compiling`).
        ranks: The processes that share the work; all must see the same `work` folder.
        prior: The BatchNorm prior, on `device`; None for the total variation.
        frames: Unlabelled images to start inversion from; None for noise.
        reading: What their files do not say of their pixels.
        pool: A pool made earlier, which takes the place of inversion.
        skip_bad: Leave out adapters that cannot be used.
        trust_base: Take adapters whatever base they record.
    """

    work: Path
    device: str = "cpu"
    compiled: bool | None = None
    ranks: Ranks = field(default_factory=Ranks)
    prior: BatchNormPrior | None = None
    frames: Path | None = None
    reading: Reading = AS_IT_SAYS
    pool: Path | None = None
    skip_bad: bool = False
    trust_base: bool = False


@dataclass
class Watch:
    """Hears how the pipeline gets on; every method may be replaced."""

    stage: Callable[[str], None] = lambda _: None
    adapter: Callable[[str], None] = lambda _: None
    inverted: Callable[[int, int], None] = lambda _done, _total: None
    row: Callable[[Row], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None
