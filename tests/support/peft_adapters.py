"""Adapters that the `peft` library itself makes and saves, and what they compute."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor

from support.toolkit import embedding_of
from vision_edge.toolkit.backbones.backbone import Backbone

ALL_LINEAR = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
_QKV = ["attn.qkv"]
CONFIGS: dict[str, dict[str, Any]] = {
    "LoRA": {"r": 4, "lora_alpha": 9},
    "rsLoRA (use_rslora)": {"r": 4, "lora_alpha": 6, "use_rslora": True},
    "rank_pattern and alpha_pattern": {
        "r": 2,
        "lora_alpha": 3,
        "rank_pattern": {"attn.qkv": 5, r"mlp\.fc[12]": 1},
        "alpha_pattern": {r"blocks\.1\..*": 7},
    },
    "layers_to_transform, layers_pattern": {
        "r": 2,
        "layers_to_transform": [1],
        "layers_pattern": "blocks",
    },
    "exclude_modules": {"r": 2, "exclude_modules": ["mlp.fc2"]},
    "target_modules as a regular expression": {"r": 2, "target_modules": r".*\.attn\.(qkv|proj)"},
    "lora_dropout": {"r": 2, "lora_dropout": 0.3},
    "init: gaussian": {"r": 2, "init_lora_weights": "gaussian"},
    "init: orthogonal": {"r": 2, "init_lora_weights": "orthogonal"},
    "init: mica": {"r": 2, "init_lora_weights": "mica"},
    "init: eva": {"r": 2, "init_lora_weights": "eva"},
    "init: false": {"r": 2, "init_lora_weights": False},
    "target_modules='all-linear'": {"r": 2, "target_modules": "all-linear"},
    "rsLoRA with alpha_pattern": {
        "r": 4,
        "use_rslora": True,
        "rank_pattern": {"fc1": 3},
        "alpha_pattern": {"attn.proj": 5},
    },
    "modules_to_save: the head": {"r": 2, "modules_to_save": ["head"]},
}
"""LoRAs that are read, and how PEFT is asked for them."""
REFUSED_LORA: dict[str, dict[str, Any]] = {
    "DoRA": {"use_dora": True},
    "bias='lora_only'": {"bias": "lora_only"},
    "bias='all'": {"bias": "all"},
    "lora_bias": {"lora_bias": True},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
}
_OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "AdaLoRA": ("AdaLoraConfig", {"init_r": 4, "target_r": 2, "total_step": 10}),
    "IA3": ("IA3Config", {"feedforward_modules": []}),
    "LoHa": ("LoHaConfig", {"r": 2}),
    "LoKr": ("LoKrConfig", {"r": 2}),
    "OFT": ("OFTConfig", {"r": 0, "oft_block_size": 8}),
    "BOFT": ("BOFTConfig", {"boft_block_size": 8}),
    "VeRA": ("VeraConfig", {"r": 2}),
    "FourierFT": ("FourierFTConfig", {"n_frequency": 8}),
    "Householder reflection adaptation": ("HRAConfig", {"r": 2}),
    "RandLoRA": ("RandLoraConfig", {"r": 2}),
}
"""Other methods of PEFT by their papers' names, with their configurations' classes."""


def _classifier(backbone: Backbone, way: int = 3) -> Any:
    model = copy.deepcopy(backbone.model)
    model.reset_classifier(way)
    return model.eval()


def tuned(backbone: Backbone, way: int = 3, **config: Any) -> Any:
    """A peft model whose LoRAs and saved modules are not at their initial values."""
    torch.manual_seed(1)
    full = {"target_modules": ALL_LINEAR, **config}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(_classifier(backbone, way), peft.LoraConfig(**full)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model


def saved(model: Any, folder: Path) -> Path:
    with warnings.catch_warnings():  # peft looks for the base model's config.json on the hub
        warnings.simplefilter("ignore", UserWarning)
        model.save_pretrained(str(folder))
    return folder


def refused_kinds() -> dict[str, Callable[[Backbone], Any]]:
    """How to make an adapter of each kind that is refused, by the name it is refused by."""

    def lora(config: dict[str, Any]) -> Callable[[Backbone], Any]:
        return lambda backbone: tuned(backbone, r=2, **{"target_modules": _QKV, **config})

    def other(kind: str, config: dict[str, Any]) -> Callable[[Backbone], Any]:
        def make(backbone: Backbone) -> Any:
            made = getattr(peft, kind)(target_modules=_QKV, **config)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return peft.get_peft_model(_classifier(backbone), made)

        return make

    return {
        **{name: lora(config) for name, config in REFUSED_LORA.items()},
        **{name: other(*how) for name, how in _OTHERS.items()},
    }


@dataclass(frozen=True)
class CloseTo:
    """Compares an embedding with what peft's own merged model gives, to 1e-5 of its size."""

    model: Any
    backbone: Backbone

    @torch.no_grad()
    def check(self, got: Tensor, pixels: Tensor) -> None:
        merged = copy.deepcopy(self.model).merge_and_unload()
        expected = merged.forward_features(pixels)[:, 0]
        error = float((got - expected).abs().max() / expected.abs().max())
        assert error < 1e-5, error
        plain = embedding_of(self.backbone.model, pixels)
        assert (expected - plain).abs().max() > 1e-2
