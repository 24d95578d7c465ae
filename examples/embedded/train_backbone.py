"""Distil the embedded backbone, a ViT-Tiny of 160 px, from one of 224 px.

    python train_backbone.py --train mini_imagenet.zip tiny_imagenet.zip grocery.zip \
        --val mini_imagenet.zip --teacher vit_tiny_patch16_224.safetensors \
        --out backbone.safetensors

The student starts from random weights and sees what its teacher sees: identical crops of
photographs and of procedural images, some of them blended. There are two phases:

1. *Blocks.* The teacher runs at the student's input size, so that their tokens lie on one grid.
   Every block of the student is fed the teacher's tokens and learns the teacher's next ones.
2. *End to end.* The student runs on its own. It learns the [CLS] embedding that the teacher gives
   at 224 px, the similarities between embeddings, and still the tokens of phase 1.

No label is used. Classes held out for validation or test in any zip are never read.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from assets import TEACHER_NAME, Card, embed, load_teacher, save_model
from augment import PLAIN, Policy, augment
from data import ImageSet, load_split, load_training
from distill import (
    Teacher,
    blockwise_losses,
    compile_blocks,
    end_to_end_losses,
    make_student,
)
from episodes import few_shot_accuracy
from procedural import image_bank
from torch import Tensor

CANVAS = 192  # side of the stored images
Losses = Callable[[Any, Tensor, Teacher], Tensor]


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--train", type=Path, nargs="+", required=True, help="ImageFolder zips with a train split")
    add("--val", type=Path, help="zip whose val split is measured while training")
    add("--share", type=float, nargs="+", help="sampling share of each zip, then of the rest")
    add("--teacher", type=Path, required=True, help="ViT-Tiny safetensors, timm names")
    add("--out", type=Path, required=True)
    add("--minutes", type=float, nargs=2, default=(1.25, 3.2), help="time budget of each phase")
    add("--steps", type=int, nargs=2, help="steps of each phase, instead of minutes")
    add("--lr", type=float, nargs=2, default=(3e-3, 1.5e-3), help="learning rate of each phase")
    add("--weight-decay", type=float, default=0.03)
    add("--size", type=int, default=160, help="input pixels, a multiple of 16")
    add("--batch", type=int, default=512)
    add("--bank", type=int, default=16000, help="procedural images")
    add("--limit", type=int, help="images a class, for a smoke test")
    add("--every", type=float, default=25.0, help="seconds between checkpoints")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--no-compile", action="store_true")
    return parser.parse_args()


class Sampler:
    """Draws batches from image sets that live on the device, with a fixed share of each."""

    def __init__(self, banks: list[Tensor], shares: list[float]) -> None:
        """Take uint8 banks ``(N, 3, S, S)`` and their shares of a batch."""
        if len(banks) != len(shares):
            raise ValueError(f"{len(banks)} image sets, but {len(shares)} shares: {shares}")
        weights = [share / len(bank) for bank, share in zip(banks, shares, strict=True)]
        sizes = torch.tensor([len(bank) for bank in banks])
        self.images = torch.cat(banks)
        chances = torch.tensor(weights, dtype=torch.float64).repeat_interleave(sizes)
        self.cumulative = (chances.cumsum(0) / chances.sum()).to(self.images.device)

    def draw(self, count: int) -> Tensor:
        """Return uint8 ``(count, 3, S, S)``."""
        at = torch.rand(count, dtype=torch.float64, device=self.images.device)
        index = torch.searchsorted(self.cumulative, at).clamp(max=len(self.images) - 1)
        return self.images[index]


def to_device(images: ImageSet, device: torch.device) -> Tensor:
    """Return uint8 ``(N, 3, S, S)`` on the device."""
    return torch.from_numpy(images.images).to(device).permute(0, 3, 1, 2).contiguous()


def make_sampler(options: argparse.Namespace, device: torch.device) -> tuple[Sampler, str]:
    """Load the photographs, make the procedural images, and say what there is."""
    sets = load_training(options.train, CANVAS, limit=options.limit)
    banks = [to_device(images, device) for images in sets]
    shares = options.share or [0.85 / len(banks)] * len(banks) + [0.15]
    parts = [
        f"{len(s)} images of {len(s.classes)} {path.stem} train classes"
        for s, path in zip(sets, options.train, strict=True)
    ]
    generated = image_bank(options.bank, CANVAS, device)
    return Sampler([*banks, generated], shares), ", ".join([*parts, "procedural images"])


class Average:
    """A moving average of a model's weights: the last checkpoint at first, smooth later."""

    def __init__(self, model: Any) -> None:
        """Copy the model, before its blocks are compiled."""
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: Any, keep: float) -> None:
        """Move towards the model's weights, keeping a share of the average."""
        own, new = list(self.model.parameters()), list(model.parameters())
        torch._foreach_lerp_(own, new, 1 - keep)


def make_optimizer(model: Any, options: argparse.Namespace) -> torch.optim.Optimizer:
    """Use AdamW, with weight decay on the matrices only."""
    decayed = [p for n, p in model.named_parameters() if p.ndim >= 2 and n.endswith("weight")]
    chosen = {id(p) for p in decayed}
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": [p for p in model.parameters() if id(p) not in chosen], "weight_decay": 0.0},
    ]
    fused = options.device.startswith("cuda")
    return torch.optim.AdamW(groups, lr=options.lr[0], betas=(0.9, 0.99), fused=fused)


class Clock:
    """Progress of a phase from 0 to 1, by steps or by time."""

    def __init__(self, minutes: float, steps: int | None) -> None:
        """Start now."""
        self.start, self.seconds, self.steps, self.done = time.monotonic(), 60 * minutes, steps, 0

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @property
    def progress(self) -> float:
        """Share of the phase that is over."""
        return self.done / self.steps if self.steps else self.elapsed / self.seconds


def schedule(step: int, progress: float, floor: float) -> float:
    """Return the learning rate's factor: 100 steps of warm-up, and a cosine down to ``floor``."""
    return min(1.0, step / 100) * max(0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0)), floor)


class Trainer:
    """Student, optimiser, average, and where they report to."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        """Load everything and measure the scales of the losses."""
        self.options = options
        self.sampler, trained_on = make_sampler(options, device)
        print(f"training on {trained_on}", flush=True)
        self.teacher = Teacher(load_teacher(options.teacher)[0], options.size, device)
        self.student = make_student(options.size).to(device)
        self.average = Average(self.student)
        self.optimizer = make_optimizer(self.student, options)
        args = {"img_size": options.size, "depth": len(self.student.blocks)}
        count = sum(p.numel() for p in self.student.parameters())
        self.card = Card("vision-edge-tiny", TEACHER_NAME, args, options.size, trained_on, count)
        self.val = options.val and load_split(options.val, "val", options.size, limit=options.limit)
        print("teacher at student size:", self.score(self.teacher.near), flush=True)
        if not options.no_compile:
            for model in (self.student, self.teacher.near, self.teacher.far):
                compile_blocks(model)
        self.teacher.fit([self.views(PLAIN) for _ in range(4)])

    def views(self, policy: Policy) -> Tensor:
        """Draw augmented views, float32 ``(B, 3, size, size)`` in [-1, 1]."""
        images = self.sampler.draw(self.options.batch)
        return augment(images, self.options.size, policy).float()

    def score(self, model: Any) -> str:
        """Measure 5-way 1-shot and 5-shot accuracy on the validation classes, centred cosine."""
        if self.val is None:
            return "not measured"
        vectors = embed(model, self.val.images, self.card, self.options.device)
        scores = [few_shot_accuracy(vectors, self.val.labels, shot) for shot in (1, 5)]
        return "val 1-shot {}  5-shot {}".format(*scores)

    def checkpoint(self, line: str) -> None:
        """Print a line with the validation score, and write the average."""
        print(f"{line}  {self.score(self.average.model)}", flush=True)
        save_model(self.options.out, self.average.model.state_dict(), self.card)

    def phase(self, index: int, losses: Losses, keep: float, floor: float) -> None:
        """Run one phase: its losses, the average's share, the schedule's floor."""
        options = self.options
        steps = options.steps[index] if options.steps else None
        clock, due, name = Clock(options.minutes[index], steps), 5.0, losses.__name__
        while clock.progress < 1:
            rate = options.lr[index] * schedule(clock.done, clock.progress, floor)
            parts = self.step(losses, rate)
            clock.done += 1
            if clock.done % 5 == 0:
                self.average.update(self.student, keep)
            if clock.done % 20 == 0:
                shown = np.round(parts.tolist(), 3)  # waits for the device: the clock is honest
                if clock.elapsed > due:
                    due += options.every
                    speed = clock.done * options.batch / clock.elapsed
                    self.checkpoint(f"{name} {clock.elapsed:.0f} s  {speed:.0f}/s  {shown}")
        self.checkpoint(f"{name}: {clock.done} steps of {options.batch}, {clock.elapsed:.0f} s")

    def step(self, losses: Losses, rate: float) -> Tensor:
        """Update the student once; return the losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = losses(self.student, self.views(Policy()), self.teacher)
        self.optimizer.zero_grad(set_to_none=True)
        parts.sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimizer.step()
        return parts.detach()


def main() -> None:
    """Run the recipe."""
    options = arguments()
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    trainer = Trainer(options, torch.device(options.device))
    trainer.phase(0, blockwise_losses, keep=0.0, floor=0.1)
    trainer.phase(1, end_to_end_losses, keep=0.98, floor=0.01)


if __name__ == "__main__":
    main()
