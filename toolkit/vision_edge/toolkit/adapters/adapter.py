"""Adapters: LoRAs of a backbone, in Hugging Face PEFT's format.

Whatever names and scalings a file uses, an `Adapter` holds one update `B @ A` for each of timm's
linear layers. Two separate LoRAs of rank r on query and value are exactly one of rank 2r on the
fused `qkv`: their A's stacked, their B's in their rows and zeros elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.runtime.system.files import sha256_file
from vision_edge.toolkit.adapters.adapter_files import OWN_KEY, parsed_files
from vision_edge.toolkit.adapters.base_check import Recorded, compare_base
from vision_edge.toolkit.adapters.heads import Head, unfit_head
from vision_edge.toolkit.adapters.peft_format import Factors, write_peft
from vision_edge.toolkit.adapters.preprocessing import (
    check_preprocessing,
    preprocessing_metadata,
)
from vision_edge.toolkit.adapters.projections import projections
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.backbones.families import CLS_DIST
from vision_edge.toolkit.backbones.timm_names import QKV_ORDER


@dataclass(frozen=True)
class Adapter:
    """A LoRA on a backbone, with scalings folded into `B` and modules named as timm does.

    Attributes:
        name: Its folder's name.
        updates: Update by module.
        head: Its classification head, where it has one.
        recorded: What it says of the model that it was tuned on.
        backbone_sha256: That backbone's hash, where the adapter carries one.
        sha256: Hash of its weights file.
        info: What else one of our own adapters says: classes, method, settings.
        notes: What a user should know about what was read.
        preprocessing: How the pixels were prepared that it was made on, where it says so.
    """

    name: str
    updates: dict[str, LowRank]
    head: Head | None = None
    recorded: Recorded = field(default_factory=Recorded)
    backbone_sha256: str | None = None
    sha256: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    preprocessing: PreprocessSpec | None = None

    @property
    def base(self) -> str | None:
        """Name of the backbone that it says it was tuned on."""
        return self.recorded.base

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the head's classes, where they are known."""
        return tuple(map(str, self.info.get("classes", ())))

    @property
    def method(self) -> str:
        """How it was made: `tune`, `average`, ..., or `unknown` for those of others."""
        return str(self.info.get("method", "unknown"))


def read_adapter(
    path: Path, backbone: Backbone | None = None, *, trust_base: bool = False
) -> Adapter:
    """Read an adapter, and check that it fits a backbone.

    Args:
        path: A PEFT directory, or a safetensors file in the layout of the paper's code
            (`w_a_000`, `w_b_000`, ..., `fc_768in_5out`).
        backbone: Checked against, where given: hash, recorded base and shapes. A head that does
            not go on its embedding is left out, with a note.
        trust_base: Take it whatever base it records, so long as the shapes fit.

    Returns:
        The adapter; its notes say what is not proven and what was left out.

    Raises:
        AdapterError: If it is absent, truncated, of an unsupported kind (DoRA and others, by
            name), not finite, incomplete, or of another backbone.
    """
    parsed, weights = parsed_files(path)
    depth_hint = len(backbone.model.blocks) if backbone else None
    updates = {
        module: _fuse(path, module, factors)
        for module, factors in _by_module(path, parsed.factors, depth_hint).items()
    }
    if not updates:
        raise AdapterError(f"{path}: it changes no layer", fix="leave it out")
    adapter = Adapter(
        name=path.stem if path.is_file() else path.name,
        updates=updates,
        head=parsed.head,
        recorded=parsed.recorded,
        backbone_sha256=parsed.own.get("backbone_sha256"),
        sha256=sha256_file(weights),
        info=parsed.own,
        notes=tuple(parsed.notes),
        preprocessing=parsed.preprocessing,
    )
    _check_finite(path, adapter)
    if backbone is None:
        return adapter
    adapter = replace(adapter, updates=_as_backbone_names(adapter.updates, backbone))
    notes = check_fit(adapter, backbone, str(path), trust_base=trust_base)
    alone = backbone.embedding == CLS_DIST and adapter.recorded.layout == "deit"
    unfit = adapter.head and unfit_head(
        adapter.head, backbone.dim, adapter.recorded.model_class, alone=alone
    )
    return replace(
        adapter,
        head=None if unfit else adapter.head,
        notes=(*adapter.notes, *notes, *([unfit] if unfit else [])),
    )


def write_adapter(
    folder: Path,
    updates: Mapping[str, LowRank],
    backbone: Backbone,
    *,
    head: Head | None = None,
    info: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write an adapter as a PEFT directory, which `peft` loads onto the same timm model.

    Args:
        folder: An existing, empty folder; use it with `atomic_folder`.
        updates: Update by module; they may differ in rank.
        backbone: What it belongs to; name and hash are written.
        head: The classification head, which becomes PEFT's `modules_to_save`.
        info: Further facts for the metadata, such as `classes` and `method`; JSON values.
        dtype: Type of the tensors in the file.
    """
    own = {**(info or {}), "backbone": backbone.name, "backbone_sha256": backbone.sha256}
    metadata = {OWN_KEY: json.dumps(own), **preprocessing_metadata(backbone)}
    write_peft(folder, separated(updates, backbone), backbone.name, head, metadata, dtype)


def separated(updates: Mapping[str, LowRank], backbone: Backbone) -> Mapping[str, LowRank]:
    """Name updates as timm names the layers of this backbone, also where `qkv` is kept apart."""
    if not backbone.separate_qkv:
        return updates
    named = {}
    for name, update in projections(dict(updates)):
        module, _, part = name.partition(":")
        named[f"{module.removesuffix('qkv')}{part}_proj" if part else module] = update
    return named


def check_fit(
    adapter: Adapter, backbone: Backbone, where: str, *, trust_base: bool = False
) -> list[str]:
    """Raise unless an adapter belongs to a backbone.

    A hash that the adapter carries decides. Otherwise what it records must not contradict the
    backbone's name (see `base_check`), and every update must have its layer's shape.

    Args:
        adapter: The adapter.
        backbone: What it shall be put on.
        where: What to call it in an error.
        trust_base: Whether the user vouches for the base; shapes are checked all the same.

    Returns:
        Notes: what is not proven, or was trusted.

    Raises:
        AdapterError: Saying what differs.
    """
    check_preprocessing(adapter.preprocessing, backbone, where)
    notes = _check_base(adapter, backbone, where, trust_base)
    _check_shapes(adapter, backbone, where)
    return notes


def _check_base(adapter: Adapter, backbone: Backbone, where: str, trust_base: bool) -> list[str]:
    if backbone.is_known_as(adapter.backbone_sha256):
        return []
    if adapter.backbone_sha256 is not None:
        problem = (
            f"it was tuned on backbone {adapter.base!r} ({adapter.backbone_sha256[:12]}…), not on "
            f"{backbone.name!r} ({backbone.sha256[:12]}…)"
        )
        fix = "give the backbone and weights that it was tuned on"
    else:
        found = compare_base(adapter.recorded, backbone.full_name)
        if found.problem is None:
            return [found.note] if found.note else []
        problem, fix = found.problem, found.fix
    if not trust_base:
        raise AdapterError(f"{where}: {problem}", fix=fix)
    return [f"trusted to go with {backbone.name!r}, though {problem}"]


def _check_shapes(adapter: Adapter, backbone: Backbone, where: str) -> None:
    linear = {
        name: tuple(module.weight.shape)
        for name, module in backbone.model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    for module, update in adapter.updates.items():
        if linear.get(module) != update.shape:
            got = linear.get(module, "no such layer")
            raise AdapterError(
                f"{where}: {module} is changed by {update.shape}, but {backbone.name!r} has {got}",
                fix="give the backbone that it was tuned on",
            )


def _by_module(path: Path, factors: list[Factors], depth: int | None) -> dict[str, list[Factors]]:
    grouped: dict[str, list[Factors]] = {}
    for item in factors:
        grouped.setdefault(item.target.module, []).append(item)
        block = int(item.target.module.split(".")[1])
        if depth is not None and block >= depth:
            raise AdapterError(
                f"{path}: it changes block {block}, the backbone has {depth}",
                fix="give the backbone that it was tuned on",
            )
    return grouped


def _as_backbone_names(updates: Mapping[str, LowRank], backbone: Backbone) -> dict[str, LowRank]:
    """Call the first layer of a gated MLP as timm does; without the model nobody can tell."""
    layers = dict(backbone.model.named_modules())
    gated = {f"{m}_x" for m in updates if m not in layers and f"{m}_x" in layers}
    return {f"{m}_x" if f"{m}_x" in gated else m: update for m, update in updates.items()}


def _fuse(path: Path, module: str, factors: list[Factors]) -> LowRank:
    """Join the updates of one timm module: parts of `qkv` are stacked into one."""
    parts = [item.target.part for item in factors]
    if len(set(parts)) < len(parts) or (None in parts and len(parts) > 1):
        raise AdapterError(
            f"{path}: more than one of its LoRAs changes the same rows of {module}",
            fix="give an adapter of one vision transformer alone",
        )
    shape = factors[0].B.shape[:1] + factors[0].A.shape[1:]
    for item in factors:
        matrices = item.A.ndim == item.B.ndim == 2 and item.A.shape[0] == item.B.shape[1]
        if not matrices or item.B.shape[:1] + item.A.shape[1:] != shape:
            raise AdapterError(
                f"{path}: {module}: factors A {tuple(item.A.shape)} and B {tuple(item.B.shape)} "
                "do not go together, or not with those of its other projections",
                fix="the adapter is damaged; leave it out",
            )
    B_columns = [_in_rows(item, shape[0]) * item.scale for item in factors]
    return LowRank(torch.cat([item.A.float() for item in factors]), torch.cat(B_columns, dim=1))


def _in_rows(item: Factors, width: int) -> Tensor:
    """Return B, for a part of `qkv` with its rows in their third and zeros elsewhere."""
    if item.target.part is None:
        return item.B.float()
    placed = torch.zeros(len(QKV_ORDER) * width, item.B.shape[1])
    start = QKV_ORDER[item.target.part] * width
    placed[start : start + width] = item.B.float()
    return placed


def _check_finite(path: Path, adapter: Adapter) -> None:
    """Refuse NaN and infinity, in the factors, in the head, and as soon as they are multiplied."""
    tensors = [t for update in adapter.updates.values() for t in (update.A, update.B)]
    if adapter.head is not None:
        tensors += [t for t in (adapter.head.weight, adapter.head.bias) if t is not None]
    if not (
        all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
        and all(math.isfinite(update.squared_norm()) for update in adapter.updates.values())
    ):
        raise AdapterError(
            f"{path}: holds or makes values that are not finite (NaN or infinity)",
            fix="it diverged in training or is damaged; leave it out (--skip-bad)",
        )
