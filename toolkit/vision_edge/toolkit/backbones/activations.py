"""Which activation the files beside weights state, and whether a model computes it.

Weights that were trained with another activation load into a model of the same shapes and compute
something else, so that one which the model is not made with is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import BackboneError

ACTIVATIONS = {
    "gelu": "gelu",
    "quick_gelu": "quick_gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_tanh": "gelu_tanh",
}
"""transformers' and timm's names of activations, and timm's."""
_DEFAULTS = {
    "clip": "quick_gelu",
    "clip_vision_model": "quick_gelu",
    "siglip": "gelu_pytorch_tanh",
    "siglip_vision_model": "gelu_pytorch_tanh",
}
_OF_GATED = ("silu", "swish")


def stated_activation(config: Mapping[str, Any]) -> str | None:
    """Return the activation that `config.json` states, by timm's name where it has one."""
    vision = config.get("vision_config")
    inner = vision if isinstance(vision, Mapping) else config
    arguments = config.get("model_args")
    stated = inner.get("hidden_act")
    if stated is None and isinstance(arguments, Mapping):
        stated = arguments.get("act_layer")
    if stated is None and "quickgelu" in str(config.get("architecture", "")):
        stated = "quick_gelu"
    if stated is None:  # transformers may leave out what is its default
        stated = _DEFAULTS.get(str(config.get("model_type")))
    if stated is None:
        return None
    return ACTIVATIONS.get(stated, stated) if isinstance(stated, str) else repr(stated)


def check_activation(
    stated: str | None, architecture: str, where: Path, *, gated: bool, takes: bool
) -> None:
    """Raise if a model does not compute the activation that its weights' files state.

    Args:
        stated: As `stated_activation` returns it.
        architecture: timm's name of the model.
        where: The file that states it.
        gated: Whether its MLPs are gated: their activation belongs to timm's layer.
        takes: Whether timm makes the model with any of `ACTIVATIONS`.

    Raises:
        BackboneError: Naming the activation.
    """
    if stated is None or (gated and stated in (*_OF_GATED, *ACTIVATIONS.values())):
        return
    if stated not in ACTIVATIONS.values():
        known = ", ".join(sorted(ACTIVATIONS))
        raise BackboneError(
            f"{where}: states the activation {stated!r}, which {architecture} is not made with; "
            f"known are {known}",
            fix="give --activation, if one of these computes the same"
            if takes
            else "give weights of another model",
        )
    if not takes and stated != "gelu":
        raise BackboneError(
            f"{where}: states the activation {stated!r}, and {architecture} has gelu alone",
            fix="check --backbone: name the model that these weights belong to",
        )
