"""Which of a hub's adapters have a say, and how much: zeros, duplicates, weights given by hand.

An adapter that changes nothing would only dilute the mean, and one that is there twice would
count twice. Both are left out and named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError, VisionEdgeError
from vision_edge.toolkit.adapters.adapter import Adapter
from vision_edge.toolkit.adapters.hub import ignore, read_hub
from vision_edge.toolkit.adapters.projections import projections, weight_of
from vision_edge.toolkit.backbones.backbone import Backbone

NOTHING = 1e-6
"""Share of the norm of the weights below which an update changes nothing, even in float16."""

SAME = 5e-3
"""Distance, as a share of the norm, up to which two updates are one; float16 makes 5e-4."""

PROBES = 4
"""Random directions on each side that a projection's product is looked at through."""

Weights = tuple[tuple[str, float], ...]
"""Patterns of adapters' names, such as `grocery-*`, and their weights; the last match counts."""


def parse_weights(texts: list[str]) -> Weights:
    """Read `PATTERN=WEIGHT` pairs.

    Raises:
        VisionEdgeError: If one is no such pair, or its weight is negative or not finite.
    """
    pairs = []
    for text in texts:
        pattern, equals, value = text.rpartition("=")
        try:
            pairs.append((pattern, float(value)))
        except ValueError:
            equals = ""
        if not (equals and pattern):
            raise VisionEdgeError(
                f"{text!r} gives no adapters a weight",
                fix="write NAME=WEIGHT, such as 'grocery-*=2'",
            )
    check_weights(tuple(pairs))
    return tuple(pairs)


def check_weights(weights: Weights) -> None:
    """Refuse weights that are negative or not finite.

    Raises:
        VisionEdgeError: If one is.
    """
    for pattern, weight in weights:
        if not (math.isfinite(weight) and weight >= 0):
            raise VisionEdgeError(
                f"the weight of {pattern!r} must be a number from 0; got {weight}",
                fix="0 leaves adapters out, 1 is what they have anyway",
            )


def weight_for(name: str, weights: Weights) -> float:
    """Return an adapter's weight: that of the last pattern which its name matches, else 1."""
    return next((w for pattern, w in reversed(weights) if fnmatchcase(name, pattern)), 1.0)


def check_matches(hub: Path, names: list[str], weights: Weights) -> None:
    """Refuse patterns that no adapter's name matches, for they were meant for some.

    Raises:
        VisionEdgeError: If there is one.
    """
    for pattern, _ in weights:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise VisionEdgeError(
                f"{hub}: no adapter is called {pattern!r}", fix=f"there are {_some(names)}"
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def usable_adapters(
    hub: Path,
    backbone: Backbone,
    skipped: Mapping[str, str],
    on_bad: Callable[[str, AdapterError], None] | None = None,
    trust_base: bool = False,
) -> Iterator[Adapter]:
    """Read a hub's adapters one by one, without those that were left out before.

    Args:
        hub: A folder of adapters.
        backbone: What they belong to.
        skipped: Why adapters are left out, by name.
        on_bad: Called with the name of each adapter that cannot be read; without it the first one
            that is not among `skipped` raises.
        trust_base: Take adapters whatever base they record.

    Raises:
        AdapterError: If an adapter cannot be used, and was not left out before.
    """
    bad = on_bad if on_bad or not skipped else ignore(skipped)
    for adapter in read_hub(hub, backbone, on_bad=bad, trust_base=trust_base):
        if adapter.name not in skipped:
            yield adapter


class Distinct:
    """Tells adapters that change nothing, and those that were there before.

    Each product is looked at through a few fixed random directions, so that what is kept of an
    adapter does not grow with the backbone. Two that look the same and are as large are one.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._looks: list[tuple[str, float, dict[str, Tensor]]] = []
        self._probes: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def reason_against(self, adapter: Adapter) -> str | None:
        """Return why an adapter has no say of its own, or None; what has one is remembered."""
        parts = dict(projections(adapter.updates))
        norm = math.sqrt(sum(update.squared_norm() for update in parts.values()))
        weights = sum(float(weight_of(self._backbone.model, p).square().sum()) for p in parts)
        if norm <= NOTHING * math.sqrt(weights):
            return "it changes nothing: its products are zero, so it was never tuned"
        look = {name: self._look(update) for name, update in parts.items()}
        for name, size, other in self._looks:
            if abs(size - norm) <= SAME * norm and _alike(look, other):
                return f"it is the same as {name}, which counts once"
        self._looks.append((adapter.name, norm, look))
        return None

    def _look(self, update: LowRank) -> Tensor:
        out, width = update.shape
        if (out, width) not in self._probes:
            generator = torch.Generator().manual_seed(out * 65_537 + width)
            left = torch.randn(PROBES, out, generator=generator)
            self._probes[out, width] = left, torch.randn(width, PROBES, generator=generator)
        left, right = self._probes[out, width]
        return (left @ update.B) @ (update.A @ right)  # (PROBES, PROBES)


def _alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    if one.keys() != other.keys():
        return False
    apart = sum(float((one[name] - other[name]).square().sum()) for name in one)
    return apart <= SAME**2 * sum(float(look.square().sum()) for look in one.values())
