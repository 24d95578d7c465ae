"""Backbones: frozen timm vision transformers, with the preprocessing that belongs to them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from timm.data.config import resolve_model_data_config
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.runtime.bundles.manifest import BackboneInfo
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import BackboneError
from vision_edge.runtime.images.preprocess import PreprocessSpec, Triple
from vision_edge.toolkit.backbones.families import PROJECTED, Family, embedding_kind, family_of
from vision_edge.toolkit.backbones.fused_qkv import fuse_qkv
from vision_edge.toolkit.backbones.loading import create_model, load_weights, resized_notes
from vision_edge.toolkit.backbones.original_layouts import by_common_names
from vision_edge.toolkit.backbones.preprocessor import KERNELS, check_range
from vision_edge.toolkit.backbones.projection import projection_head, projection_widths
from vision_edge.toolkit.backbones.stated import CONFIG_FILE, Chosen, choose, read_stated
from vision_edge.toolkit.backbones.weights import (
    WeightsMetadata,
    read_metadata,
    read_safetensors,
    unwrapped,
)

EMBEDDED = "vision-edge-tiny"


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
        activation: Of the MLPs; None takes what the weights' files or timm's name state. CLIP's
            weights in a file that says nothing need it.
        projection: Whether CLIP's projection is part of the embedding; None where the weights
            carry it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    weights: Path | None = None
    size: int | None = None
    mean: Triple | None = None
    std: Triple | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    activation: Literal["gelu", "quick_gelu", "gelu_tanh"] | None = None
    projection: bool | None = None

    @field_validator("name")
    @classmethod
    def _without_hub(cls, name: str | None) -> str | None:
        """Timm's own names on its hub, `timm/NAME.TAG` and `hf-hub:timm/NAME.TAG`, are the name."""
        return name and re.sub(r"^(?:hf[-_]hub:)?timm/", "", name.strip())


@dataclass
class Backbone:
    """A frozen vision transformer.

    Attributes:
        name: What it is called in adapters and manifests.
        model: The timm model without its head (but with CLIP's projection where it is part of the
            embedding), query, key and value fused, in float32 and evaluation mode.
        spec: Its preprocessing.
        architecture: timm's name of the model; the name where it is empty.
        native: By name, weights that were resampled to another size, as they were before.
        separate_qkv: Whether timm keeps query, key and value of this model apart.
        notes: What a user should know about how it was loaded.
        tag: What the weights' own files call them, where their name has no tag (`"mae"`).
    """

    name: str
    model: VisionTransformer
    spec: PreprocessSpec
    architecture: str = ""
    native: dict[str, Tensor] = field(default_factory=dict)
    separate_qkv: bool = False
    notes: tuple[str, ...] = ()
    tag: str | None = None

    @property
    def full_name(self) -> str:
        """The name with its tag, which decides whose adapters go with it."""
        return self.name if self.tag is None or "." in self.name else f"{self.name}.{self.tag}"

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        head = self.model.head
        return int(head.out_features if isinstance(head, nn.Linear) else self.model.num_features)

    @property
    def family(self) -> Family:
        """What kind of backbone it is."""
        return family_of(self.model, self.architecture or self.name)

    @property
    def embedding(self) -> str:
        """Which embedding it gives, in words."""
        kind = embedding_kind(self.model, self.architecture or self.name)
        if not kind.endswith(PROJECTED):
            return kind
        projected = isinstance(self.model.head, nn.Linear)
        return kind.removesuffix(PROJECTED) + (", then CLIP's projection" if projected else "")

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @cached_property
    def sha256(self) -> str:
        """Hash of the weights' values in float32, whichever file and dtype they came from.

        It is of the weights as published: before a position embedding is resampled to another
        size, and without CLIP's projection, which no adapter changes.
        """
        return state_sha256(self._body() | self.native)

    @cached_property
    def sha256_as_resampled(self) -> str:
        """Hash of the weights at this size: what earlier versions wrote into adapters."""
        return state_sha256(self._body()) if self.native else self.sha256

    def is_known_as(self, sha256: object) -> bool:
        """Whether a hash, of this version or an earlier one, is that of this backbone."""
        return sha256 == self.sha256 or sha256 == self.sha256_as_resampled

    def _body(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.model.state_dict()
        return {name: tensor for name, tensor in state.items() if not name.startswith("head.")}

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
        BackboneError: If the model is unknown or unsuitable (see `families`), or the weights are
            absent, unreadable, of other shapes, not finite, or need an activation that is not
            stated.
    """
    options = options or BackboneOptions()
    if options.weights is None and options.name in (None, EMBEDDED):
        shipped = asset("backbone.safetensors")
        return _from_file(options.model_copy(update={"name": None, "weights": shipped}))
    if options.weights is not None:
        return _from_file(options)
    return _pretrained(str(options.name), options)


def random_backbone(name: str, seed: int = 0, **model_args: Any) -> Backbone:
    """Make a backbone with random weights, for tests and for checks of shapes.

    Args:
        name: A timm model's name.
        seed: Seed of the weights.
        **model_args: Further arguments of `timm.create_model`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(name, **model_args)
    return _finished(name, name, model, BackboneOptions(name=name), Chosen())


def _pretrained(name: str, options: BackboneOptions) -> Backbone:
    """Take timm's own weights; they are resampled here, so that the hash is of what they are."""
    arguments: dict[str, Any] = (
        {} if options.activation is None else {"act_layer": options.activation}
    )
    projected = options.projection is not False and bool(projection_widths(name))
    classes = min(projection_widths(name)) if projected else 0
    model = create_model(name, pretrained=True, classes=classes, **arguments)
    native: dict[str, Tensor] = {}
    if options.size is not None and options.size != int(model.patch_embed.img_size[0]):
        state = model.state_dict()
        model = create_model(name, options.size, classes=classes, **arguments)
        head = {key: value for key, value in state.items() if key.startswith("head.")}
        native = load_weights(model, state, Path(name), head)
    return _finished(name, name, model, options, Chosen(), native)


def _from_file(options: BackboneOptions) -> Backbone:
    """Make the model that `options.weights` belongs to, and load them."""
    assert options.weights is not None
    path = options.weights
    own, stated = read_metadata(path), read_stated(path)
    if options.name not in (None, own.name, own.architecture):
        own = WeightsMetadata()
    if stated.problem and not ((own.mean or options.mean) and (own.std or options.std)):
        raise stated.problem
    architecture = own.architecture or options.name or stated.architecture
    if architecture is None:
        raise BackboneError(
            f"{path}: neither the file nor a {CONFIG_FILE} beside it says which model it belongs "
            "to",
            fix="give --backbone with a timm name",
        )
    tensors = by_common_names(unwrapped(read_safetensors(path)[0]), str(path))
    chosen = choose(architecture, path, own, stated, tensors, options.activation)
    arguments = own.timm_arguments() | chosen.arguments
    head = projection_head(architecture, tensors) if options.projection is not False else {}
    classes = len(head["head.weight"]) if head else 0
    if options.projection and not head:
        raise BackboneError(
            f"{path}: --projection asks for CLIP's projection, which is not in this file",
            fix="give the weights of the whole CLIP model, or leave the option out",
        )
    size = {} if "img_size" not in arguments or options.size is None else {"img_size": None}
    kept = {key: value for key, value in arguments.items() if key not in size}
    model = create_model(architecture, options.size, classes=classes, **kept)
    stated.transformers.fit(model, architecture, str(path))
    native = load_weights(model, tensors, path, head)
    name = own.name or options.name or architecture
    loaded = _finished(name, architecture, model, options, chosen, native)
    resized = [] if options.size else resized_notes(model, native, architecture)
    return replace(loaded, tag=stated.transformers.tag, notes=(*chosen.notes, *resized))


def _finished(
    name: str,
    architecture: str,
    model: VisionTransformer,
    options: BackboneOptions,
    chosen: Chosen,
    native: dict[str, Tensor] | None = None,
) -> Backbone:
    apart = fuse_qkv(model)
    model = model.eval().float().requires_grad_(False)
    spec = _spec(model, options, chosen)
    return Backbone(
        name, model, spec, architecture, native or {}, separate_qkv=apart, notes=chosen.notes
    )


def _spec(model: nn.Module, options: BackboneOptions, chosen: Chosen) -> PreprocessSpec:
    """Preprocessing: the user's options before the files' own words before timm's configuration."""
    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    size = model.patch_embed.img_size  # type: ignore[union-attr]
    fields = {
        "size": int(size[0]),  # type: ignore[index]
        "mean": options.mean or chosen.mean or config["mean"],
        "std": options.std or chosen.std or config["std"],
        "interpolation": options.interpolation or chosen.interpolation or config["interpolation"],
        "crop_pct": options.crop_pct or chosen.crop_pct or 1.0,
    }
    if fields["interpolation"] not in KERNELS:
        raise BackboneError(
            f"preprocessing interpolation: {fields['interpolation']!r} is not done here",
            fix=f"give --interpolation, one of {', '.join(KERNELS)}: the nearest to it",
        )
    try:
        spec = PreprocessSpec.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        raise BackboneError(
            f"preprocessing {problem['loc'][0]}: {problem['msg']}; got {problem['input']!r}",
            fix="give it by option",
        ) from error
    check_range(spec.mean, spec.std)
    return spec
