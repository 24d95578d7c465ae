"""What `open_clip_config.json` beside weights says: activation, preprocessing, trunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vision_edge.toolkit.backbones.preprocessor import Preprocessing, kernel_name, triple

OPEN_CLIP_FILE = "open_clip_config.json"


@dataclass(frozen=True)
class OpenClipConfig:
    """What is stated; None where it is not.

    Attributes:
        activation: Of the image tower's MLPs, by timm's name; open_clip's own default is GELU.
        architecture: timm's name of the image tower, where it is one of timm's.
        preprocessing: Mean, standard deviation and kernel.
    """

    activation: str | None = None
    architecture: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


def open_clip_config(document: Mapping[str, Any], where: str) -> OpenClipConfig:
    """Understand an `open_clip_config.json`; nothing is stated by an empty one.

    Args:
        document: The file's contents.
        where: The file, for messages.

    Raises:
        BackboneError: If mean or standard deviation are not three numbers.
    """
    model, pixels = (_inner(document, key) for key in ("model_cfg", "preprocess_cfg"))
    tower = _inner(model, "vision_cfg")
    name = tower.get("timm_model_name")
    activation = None
    if tower and not isinstance(name, str):
        activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    return OpenClipConfig(
        activation,
        name if isinstance(name, str) else None,
        Preprocessing(
            triple(pixels, "mean", where),
            triple(pixels, "std", where),
            kernel_name(pixels.get("interpolation")),
        ),
    )


def _inner(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}
