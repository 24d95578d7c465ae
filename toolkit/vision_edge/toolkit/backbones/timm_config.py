"""What timm's `config.json` states of a model beyond its name: arguments that it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vision_edge.runtime.errors import BackboneError
from vision_edge.toolkit.backbones.weights import WeightsMetadata

_SAID_ELSEWHERE = frozenset(
    {"act_layer", "num_classes", "in_chans", "pretrained", "dynamic_img_size"}
)
"""Read by `stated`, or without effect on an embedding of pictures of one size."""


class Arguments(WeightsMetadata.Sizes):
    """Arguments of `timm.create_model` that a file may set: sizes, and how tokens are pooled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    global_pool: Literal["token", "avg", "map"] | None = None
    class_token: bool | None = None
    fc_norm: bool | None = None
    no_embed_class: bool | None = None


def timm_arguments(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the arguments that a model was made with, where timm's `config.json` states them.

    Args:
        document: The file's contents.
        path: The file, for messages.

    Raises:
        BackboneError: If it states an argument that is not known here.
    """
    if not isinstance(document.get("architecture"), str):
        return {}
    stated = document.get("model_args") or {}
    pool = document.get("global_pool")
    if not isinstance(stated, Mapping):
        stated = {"model_args": stated}
    arguments = {key: value for key, value in stated.items() if key not in _SAID_ELSEWHERE}
    if pool:
        arguments.setdefault("global_pool", pool)
    try:
        return _Document.model_validate({"model_args": arguments}).model_args.model_dump(
            exclude_none=True
        )
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise BackboneError(
            f"{path}: states the model was made with {where} {problem['input']!r:.80}, which is "
            f"not known here ({problem['msg']})",
            fix="give weights of a model that timm has under a name of its own",
        ) from error


class _Document(BaseModel):
    model_args: Arguments
