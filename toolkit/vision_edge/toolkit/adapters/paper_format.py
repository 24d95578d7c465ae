"""The layout of the paper's own code: `w_a_000`, `w_b_000`, ..., and `fc_768in_5out`.

Tensors 2i and 2i + 1 are the LoRAs on query and value of block i, unscaled; the head has no bias.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.base_check import Recorded
from vision_edge.toolkit.adapters.heads import Head
from vision_edge.toolkit.adapters.peft_format import Factors, Parsed
from vision_edge.toolkit.backbones.timm_names import Target

_FACTOR = re.compile(r"w_([ab])_(\d+)$")
_HEAD = re.compile(r"fc_(\d+)in_(\d+)out$")


def is_paper_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file's tensors are named as the paper's code does."""
    return any(_FACTOR.match(name) for name in tensors)


def names_of_paper(path: Path) -> bool:
    """Whether a safetensors file's tensors are named so, by its header alone; no if unreadable."""
    if not path.is_file():  # a pipe would never end
        return False
    try:
        with safe_open(path, framework="pt") as stream:
            return any(_FACTOR.match(name) for name in stream.keys())  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        return False


def parse_paper(path: Path, tensors: Mapping[str, Tensor], own: dict[str, Any]) -> Parsed:
    """Understand a file in the paper's layout.

    Args:
        path: The file, for messages.
        tensors: Its tensors.
        own: Our own metadata, where the file carries any.

    Raises:
        AdapterError: If a tensor is unknown, or A's and B's do not pair up.
    """
    factors: dict[int, dict[str, Tensor]] = {}
    head: Head | None = None
    for name, tensor in tensors.items():
        if match := _FACTOR.match(name):
            factors.setdefault(int(match[2]), {})[match[1]] = tensor
        elif (match := _HEAD.match(name)) and tuple(tensor.shape) == (int(match[2]), int(match[1])):
            head = Head(tensor.float())
        else:
            raise AdapterError(
                f"{path}: tensor {name!r} {tuple(tensor.shape)} is not of the paper's layout",
                fix="expected w_a_000, w_b_000, ... and fc_{in}in_{out}out",
            )
    count = len(factors)
    complete = sorted(factors) == list(range(count)) and count % 2 == 0
    if not complete or any(set(pair) != {"a", "b"} for pair in factors.values()):
        raise AdapterError(
            f"{path}: w_a and w_b must pair up for query and value of every block; found "
            f"{sorted(factors)}",
            fix="the adapter is incomplete; leave it out",
        )
    pairs = [
        Factors(Target(f"blocks.{index // 2}.attn.qkv", "qv"[index % 2]), pair["a"], pair["b"], 1.0)
        for index, pair in sorted(factors.items())
    ]
    return Parsed(pairs, head, Recorded(), own)
