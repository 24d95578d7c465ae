"""Meta-learning on synthetic images: the meta-LoRA learns to make prototypes that separate.

Source: LoRA Recycle (Hu et al., CVPR 2025, arXiv 2412.02220), sections 4.3 and 4.4. In each task
the support images of N classes make prototypes, and the queries are classified by them:

- within one adapter the prediction follows the teacher, that very adapter with its head
  (Kullback-Leibler divergence, equation 6);
- across adapters (cross-task interpolation) no teacher knows all classes, and the labels are
  learned (cross-entropy, equation 7).

Where we differ: it starts from the average of products unless told otherwise; queries are scored
by the centred cosine that the runtime uses; and the step that is kept is the one with the lowest
loss on tasks of adapters that were held out, never one chosen on real images.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vision_edge.export.model.embedder import normalise_pixels
from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.backbones.tokens import forward_tokens, most_important
from vision_edge.toolkit.meta.checkpoint import TrainingState, read_state, write_state
from vision_edge.toolkit.meta.held_out_tasks import fitted, held_out_tasks, split_sources
from vision_edge.toolkit.meta.loss import episode_logits, task_losses
from vision_edge.toolkit.meta.meta_lora import MetaLora
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.pool import PoolPart
from vision_edge.toolkit.pool.tasks import ImageStore, SyntheticTask
from vision_edge.toolkit.processes import Ranks

Row = dict[str, Any]


@dataclass(frozen=True)
class MetaResult:
    """What meta-learning gives.

    Attributes:
        updates: The meta-LoRA of the step that was chosen.
        step: That step; 0 is the start.
        curves: One row a look: `step`, `loss` of the steps before it (None at the start),
            `held_out_loss` and `held_out_accuracy` (percent) on the tasks held out, `distance`
            from the start relative to its size.
    """

    updates: dict[str, LowRank]
    step: int
    curves: list[Row]


def meta_learn(
    backbone: Backbone,
    start: Mapping[str, LowRank],
    parts: Sequence[PoolPart],
    settings: MetaSettings,
    *,
    device: str = "cpu",
    compiled: bool = False,
    checkpoint: Path | None = None,
    ranks: Ranks | None = None,
    progress: Callable[[Row], None] = lambda _: None,
) -> MetaResult:
    """Learn a meta-LoRA from a synthetic pool.

    Args:
        backbone: The frozen backbone; it is copied.
        start: The meta-LoRA to start from; its rank stays.
        parts: The pool's parts.
        settings: See `MetaSettings`.
        device: `"cpu"` (float32) or a CUDA device (bfloat16; the factors stay float32).
        compiled: Whether to compile the forward pass.
        checkpoint: File in which the state is kept, to resume from when it is there.
        ranks: Processes that share each step's tasks.
        progress: Called with each row of the curves.

    Returns:
        The meta-LoRA of the best step, and the curves.

    Raises:
        DataError: If the pool is too small.
        VisionEdgeError: If a loss is not finite, or the checkpoint is of other settings.
    """
    settings = fitted(settings, parts)
    learner = Learner(backbone, start, parts, settings, torch.device(device), compiled, ranks)
    if checkpoint is not None and checkpoint.is_file():
        learner.restore(read_state(checkpoint), checkpoint)
    while learner.step < settings.steps or not learner.curves:
        if learner.due:
            progress(learner.look())
            if checkpoint is not None and learner.ranks.first:
                write_state(checkpoint, learner.state())
        if learner.step < settings.steps:
            learner.advance()
    if learner.curves[-1]["step"] < learner.step:
        progress(learner.look())
        if checkpoint is not None and learner.ranks.first:
            write_state(checkpoint, learner.state())
    return MetaResult(learner.best_updates(), learner.best_step, learner.curves)


def _identity(backbone: Backbone, parts: Sequence[PoolPart], start: Sequence[Tensor]) -> str:
    """Return a hash of what a meta-LoRA is learned from: backbone, pool and start."""
    digest = hashlib.sha256(backbone.sha256.encode())
    for part in parts:
        digest.update(f"{part.name} {part.sha256} {part.logits.shape}".encode())
    for delta in start:
        digest.update(delta.float().cpu().numpy().tobytes())
    return digest.hexdigest()


class Learner:
    """The state of meta-learning: the model, the optimiser, the curves and the best step."""

    def __init__(
        self,
        backbone: Backbone,
        start: Mapping[str, LowRank],
        parts: Sequence[PoolPart],
        settings: MetaSettings,
        device: torch.device,
        compiled: bool,
        ranks: Ranks | None = None,
    ) -> None:
        self.settings, self.spec, self.device = settings, backbone.spec, device
        self.ranks = ranks or Ranks()
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.lora = MetaLora(copy.deepcopy(backbone.model).to(device), start, self.dtype)
        self.factors = self.lora.factors()
        self.optimiser = torch.optim.Adam(self.factors, settings.lr)
        self.start = [layer.delta().detach() for layer in self.lora.layers.values()]
        self.size = sum(float(delta.square().sum()) for delta in self.start)
        self.identity = _identity(backbone, parts, self.start)
        learn, held = split_sources(parts, settings)
        self.learn, self.learn_images = learn, ImageStore(learn.parts, device)
        self.held = held_out_tasks(held, settings)
        self.held_images = ImageStore(held.parts, device)
        self.compiled = compiled
        self.step = 0
        self.curves: list[Row] = []
        self.losses: list[float] = []
        self.best_step = 0
        self.best = [factor.detach().clone() for factor in self.factors]

    @property
    def due(self) -> bool:
        """Whether it is time to look at the tasks held out."""
        looked = bool(self.curves) and self.curves[-1]["step"] == self.step
        return not looked and self.step % self.settings.evaluate_every == 0

    def advance(self) -> None:
        """Make one step of the optimiser."""
        settings, shape = self.settings, self.settings.shape
        mine = self.ranks.share([self._drawn(index) for index in range(settings.tasks)])
        self.optimiser.zero_grad(set_to_none=False)
        for factor in self.factors:
            factor.grad = torch.zeros_like(factor) if factor.grad is None else factor.grad
        total = torch.zeros((), device=self.device)
        size = max(1, math.ceil(len(mine) / settings.accumulate))
        for first in range(0, len(mine), size):
            tasks = mine[first : first + size]
            loss = task_losses(self.scores(tasks, self.learn_images), tasks, shape).sum()
            loss = loss / settings.tasks
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if settings.pull and self.ranks.first:
            (settings.pull * self.distance()).backward()  # type: ignore[no-untyped-call]
        self.ranks.add([total, *(f.grad for f in self.factors if f.grad is not None)])
        if not math.isfinite(float(total)):
            names = sorted({self.learn.parts[i].name for task in mine for i in task.parts})
            raise VisionEdgeError(
                f"meta-learning step {self.step}: the loss is not finite, with images of "
                f"{', '.join(names[:8])}",
                fix="leave out that adapter, or lower --meta-lr",
            )
        for group in self.optimiser.param_groups:
            group["lr"] = settings.rate(self.step)
        self.optimiser.step()
        self.losses.append(float(total))
        self.step += 1

    def _drawn(self, index: int) -> SyntheticTask:
        """Draw one of this step's tasks, the same whichever process asks."""
        return self.learn.draw(np.random.default_rng([self.settings.seed, 0, self.step, index]))

    def scores(self, tasks: Sequence[SyntheticTask], store: ImageStore) -> Tensor:
        """Return float32 (E, way * query, way) of some tasks."""
        settings, shape = self.settings, self.settings.shape
        pixels = normalise_pixels(store.images(tasks), self.spec).to(self.dtype)
        keep = None
        if settings.sparsity:
            keep = most_important(store.order(tasks), settings.sparsity)
        output = forward_tokens(self.lora.model, pixels, keep=keep, compiled=self.compiled)
        features = output.embedding.view(len(tasks), shape.way, shape.images, -1)
        return episode_logits(features, shape, settings.metric, settings.temperature)

    def distance(self) -> Tensor:
        """Return the squared distance of the meta-LoRA from its start, relative to its size."""
        layers = self.lora.layers.values()
        moved = [
            (layer.delta() - old).square().sum()
            for layer, old in zip(layers, self.start, strict=True)
        ]
        return torch.stack(moved).sum() / max(self.size, 1e-12)

    @torch.no_grad()
    def look(self) -> Row:
        """Measure the tasks held out, and keep the meta-LoRA if it is the best so far."""
        shape = self.settings.shape
        truth = torch.arange(shape.way, device=self.device).repeat_interleave(shape.query)
        losses = torch.zeros(len(self.held), device=self.device)
        right = torch.zeros(len(self.held), device=self.device)
        starts = range(0, len(self.held), self.settings.tasks)
        for first in self.ranks.share(starts):
            here = slice(first, first + self.settings.tasks)
            logits = self.scores(self.held[here], self.held_images)
            losses[here] = task_losses(logits, self.held[here], shape)
            right[here] = (logits.argmax(-1) == truth).float().mean(1)
        self.ranks.add([losses, right])  # each filled in by one process, and zero elsewhere
        if not math.isfinite(float(losses.sum())):
            raise VisionEdgeError(
                f"meta-learning step {self.step}: the loss on the tasks held out is not finite, "
                f"with images of {', '.join(part.name for part in self.held_images.parts)}",
                fix="leave out that adapter, or lower --meta-lr",
            )
        row: Row = {
            "step": self.step,
            "loss": float(np.mean(self.losses)) if self.losses else None,
            "held_out_loss": float(losses.mean()),
            "held_out_accuracy": 100 * float(right.mean()),
            "distance": math.sqrt(float(self.distance())),
        }
        self.losses = []
        if all(row["held_out_loss"] < earlier["held_out_loss"] for earlier in self.curves):
            self.best_step = self.step
            self.best = [factor.detach().clone() for factor in self.factors]
        self.curves.append(row)
        return row

    def best_updates(self) -> dict[str, LowRank]:
        """Return the meta-LoRA of the best step."""
        with torch.no_grad():
            for factor, best in zip(self.factors, self.best, strict=True):
                factor.copy_(best)
        return self.lora.updates()

    def state(self) -> TrainingState:
        """Return what is needed to go on from here."""
        moments = [self.optimiser.state.get(factor, {}) for factor in self.factors]
        return TrainingState(
            step=self.step,
            best_step=self.best_step,
            curves=self.curves,
            factors=[factor.detach() for factor in self.factors],
            best=self.best,
            first_moments=[m["exp_avg"] for m in moments if m],
            second_moments=[m["exp_avg_sq"] for m in moments if m],
            settings=self.settings.document(),
            identity=self.identity,
        )

    def restore(self, state: TrainingState, path: Path) -> None:
        """Go on from a state.

        Raises:
            VisionEdgeError: If it is of other settings or of another meta-LoRA.
        """
        own = {k: v for k, v in self.settings.document().items() if k != "steps"}
        same = own == {k: v for k, v in state.settings.items() if k != "steps"}
        if not same or state.identity != self.identity:
            what = "settings" if not same else "a hub, a pool or a backbone"
            raise VisionEdgeError(
                f"{path}: a checkpoint of other {what}",
                fix="remove it, or give the same options to resume",
            )
        with torch.no_grad():
            for factor, saved in zip(self.factors, state.factors, strict=True):
                factor.copy_(saved)
        self.best = [best.to(self.device) for best in state.best]
        self.step, self.best_step, self.curves = state.step, state.best_step, state.curves
        for index, factor in enumerate(self.factors if state.first_moments else []):
            self.optimiser.state[factor] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": state.first_moments[index].to(self.device),
                "exp_avg_sq": state.second_moments[index].to(self.device),
            }
