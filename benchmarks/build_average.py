"""Time and memory of `vision-edge build --method average` on hubs of random adapters.

    python benchmarks/build_average.py

24 adapters of ViT-Tiny/16 and 100 of ViT-B/16, rank 4 on query and value, written in PEFT's
format. The backbones have random weights; neither time nor memory depends on values.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from measured import circumstances, command
from safetensors.torch import save_file

from vision_edge.export.model.merge import LowRank
from vision_edge.toolkit.adapters.adapter import write_adapter
from vision_edge.toolkit.backbones.backbone import Backbone, random_backbone
from vision_edge.toolkit.backbones.timm_names import QKV_ORDER

HUBS = {"ViT-Tiny/16": ("vit_tiny_patch16_224", 24), "ViT-B/16": ("vit_base_patch16_224", 100)}
RANK = 4


def random_update(width: int, generator: torch.Generator) -> LowRank:
    """Return separate random LoRAs on query and value as one update of the fused layer."""
    B = torch.zeros(len(QKV_ORDER) * width, 2 * RANK)
    for index, part in enumerate("qv"):
        start = QKV_ORDER[part] * width
        block = torch.randn(width, RANK, generator=generator) * 0.01
        B[start : start + width, index * RANK : (index + 1) * RANK] = block
    return LowRank(torch.randn(2 * RANK, width, generator=generator) * 0.05, B)


def write_hub(folder: Path, backbone: Backbone, count: int) -> None:
    """Write `count` adapters."""
    generator = torch.Generator().manual_seed(0)
    for index in range(count):
        updates = {
            f"blocks.{block}.attn.qkv": random_update(backbone.dim, generator)
            for block in range(len(backbone.model.blocks))
        }
        target = folder / f"task-{index:04d}"
        target.mkdir(parents=True)
        write_adapter(target, updates, backbone)


def measure(name: str, count: int) -> dict[str, float]:
    """Build one hub and return what it took."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        backbone = random_backbone(name)
        save_file(backbone.model.state_dict(), folder / "weights.safetensors")
        write_hub(folder / "hub", backbone, count)
        del backbone
        base = ["--backbone", name, "--weights", folder / "weights.safetensors"]
        took = command("build", folder / "hub", *base, "--out", folder / "meta")
        report = json.loads((folder / "meta" / "report.json").read_text())
    return {"adapters": count, **asdict(took), "build_seconds": report["seconds"]}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    figures = {title: measure(*hub) for title, hub in HUBS.items()}
    document = {**circumstances(), "hubs": figures}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "build_average.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
