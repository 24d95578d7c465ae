"""PEFT's adapter directories: `adapter_config.json` and `adapter_model.safetensors`.

Supported is plain LoRA (Hu et al. 2021) on linear layers, with `lora_alpha`, rank-stabilised
scaling (Kalajdzievski 2023, arXiv 2312.03732: alpha / sqrt(r)), rank and alpha patterns, and a
classification head saved whole. All else is refused by name rather than read wrongly.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PositiveInt,
    ValidationError,
    field_validator,
)
from torch import Tensor

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.toolkit.adapters.base_check import Recorded, layout_of
from vision_edge.toolkit.adapters.effects import effect_notes, zero_notes
from vision_edge.toolkit.adapters.heads import Head, head_root, in_pooling, read_head
from vision_edge.toolkit.adapters.patterns import by_pattern, compiled
from vision_edge.toolkit.adapters.peft_kinds import (
    read_document,
    start_notes,
    told_by_tensor,
    unknown_fields,
)
from vision_edge.toolkit.backbones.timm_names import Target, other_part, timm_target
from vision_edge.toolkit.backbones.weights import write_safetensors

CONFIG_FILE = "adapter_config.json"
MODEL_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<factor>[AB])(?:\.default)?\.weight$")
MAX_NAME = 500
"""Characters of a tensor's name; those of real models have below 150."""


def _compiles(pattern: str) -> str:
    compiled(pattern)
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class AutoMapping(BaseModel):
    """Which class PEFT says that the base model was of."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    base_model_class: str | None = None
    parent_library: str | None = None


class PeftConfig(BaseModel):
    """The fields of `adapter_config.json` that change what an adapter computes, or whence it is.

    `peft_kinds` says of every other field why it is refused, or why it changes nothing.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    peft_type: str
    r: PositiveInt = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    rank_pattern: dict[Pattern, PositiveInt] = {}
    alpha_pattern: dict[Pattern, float] = {}
    base_model_name_or_path: str | None = None
    task_type: str | None = None
    auto_mapping: AutoMapping | None = None

    @field_validator("rank_pattern", "alpha_pattern", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value

    def scale(self, module: str, rank: int) -> float:
        """Return the factor on `B A` of a module: alpha / r, or alpha / sqrt(r) for rsLoRA."""
        alpha = by_pattern(self.alpha_pattern, module, self.lora_alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def rank(self, module: str) -> int:
        """Return the rank that the configuration gives to a module."""
        return int(by_pattern(self.rank_pattern, module, self.r))


@dataclass(frozen=True)
class Factors:
    """One LoRA as a file has it: A (r, in), B (out, r), any float dtype, and its scale."""

    target: Target
    A: Tensor
    B: Tensor
    scale: float


@dataclass(frozen=True)
class Parsed:
    """An adapter file's contents, still with query, key and value apart."""

    factors: list[Factors]
    head: Head | None
    recorded: Recorded
    own: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    preprocessing: PreprocessSpec | None = None


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
    document = read_document(config_path)
    config = _validated(config_path, document)
    factors: dict[str, dict[str, Tensor]] = {}
    heads: dict[str, Tensor] = {}
    seen: dict[str, str] = {}
    for name, tensor in tensors.items():
        key = name.removeprefix(_PREFIX)
        if len(name) > MAX_NAME:
            raise AdapterError(
                f"{folder}: a tensor's name is {len(name)} characters long: {name[:60]!r}...",
                fix="the adapter is damaged; leave it out",
            )
        if in_pooling(key):
            raise AdapterError(
                f"{folder}: it changes {name!r}, a part of the attention that pools the tokens "
                "into the embedding",
                fix="only layers of blocks are read: tune with exclude_modules='.*head.*'",
            )
        _refuse_twice(folder, seen, name)
        if head_root(key) is not None:
            heads[key] = tensor
        elif match := _FACTOR.match(key):
            factors.setdefault(match["module"], {})[match["factor"]] = tensor
        else:
            raise AdapterError(
                f"{folder}: tensor {name!r} is {told_by_tensor(name)}",
                fix="only LoRA on linear layers, and a whole classification head, are read",
            )
    head, notes = read_head(heads)
    if unknown := unknown_fields(document):
        notes.append(f"{CONFIG_FILE} has fields that are not known here: {', '.join(unknown)}")
    notes += start_notes(document)
    read = [_factors(folder, module, pair, config) for module, pair in factors.items()]
    scales = {module: item.scale for module, item in zip(factors, read, strict=True)}
    loras = {match["module"] for key in heads if (match := _FACTOR.match(key))} | factors.keys()
    notes += [*effect_notes(document, loras, tensors), *zero_notes(scales)]
    return Parsed(
        read,
        head,
        _recorded(config, factors),
        own,
        notes,
    )


def _refuse_twice(folder: Path, seen: dict[str, str], name: str) -> None:
    """Raise if two tensors have one name but for what PEFT puts around it; one would be lost."""
    plain = name.removeprefix(_PREFIX).replace(".default.", ".").replace(".modules_to_save.", ".")
    other = seen.setdefault(plain, name)
    if other != name:
        raise AdapterError(
            f"{folder}: holds {plain!r} twice, as {other!r} and as {name!r}",
            fix="save one adapter alone, with PEFT's save_pretrained",
        )


def recorded_in(document: Mapping[str, Any], tensors: Iterable[str]) -> Recorded:
    """Return what a configuration and the tensors' names say of the model that was tuned.

    Raises:
        ValidationError: If the configuration makes no sense.
    """
    modules = (name.removeprefix(_PREFIX) for name in tensors)
    return _recorded(PeftConfig.model_validate(document), modules)


def _recorded(config: PeftConfig, modules: Iterable[str]) -> Recorded:
    mapping = config.auto_mapping or AutoMapping()
    return Recorded(
        config.base_model_name_or_path or None,
        mapping.parent_library,
        mapping.base_model_class,
        config.task_type,
        layout_of(modules),
    )


def _validated(path: Path, document: Mapping[str, Any]) -> PeftConfig:
    try:
        return PeftConfig.model_validate(document)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise AdapterError(f"{path}: {where}: {problem['msg']}", fix="save it again") from error


def _factors(folder: Path, module: str, pair: dict[str, Tensor], config: PeftConfig) -> Factors:
    target = timm_target(module)
    if part := other_part(module):
        raise AdapterError(
            f"{folder}: it changes {module!r}, of {part!r}, which is no plain image tower",
            fix="only an adapter of a vision transformer's own blocks is read; tune it on the "
            "image tower alone",
        )
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
