"""What the files beside weights say of them: activation, preprocessing, architecture.

Read are transformers' `config.json`, `preprocessor_config.json` and `processor_config.json`,
timm's `config.json` and open_clip's `open_clip_config.json`.
Files from outside are untrusted: at most a megabyte is read, and only what is named here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm

from vision_edge.runtime.errors import BackboneError
from vision_edge.runtime.images.preprocess import Triple
from vision_edge.toolkit.backbones.activations import check_activation, stated_activation
from vision_edge.toolkit.backbones.families import is_clip
from vision_edge.toolkit.backbones.open_clip_config import OPEN_CLIP_FILE, open_clip_config
from vision_edge.toolkit.backbones.preprocessor import (
    PREPROCESSOR_FILE,
    PROCESSOR_FILE,
    Preprocessing,
    kernel_name,
    transformers_preprocessing,
    triple,
)
from vision_edge.toolkit.backbones.timm_config import timm_arguments
from vision_edge.toolkit.backbones.transformers_config import (
    TransformersConfig,
    transformers_config,
)
from vision_edge.toolkit.backbones.weights import WeightsMetadata

CONFIG_FILE = "config.json"
MAX_BYTES = 1 << 20
_GATES = ("mlp.weights_in.weight", "mlp.fc1_g.weight", "mlp.gate_proj.weight")


@dataclass(frozen=True)
class Stated:
    """What files say; None where none does.

    Attributes:
        activation: timm's name of it, or the file's own where timm has none here.
        mean: Mean per RGB channel of pixels in [0, 1].
        std: Standard deviation per RGB channel of the same.
        interpolation: Kernel by name, which the runtime may not have.
        architecture: timm's name of the model, with its tag where it is stated.
        problem: Why mean and std cannot be taken, to be raised where nothing else gives them.
        preprocessing_file: Where mean and std come from, or the file that should state them.
        activation_file: Where the activation comes from.
        transformers: What transformers' `config.json` says beyond that.
        arguments: What timm's `config.json` says that the model was made with.
    """

    activation: str | None = None
    mean: Triple | None = None
    std: Triple | None = None
    interpolation: str | None = None
    architecture: str | None = None
    problem: BackboneError | None = None
    preprocessing_file: str | None = None
    activation_file: str | None = None
    transformers: TransformersConfig = field(default_factory=TransformersConfig)
    arguments: Mapping[str, Any] = field(default_factory=dict)


def read_stated(weights: Path) -> Stated:
    """Read the files beside a weights file.

    Raises:
        BackboneError: If one is there and cannot be understood.
    """
    config = _document(weights.with_name(CONFIG_FILE))
    pretrained = config.get("pretrained_cfg", {})
    pretrained = pretrained if isinstance(pretrained, Mapping) else {}
    path = weights.with_name(OPEN_CLIP_FILE)
    beside = open_clip_config(_document(path), str(path))
    own = stated_activation(config)
    activation = own or beside.activation
    source, said = _preprocessing(weights, pretrained, beside.preprocessing)
    return Stated(
        activation=activation,
        mean=said.mean,
        std=said.std,
        interpolation=said.interpolation,
        architecture=_architecture(config, pretrained) or beside.architecture,
        problem=said.problem,
        preprocessing_file=source,
        activation_file=(CONFIG_FILE if own else OPEN_CLIP_FILE) if activation else None,
        transformers=transformers_config(config, weights.with_name(CONFIG_FILE)),
        arguments=timm_arguments(config, weights.with_name(CONFIG_FILE)),
    )


def _preprocessing(
    weights: Path, pretrained: Mapping[str, Any], beside: Preprocessing
) -> tuple[str | None, Preprocessing]:
    """Return what is stated, and the file that states it, or that is there and does not."""
    source, document = _processor(weights)
    said = transformers_preprocessing(document, str(weights.with_name(source)))
    kernel = said.interpolation or kernel_name(pretrained.get("interpolation"))
    silent = source if document else None
    if said.mean is None and said.std is None and said.problem is None:
        path = str(weights.with_name(CONFIG_FILE))
        mean, std = (triple(pretrained, kind, path) for kind in ("mean", "std"))
        source, said = CONFIG_FILE, replace(said, mean=mean, std=std)
    if said.mean is None and said.std is None and said.problem is None:
        source, said = OPEN_CLIP_FILE, replace(said, mean=beside.mean, std=beside.std)
        kernel = kernel or beside.interpolation
    stated = said.mean is not None or said.std is not None
    return source if stated else silent, replace(said, interpolation=kernel)


def _processor(weights: Path) -> tuple[str, Mapping[str, Any]]:
    """Return transformers' file of preprocessing and its contents: as it, the nested one first."""
    for source in (PROCESSOR_FILE, PREPROCESSOR_FILE):
        path = weights.with_name(source)
        document = _document(path)
        nested = document.get("image_processor")
        if nested is not None and not isinstance(nested, Mapping):
            raise BackboneError(
                f"{path}: its image_processor is no JSON object",
                fix="move it away from the weights",
            )
        if nested is not None or (document and source == PREPROCESSOR_FILE):
            return source, document if nested is None else nested
    return PREPROCESSOR_FILE, {}


def _document(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        document = json.loads(data) if len(data) <= MAX_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(
            f"{path}: cannot be read as JSON ({error})",
            fix="copy it again, or move it away from the weights and say by option what it says",
        ) from error
    if not isinstance(document, Mapping):
        raise BackboneError(
            f"{path}: not a JSON object of at most {MAX_BYTES} bytes",
            fix="copy it again, or move it away from the weights",
        )
    return document


def _architecture(config: Mapping[str, Any], pretrained: Mapping[str, Any]) -> str | None:
    """Return timm's name of the model from timm's own `config.json`."""
    name, tag = config.get("architecture"), pretrained.get("tag")
    if not isinstance(name, str) or not name:
        return None
    return f"{name}.{tag}" if isinstance(tag, str) and tag and "." not in name else name


@dataclass(frozen=True)
class Chosen:
    """What the files decide about a model.

    Attributes:
        arguments: Of `timm.create_model`.
        mean: Mean per RGB channel of pixels in [0, 1].
        std: Standard deviation per RGB channel of the same.
        interpolation: Kernel for enlarging.
        crop_pct: Share of the short side that is kept.
        notes: What was decided, and by what, for the user.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    mean: Triple | None = None
    std: Triple | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    notes: tuple[str, ...] = ()


def choose(
    architecture: str,
    path: Path,
    own: WeightsMetadata,
    stated: Stated,
    tensors: Mapping[str, Any],
    activation: str | None,
) -> Chosen:
    """Decide by what is stated, and say what decided.

    Args:
        architecture: timm's name of the model.
        path: The weights, for messages.
        own: What the file itself says, where it is one of ours.
        stated: What the files beside it say.
        tensors: The weights.
        activation: By option, which goes before all else.

    Raises:
        BackboneError: If CLIP's weights say nothing of their activation, or files state one that
            the model is not made with.
    """
    notes = _named_otherwise(architecture, stated)
    found = activation or stated.activation
    if found is None and own.architecture is None:
        _ask_activation(architecture, path)
    gated = _is_gated(tensors)
    takes = not gated and _takes_activation(architecture)
    if activation is not None and not takes:
        raise BackboneError(
            f"--activation {activation}: {architecture} has one activation only, inside its MLPs",
            fix="leave --activation out",
        )
    if activation is None:
        config = path.with_name(CONFIG_FILE)
        check_activation(stated.activation, architecture, config, gated=gated, takes=takes)
    arguments = {"act_layer": found} if found is not None and takes else {}
    if not notes and own.architecture is None:
        arguments |= stated.arguments
    if "act_layer" in arguments and activation is None and _differs(architecture, found):
        notes.append(
            f"the activation is {found}, as {stated.activation_file} beside the weights states, "
            f"not that of {architecture}"
        )
    if own.mean is None and stated.problem is None:
        notes += _whence(architecture, stated)
    return Chosen(
        arguments,
        own.mean or stated.mean,
        own.std or stated.std,
        own.interpolation or stated.interpolation,
        own.crop_pct,
        tuple(notes),
    )


def _whence(architecture: str, stated: Stated) -> list[str]:
    """Say where mean and std come from, where that is not plain."""
    of_timm = f"timm's {architecture}"
    if stated.mean is not None and stated.std is not None:
        return [f"mean and std are those of {stated.preprocessing_file} beside the weights"]
    if stated.mean is not None or stated.std is not None:
        one, other = ("mean", "std") if stated.std is None else ("std", "mean")
        return [
            f"the {one} is that of {stated.preprocessing_file} beside the weights, which states no "
            f"{other}: that of {of_timm} is taken; --{other} decides"
        ]
    if stated.preprocessing_file is not None:
        return [
            f"{stated.preprocessing_file} beside the weights states mean and std by no name that "
            f"is known: those of {of_timm} are taken; --mean and --std decide"
        ]
    if "." in architecture:
        return []
    return [
        f"nothing beside the weights states mean and std: those of {of_timm} are taken; a name "
        "with its tag (such as .mae or .dino) or --mean and --std decide"
    ]


def _named_otherwise(architecture: str, stated: Stated) -> list[str]:
    """Say it if the user's name of the model is not the one that the weights' files state."""
    theirs = stated.architecture
    if theirs is None or theirs.split(".")[0] == architecture.split(".")[0]:
        return []
    return [
        f"{CONFIG_FILE} beside the weights states {theirs}; they are taken for {architecture}, as "
        "--backbone says"
    ]


def _takes_activation(architecture: str) -> bool:
    """Whether timm lets the activation of a model be chosen."""
    name = architecture.split(".")[0]
    module = timm.model_entrypoint(name).__module__ if timm.is_model(name) else ""
    return module.endswith((".vision_transformer", ".deit"))


def _is_gated(tensors: Mapping[str, Any]) -> bool:
    """Whether the MLPs are gated, whose activation belongs to their layer in timm."""
    return any(name.endswith(_GATES) for name in tensors)


def _ask_activation(architecture: str, path: Path) -> None:
    """Raise for CLIP's weights of which nobody says whether they use QuickGELU."""
    name, _, tag = architecture.partition(".")
    if not is_clip(name) or tag or "quickgelu" in name or name.startswith("eva"):
        return
    raise BackboneError(
        f"{path}: CLIP weights exist with GELU and with QuickGELU, and nothing says which these "
        f"have: there is no {CONFIG_FILE} beside them, and {architecture!r} has no tag",
        fix="give --activation quick_gelu (OpenAI's own and most of transformers' CLIP) or "
        f"--activation gelu, or put the {CONFIG_FILE} that was published with them beside the file",
    )


def _differs(architecture: str, activation: str | None) -> bool:
    name = architecture.split(".")[0]
    usual = "quick_gelu" if "quickgelu" in name else "gelu"
    return activation != usual
