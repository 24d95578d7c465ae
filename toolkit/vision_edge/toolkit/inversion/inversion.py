"""LoRA Inversion: images that an adapter takes for its classes, without its training data.

Source: LoRA Recycle (Hu et al., CVPR 2025, arXiv 2412.02220), section 4.1, equations 2 and 3: noise
X is optimised by Adam to minimise `CE(h_i(f_{dW_i}(X)), Y) + alpha R(X)`, rolled and flipped at
random in every iteration, with R the BatchNorm prior. Where we differ:

- Several adapters are inverted in one batch; each has its own losses, statistics, randomness and
  best image, so that its images do not depend on which others it was batched with.
- The images kept are those with the lowest loss in the second half of the iterations. (In the
  authors' code `best_inputs = inputs.data` is another name for the live tensor, so the last are.)
- Images are rounded to 8 bits before the teacher labels them: what is trained on is an image.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vision_edge.export.model.embedder import normalise_pixels
from vision_edge.export.model.pruning import Pruning
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import AdapterError
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.toolkit.adapters.adapter import Adapter
from vision_edge.toolkit.adapters.heads import Head
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.backbones.tokens import forward_tokens
from vision_edge.toolkit.inversion.grouped_model import GroupedHead, load_group, merged_group
from vision_edge.toolkit.inversion.pixels import to_images, value_range
from vision_edge.toolkit.inversion.prior import BatchNormPrior, compiled_prior, total_variation
from vision_edge.toolkit.inversion.rolled_views import Views, permutations, permuted
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.pool.inverted import Inverted

CHECK_EVERY = 50
BEST_FROM = 0.5
"""The share of the iterations after which the best image is looked for."""


class Inverter:
    """Inverts groups of adapters of one backbone; the model is made once and loaded anew.

    Args:
        backbone: The frozen backbone.
        prior: On `device`; without it the total variation is kept low instead.
        settings: See `InversionSettings`.
        device: `"cpu"` (float32) or a CUDA device (bfloat16).
        compiled: Whether to compile the transformer's blocks and the prior.
    """

    def __init__(
        self,
        backbone: Backbone,
        prior: BatchNormPrior | None,
        settings: InversionSettings,
        *,
        device: str = "cpu",
        compiled: bool = False,
    ) -> None:
        self.backbone, self.settings = backbone, settings
        self.device = torch.device(device)
        self.compiled = compiled
        self.prior = prior
        self._plain = (
            backbone.model
            if self.device.type == "cpu"
            else copy.deepcopy(backbone.model).to(self.device)
        )
        self._models: dict[tuple[int, tuple[str, ...]], VisionTransformer] = {}

    def invert(
        self,
        adapters: Sequence[Adapter],
        start: Sequence[Image] | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Inverted]:
        """Invert adapters together.

        Args:
            adapters: With heads of the same number of classes.
            start: For each adapter the images to start from, uint8 (n, S, S, 3) BGR at model
                size; default: Gaussian noise.
            progress: Called with each iteration's number.

        Returns:
            One result an adapter, in order.

        Raises:
            AdapterError: If an adapter has no head, or its loss is not finite.
        """
        heads = [_head_of(adapter) for adapter in adapters]
        way = len(heads[0].weight)
        labels = torch.arange(way, device=self.device).repeat_interleave(self.settings.per_class)
        objective = Objective(
            self._model(adapters),
            GroupedHead(heads).to(self.device),
            self.prior,
            self.backbone.spec,
            self.settings,
            labels,
            self.compiled,
        )
        randomness = [_randomness(adapter, self.settings) for adapter in adapters]
        x = _start(self.backbone, randomness, start, len(labels), self.device)
        kept = _optimise(x, objective, randomness, adapters, progress)
        return _labelled(objective, kept)

    def _model(self, adapters: Sequence[Adapter]) -> VisionTransformer:
        """Return the model with these adapters in it; one is kept for each form of a group."""
        updates = [adapter.updates for adapter in adapters]
        key = (len(adapters), tuple(sorted({name for u in updates for name in u})))
        if key not in self._models:
            self._models.clear()
            dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
            model = merged_group(self._plain, updates).to(dtype)
            self._models[key] = model
            return model
        load_group(self._models[key], self._plain, updates)
        return self._models[key]


def invert(
    backbone: Backbone,
    adapters: Sequence[Adapter],
    prior: BatchNormPrior | None,
    settings: InversionSettings,
    *,
    start: Sequence[Image] | None = None,
    device: str = "cpu",
    compiled: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Inverted]:
    """Invert one group of adapters; see `Inverter`, which many groups share."""
    inverter = Inverter(backbone, prior, settings, device=device, compiled=compiled)
    return inverter.invert(adapters, start, progress)


@dataclass(frozen=True)
class Objective:
    """What is minimised, for a group of adapters at once.

    Attributes:
        model: Made by `merged_group`.
        heads: The adapters' heads.
        prior: The BatchNorm prior, or None for the total variation.
        spec: How pixels are normalised.
        settings: Weights of the terms.
        labels: int64 (n,): the classes that each adapter's images are made for.
        compiled: Whether to run compiled blocks.
    """

    model: VisionTransformer
    heads: GroupedHead
    prior: BatchNormPrior | None
    spec: PreprocessSpec
    settings: InversionSettings
    labels: Tensor
    compiled: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return next(self.model.parameters()).dtype

    def __call__(self, pixels: Tensor, pruning: Pruning) -> tuple[Tensor, Tensor, Tensor]:
        """Return each adapter's whole loss, cross-entropy and prior: float32 (G,) each.

        Args:
            pixels: float (G * n, 3, S, S), RGB, normalised.
            pruning: Which blocks drop patches.
        """
        groups = len(self.heads.weight)
        pixels = pixels.to(self.dtype)
        output = forward_tokens(self.model, pixels, pruning=pruning, compiled=self.compiled)
        logits = self.heads(output.embedding)
        labels = self.labels.expand(groups, -1)
        loss = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)
        if self.prior is None:
            smooth = total_variation(pixels, groups)
            return loss + self.settings.tv_weight * smooth, loss, smooth
        measure = compiled_prior() if self.compiled else BatchNormPrior.forward
        statistics = measure(self.prior, pixels, groups, self.spec.mean, self.spec.std)
        return loss + self.settings.prior_weight * statistics, loss, statistics


def _head_of(adapter: Adapter) -> Head:
    if adapter.head is None:
        raise AdapterError(
            f"{adapter.name}: it has no head, so there are no classes to invert",
            fix="it can be averaged, but not inverted: leave it out of inversion",
        )
    return adapter.head


def _randomness(adapter: Adapter, settings: InversionSettings) -> torch.Generator:
    """Return a generator that depends on the seed and the adapter alone."""
    text = f"{settings.seed} {adapter.sha256 or adapter.name}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    return torch.Generator().manual_seed(number)


def _start(
    backbone: Backbone,
    randomness: Sequence[torch.Generator],
    start: Sequence[Image] | None,
    count: int,
    device: torch.device,
) -> Tensor:
    """Return the first images: float32 (G * n, 3, S, S), normalised, within their range."""
    size = backbone.spec.size
    if start is None:
        noise = [torch.randn(count, 3, size, size, generator=g) for g in randomness]
        x = torch.cat(noise).to(device)
    else:
        x = normalise_pixels(torch.from_numpy(np.concatenate(start)).to(device), backbone.spec)
    return x.clamp(*value_range(backbone.spec, x.device)).contiguous()


@dataclass
class _Kept:
    """The best images so far: pixels (G * n, 3, S, S), and their losses (G,) each."""

    pixels: Tensor
    total: Tensor
    cross_entropy: Tensor
    prior: Tensor

    @classmethod
    def none(cls, x: Tensor, groups: int) -> _Kept:
        infinite = torch.full((groups,), math.inf, device=x.device)
        return cls(x.detach().clone(), infinite, infinite.clone(), infinite.clone())

    def offer(self, x: Tensor, total: Tensor, loss: Tensor, prior: Tensor) -> None:
        """Keep an adapter's images if their loss is lower than that of those kept."""
        better = total < self.total
        self.total = torch.where(better, total, self.total)
        self.cross_entropy = torch.where(better, loss, self.cross_entropy)
        self.prior = torch.where(better, prior, self.prior)
        mask = better.repeat_interleave(len(x) // len(total)).view(-1, 1, 1, 1)
        torch.where(mask, x, self.pixels, out=self.pixels)


def _optimise(
    x: Tensor,
    objective: Objective,
    randomness: Sequence[torch.Generator],
    adapters: Sequence[Adapter],
    progress: Callable[[int], None],
) -> _Kept:
    """Run Adam on the images, in place, and return the best."""
    settings = objective.settings
    low, high = value_range(objective.spec, x.device)
    optimiser = torch.optim.Adam([x], settings.lr, (0.5, 0.99), fused=x.is_cuda)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.iterations)
    views = [Views.draw(generator, settings.iterations, x.shape[-1]) for generator in randomness]
    kept = _Kept.none(x, len(adapters))
    for step in range(settings.iterations):
        late = step >= settings.prune_after * settings.iterations
        there, back = permutations([view.at(step) for view in views], x.shape[-1], x.device)
        view = permuted(x, there).requires_grad_()
        losses = objective(view, settings.pruning if late else Pruning())
        x.grad = permuted(torch.autograd.grad(losses[0].sum(), view)[0], back)
        with torch.no_grad():
            if step >= BEST_FROM * (settings.iterations - 1):
                kept.offer(x, *(value.detach() for value in losses))
            optimiser.step()
            decay.step()
            torch.clamp(x, low, high, out=x)
        if step % CHECK_EVERY == 0 or step == settings.iterations - 1:
            _check_finite(losses[0], adapters)
        progress(step + 1)
    return kept


def _check_finite(losses: Tensor, adapters: Sequence[Adapter]) -> None:
    for value, adapter in zip(losses.tolist(), adapters, strict=True):
        if not math.isfinite(value):
            raise AdapterError(
                f"{adapter.name}: its inversion diverged (the loss is {value})",
                fix="leave it out, or lower the learning rate of inversion",
            )


@torch.no_grad()
def _labelled(objective: Objective, kept: _Kept) -> list[Inverted]:
    """Round the images to 8 bits, and let each adapter say what it sees in its own."""
    spec, groups = objective.spec, len(objective.heads.weight)
    images = to_images(kept.pixels, spec)
    pixels = normalise_pixels(images, spec).to(objective.dtype)
    logits = objective.heads(forward_tokens(objective.model, pixels).embedding)
    pruning = objective.settings.pruning
    found = forward_tokens(objective.model, pixels, pruning=pruning, with_order=True).order
    assert found is not None
    order = found.to(torch.int16).reshape(groups, -1, found.shape[1])
    images = images.reshape(groups, -1, *images.shape[1:])
    return [
        Inverted(
            images[g].cpu().numpy(),
            objective.labels.cpu().numpy(),
            logits[g].cpu().numpy(),
            order[g].cpu().numpy(),
            float(kept.cross_entropy[g]),
            float(kept.prior[g]),
        )
        for g in range(groups)
    ]
