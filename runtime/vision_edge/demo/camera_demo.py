"""The demonstration on the user's own camera: no truth, so no score, but the same steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vision_edge.demo.inspection import Inspector, line_presence
from vision_edge.demo.rendered_demo import Steps, make_bundle
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.images.part_crops import crop_alone
from vision_edge.runtime.images.presence import Presence
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.gallery_classifier import classifier_for
from vision_edge.runtime.pipeline.registration import snapshot_of, take_frame
from vision_edge.runtime.sources.frame import Frame, Source
from vision_edge.runtime.sources.opening import open_source


def run_camera_demo(
    out: Path,
    spec: str,
    seconds: float,
    ask: Callable[..., str],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Register parts under a camera and inspect what it sees.

    Args:
        out: Folder for bundle, gallery and video.
        spec: The camera, as `run` takes it.
        seconds: How long to inspect.
        ask: Asks the user a question and returns the answer.
        say: Where progress goes.

    Returns:
        A summary: JSON values only.
    """
    out.mkdir(parents=True, exist_ok=True)
    steps = Steps(say)
    source = open_source(spec)
    try:
        session = open_session(load_bundle(make_bundle(out, steps)))
        ask("Clear the scene, then press Enter", default="", show_default=False)
        empty = take_frame(source)
        presence = line_presence(empty.image)
        with Gallery(
            out / f"gallery-{time.strftime('%Y%m%d-%H%M%S')}.db",
            session.bundle.manifest.identity,
            create=True,
        ) as gallery:
            _register(source, session, presence, gallery, ask, say)
            classifier = classifier_for(gallery, session)
        height, width = empty.image.shape[:2]
        inspector = Inspector(session, classifier, presence, (0, 0, width, height))
        say(f"inspecting for {seconds:.0f} s; Ctrl-C ends it sooner")
        result = inspector.inspect(_limited(source, seconds), out / "annotated.mp4", 15.0)
    finally:
        source.close()
    for verdict in result.verdicts:
        say(f"  {verdict.decision.label or 'unknown'}  score {verdict.decision.score:.2f}")
    say(f"video: {out / 'annotated.mp4'}")
    return {
        "source": source.name,
        "verdicts": [verdict.decision.label for verdict in result.verdicts],
        "frames": result.frames,
        "video": str(out / "annotated.mp4"),
    }


def _register(
    source: Source,
    session: Session,
    presence: Presence,
    gallery: Gallery,
    ask: Callable[..., str],
    say: Callable[[str], None],
) -> None:
    """Ask for parts by name until the user has no more."""
    while True:
        question = "Put a part under the camera and type its name (empty: done)"
        label = ask(question, default="", show_default=False).strip()
        if not label:
            return
        frame = take_frame(source)
        found = presence.find(frame.image)
        if found is None:
            say("nothing to see that was not there before; try again")
            continue
        try:
            crop = crop_alone(frame.image, found, [], presence.scene)
            gallery.add(label, [snapshot_of(crop, session, source.name)])
        except VisionEdgeError as error:
            say(str(error))


def _limited(source: Source, seconds: float) -> Iterator[Frame]:
    """Deliver frames until the time is over or the user interrupts."""
    end = time.monotonic() + seconds
    try:
        for frame in source:
            yield frame
            if time.monotonic() > end:
                return
    except KeyboardInterrupt:
        return
