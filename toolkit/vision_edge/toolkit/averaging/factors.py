"""The LoRAs' average as the paper takes it: factors A and B averaged apart.

Source: LoRA Recycle (Hu et al., CVPR 2025, section 5.1, "LoRAs Avg"). It is a baseline only: each
LoRA is written in its own random basis, so the mean of the A's times the mean of the B's has
little to do with any of them. Its size is as the paper has it. See `average` and `subspace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.projections import joined, projections
from vision_edge.toolkit.averaging.usable import usable_adapters
from vision_edge.toolkit.backbones.backbone import Backbone


def factor_average(
    hub: Path,
    backbone: Backbone,
    skipped: Mapping[str, str] | None = None,
    *,
    trust_base: bool = False,
) -> dict[str, LowRank]:
    """Average the factors of a hub's adapters.

    Args:
        hub: A folder of adapters.
        backbone: What they belong to.
        skipped: Why adapters are left out, by name.
        trust_base: Take adapters whatever base they record.

    Returns:
        Update by timm module: (sum B_i / n) (sum A_i / n) for each projection.

    Raises:
        AdapterError: If an adapter cannot be used, or they differ in rank.
    """
    sums: dict[str, LowRank] = {}
    count = 0

    for adapter in usable_adapters(hub, backbone, skipped or {}, trust_base=trust_base):
        count += 1
        for name, update in projections(adapter.updates):
            if name not in sums:
                sums[name] = LowRank(torch.zeros_like(update.A), torch.zeros_like(update.B))
            if sums[name].rank != update.rank:
                raise AdapterError(
                    f"{adapter.name}: {name} has rank {update.rank}, others {sums[name].rank}: "
                    "factors of different ranks have no average",
                    fix="average products instead (--method average)",
                )
            sums[name].A.add_(update.A)
            sums[name].B.add_(update.B)
    grouped: dict[str, dict[str, LowRank]] = {}
    for name, total in sums.items():
        module, _, part = name.partition(":")
        grouped.setdefault(module, {})[part] = LowRank(total.A / count, total.B / count)
    return {module: joined(parts) for module, parts in grouped.items()}
