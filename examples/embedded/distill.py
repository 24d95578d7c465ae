"""The student, its teacher, and the losses between them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import timm
import torch
import torch.nn.functional as F
from assets import TEACHER_NAME
from augment import resize, resize_matrix
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

PATCH = 16
TEACHER_SIZE = 224


def compile_blocks(model: Any) -> None:
    """Compile every block in place; equal blocks share one compilation."""
    torch._dynamo.config.recompile_limit = 64
    for block in model.blocks:
        block.compile(dynamic=False)


def autocast(device: torch.device) -> torch.autocast:
    """Use bfloat16 on a GPU, float32 elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def make_vit(size: int) -> Any:
    """Build a ViT-Tiny for square inputs of ``size`` pixels, without a head."""
    return timm.create_model(TEACHER_NAME, num_classes=0, img_size=size)


def position_table(grid: int, width: int) -> Tensor:
    """Return sines and cosines of patch positions, ``(1, 1 + grid * grid, width)``; [CLS] is 0."""
    frequency = torch.logspace(0, -2, width // 4) * torch.pi / 2
    angle = torch.arange(grid)[:, None] * frequency  # (G, width / 4)
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows, columns = wave[:, None].expand(-1, grid, -1), wave[None].expand(grid, -1, -1)
    table = torch.cat([rows, columns], dim=2).flatten(0, 1)
    return 0.1 * torch.cat([torch.zeros(1, width), table])[None]


def make_student(size: int) -> Any:
    """Build a ViT with random weights, whose positions start as sines."""
    model = make_vit(size)
    with torch.no_grad():
        model.pos_embed.copy_(position_table(size // PATCH, model.num_features))
    return model


def embed_patches(model: Any, views: Tensor) -> Tensor:
    """Return the tokens that enter the first block, ``(B, 1 + N, D)``."""
    tokens: Tensor = model._pos_embed(model.patch_embed(views))
    return tokens


@dataclass(frozen=True)
class Targets:
    """What the student copies, all float32.

    Attributes:
        tokens: 13 of ``(B, 1 + N, D)``: before the first block and after each, at student size.
        last: the last of them after the final norm.
        cls: ``(B, D)``, the embedding that the teacher gives at its own size.
    """

    tokens: list[Tensor]
    last: Tensor
    cls: Tensor


class Teacher:
    """A frozen ViT, at its own size and with positions resampled to the student's.

    Attributes:
        near: the ViT at the student's size, whose tokens lie on the student's grid.
        far: the ViT at 224 px.
        cls_mean, cls_std: ``(D,)`` of the embeddings of ``far``.
        last_std: ``(D,)`` of the last patch tokens of ``near``.
        start_variance: of the tokens that enter the first block, a scalar.
        updates: mean square of what each block adds, 12 of ``(D,)``.
    """

    def __init__(self, model: Any, size: int, device: torch.device) -> None:
        """Take a ViT of 224 px and the student's size."""
        weights = dict(model.state_dict())
        grid = [size // PATCH, size // PATCH]
        weights["pos_embed"] = resample_abs_pos_embed(weights["pos_embed"], grid)
        self.near = make_vit(size)
        self.near.load_state_dict(weights)
        self.far = model
        for vit in (self.near, self.far):
            vit.eval().to(device).requires_grad_(False)
        self.enlarge = resize_matrix(size, TEACHER_SIZE, "cubic").to(device)

    @torch.no_grad()
    def targets(self, views: Tensor) -> Targets:
        """Return the targets of views ``(B, 3, S, S)`` in [-1, 1] at student size."""
        with autocast(views.device):
            tokens = [embed_patches(self.near, views)]
            for block in self.near.blocks:
                tokens.append(block(tokens[-1]))
            last = self.near.norm(tokens[-1])
            cls = self.far.forward_features(resize(views, self.enlarge))[:, 0]
        return Targets([t.float() for t in tokens], last.float(), cls.float())

    def fit(self, batches: list[Tensor]) -> None:
        """Measure the scales of the losses on some batches of views."""
        seen = [self.targets(views) for views in batches]
        cls = torch.cat([t.cls for t in seen])
        last = torch.cat([t.last for t in seen])[:, 1:].flatten(0, 1)
        self.cls_mean, self.cls_std = cls.mean(0), cls.std(0) + 1e-3
        self.last_std = last.std(0) + 1e-3
        tokens = seen[0].tokens
        self.start_variance = tokens[0].var()
        self.updates = [
            (after - before).square().mean((0, 1)) + 1e-6 for before, after in pairwise(tokens)
        ]


def blockwise_losses(student: Any, views: Tensor, teacher: Teacher) -> Tensor:
    """Feed every block the teacher's tokens, and compare what it makes of them.

    All blocks learn at once, each from its first step on the true inputs: far faster than to wait
    until the blocks before it have learnt something.

    Returns:
        Squared errors in units of the teacher's updates, float32 ``(14,)``: the patch embedding,
        12 blocks, the final norm.
    """
    wanted = teacher.targets(views)
    with autocast(views.device):
        start = embed_patches(student, views).float()
        made = [b(t).float() for b, t in zip(student.blocks, wanted.tokens[:-1], strict=True)]
        last = student.norm(wanted.tokens[-1]).float()
    losses = [(start - wanted.tokens[0]).square().mean() / teacher.start_variance]
    for tokens, target, scale in zip(made, wanted.tokens[1:], teacher.updates, strict=True):
        losses.append(((tokens - target).square().mean((0, 1)) / scale).mean())
    losses.append(((last - wanted.last) / teacher.last_std).square().mean())
    return torch.stack(losses)


def end_to_end_losses(student: Any, views: Tensor, teacher: Teacher) -> Tensor:
    """Run the student on its own, and compare embeddings, their relations, and all tokens.

    Returns:
        Weighted losses, float32 ``(5,)``: angle and squared error of the embedding, relations in
        the batch, last patch tokens, tokens after each block.
    """
    wanted = teacher.targets(views)
    made = []
    with autocast(views.device):
        tokens = embed_patches(student, views)
        for block in student.blocks:
            tokens = block(tokens)
            made.append(tokens.float())
        last = student.norm(tokens).float()
    hints = [
        ((tokens - target).square().mean((0, 1)) / target.var((0, 1))).mean()
        for tokens, target in zip(made, wanted.tokens[1:], strict=True)
    ]
    cls = last[:, 0]
    z, z_t = ((c - teacher.cls_mean) / teacher.cls_std for c in (cls, wanted.cls))
    patches = ((last - wanted.last)[:, 1:] / teacher.last_std).square().mean()
    parts = [
        2 * (1 - F.cosine_similarity(z, z_t).mean()),
        (z - z_t).square().mean(),
        relation_loss(cls, wanted.cls),
        0.3 * patches,
        0.3 * torch.stack(hints).mean(),
    ]
    return torch.stack(parts)


def centred_similarity(features: Tensor) -> Tensor:
    """Cosine similarities of ``(B, D)`` after centring on the batch mean, ``(B, B)``."""
    unit = F.normalize(features - features.mean(0), dim=1)
    return unit @ unit.T


def relation_loss(student: Tensor, teacher: Tensor, temperature: float = 0.1) -> Tensor:
    """KL divergence from the teacher's to the student's softmax over neighbours in the batch."""
    own_pairs = torch.eye(len(student), dtype=torch.bool, device=student.device)
    own, target = (
        F.log_softmax((centred_similarity(x) / temperature).masked_fill(own_pairs, -1e4), dim=1)
        for x in (student, teacher)
    )
    return F.kl_div(own, target, log_target=True, reduction="batchmean")
