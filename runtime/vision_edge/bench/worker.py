"""The process of one case: opens the model, and runs a turn whenever it is told to.

It reads one JSON object a line from its input, and answers each with one. A process of its own
makes the peak of memory that case's alone, and a crash no more than a missing row.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from vision_edge.bench.cases import TORCH
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.errors import VisionEdgeError, require
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.embedder import Embedder
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.pipeline.gallery_classifier import cohort_of, prior_of
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier

RIVALS = "vision_edge.bench_rivals"
"""Entry points that open a bundle's model in another framework; the server's brings `torch`."""
CHECK_IMAGES = 8
_FRAMES, _LEAST_CALLS = 4, 3


@dataclass
class Opened:
    """A model that is ready, and what it is fed."""

    embedder: Embedder
    classifier: PrototypeClassifier
    frames: list[Image]
    batch: int


def pictures(count: int, width: int, height: int, seed: int = 0) -> list[Image]:
    """Return smooth coloured pictures, uint8 (height, width, 3) BGR; the same for one seed."""
    cv2 = require("cv2")
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 9, 16, 3), dtype=np.uint8)
    return [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in coarse]


def products_of(bundle: Bundle, count: int) -> PrototypeClassifier:
    """Return a classifier of made-up products: its time does not depend on what they are."""
    rng = np.random.default_rng(0)
    spread = float(bundle.cohort.std()) or 1.0
    offsets = spread * rng.standard_normal((count, bundle.manifest.embedding_dim))
    prototypes = (bundle.centre + offsets).astype(np.float32)
    labels = [f"product {number}" for number in range(count)]
    return PrototypeClassifier(labels, prototypes, prior_of(bundle), cohort_of(bundle))


def open_case(request: dict[str, Any]) -> tuple[Opened, dict[str, Any]]:
    """Open the model of a case.

    Returns:
        It, and what is known by then: seconds, milliseconds of the first call, memory.

    Raises:
        VisionEdgeError: If it cannot be opened.
    """
    require("cv2")
    before = resident_mb("VmRSS")
    started = time.perf_counter()
    bundle = load_bundle(request["bundle"])
    embedder, provider = _embedder(bundle, request)
    opened = time.perf_counter()
    frames = pictures(_FRAMES, *request["frame"])
    model = Opened(embedder, products_of(bundle, request["products"]), frames, request["batch"])
    prepared = np.stack([prepare(frames[k % _FRAMES], embedder.spec) for k in range(model.batch)])
    began = time.perf_counter()
    embedder.embed(prepared)
    first = time.perf_counter() - began
    facts = {"provider": provider, "open_s": opened - started, "first_ms": 1000 * first}
    return model, {**facts, "before_mb": before}


def open_rival(name: str) -> Callable[..., Embedder]:
    """Return what opens a bundle's model in another framework.

    Raises:
        VisionEdgeError: If nothing that is installed brings it.
    """
    for point in entry_points(group=RIVALS, name=name):
        found: Callable[..., Embedder] = point.load()
        return found
    raise VisionEdgeError(
        f"nothing here opens a bundle in {name!r}", fix='pip install "vision-edge[server]"'
    )


def _embedder(bundle: Bundle, request: dict[str, Any]) -> tuple[Embedder, str]:
    threads = request["threads"]
    if request["provider"] == TORCH:
        require("torch")
        return open_rival(TORCH)(bundle, threads=threads, **request["torch"]), TORCH
    session = open_session(
        bundle, request["provider"], threads, options=SessionOptions(warm_up=False)
    )
    return session, session.provider


def turn(model: Opened, seconds: float) -> dict[str, list[float]]:
    """Run for some seconds; return the milliseconds of each part of each call.

    `"cpu"` is the time that all threads together spent on the processor for `"embed"`.
    """
    times: dict[str, list[float]] = {"prepare": [], "embed": [], "classify": [], "cpu": []}
    clock, busy = time.perf_counter, time.process_time
    spec, end = model.embedder.spec, clock() + seconds
    calls = 0
    while clock() < end or calls < _LEAST_CALLS:
        frames = [model.frames[(calls + k) % _FRAMES] for k in range(model.batch)]
        began = clock()
        prepared = np.stack([prepare(frame, spec) for frame in frames])
        ready, idle = clock(), busy()
        embeddings = model.embedder.embed(prepared)
        embedded, worked = clock(), busy()
        model.classifier.classify(embeddings)
        spent = (ready - began, embedded - ready, clock() - embedded, worked - idle)
        for name, part in zip(times, spent):  # noqa: B905
            times[name].append(1000 * part)
        calls += 1
    return times


def check(model: Opened) -> list[list[float]]:
    """Return the embeddings of the same few pictures in every process."""
    images = [prepare(image, model.embedder.spec) for image in pictures(CHECK_IMAGES, 256, 256, 1)]
    return [[float(v) for v in model.embedder.embed(image[None])[0]] for image in images]


def resident_mb(field: str) -> float:
    """Return `VmRSS` (now) or `VmHWM` (the peak) of this process in MB; 0 where unknown."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return 0.0


class Worker:
    """Answers requests; `open` comes first."""

    def __init__(self) -> None:
        self._model: Opened | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for."""
        if request["do"] == "open":
            self._model, facts = open_case(request)
            return facts
        if self._model is None:
            raise VisionEdgeError("nothing is open")
        if request["do"] == "check":
            return {"embeddings": check(self._model)}
        if request["do"] == "turn":
            return {"times": turn(self._model, request["seconds"])}
        return {"peak_mb": resident_mb("VmHWM")}


def main() -> None:
    """Answer until the input ends. Libraries that print do so to the standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        answers.write(json.dumps(_safely(worker.answer, json.loads(line))) + "\n")
        answers.flush()


def _safely(
    answer: Callable[[dict[str, Any]], dict[str, Any]], request: dict[str, Any]
) -> dict[str, Any]:
    try:
        return answer(request)
    except VisionEdgeError as error:
        return {"error": error.what, "fix": error.fix}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "fix": None}
