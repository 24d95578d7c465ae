"""One of the processes of `test_ranks.py`: recycle a hub, and write what came of it.

python -m support.ranks HUB WORK OUT
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from support.toolkit import tiny_backbone
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.tasks import TaskShape
from vision_edge.toolkit.processes import Ranks, joined_ranks
from vision_edge.toolkit.recycle.pipeline import recycle_hub
from vision_edge.toolkit.recycle.settings import RecycleSettings, Watch, Where

SETTINGS = RecycleSettings(
    inversion=InversionSettings(per_class=4, iterations=3),
    meta=MetaSettings(
        steps=6, tasks=5, accumulate=2, shape=TaskShape(2, 1, 2), lr=1e-3, cycle=12, pull=0.5,
        evaluate_every=2, evaluate_tasks=4,
    ),
    batch=8,
)  # fmt: skip
"""Tasks that two processes cannot share evenly; adapters inverted one by one."""


def recycle(hub: Path, work: Path, out: Path, ranks: Ranks) -> None:
    """Recycle, and write the curves, the factors and the adapters that this process inverted."""
    torch.set_num_threads(1)
    inverted: list[str] = []
    watch = Watch(adapter=inverted.append)
    watch.stage = lambda name: inverted.clear() if name == "invert" else None
    result = recycle_hub(hub, tiny_backbone(), SETTINGS, Where(work, ranks=ranks), watch)
    facts = {"curves": result.meta.curves, "step": result.meta.step, "inverted": inverted}
    products = {name: update.product() for name, update in result.updates.items()}
    save_file(products, out, metadata={"facts": json.dumps(facts)})


if __name__ == "__main__":
    with joined_ranks("cpu") as joined:
        recycle(*map(Path, sys.argv[1:]), joined)
