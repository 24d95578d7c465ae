"""The demonstration: adapters to verdicts on a rendered line, with its own truth."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from vision_edge.demo.conveyor import write_video
from vision_edge.demo.inspection import Inspection, Inspector, line_presence
from vision_edge.demo.score import Score, score
from vision_edge.demo.script import Cast, draw_cast
from vision_edge.demo.settings import line_view
from vision_edge.demo.snapshots import empty_view, empty_window, snapshot
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.images.contact_sheet import AMBER, GREEN, RED, Tile, contact_sheet
from vision_edge.runtime.images.part_crops import crop_alone
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.gallery_classifier import classifier_for
from vision_edge.runtime.pipeline.registration import snapshot_of
from vision_edge.runtime.sources.files import VideoSource
from vision_edge.runtime.system.files import atomic_file

TURNS = 4


@dataclass
class Steps:
    """Times each step and says what is going on.

    Attributes:
        say: Where progress goes.
        seconds: By step.
    """

    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, what: str) -> Iterator[None]:
        """Time a block."""
        self.say(f"{name}: {what}")
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def has_server_part() -> bool:
    """Whether adapters can be built and exported here, or only the shipped bundle be run."""
    needed = ("torch", "timm", "safetensors", "onnx", "onnxscript")
    return all(find_spec(module) for module in needed)


def make_bundle(out: Path, steps: Steps) -> Path:
    """Build and export from the embedded lora hub, or fall back on the shipped bundle.

    Raises:
        VisionEdgeError: If building or exporting fails.
    """
    if not has_server_part():
        steps.say("torch is not installed: starting from the shipped bundle")
        return asset("bundle")
    meta, bundle, hub = out / "meta", out / "bundle", asset("hub")
    count = sum(entry.is_dir() for entry in hub.iterdir())
    with steps.step("build", f"{count} LoRAs to one meta-LoRA, without their data"):
        _command("build", str(hub), "--method", "average", "--out", str(meta))
    with steps.step("export", "merge, export to ONNX, compare with PyTorch"):
        _command("export", "--adapter", str(meta), "--out", str(bundle))
    return bundle


def _command(*arguments: str) -> None:
    """Run another command of ours in its own process, so that its memory is gone afterwards."""
    line = [sys.executable, "-c", "from vision_edge.cli.app import main; main()", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VisionEdgeError(f"vision-edge {' '.join(arguments)} failed:\n{done.stderr.strip()}")


def run_demo(out: Path, seed: int, passes: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the demonstration.

    Args:
        out: Folder for bundle, gallery, videos and contact sheet.
        seed: Decides parts, line, light and poses.
        passes: How often each part passes.
        say: Where progress goes.

    Returns:
        The summary: JSON values only.
    """
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    steps = Steps(say)
    bundle = make_bundle(out, steps)
    cast = draw_cast(seed, passes)
    line = cast.conveyor()
    with steps.step(
        "render", f"{len(line)} frames of a conveyor belt with {len(line.parts)} parts"
    ):
        write_video(out / "line.mp4", line)
    session = open_session(load_bundle(bundle))
    with steps.step("register", f"{len(cast.registered)} parts, one snapshot each"):
        gallery, snapshots = _register(out, cast, session, line_presence(empty_window(cast)))
    with steps.step("inspect", "every frame of the video"):
        inspection = _inspect(out, cast, session, line_presence(empty_view(cast)), gallery)
    truth = [line.truth(i) for i in range(len(line))]
    result = score(cast, truth, inspection.verdicts, line_view(cast.config)[:2])
    gallery.close()
    sheet = out / "contact-sheet.jpg"
    with atomic_file(sheet) as temporary:
        temporary.write_bytes(encode_jpeg(_sheet(cast, snapshots, inspection, result), quality=90))
    several = out / "several.jpg"
    if inspection.crowded is not None:
        with atomic_file(several) as temporary:
            temporary.write_bytes(encode_jpeg(inspection.crowded, quality=90))
    return {
        "seed": seed,
        "bundle": str(bundle),
        "provider": session.provider,
        **_figures(result, inspection),
        "registered": list(cast.registered),
        "strangers": list(cast.strangers),
        "step_seconds": {name: round(value, 2) for name, value in steps.seconds.items()},
        "total_seconds": round(time.monotonic() - started, 2),
        "video": str(out / "annotated.mp4"),
        "contact_sheet": str(sheet),
        "several": str(several),
    }


def _register(
    out: Path, cast: Cast, session: Session, presence: Presence
) -> tuple[Gallery, dict[str, Image]]:
    """Register one snapshot of each part; return the gallery and what was registered.

    Parts lie on a belt in any rotation, so the one picture is registered in its four turns.
    """
    for stale in out.glob("gallery.db*"):
        stale.unlink()
    gallery = Gallery(
        out / "gallery.db", session.bundle.manifest.identity, create=True, author="demo"
    )
    crops = {}
    for label in cast.registered:
        image = snapshot(cast, label)
        found = presence.find(image)
        crops[label] = crop_alone(image, found, [], presence.scene) if found else image
        turned = [np.ascontiguousarray(np.rot90(crops[label], k)) for k in range(TURNS)]
        origin = f"snapshot of {label}"
        gallery.add(label, [snapshot_of(image, session, origin) for image in turned])
    return gallery, crops


def _inspect(
    out: Path, cast: Cast, session: Session, presence: Presence, gallery: Gallery
) -> Inspection:
    classifier = classifier_for(gallery, session)
    inspector = Inspector(session, classifier, presence, line_view(cast.config))
    source = VideoSource(out / "line.mp4")
    try:
        return inspector.inspect(source, out / "annotated.mp4", cast.config.fps)
    finally:
        source.close()


def _figures(result: Score, inspection: Inspection) -> dict[str, Any]:
    right, parts = result.share(known=True)
    refused, strangers = result.share(known=False)
    judged = max(inspection.judged, 1)
    return {
        "parts": parts,
        "parts_right": right,
        "parts_right_percent": round(100 * right / max(parts, 1), 1),
        "stranger_passages": strangers,
        "strangers_refused": refused,
        "strangers_refused_percent": round(100 * refused / max(strangers, 1), 1),
        "spurious_verdicts": len(result.spurious),
        "by_part": {name: {"right": r, "of": n} for name, (r, n) in result.by_part().items()},
        "frames": inspection.frames,
        "parts_judged": inspection.judged,
        "parts_at_once": inspection.at_once,
        "frames_per_second": round(inspection.frames / max(inspection.seconds, 1e-9), 1),
        "ms_per_frame": round(1000 * inspection.seconds / max(inspection.frames, 1), 2),
        "model_ms": round(1000 * inspection.model_seconds / judged, 2),
    }


def _sheet(cast: Cast, snapshots: dict[str, Image], inspection: Inspection, result: Score) -> Image:
    """Return the contact sheet: what was registered, and what was said of each part."""
    evidence = {v.first: image for v, image in zip(inspection.verdicts, inspection.evidence)}  # noqa: B905
    registered = [Tile(image, (label,), GREEN) for label, image in snapshots.items()]
    judged = []
    for passage in result.passages:
        if passage.verdict is None:
            continue
        decision = passage.verdict.decision
        said = decision.label or "unknown"
        colour = (GREEN if passage.known else AMBER) if passage.right else RED
        truth = passage.label if passage.known else f"stranger: {passage.label}"
        lines = (f"{said} {decision.score:.2f}", f"is {truth}")
        judged.append(Tile(evidence[passage.verdict.first], lines, colour))
    right, parts = result.share(known=True)
    refused, strangers = result.share(known=False)
    title = (
        f"vision-edge demo, seed {cast.seed} (rendered): {right} of {parts} parts right, "
        f"{refused} of {strangers} strangers refused"
    )
    return contact_sheet(
        title,
        [
            ("Registered, one snapshot each", registered),
            ("Verdicts: green named rightly, amber stranger refused, red wrong", judged),
        ],
    )
