"""The edge runtime: bundles, sessions, galleries, sources and verdicts. Needs no torch.

Example:
    >>> from vision_edge.runtime import Gallery, classifier_for, load_bundle, open_session
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
    from vision_edge.runtime.errors import VisionEdgeError
    from vision_edge.runtime.gallery.gallery import Gallery
    from vision_edge.runtime.gallery.snapshot_store import Snapshot
    from vision_edge.runtime.images.coding import read_image
    from vision_edge.runtime.images.preprocess import PreprocessSpec, prepare
    from vision_edge.runtime.inference.embedder import embed_frame
    from vision_edge.runtime.inference.session import Session, open_session
    from vision_edge.runtime.pipeline.frame_verdicts import verdicts
    from vision_edge.runtime.pipeline.gallery_classifier import classifier_for
    from vision_edge.runtime.pipeline.registration import register
    from vision_edge.runtime.recognition.prototypes import Decision, PrototypeClassifier
    from vision_edge.runtime.recognition.verdict import Verdict
    from vision_edge.runtime.sources.frame import Frame, Source
    from vision_edge.runtime.sources.opening import open_source

_HOME = {
    "Bundle": "bundle",
    "Decision": "prototypes",
    "Frame": "sources",
    "Gallery": "gallery",
    "PreprocessSpec": "preprocess",
    "PrototypeClassifier": "prototypes",
    "Session": "session",
    "Snapshot": "gallery",
    "Source": "sources",
    "Verdict": "verdict",
    "VisionEdgeError": "errors",
    "classifier_for": "pipeline",
    "embed_frame": "session",
    "load_bundle": "bundle",
    "open_session": "session",
    "open_source": "sources",
    "prepare": "preprocess",
    "read_image": "preprocess",
    "register": "pipeline",
    "verdicts": "pipeline",
}

__all__ = [
    "Bundle",
    "Decision",
    "Frame",
    "Gallery",
    "PreprocessSpec",
    "PrototypeClassifier",
    "Session",
    "Snapshot",
    "Source",
    "Verdict",
    "VisionEdgeError",
    "classifier_for",
    "embed_frame",
    "load_bundle",
    "open_session",
    "open_source",
    "prepare",
    "read_image",
    "register",
    "verdicts",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
