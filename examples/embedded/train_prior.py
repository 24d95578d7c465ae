"""Train the embedded prior: a small BatchNorm convnet whose statistics describe photographs.

    python train_prior.py --train mini_imagenet.zip tiny_imagenet.zip grocery.zip \
        --out prior.safetensors --minutes 2

LoRA Inversion (Hu et al., CVPR 2025) pulls the statistics of inverted images towards the running
means and variances of an off-the-shelf convnet. Here that net is a narrow ResNet-18, trained as a
classifier; afterwards its statistics are measured anew on plain views, since those gathered while
training describe augmented and blended images.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from assets import Card, save_model
from augment import PLAIN, Policy, augment, resize, resize_matrix
from data import ImageSet, load_training, merge
from torch import Tensor, nn

CANVAS = 192
SIZE = 128
ARCHITECTURE = "resnet18"
MODEL_ARGS: dict[str, Any] = {"channels": [24, 48, 96, 160]}
CLASSIFY = Policy(area=(0.25, 1.0), mixup=0.0, cutmix=0.0)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--train", type=Path, nargs="+", required=True, help="ImageFolder zips with a train split")
    add("--out", type=Path, required=True)
    add("--minutes", type=float, default=2.0, help="time budget of the optimisation")
    add("--steps", type=int, help="stop after this many steps instead")
    add("--batch", type=int, default=512)
    add("--lr", type=float, default=0.4)
    add("--held-out-every", type=int, default=20, help="keep every n-th image for validation")
    add("--limit", type=int, help="images a class, for a smoke test")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


class Views:
    """Images on the device, drawn with replacement and augmented."""

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        """Move uint8 images and labels to the device."""
        self.images = torch.from_numpy(images.images).permute(0, 3, 1, 2).contiguous().to(device)
        self.labels = torch.from_numpy(images.labels).to(device)
        self.shrink = resize_matrix(CANVAS, SIZE).to(device)

    def draw(self, count: int, policy: Policy) -> tuple[Tensor, Tensor]:
        """Return views ``(count, 3, 128, 128)`` in [-1, 1] and labels ``(count,)``."""
        index = torch.randint(len(self.labels), (count,), device=self.labels.device)
        views = augment(self.images[index], CANVAS, policy)
        return resize(views, self.shrink), self.labels[index]

    def whole(self, batch: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Yield every image once, uncropped."""
        for start in range(0, len(self.labels), batch):
            chunk = self.images[start : start + batch].float() / 127.5 - 1
            yield resize(chunk, self.shrink), self.labels[start : start + batch]


def part(images: ImageSet, chosen: Any) -> ImageSet:
    """Take a subset of an image set."""
    return ImageSet(images.images[chosen], images.labels[chosen], images.classes)


def mixed_loss(model: nn.Module, views: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy under mixup: one blend a batch, with the neighbouring image."""
    share = float(np.random.default_rng().beta(0.4, 0.4))
    views = torch.lerp(views.roll(1, 0), views, share)
    with torch.autocast(views.device.type, torch.bfloat16, enabled=views.is_cuda):
        logits = model(views.contiguous(memory_format=torch.channels_last)).float()
    first = F.cross_entropy(logits, labels, label_smoothing=0.05)
    return share * first + (1 - share) * F.cross_entropy(
        logits, labels.roll(1), label_smoothing=0.05
    )


def optimise(model: nn.Module, views: Views, options: argparse.Namespace) -> None:
    """Train by SGD; the learning rate follows a cosine over the steps or the time budget."""
    optimizer = torch.optim.SGD(
        model.parameters(), options.lr, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    start, step = time.monotonic(), 0
    while True:
        elapsed = time.monotonic() - start
        progress = step / options.steps if options.steps else elapsed / (60 * options.minutes)
        if progress >= 1:
            break
        factor = min(progress / 0.05, 0.5 + 0.5 * math.cos(math.pi * progress))
        optimizer.param_groups[0]["lr"] = options.lr * max(factor, 1e-3)
        loss = mixed_loss(model, *views.draw(options.batch, CLASSIFY))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step += 1
        if step % 50 == 0:
            value = loss.item()  # waits for the device, so that the clock is honest
            if step % 500 == 0 or step == 50:
                rate = step * options.batch / (time.monotonic() - start)
                print(f"prior step {step}  {rate:.0f}/s  loss {value:.3f}", flush=True)
    print(f"prior: {step} steps, {step * options.batch:,} samples")


@torch.no_grad()
def measure_statistics(model: nn.Module, views: Views, batch: int, batches: int = 100) -> None:
    """Replace the BatchNorm statistics by their average over plain views, in float32."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    for _ in range(batches):
        model(views.draw(batch, PLAIN)[0])
    model.eval()


@torch.no_grad()
def top1(model: nn.Module, views: Views, batch: int) -> float:
    """Return the share of images classified correctly, in percent."""
    model.eval()
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in views.whole(batch))
    return 100 * right / len(views.labels)


def main() -> None:
    """Run the recipe."""
    options = arguments()
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    images = merge(load_training(options.train, CANVAS, limit=options.limit))
    held = np.arange(len(images)) % options.held_out_every == 0
    known, unseen = (Views(part(images, chosen), device) for chosen in (~held, held))
    model = timm.create_model(ARCHITECTURE, num_classes=len(images.classes), **MODEL_ARGS)
    model = model.to(device).to(memory_format=torch.channels_last)
    optimise(model, known, options)
    model.half().float()  # what the file will hold
    measure_statistics(model, known, options.batch, 100 if options.limit is None else 4)
    score = top1(model, unseen, options.batch)
    print(
        f"prior: top-1 {score:.1f} % of {len(images.classes)} classes, {held.sum()} held-out images"
    )
    tensors = {k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}
    count = sum(p.numel() for k, p in model.named_parameters() if not k.startswith("fc."))
    names = ", ".join(path.stem for path in options.train)
    trained_on = (
        f"{len(known.labels)} images of {len(images.classes)} train classes of {names}; "
        f"held-out top-1 {score:.1f} %"
    )
    card = Card("vision-edge-prior", ARCHITECTURE, MODEL_ARGS, SIZE, trained_on, count)
    save_model(options.out, tensors, card, keep_float32=("running_mean", "running_var"))


if __name__ == "__main__":
    main()
