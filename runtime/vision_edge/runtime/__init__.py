"""The edge runtime: bundles, sessions, galleries, sources and verdicts. Needs no torch.

Examples:
    >>> from vision_edge.runtime import Gallery, classifier_for, load_bundle, open_session
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_edge.runtime._moved import HOMES as _MOVED
from vision_edge.runtime.system.lazy_exports import lazy_exports
from vision_edge.runtime.system.moved import answer_for_moved
from vision_edge.runtime.system.quiet_libraries import keep_libraries_quiet

if TYPE_CHECKING:
    from vision_edge.runtime.arrays import (
        Embeddings,
        Image,
    )
    from vision_edge.runtime.bundles.bundle import (
        Bundle,
        load_bundle,
    )
    from vision_edge.runtime.bundles.manifest import (
        Manifest,
        ModelIdentity,
    )
    from vision_edge.runtime.bundles.shipped import (
        asset,
    )
    from vision_edge.runtime.errors import (
        BundleError,
        DetectorError,
        GalleryBusyError,
        GalleryError,
        ImageError,
        MissingExtraError,
        ProvenanceError,
        RegistrationError,
        SourceError,
        UnsaidError,
        VisionEdgeError,
    )
    from vision_edge.runtime.gallery.archive import (
        open_archive,
        write_archive,
    )
    from vision_edge.runtime.gallery.archive_import import (
        import_archive,
    )
    from vision_edge.runtime.gallery.gallery import (
        Gallery,
    )
    from vision_edge.runtime.gallery.reader import (
        GalleryReader,
    )
    from vision_edge.runtime.gallery.snapshot_store import (
        Snapshot,
    )
    from vision_edge.runtime.images.coding import (
        decode_image,
        encode_jpeg,
        read_image,
    )
    from vision_edge.runtime.images.locating import (
        Found,
        Locator,
    )
    from vision_edge.runtime.images.passed_over import (
        PassedOver,
    )
    from vision_edge.runtime.images.picture_files import (
        PictureFiles,
        pictures_below,
    )
    from vision_edge.runtime.images.preprocess import (
        PreprocessSpec,
        prepare,
    )
    from vision_edge.runtime.images.presence import (
        Presence,
    )
    from vision_edge.runtime.images.quality import (
        Finding,
        inspect_picture,
    )
    from vision_edge.runtime.images.reading import (
        Reading,
    )
    from vision_edge.runtime.inference.detector import (
        Detector,
        DetectorSettings,
    )
    from vision_edge.runtime.inference.embedder import (
        Embedder,
        embed_frame,
    )
    from vision_edge.runtime.inference.options import (
        SessionOptions,
    )
    from vision_edge.runtime.inference.session import (
        Session,
        available_providers,
        open_session,
    )
    from vision_edge.runtime.pipeline.frame_verdicts import (
        RunStatistics,
        verdicts,
    )
    from vision_edge.runtime.pipeline.frame_views import (
        ViewSettings,
    )
    from vision_edge.runtime.pipeline.gallery_classifier import (
        CurrentClassifier,
        classifier_for,
    )
    from vision_edge.runtime.pipeline.located_verdicts import (
        located_verdicts,
    )
    from vision_edge.runtime.pipeline.part_verdicts import (
        PartStatistics,
        part_verdicts,
    )
    from vision_edge.runtime.pipeline.registration import (
        register,
    )
    from vision_edge.runtime.pipeline.triggers import (
        CommandTrigger,
        IntervalTrigger,
        LocatedTrigger,
        MotionTrigger,
        PresenceTrigger,
        Trigger,
    )
    from vision_edge.runtime.provenance.checking import (
        Provenance,
    )
    from vision_edge.runtime.provenance.record_check import (
        check_records,
    )
    from vision_edge.runtime.provenance.taken import (
        Taken,
    )
    from vision_edge.runtime.provenance.trust import (
        TrustStore,
    )
    from vision_edge.runtime.recognition.part_consensus import (
        PartVerdict,
    )
    from vision_edge.runtime.recognition.part_tracking import (
        PartCounts,
        PartSettings,
        PartTracker,
    )
    from vision_edge.runtime.recognition.prototypes import (
        Decision,
        PrototypeClassifier,
    )
    from vision_edge.runtime.recognition.verdict import (
        LocatedPart,
        Verdict,
    )
    from vision_edge.runtime.recognition.verification import (
        Verification,
    )
    from vision_edge.runtime.sinks.annotated import (
        annotated_sink,
    )
    from vision_edge.runtime.sinks.review_folder import (
        ReviewSink,
    )
    from vision_edge.runtime.sinks.sink import (
        Sink,
        Sinks,
    )
    from vision_edge.runtime.sinks.tables import (
        CsvSink,
        JsonlSink,
        RotatingJsonlSink,
    )
    from vision_edge.runtime.sources.frame import (
        Frame,
        Source,
    )
    from vision_edge.runtime.sources.grabber import (
        GrabberOptions,
    )
    from vision_edge.runtime.sources.live import (
        LiveSettings,
        LiveState,
    )
    from vision_edge.runtime.sources.opening import (
        open_source,
        open_sources,
    )
    from vision_edge.runtime.sources.view import (
        View,
    )

keep_libraries_quiet()  # before any of ours can import onnxruntime, which looks only then

_HOMES = {
    "arrays": (
        "Embeddings",
        "Image",
    ),
    "bundles.bundle": (
        "Bundle",
        "load_bundle",
    ),
    "bundles.manifest": (
        "Manifest",
        "ModelIdentity",
    ),
    "bundles.shipped": ("asset",),
    "errors": (
        "BundleError",
        "DetectorError",
        "GalleryBusyError",
        "GalleryError",
        "ImageError",
        "MissingExtraError",
        "ProvenanceError",
        "RegistrationError",
        "SourceError",
        "UnsaidError",
        "VisionEdgeError",
    ),
    "gallery.archive": (
        "open_archive",
        "write_archive",
    ),
    "gallery.archive_import": ("import_archive",),
    "gallery.gallery": ("Gallery",),
    "gallery.reader": ("GalleryReader",),
    "gallery.snapshot_store": ("Snapshot",),
    "images.coding": (
        "decode_image",
        "encode_jpeg",
        "read_image",
    ),
    "images.locating": (
        "Found",
        "Locator",
    ),
    "images.passed_over": ("PassedOver",),
    "images.picture_files": (
        "PictureFiles",
        "pictures_below",
    ),
    "images.preprocess": (
        "PreprocessSpec",
        "prepare",
    ),
    "images.presence": ("Presence",),
    "images.quality": (
        "Finding",
        "inspect_picture",
    ),
    "images.reading": ("Reading",),
    "inference.detector": (
        "Detector",
        "DetectorSettings",
    ),
    "inference.embedder": (
        "Embedder",
        "embed_frame",
    ),
    "inference.options": ("SessionOptions",),
    "inference.session": (
        "Session",
        "available_providers",
        "open_session",
    ),
    "pipeline.frame_verdicts": (
        "RunStatistics",
        "verdicts",
    ),
    "pipeline.frame_views": ("ViewSettings",),
    "pipeline.gallery_classifier": (
        "CurrentClassifier",
        "classifier_for",
    ),
    "pipeline.located_verdicts": ("located_verdicts",),
    "pipeline.part_verdicts": ("PartStatistics", "part_verdicts"),
    "pipeline.registration": ("register",),
    "pipeline.triggers": (
        "CommandTrigger",
        "IntervalTrigger",
        "LocatedTrigger",
        "MotionTrigger",
        "PresenceTrigger",
        "Trigger",
    ),
    "provenance.checking": ("Provenance",),
    "provenance.record_check": ("check_records",),
    "provenance.taken": ("Taken",),
    "provenance.trust": ("TrustStore",),
    "recognition.part_consensus": ("PartVerdict",),
    "recognition.part_tracking": ("PartCounts", "PartSettings", "PartTracker"),
    "recognition.prototypes": (
        "Decision",
        "PrototypeClassifier",
    ),
    "recognition.verdict": (
        "LocatedPart",
        "Verdict",
    ),
    "recognition.verification": ("Verification",),
    "sinks.annotated": ("annotated_sink",),
    "sinks.review_folder": ("ReviewSink",),
    "sinks.sink": (
        "Sink",
        "Sinks",
    ),
    "sinks.tables": (
        "CsvSink",
        "JsonlSink",
        "RotatingJsonlSink",
    ),
    "sources.frame": (
        "Frame",
        "Source",
    ),
    "sources.grabber": ("GrabberOptions",),
    "sources.live": (
        "LiveSettings",
        "LiveState",
    ),
    "sources.opening": (
        "open_source",
        "open_sources",
    ),
    "sources.view": ("View",),
}

__all__ = [
    "Bundle",
    "BundleError",
    "CommandTrigger",
    "CsvSink",
    "CurrentClassifier",
    "Decision",
    "Detector",
    "DetectorError",
    "DetectorSettings",
    "Embedder",
    "Embeddings",
    "Finding",
    "Found",
    "Frame",
    "Gallery",
    "GalleryBusyError",
    "GalleryError",
    "GalleryReader",
    "GrabberOptions",
    "Image",
    "ImageError",
    "IntervalTrigger",
    "JsonlSink",
    "LiveSettings",
    "LiveState",
    "LocatedPart",
    "LocatedTrigger",
    "Locator",
    "Manifest",
    "MissingExtraError",
    "ModelIdentity",
    "MotionTrigger",
    "PartCounts",
    "PartSettings",
    "PartStatistics",
    "PartTracker",
    "PartVerdict",
    "PassedOver",
    "PictureFiles",
    "PreprocessSpec",
    "Presence",
    "PresenceTrigger",
    "PrototypeClassifier",
    "Provenance",
    "ProvenanceError",
    "Reading",
    "RegistrationError",
    "ReviewSink",
    "RotatingJsonlSink",
    "RunStatistics",
    "Session",
    "SessionOptions",
    "Sink",
    "Sinks",
    "Snapshot",
    "Source",
    "SourceError",
    "Taken",
    "Trigger",
    "TrustStore",
    "UnsaidError",
    "Verdict",
    "Verification",
    "View",
    "ViewSettings",
    "VisionEdgeError",
    "annotated_sink",
    "asset",
    "available_providers",
    "check_records",
    "classifier_for",
    "decode_image",
    "embed_frame",
    "encode_jpeg",
    "import_archive",
    "inspect_picture",
    "load_bundle",
    "located_verdicts",
    "open_archive",
    "open_session",
    "open_source",
    "open_sources",
    "part_verdicts",
    "pictures_below",
    "prepare",
    "read_image",
    "register",
    "verdicts",
    "write_archive",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)

answer_for_moved(__name__, _MOVED)
