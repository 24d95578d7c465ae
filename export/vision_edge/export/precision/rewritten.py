"""A model in another precision, and which of its layers is to blame when it is not the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Precise:
    """A float32 model rewritten in a narrower type.

    Attributes:
        model: Serialised ONNX; inputs and outputs are those of the float32 model.
        precision: Its type.
        float_layers: Layers that were kept in float32, by name, such as `blocks.3.mlp.fc2`.
        notes: What a user should know.
    """

    model: bytes
    precision: Literal["fp16", "int8"]
    float_layers: tuple[str, ...]
    notes: tuple[str, ...]
