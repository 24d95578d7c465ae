"""PEFT's adapter directories: `adapter_config.json` and `adapter_model.safetensors`.

Supported is plain LoRA (Hu et al. 2021) on linear layers, with `lora_alpha`, rank-stabilised
scaling (Kalajdzievski 2023, arXiv 2312.03732: alpha / sqrt(r)), rank and alpha patterns, and a
classification head saved whole. All else is refused by name rather than read wrongly.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, PositiveInt, ValidationError
from torch import Tensor

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.backbones.timm_names import Target, is_head, timm_target
from vision_edge.toolkit.backbones.weights import write_safetensors

CONFIG_FILE = "adapter_config.json"
MODEL_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<factor>[AB])(?:\.default)?\.weight$")
_HEAD = re.compile(r"(?P<module>.+?)(?:\.modules_to_save(?:\.default)?)?\.(?P<kind>weight|bias)$")
_REFUSED = {
    "use_dora": "DoRA",
    "use_qalora": "QALoRA",
    "lora_bias": "LoRA with a bias (lora_bias)",
    "layer_replication": "layer replication",
    "target_parameters": "LoRA on bare parameters (target_parameters)",
    "trainable_token_indices": "trainable tokens",
    "arrow_config": "Arrow",
    "use_bdlora": "block-diagonal LoRA",
    "alora_invocation_tokens": "activated LoRA",
    "kasa_config": "KaSA",
}
_BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that subtract the initial `B A` from the base weights, or quantise them."""


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression ({error})") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class PeftConfig(BaseModel):
    """The fields of `adapter_config.json` that change what an adapter computes.

    `fan_in_fan_out` is not among them: it says that the *base* layer keeps its weight transposed;
    an update is `x -> B (A x)` either way, and timm's linear layers keep (out, in).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    peft_type: str
    r: PositiveInt = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    rank_pattern: dict[Pattern, PositiveInt] = {}
    alpha_pattern: dict[Pattern, float] = {}
    bias: str = "none"
    init_lora_weights: bool | str = True
    base_model_name_or_path: str | None = None

    def scale(self, module: str, rank: int) -> float:
        """Return the factor on `B A` of a module: alpha / r, or alpha / sqrt(r) for rsLoRA."""
        alpha = _by_pattern(self.alpha_pattern, module, self.lora_alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def rank(self, module: str) -> int:
        """Return the rank that the configuration gives to a module."""
        return int(_by_pattern(self.rank_pattern, module, self.r))


@dataclass(frozen=True)
class Factors:
    """One LoRA as a file has it: A (r, in), B (out, r), any float dtype, and its scale."""

    target: Target
    A: Tensor
    B: Tensor
    scale: float


@dataclass(frozen=True)
class Head:
    """A linear classification head: weight float32 (K, D), bias float32 (K,) or None."""

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class Parsed:
    """An adapter file's contents, still with query, key and value apart."""

    factors: list[Factors]
    head: Head | None
    base: str | None
    own: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def parse_peft(
    folder: Path, config_path: Path, tensors: Mapping[str, Tensor], own: dict[str, Any]
) -> Parsed:
    """Understand a PEFT directory.

    Args:
        folder: The directory, for messages.
        config_path: Its configuration file.
        tensors: Its tensors.
        own: Our own metadata, where the file carries any.

    Raises:
        AdapterError: If it is not plain LoRA on a vision transformer's linear layers.
    """
    config = _read_config(config_path)
    factors: dict[str, dict[str, Tensor]] = {}
    head: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        key = name.removeprefix(_PREFIX)
        if match := _FACTOR.match(key):
            factors.setdefault(match["module"], {})[match["factor"]] = tensor
        elif (match := _HEAD.match(key)) and is_head(match["module"]):
            head[match["kind"]] = tensor.float()
        else:
            raise AdapterError(
                f"{folder}: tensor {name!r} is not part of a plain LoRA",
                fix="only LoRA on linear layers, and a whole classification head, are read",
            )
    notes = []
    for module in [module for module in factors if is_head(module)]:
        del factors[module]
        notes.append(
            f"{folder.name}: its head {module!r} is itself a LoRA on a head that is not in the "
            "file, so it has no head that can be used"
        )
    return Parsed(
        [_factors(folder, module, pair, config) for module, pair in factors.items()],
        _head(folder, head),
        config.base_model_name_or_path,
        own,
        notes,
    )


def _read_config(path: Path) -> PeftConfig:
    try:
        document = json.loads(path.read_bytes())
        config = PeftConfig.model_validate(document)
    except OSError as error:
        raise AdapterError(
            f"{path}: cannot be read ({error.strerror})", fix="a PEFT directory has this file"
        ) from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise AdapterError(f"{path}: {where}: {problem['msg']}", fix="save it again") from error
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{path}: not valid JSON ({error})", fix="save it again") from error
    if config.peft_type.upper() != "LORA":
        raise AdapterError(
            f"{path}: it is a {config.peft_type} adapter", fix="only LoRA adapters are read"
        )
    for key, what in _REFUSED.items():
        if document.get(key):
            raise AdapterError(
                f"{path}: it uses {what}, which is not supported", fix="leave it out (--skip-bad)"
            )
    if config.bias != "none":
        raise AdapterError(
            f"{path}: it trains biases (bias={config.bias!r}), which is not supported",
            fix="leave it out (--skip-bad)",
        )
    if str(config.init_lora_weights).lower().startswith(_BASE_CHANGING):
        raise AdapterError(
            f"{path}: its initialisation ({config.init_lora_weights}) changed the backbone too",
            fix="save it with PEFT's path_initial_model_for_weight_conversion, as a plain LoRA",
        )
    return config


def _factors(folder: Path, module: str, pair: dict[str, Tensor], config: PeftConfig) -> Factors:
    target = timm_target(module)
    if target is None:
        raise AdapterError(
            f"{folder}: it changes {module!r}, which is not a linear layer of a transformer block",
            fix="only attention and MLP layers are read",
        )
    if set(pair) != {"A", "B"} or any(t.ndim != 2 for t in pair.values()):
        raise AdapterError(
            f"{folder}: {module}: needs matrices lora_A and lora_B, found "
            + ", ".join(f"lora_{k} {tuple(t.shape)}" for k, t in pair.items()),
            fix="the adapter is damaged; leave it out",
        )
    rank = int(pair["A"].shape[0])
    if rank != config.rank(module) or rank != pair["B"].shape[1]:
        raise AdapterError(
            f"{folder}: {module}: rank is {config.rank(module)} by {CONFIG_FILE}, but A is "
            f"{tuple(pair['A'].shape)} and B is {tuple(pair['B'].shape)}",
            fix="the adapter is damaged; leave it out",
        )
    return Factors(target, pair["A"], pair["B"], config.scale(module, rank))


def _head(folder: Path, tensors: dict[str, Tensor]) -> Head | None:
    if not tensors:
        return None
    weight, bias = tensors.get("weight"), tensors.get("bias")
    if weight is None or weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        shapes = {kind: tuple(tensor.shape) for kind, tensor in tensors.items()}
        raise AdapterError(f"{folder}: the head's shapes make no sense: {shapes}", fix="tune again")
    return Head(weight, bias)


def _by_pattern(patterns: Mapping[str, float], module: str, default: float) -> float:
    """Return the value of the first pattern that matches a module's name, as PEFT does."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def write_peft(
    folder: Path,
    updates: Mapping[str, LowRank],
    base: str,
    head: Head | None,
    metadata: Mapping[str, str],
    dtype: torch.dtype,
) -> None:
    """Write a PEFT directory; scalings are in B, so alpha equals the rank of every module.

    Args:
        folder: An existing folder.
        updates: Update by timm module.
        base: Name of the backbone.
        head: Saved whole, as PEFT's `modules_to_save`.
        metadata: For the safetensors file.
        dtype: Type of the tensors in the file.
    """
    ranks = {module: update.rank for module, update in updates.items()}
    common = max(set(ranks.values()), key=list(ranks.values()).count)
    others = {re.escape(module): rank for module, rank in ranks.items() if rank != common}
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "r": common,
        "lora_alpha": common,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(updates),
        "modules_to_save": ["head"] if head else None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
    }
    tensors: dict[str, Tensor] = {}
    for module, update in updates.items():
        tensors[f"{_PREFIX}{module}.lora_A.weight"] = update.A
        tensors[f"{_PREFIX}{module}.lora_B.weight"] = update.B
    if head is not None:
        tensors[f"{_PREFIX}head.weight"] = head.weight
        bias = torch.zeros(len(head.weight)) if head.bias is None else head.bias
        tensors[f"{_PREFIX}head.bias"] = bias
    saved = {name: t.detach().to("cpu", dtype).contiguous() for name, t in tensors.items()}
    write_safetensors(folder / MODEL_FILE, saved, {"format": "pt", **metadata})
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
