"""The PyTorch model of a bundle, for `vision-edge bench --against torch`.

The runtime loads this by its name: it is how PyTorch comes into a benchmark of the edge.
"""

from __future__ import annotations

from pathlib import Path

import torch

from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.export.model.merge import merge
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import AdapterError
from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.system.cpus import usable_cpus
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.averaging.average import average_hub
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone


def open_torch(
    bundle: Bundle,
    *,
    backbone: str | None = None,
    weights: str | None = None,
    adapter: str | None = None,
    threads: int | None = None,
) -> Embedder:
    """Return the PyTorch model that a bundle was exported from, on the CPU.

    Args:
        bundle: The bundle; its preprocessing is used.
        backbone: timm model name; without it the embedded backbone.
        weights: Its safetensors file.
        adapter: The adapter to merge; for the bundle that ships, the embedded hub's average.
        threads: CPU threads; by default, the cores this process may use.

    Raises:
        VisionEdgeError: If the model cannot be made, or is known not to be the bundle's.
    """
    torch.set_num_threads(threads or usable_cpus())
    loaded = load_backbone(
        BackboneOptions(name=backbone, weights=None if weights is None else Path(weights))
    )
    _merge(loaded, bundle, adapter)
    return TorchEmbedder(loaded.model.eval(), bundle.manifest.preprocessing, "PyTorch", batch=1024)


def _merge(backbone: Backbone, bundle: Bundle, adapter: str | None) -> None:
    if adapter is not None:
        found = read_adapter(Path(adapter), backbone, trust_base=True)  # the export has judged it
        merge(backbone.model, found.updates)
    elif bundle.manifest.adapter is not None:
        if load_bundle(asset("bundle")).manifest.fingerprint != bundle.manifest.fingerprint:
            raise AdapterError(
                f"{bundle.path}: the adapter {bundle.manifest.adapter.name!r} was merged into it, "
                "so PyTorch's model needs that as well",
                fix="add --adapter DIR, and the --backbone and --weights that it belongs to",
            )
        merge(backbone.model, average_hub(asset("hub"), backbone).updates)
