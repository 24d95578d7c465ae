"""Speed of the recycling pipeline on a GPU: inversion, pruning, meta-learning, adaptation.

    python benchmarks/build_speed.py --out .out/bench

All figures come from one run, side by side with the matrix-product rate of the same GPU and with
plain eager PyTorch. Models have random weights: speed does not depend on them. FLOPs count 4 a
multiply-accumulate of the vision transformer (forward and input gradient); the prior's are not
counted, its time is. Results are written after each measurement.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measured import circumstances, command
from safetensors.torch import save_file
from torch import Tensor, nn

from vision_edge.export.model.merge import LowRank, merge
from vision_edge.export.model.pruning import Pruning
from vision_edge.toolkit.adapters.adapter import Adapter, write_adapter
from vision_edge.toolkit.adapters.heads import Head
from vision_edge.toolkit.backbones.backbone import Backbone, random_backbone
from vision_edge.toolkit.backbones.tokens import compiled_block, forward_tokens
from vision_edge.toolkit.inversion.inversion import Inverter
from vision_edge.toolkit.inversion.prior import compiled_prior, load_prior
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.meta.learner import Learner
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.inverted import Inverted
from vision_edge.toolkit.pool.pool import PoolPart, open_pool
from vision_edge.toolkit.pool.tasks import TaskShape
from vision_edge.toolkit.tuning.injection import inject

WAY, RANK = 5, 4
TINY, BASE = "vit_tiny_patch16_224", "vit_base_patch16_224"
PRUNED = Pruning(((6, 0.75),))


def random_adapter(backbone: Backbone, seed: int) -> Adapter:
    """Return a LoRA on query and value of every block, with a head."""
    generator = torch.Generator().manual_seed(seed)
    width = backbone.dim
    updates = {}
    for block in range(len(backbone.model.blocks)):
        B = torch.zeros(3 * width, 2 * RANK)
        B[:width, :RANK] = 0.02 * torch.randn(width, RANK, generator=generator)
        B[2 * width :, RANK:] = 0.02 * torch.randn(width, RANK, generator=generator)
        A = 0.05 * torch.randn(2 * RANK, width, generator=generator)
        updates[f"blocks.{block}.attn.qkv"] = LowRank(A, B)
    head = Head(torch.randn(WAY, width, generator=generator), torch.zeros(WAY))
    return Adapter(f"a{seed}", updates, head, sha256=f"{seed:064x}")


def multiply_accumulates(backbone: Backbone) -> float:
    """Return the vision transformer's multiply-accumulates an image."""
    model = backbone.model
    width, patches = backbone.dim, model.patch_embed.num_patches
    tokens, hidden = patches + 1, model.blocks[0].mlp.fc1.out_features
    layer = tokens * width * (4 * width + 2 * hidden) + 2 * tokens**2 * width
    side = model.patch_embed.patch_size[0]
    return float(len(model.blocks) * layer + patches * width * 3 * side**2)


def median_ms(run: Callable[[], Any], repeats: int = 10, warm: int = 3) -> float:
    """Return the median time of a call in ms, by CUDA events."""
    for _ in range(warm):
        run()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return float(np.median(times))


def matrix_rate() -> float:
    """Return the bf16 matrix-product rate in TFLOP/s, on random data."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / median_ms(lambda: a @ b) / 1e9


class PlainInversion:
    """Inversion as one writes it first: autocast, one adapter, the prior by hooks, no compiling."""

    def __init__(self, backbone: Backbone, adapter: Adapter, batch: int) -> None:
        self.model = copy.deepcopy(backbone.model)
        merge(self.model, adapter.updates)
        self.model.cuda()
        assert adapter.head is not None
        self.head = adapter.head.weight.cuda()
        self.prior = load_prior().cuda()
        self.spec = backbone.spec
        self.labels = torch.arange(WAY, device="cuda").repeat_interleave(batch // WAY)
        self.x = torch.randn(batch, 3, backbone.spec.size, backbone.spec.size, device="cuda")
        self.x.requires_grad_()
        self.optimiser = torch.optim.Adam([self.x], 0.25, (0.5, 0.99))

    def step(self) -> None:
        """Make one iteration."""
        down, right = (int(v) for v in torch.randint(-28, 29, (2,)))
        view = torch.roll(self.x, (down, right), (2, 3))
        if torch.rand(()) < 0.5:
            view = view.flip(3)
        with torch.autocast("cuda", torch.bfloat16):
            logits = self.model.forward_features(view)[:, 0] @ self.head.T
            loss = F.cross_entropy(logits.float(), self.labels)
            loss = loss + 0.01 * self.prior(view, 1, self.spec.mean, self.spec.std).sum()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.x.data.clamp_(-1, 1)


def compile_anew() -> None:
    """Forget what was compiled: torch compiles one function only for so many models."""
    torch._dynamo.reset()
    compiled_block.cache_clear()
    compiled_prior.cache_clear()


def inversion_ms(backbone: Backbone, groups: int, per_class: int, pruning: Pruning) -> float:
    """Return the time of an iteration of our own inversion, all of it, in ms."""
    compile_anew()
    prior = load_prior().cuda().bfloat16()
    settings = InversionSettings(per_class, iterations=40, pruning=pruning, prune_after=0)
    inverter = Inverter(backbone, prior, settings, device="cuda", compiled=True)
    marks: dict[int, float] = {}

    def mark(step: int) -> None:
        if step in (25, 40):  # the best image is looked for from half the iterations on
            torch.cuda.synchronize()
            marks[step] = time.perf_counter()

    inverter.invert([random_adapter(backbone, seed) for seed in range(groups)], progress=mark)
    return 1e3 * (marks[40] - marks[25]) / 15


def random_pool(folder: Path, backbone: Backbone, settings: InversionSettings) -> list[PoolPart]:
    """Write a pool of noise with random teachers."""
    rng = np.random.default_rng(0)
    pool = open_pool(folder, backbone, settings.document(), "none", "noise")
    size, patches = backbone.spec.size, int(backbone.model.patch_embed.num_patches)
    count = WAY * settings.per_class
    for seed in range(4):
        images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        order = np.stack([rng.permutation(patches) for _ in range(count)]).astype(np.int16)
        labels = np.repeat(np.arange(WAY), settings.per_class)
        logits = rng.normal(size=(count, WAY)).astype(np.float32)
        pool.add(random_adapter(backbone, seed), Inverted(images, labels, logits, order, 0, 0))
    return pool.parts()


def meta_ms(backbone: Backbone, sparsity: float, tasks: int) -> float:
    """Return the time of a step of meta-learning on `tasks` times 100 images, in ms."""
    compile_anew()
    shape = TaskShape(WAY, 1, 19)
    settings = MetaSettings(tasks=tasks, shape=shape, sparsity=sparsity)
    start = random_adapter(backbone, 9).updates
    with tempfile.TemporaryDirectory() as folder:
        parts = random_pool(Path(folder) / "pool", backbone, InversionSettings(per_class=20))
        learner = Learner(backbone, start, parts, settings, torch.device("cuda"), True)
        return median_ms(learner.advance)


def adaptation_ms(backbone: Backbone, tasks: int = 4, queries: int = 75) -> float:
    """Return the time of solving one 5-way 1-shot task without tuning, in ms."""
    compile_anew()
    model = backbone.model.cuda().bfloat16()
    pixels = torch.randn(tasks * (WAY + queries), 3, 224, 224, device="cuda", dtype=torch.bfloat16)

    @torch.inference_mode()
    def solve() -> Tensor:
        features = forward_tokens(model, pixels, compiled=True).embedding.float()
        features = features.view(tasks, WAY + queries, -1)
        support = features[:, :WAY]
        centre = support.mean(1, keepdim=True)
        query = F.normalize(features[:, WAY:] - centre, dim=-1)
        scores = query @ F.normalize(support - centre, dim=-1).transpose(1, 2)
        return scores.argmax(-1).cpu()

    return median_ms(solve) / tasks


def finetuning(backbone: Backbone, steps: int = 50, queries: int = 75) -> tuple[float, float]:
    """Return the time of LoRA fine-tuning on a 5-way 1-shot task in ms, and its peak in MB."""
    model = backbone.model.cuda().float()
    layers = inject(model, RANK)
    head = nn.Linear(backbone.dim, WAY).cuda()
    support = torch.randn(WAY, 3, 224, 224, device="cuda")
    query = torch.randn(queries, 3, 224, 224, device="cuda")
    labels = torch.arange(WAY, device="cuda")
    trained = [p for layer in layers.values() for p in (layer.A, layer.B)]
    optimiser = torch.optim.Adam([*trained, *head.parameters()], 1e-3)

    def solve() -> None:
        for _ in range(steps):
            with torch.autocast("cuda", torch.bfloat16):
                loss = F.cross_entropy(head(model.forward_features(support)[:, 0]).float(), labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
            head(model.forward_features(query)[:, 0]).argmax(-1).cpu()

    torch.cuda.reset_peak_memory_stats()
    return median_ms(solve, repeats=3, warm=1), torch.cuda.max_memory_allocated() / 1e6


def default_build(adapters: int = 24) -> float:
    """Return the time of `vision-edge build --method recycle`, all defaults, on ViT-Tiny, in s.

    Everything counts: Python's start, reading, compiling, inversion, meta-learning, the report.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        backbone = random_backbone(TINY)
        save_file(backbone.model.state_dict(), folder / "weights.safetensors")
        for seed in range(adapters):
            adapter = random_adapter(backbone, seed)
            target = folder / "hub" / f"task-{seed:04d}"
            target.mkdir(parents=True)
            write_adapter(target, adapter.updates, backbone, head=adapter.head)
        given = ["--backbone", TINY, "--weights", folder / "weights.safetensors"]
        return command(
            "build", folder / "hub", *given, "--method", "recycle", "--out", folder / "meta"
        ).seconds


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {**circumstances(), "gpu": torch.cuda.get_device_name()}

    def note(name: str, value: float) -> None:
        report[name] = round(value, 3)
        print(f"{name}: {value:.3f}", flush=True)
        (out / "build_speed.json").write_text(json.dumps(report, indent=2) + "\n")

    rate = matrix_rate()
    note("bf16 matrix product, TFLOP/s", rate)
    tiny, base = random_backbone(TINY), random_backbone(BASE)
    plain = PlainInversion(tiny, random_adapter(tiny, 0), 100)
    eager = 100 / median_ms(plain.step) * 1e3
    del plain
    note("ViT-Tiny inversion, plain eager, image-iterations/s", eager)
    for name, backbone, groups in (("ViT-Tiny", tiny, 16), ("ViT-B", base, 4)):
        images = groups * WAY * 20
        dense = images / inversion_ms(backbone, groups, 20, Pruning()) * 1e3
        note(f"{name} inversion, ours, image-iterations/s", dense)
        share = dense * 4 * multiply_accumulates(backbone) / rate / 1e10
        note(f"{name} inversion, ours, % of the matrix-product rate", share)
        if backbone is tiny:
            note("ViT-Tiny inversion, ours over plain eager", dense / eager)
        pruned = images / inversion_ms(backbone, groups, 20, PRUNED) * 1e3
        note(f"{name} inversion pruned {PRUNED}, over unpruned", pruned / dense)
    for tasks in (4, 16):
        sparse, full = (meta_ms(base, share, tasks) for share in (0.75, 0.0))
        step = f"ms a step of {100 * tasks} images"
        note(f"ViT-B meta-learning, dense, {step}", full)
        note(f"ViT-B meta-learning, 75 % sparse, {step}", sparse)
        note("the same, dense over sparse", full / sparse)
    torch.cuda.reset_peak_memory_stats()
    solved = adaptation_ms(base)
    note("ViT-B 5-way 1-shot without tuning, tasks/s", 1e3 / solved)
    note("the same, peak MB", torch.cuda.max_memory_allocated() / 1e6)
    tuned, peak = finetuning(random_backbone(BASE))
    note("ViT-B 5-way 1-shot by LoRA fine-tuning (50 steps), tasks/s", 1e3 / tuned)
    note("the same, peak MB", peak)
    note("without tuning over fine-tuning", tuned / solved)
    note("whole recycling build of 24 ViT-Tiny adapters, s", default_build())


if __name__ == "__main__":
    main()
