"""Merge an adapter into its backbone, export to ONNX, prove that it is the same model.

Examples:
    >>> from vision_edge.export import ExportSettings, export_bundle
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_edge.export._moved import HOMES as _MOVED
from vision_edge.runtime.system.lazy_exports import lazy_exports
from vision_edge.runtime.system.moved import answer_for_moved

if TYPE_CHECKING:
    from vision_edge.export.bundle import (
        export_bundle,
    )
    from vision_edge.export.gate.episodes import (
        EpisodeSettings,
    )
    from vision_edge.export.model.merge import (
        LowRank,
        merge,
    )
    from vision_edge.export.model.pruning import (
        Pruning,
    )
    from vision_edge.export.settings import (
        ExportImages,
        ExportSettings,
        LabelledImages,
        Limits,
    )
    from vision_edge.export.static_model import (
        StaticSettings,
        write_static_model,
    )
    from vision_edge.export.triton_repository import (
        TritonSettings,
        write_triton_repository,
    )

_HOMES = {
    "bundle": ("export_bundle",),
    "gate.episodes": ("EpisodeSettings",),
    "model.merge": (
        "LowRank",
        "merge",
    ),
    "model.pruning": ("Pruning",),
    "settings": (
        "ExportImages",
        "ExportSettings",
        "LabelledImages",
        "Limits",
    ),
    "static_model": (
        "StaticSettings",
        "write_static_model",
    ),
    "triton_repository": (
        "TritonSettings",
        "write_triton_repository",
    ),
}

__all__ = [
    "EpisodeSettings",
    "ExportImages",
    "ExportSettings",
    "LabelledImages",
    "Limits",
    "LowRank",
    "Pruning",
    "StaticSettings",
    "TritonSettings",
    "export_bundle",
    "merge",
    "write_static_model",
    "write_triton_repository",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)

answer_for_moved(__name__, _MOVED)
