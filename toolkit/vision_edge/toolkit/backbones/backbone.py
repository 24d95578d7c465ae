"""Backbones: frozen timm vision transformers, with the preprocessing that belongs to them."""

from __future__ import annotations

import difflib
import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from timm.data.config import resolve_model_data_config
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.runtime.bundles.manifest import BackboneInfo
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import BackboneError
from vision_edge.runtime.images.preprocess import PreprocessSpec, Triple
from vision_edge.toolkit.backbones.weights import (
    WeightsMetadata,
    read_metadata,
    read_safetensors,
    to_timm_names,
)

EMBEDDED = "vision-edge-tiny"
MAX_SIZE = 4096


class BackboneOptions(BaseModel):
    """How to make a backbone; what is None comes from the weights file or timm's configuration.

    Attributes:
        name: A timm model's name, or None for the embedded default.
        weights: A safetensors file; None takes timm's pretrained weights from its hub.
        size: Side of the square input, in pixels.
        mean: Mean per RGB channel of pixels in [0, 1].
        std: Standard deviation per RGB channel of the same.
        interpolation: `"bilinear"` or `"bicubic"`.
        crop_pct: Share of the short side that is kept; 1.0 by default, for a part on a line must
            not lose its edge (timm's own value is an ImageNet convention).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    weights: Path | None = None
    size: int | None = None
    mean: Triple | None = None
    std: Triple | None = None
    interpolation: str | None = None
    crop_pct: float | None = None


@dataclass
class Backbone:
    """A frozen vision transformer.

    Attributes:
        name: What it is called in adapters and manifests.
        model: The timm model without its head, in float32 and evaluation mode.
        spec: Its preprocessing.
    """

    name: str
    model: VisionTransformer
    spec: PreprocessSpec

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return int(self.model.num_features)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @cached_property
    def sha256(self) -> str:
        """Hash of the weights' values in float32, whichever file and dtype they came from."""
        return state_sha256(self.model.state_dict())

    def info(self) -> BackboneInfo:
        """Return what a manifest says of it."""
        return BackboneInfo(name=self.name, sha256=self.sha256, parameters=self.parameters)

    def embedder(self, name: str | None = None) -> TorchEmbedder:
        """Return it as an embedder."""
        return TorchEmbedder(self.model, self.spec, name or self.name)


def state_sha256(state: dict[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors: names, shapes and float32 values, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().float().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def load_backbone(options: BackboneOptions | None = None) -> Backbone:
    """Make a backbone and load its weights.

    Args:
        options: Which one; the embedded default without any.

    Returns:
        The backbone, frozen, on the CPU.

    Raises:
        BackboneError: If the model is unknown or no vision transformer, or the weights are
            absent, unreadable, of other shapes, or not finite.
    """
    options = options or BackboneOptions()
    if options.weights is None and options.name in (None, EMBEDDED):
        shipped = asset("backbone.safetensors")
        return _from_file(options.model_copy(update={"name": None, "weights": shipped}))
    if options.weights is not None:
        return _from_file(options)
    model = _create(str(options.name), options, {}, pretrained=True)
    return _finished(str(options.name), model, options, WeightsMetadata())


def random_backbone(name: str, seed: int = 0, **model_args: Any) -> Backbone:
    """Make a backbone with random weights, for tests and for checks of shapes.

    Args:
        name: A timm model's name.
        seed: Seed of the weights.
        **model_args: Further arguments of `timm.create_model`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _create(name, BackboneOptions(name=name), model_args, pretrained=False)
    return _finished(name, model, BackboneOptions(name=name), WeightsMetadata())


def _from_file(options: BackboneOptions) -> Backbone:
    """Make the model that `options.weights` belongs to, and load them."""
    assert options.weights is not None
    own = read_metadata(options.weights)
    if options.name not in (None, own.name, own.architecture):
        own = WeightsMetadata()
    architecture = own.architecture or options.name
    if architecture is None:
        raise BackboneError(
            f"{options.weights}: the file does not say which model it belongs to",
            fix="give --backbone with a timm name",
        )
    model = _create(architecture, options, own.timm_arguments(), pretrained=False)
    tensors, _ = read_safetensors(options.weights)
    _load(model, to_timm_names(tensors, str(options.weights)), options.weights)
    return _finished(own.name or architecture, model, options, own)


def _create(
    name: str, options: BackboneOptions, model_args: dict[str, Any], *, pretrained: bool
) -> VisionTransformer:
    if name.split(".")[0] not in timm.list_models():
        near = difflib.get_close_matches(name, timm.list_models("*vit*"), n=3)
        raise BackboneError(
            f"timm has no model {name!r}",
            fix=f"did you mean {', '.join(near)}?" if near else "see timm.list_models('vit*')",
        )
    arguments = dict(model_args)
    if options.size is not None:
        if not 1 <= options.size <= MAX_SIZE:
            raise BackboneError(
                f"a size of {options.size} is not from 1 to {MAX_SIZE} pixels", fix="check --size"
            )
        arguments["img_size"] = options.size
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BackboneError(
            f"timm could not make {name!r}: {reason}",
            fix="without access to timm's hub give --weights FILE (safetensors)"
            if pretrained
            else "check --size, and that the weights file is as it was published",
        ) from error
    if not isinstance(model, VisionTransformer) or model.cls_token is None:
        raise BackboneError(
            f"{name}: a {type(model).__name__} is not a plain vision transformer with a class "
            "token, whose [CLS] output is the embedding",
            fix="use one of timm's vit_*, deit_* or vit_*_clip_* models",
        )
    patch = int(model.patch_embed.patch_size[0])
    if options.size is not None and options.size % patch:
        raise BackboneError(
            f"{name}: a size of {options.size} is not a multiple of its patches of {patch} pixels",
            fix=f"give --size {round(options.size / patch) * patch or patch}",
        )
    return model


def _load(model: VisionTransformer, state: dict[str, Tensor], path: Path) -> None:
    """Load weights strictly; only the position embedding may be of another grid."""
    bad = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise BackboneError(
            f"{path}: {bad[0]} holds values that are not finite (NaN or infinity)",
            fix="use an intact checkpoint",
        )
    own = model.state_dict()
    if "pos_embed" in state and state["pos_embed"].shape != own["pos_embed"].shape:
        state["pos_embed"] = _resampled(model, state["pos_embed"], path)
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        problems = ([f"{len(missing)} missing, such as {missing[0]}"] if missing else []) + (
            [f"{len(unexpected)} unknown, such as {unexpected[0]}"] if unexpected else []
        )
        raise BackboneError(
            f"{path}: the weights do not fit this model: {'; '.join(problems + shapes[:2])}",
            fix="check --backbone: name the model that these weights belong to",
        )
    model.load_state_dict(state)


def _resampled(model: VisionTransformer, embedding: Tensor, path: Path) -> Tensor:
    prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    patches = embedding.shape[1] - prefix if embedding.ndim == 3 else 0
    fits = embedding.shape[::2] == (1, model.embed_dim)
    if not fits or patches < 1 or math.isqrt(patches) ** 2 != patches:
        raise BackboneError(
            f"{path}: position embedding {tuple(embedding.shape)} is not one of a square grid of "
            f"patches of width {model.embed_dim}",
            fix="check --backbone",
        )
    resampled: Tensor = resample_abs_pos_embed(
        embedding,
        new_size=list(model.patch_embed.grid_size),
        num_prefix_tokens=prefix,
    )
    return resampled


def _finished(
    name: str, model: VisionTransformer, options: BackboneOptions, own: WeightsMetadata
) -> Backbone:
    model = model.eval().float().requires_grad_(False)
    return Backbone(name, model, _spec(model, options, own))


def _spec(model: nn.Module, options: BackboneOptions, own: WeightsMetadata) -> PreprocessSpec:
    """Preprocessing: the user's options before the file's own words before timm's configuration."""
    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    size = model.patch_embed.img_size  # type: ignore[union-attr]
    chosen = {
        "size": int(size[0]),  # type: ignore[index]
        "mean": options.mean or own.mean or config["mean"],
        "std": options.std or own.std or config["std"],
        "interpolation": options.interpolation or own.interpolation or config["interpolation"],
        "crop_pct": options.crop_pct or own.crop_pct or 1.0,
    }
    try:
        return PreprocessSpec.model_validate(chosen)
    except ValidationError as error:
        problem = error.errors()[0]
        raise BackboneError(
            f"preprocessing {problem['loc'][0]}: {problem['msg']}; got {problem['input']!r}",
            fix="give it by option",
        ) from error
