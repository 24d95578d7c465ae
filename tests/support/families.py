"""Every family of backbones with its architecture shrunk: timm's own code, small and random."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file

from support.cli import run_command
from vision_edge.toolkit.backbones.backbone import Backbone, random_backbone

_SMALL: dict[str, Any] = {"embed_dim": 64, "depth": 2, "num_heads": 2, "img_size": 32}
SHRUNK: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"patch_size": 8},
    "vit_base_patch16_224.mae": {"patch_size": 8},
    "vit_small_patch16_224.dino": {"patch_size": 8},
    "deit_tiny_patch16_224": {"patch_size": 8},
    "deit_tiny_distilled_patch16_224": {"patch_size": 8},
    "deit3_small_patch16_224": {"patch_size": 8},
    "vit_small_patch14_dinov2": {"patch_size": 8},
    "vit_small_patch14_reg4_dinov2": {"patch_size": 8},
    "vit_small_patch16_dinov3": {"patch_size": 8},
    "vit_small_patch16_dinov3_qkvb": {"patch_size": 8},
    "vit_small_plus_patch16_dinov3": {"patch_size": 8},
    "vit_base_patch32_clip_224": {"patch_size": 8},
    "vit_base_patch32_clip_quickgelu_224": {"patch_size": 8},
    "vit_base_patch16_siglip_224": {"patch_size": 8},
    "vit_base_patch16_siglip_gap_224": {"patch_size": 8},
    "vit_pe_core_tiny_patch16_384": {"patch_size": 8},
    "vit_pe_spatial_tiny_patch16_512": {"patch_size": 8},
    "eva02_tiny_patch14_224": {"patch_size": 8},
    "eva02_base_patch14_224": {"patch_size": 8},
    "eva02_base_patch16_clip_224": {"patch_size": 8},
    "eva_large_patch14_196": {"patch_size": 8},
    "eva_giant_patch14_224": {"patch_size": 8},
    "beit3_base_patch16_224": {"patch_size": 8},
    "beit_base_patch16_224": {"patch_size": 8},
    "vit_base_patch16_reg4_gap_256": {"patch_size": 8},
    "vit_small_patch16_rope_224": {"patch_size": 8},
    "vit_small_patch16_rope_mixed_224": {"patch_size": 8},
    "vit_base_patch16_rpn_224": {"patch_size": 8},
    "aimv2_1b_patch14_224": {"patch_size": 8},
    "vit_huge_patch14_gap_224.in1k_ijepa": {"patch_size": 8},
    "vit_base_patch16_radio_v3": {"patch_size": 8},
}
"""By timm's name, the sizes that make it small: two blocks, 16 patches, embeddings of 64."""


def shrunk(name: str, seed: int = 0) -> Backbone:
    """A family's model, small, with random weights of which all matter."""
    backbone = random_backbone(name, seed, **_SMALL, **SHRUNK[name])
    stir(backbone.model, seed)
    return backbone


def stir(model: torch.nn.Module, seed: int = 0) -> None:
    """Make biases, norms, scales and positions differ from their neutral initial values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def as_timm_makes_it(name: str, seed: int = 0) -> torch.nn.Module:
    """timm's own model of the same sizes, untouched, with a classifier."""
    torch.manual_seed(seed)
    model = timm.create_model(name, num_classes=5, **_SMALL, **SHRUNK[name])
    stir(model, seed)
    return model.eval().requires_grad_(False)


def weights_of(name: str, folder: Path) -> Path:
    """Write a shrunk model's weights as timm names them, in a file that knows its sizes."""
    path = folder / f"{name}.safetensors"
    own = {"architecture": name, "model_args": {**_SMALL, **SHRUNK[name]}}
    state = as_timm_makes_it(name).state_dict()
    tensors = {key: tensor.contiguous() for key, tensor in state.items()}
    save_file(tensors, path, metadata={"vision_edge": json.dumps(own)})
    return path


STAGES = ("tune", "average", "recycle", "export", "export fp16", "export int8", "--prune", "run")
"""What a backbone must pass, in this order."""


class Chain:
    """All commands on one shrunk backbone, in one folder.

    Args:
        weights: As `weights_of` writes them.
        images: Folder of classes of pictures.
        folder: For what is made.
    """

    def __init__(self, weights: Path, images: Path, folder: Path) -> None:
        self.weights, self.images, self.folder = weights, images, folder

    def run(self, stage: str) -> str:
        """Run a stage; those before it that it builds upon must have been run."""
        make = {
            "tune": self._tune,
            "average": lambda: self._build("average"),
            "recycle": lambda: self._build(
                "recycle", "--rank", 2, "--preset", "cpu", "--per-class", 2, "--iterations", 2,
                "--prune", "1:0.5", "--prior", "none", "--meta-steps", 1, "--device", "cpu",
            ),
            "export": lambda: self._export("fp32"),
            "export fp16": lambda: self._export("fp16", "--precision", "fp16"),
            "export int8": lambda: self._export(
                "int8", "--precision", "int8", "--calibrate", self.images, "--min-cosine", 0.5,
                "--max-accuracy-drop", 100,
            ),
            "--prune": lambda: self._export(
                "pruned", "--prune", "1:0.5", "--min-cosine", -1, "--max-accuracy-drop", 100
            ),
            "run": self._run,
        }  # fmt: skip
        return make[stage]()

    def _tune(self) -> str:
        return run_command(
            "tune", self.images, "--weights", self.weights, "--out", self.folder / "hub",
            "--tasks", 2, "--way", 3, "--steps", 2, "--batch", 6, "--device", "cpu",
        )  # fmt: skip

    def _build(self, method: str, *options: object) -> str:
        return run_command(
            "build", self.folder / "hub", "--weights", self.weights, "--method", method,
            "--out", self.folder / method, *options,
        )  # fmt: skip

    def _export(self, name: str, *options: object) -> str:
        out = self.folder / f"bundle-{name}"
        adapter = self.folder / "average"
        return run_command(
            "export", "--weights", self.weights, "--adapter", adapter, "--out", out, *options
        )

    def _run(self) -> str:
        bundle, gallery = self.folder / "bundle-fp32", self.folder / "gallery.db"
        picture = next(iter(sorted(self.images.rglob("*.png"))))
        run_command("register", bundle, "part", picture, "--gallery", gallery, "--force")
        return run_command("run", bundle, picture, "--gallery", gallery)
