"""The server side: backbones, adapters, lora hubs, the meta-LoRA, and few-shot evaluation.

Examples:
    >>> from vision_edge.toolkit import build_average, export_backbone, load_backbone
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_edge.runtime.system.lazy_exports import lazy_exports
from vision_edge.runtime.system.moved import answer_for_moved
from vision_edge.toolkit._moved import HOMES as _MOVED

if TYPE_CHECKING:
    from vision_edge.toolkit.adapters.adapter import (
        Adapter,
        read_adapter,
        write_adapter,
    )
    from vision_edge.toolkit.adapters.hub import (
        adapter_paths,
        read_hub,
    )
    from vision_edge.toolkit.averaging.average import (
        AverageSettings,
        average_hub,
    )
    from vision_edge.toolkit.backbones.backbone import (
        Backbone,
        BackboneOptions,
        load_backbone,
    )
    from vision_edge.toolkit.data.dataset import (
        Dataset,
        open_dataset,
    )
    from vision_edge.toolkit.evaluation.evaluate import (
        evaluate,
    )
    from vision_edge.toolkit.exporting import (
        export_backbone,
    )
    from vision_edge.toolkit.inversion.prior import (
        BatchNormPrior,
        load_prior,
    )
    from vision_edge.toolkit.inversion.settings import (
        InversionSettings,
    )
    from vision_edge.toolkit.meta.settings import (
        MetaSettings,
    )
    from vision_edge.toolkit.recycle.building import (
        build_average,
        build_recycled,
    )
    from vision_edge.toolkit.recycle.pipeline import (
        recycle_hub,
    )
    from vision_edge.toolkit.recycle.presets import (
        PRESETS,
        preset_settings,
    )
    from vision_edge.toolkit.recycle.settings import (
        RecycleSettings,
        Watch,
        Where,
    )
    from vision_edge.toolkit.tuning.settings import (
        TuneSettings,
    )
    from vision_edge.toolkit.tuning.tune import (
        tune_hub,
    )

_HOMES = {
    "adapters.adapter": (
        "Adapter",
        "read_adapter",
        "write_adapter",
    ),
    "adapters.hub": (
        "adapter_paths",
        "read_hub",
    ),
    "averaging.average": (
        "AverageSettings",
        "average_hub",
    ),
    "backbones.backbone": (
        "Backbone",
        "BackboneOptions",
        "load_backbone",
    ),
    "data.dataset": (
        "Dataset",
        "open_dataset",
    ),
    "evaluation.evaluate": ("evaluate",),
    "exporting": ("export_backbone",),
    "inversion.prior": (
        "BatchNormPrior",
        "load_prior",
    ),
    "inversion.settings": ("InversionSettings",),
    "meta.settings": ("MetaSettings",),
    "recycle.building": (
        "build_average",
        "build_recycled",
    ),
    "recycle.pipeline": ("recycle_hub",),
    "recycle.presets": (
        "PRESETS",
        "preset_settings",
    ),
    "recycle.settings": (
        "RecycleSettings",
        "Watch",
        "Where",
    ),
    "tuning.settings": ("TuneSettings",),
    "tuning.tune": ("tune_hub",),
}

__all__ = [
    "PRESETS",
    "Adapter",
    "AverageSettings",
    "Backbone",
    "BackboneOptions",
    "BatchNormPrior",
    "Dataset",
    "InversionSettings",
    "MetaSettings",
    "RecycleSettings",
    "TuneSettings",
    "Watch",
    "Where",
    "adapter_paths",
    "average_hub",
    "build_average",
    "build_recycled",
    "evaluate",
    "export_backbone",
    "load_backbone",
    "load_prior",
    "open_dataset",
    "preset_settings",
    "read_adapter",
    "read_hub",
    "recycle_hub",
    "tune_hub",
    "write_adapter",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)

answer_for_moved(__name__, _MOVED)
