"""From a backbone and an adapter to a bundle: the export for who has both."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vision_edge.export.bundle import export_bundle
from vision_edge.export.model.merge import merge
from vision_edge.export.settings import ExportImages, ExportSettings, LabelledImages
from vision_edge.runtime.bundles.bundle import Bundle
from vision_edge.runtime.bundles.manifest import AdapterInfo
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.backbones.backbone import Backbone


def export_backbone(
    backbone: Backbone,
    out: Path,
    *,
    adapter: Path | None = None,
    trust_base: bool = False,
    note: Callable[[str], None] = lambda _: None,
    name: str | None = None,
    images: ExportImages | None = None,
    calibration: ExportImages | None = None,
    labelled: LabelledImages | None = None,
    evaluation: dict[str, Any] | None = None,
    settings: ExportSettings | None = None,
    for_tensorrt: bool = False,
) -> Bundle:
    """Merge an adapter into its backbone, and export the model as a verified bundle.

    Args:
        backbone: The backbone; it is left as it is.
        out: The bundle's folder; an older bundle there is replaced once the new one has passed.
        adapter: A PEFT directory, such as a meta-LoRA; None exports the plain backbone.
        trust_base: Take the adapter whatever base it records.
        note: Called with what a user should know of the adapter.
        name: The bundle's name, for people; by default the folder's.
        images: For the gate and as the cohort; generated scenes by default.
        calibration: For int8; a quarter of them is held out for the gate.
        labelled: For the gate's few-shot episodes; views of its images by default.
        evaluation: Figures to carry in the manifest.
        settings: Precision, pruning and limits; plain float32 by default.
        for_tensorrt: Whether TensorRT shall run it, which takes one kind of int8 only.

    Returns:
        The bundle as read back and verified from the disk.

    Raises:
        AdapterError: If the adapter cannot be used, or belongs to another backbone.
        ExportError: If the export fails or the gate refuses it; nothing is written then.
    """
    model, merged = backbone.model, None
    if adapter is not None:
        found = read_adapter(adapter, backbone, trust_base=trust_base)
        for text in found.notes:
            note(f"{found.name}: {text}")
        model = copy.deepcopy(backbone.model)
        merge(model, found.updates)
        merged = AdapterInfo(name=found.name, sha256=found.sha256, method=found.method)
    return export_bundle(
        model,
        backbone.spec,
        out,
        name=name or out.name,
        backbone=backbone.info(),
        adapter=merged,
        images=images,
        calibration=calibration,
        labelled=labelled,
        evaluation=evaluation,
        settings=settings,
        for_tensorrt=for_tensorrt,
    )
