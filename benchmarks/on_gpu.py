"""The product on a GPU: `register`, `run`, `bench`, `serve`, one camera and sixteen.

    python benchmarks/on_gpu.py --out .out/bench

Every verdict is compared with the CPU's, of the same bundle, on the same frame: the demonstration's
rendered belt at 1280x720 (`on_gpu_inputs.py` makes frames and bundles; nothing is downloaded). The
embedded model (160 px, real weights) and a ViT-Tiny (224 px, random ones), each in float32, float16
and int8, with and without CUDA graphs.

Needs vision-edge itself installed (commands and assets are found by its entry points: `make wheel`,
then `pip install --no-deps dist/*.whl`), onnxruntime-gpu in the place of onnxruntime, with CUDA and
cuDNN (PyTorch's packages do), numpy, opencv-python, pydantic, rich, typer, simplejpeg; onnx for the
precisions; for `serve` the extra `station` and psutil; torch, timm and onnxscript for the ViT-Tiny,
unless `--prepare` made it on another machine: it then leaves all of that in `--work`, to be carried
along (22 MB). `--provider cpu` tries the program without a GPU. What runs out of time or cannot run
is named under `skipped`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measured import command
from on_gpu_cameras import cameras, compared
from on_gpu_inputs import bundles, frames_of, prepare, registered
from on_gpu_report import Report, facts

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.images.coding import read_image
from vision_edge.runtime.inference.options import SessionOptions
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.frame_verdicts import verdicts
from vision_edge.runtime.pipeline.gallery_classifier import classifier_for
from vision_edge.runtime.pipeline.registration import snapshot_of
from vision_edge.runtime.recognition.verdict import Verdict
from vision_edge.runtime.sources.files import VideoSource

TARGET = ("vit-tiny-224", "fp16")
STAGES = ("verdicts", "cameras", "commands", "bench", "serve")


@dataclass(frozen=True)
class Subject:
    """A bundle, its gallery, and the CPU's verdicts on the frames."""

    path: Path
    gallery: Path
    video: Path
    expected: list[Verdict]

    @property
    def name(self) -> str:
        """Model and precision."""
        return self.path.name


def ways(provider: str) -> dict[str, SessionOptions]:
    """Return how a session is opened: plainly and, on CUDA, with graphs."""
    graphs = {"cuda, graphs": SessionOptions(cuda_graph=True)} if provider == "cuda" else {}
    return {provider: SessionOptions(), **graphs}


def judged(session: Session, gallery: Path, video: Path) -> list[Verdict]:
    """Return a session's verdict on each frame of the video."""
    with Gallery(gallery, session.bundle.manifest.identity) as opened:
        classifier = classifier_for(opened, session)
    source = VideoSource(video)
    try:
        return [verdict for _, verdict in verdicts(source, session, classifier)]
    finally:
        source.close()


def make_subject(path: Path, work: Path, scratch: Path) -> Subject:
    """Register the snapshots of the parts on the CPU, and judge the frames there."""
    session = open_session(load_bundle(path), "cpu")
    gallery = scratch / f"{path.name}.db"
    with Gallery(gallery, session.bundle.manifest.identity, create=True, author="bench") as opened:
        for file in registered(work):
            opened.add(file.stem, [snapshot_of(read_image(file), session, file.stem)])
    video = work / "frames.mp4"
    return Subject(path, gallery, video, judged(session, gallery, video))


def verdict_part(subject: Subject, provider: str, options: SessionOptions) -> dict[str, Any]:
    """Judge every frame on the provider, and compare."""
    session = open_session(load_bundle(subject.path), provider, options=options)
    got = judged(session, subject.gallery, subject.video)
    known = sum(verdict.decision.known for verdict in subject.expected)
    return {**compared(got, subject.expected), "known_on_cpu": known, "notes": session.notes}


def camera_part(
    subject: Subject,
    provider: str,
    options: SessionOptions,
    frames: list[Image],
    count: int,
    fps: float | None,
) -> dict[str, Any]:
    """Let cameras run on one session."""
    session = open_session(load_bundle(subject.path), provider, options=options)
    with Gallery(subject.gallery, session.bundle.manifest.identity) as opened:
        classifier = classifier_for(opened, session)
    return cameras(session, classifier, frames, subject.expected, count=count, fps=fps, seconds=3.0)


def camera_parts(
    report: Report, subjects: list[Subject], provider: str, frames: list[Image]
) -> None:
    """Let one camera and sixteen run; the target's bundle first, and in more ways."""
    target = "-".join(TARGET)
    for subject in sorted(subjects, key=lambda one: one.name != target):
        rates = [(16, None), (1, None)]
        rates = [(16, 130.0), *rates, (1, 30.0)] if subject.name == target else rates
        for way, options in reversed(ways(provider).items()):
            for count, fps in rates:
                name = f"{subject.name}, {way}, {count} x {fps or 'as fast as it goes'}"
                report.part(
                    "cameras", name, 8.0,
                    lambda s=subject, o=options, c=count, f=fps: camera_part(
                        s, provider, o, frames, c, f
                    ),
                )  # fmt: skip
    cv2.setNumThreads(1)
    way, options = list(ways(provider).items())[-1]
    for subject in [one for one in subjects if one.name == target]:
        report.part(
            "cameras", f"{target}, {way}, 16 x as fast as it goes, OpenCV on one thread", 8.0,
            lambda s=subject: camera_part(s, provider, options, frames, 16, None),
        )  # fmt: skip


def command_part(subject: Subject, provider: str, work: Path, scratch: Path) -> dict[str, Any]:
    """Register one more part and run on the video, as the commands do it."""
    gallery = scratch / f"{subject.name}-commands.db"
    shutil.copy(subject.gallery, gallery)
    extra = next(p for p in sorted((work / "snapshots").iterdir()) if p not in registered(work))
    on = ["--gallery", gallery, "--provider", provider]
    took = {"register_s": command("register", subject.path, "one more", extra, *on).seconds}
    expected = _run(subject, gallery, "cpu", scratch)
    figures: dict[str, Any] = {}
    for way in ways(provider):
        more = ["--cuda-graph"] if "graphs" in way else []
        began = time.monotonic()
        figures[way] = _rows_compared(_run(subject, gallery, provider, scratch, *more), expected)
        took[f"run, {way}, s"] = time.monotonic() - began
    return {**figures, **{name: round(seconds, 2) for name, seconds in took.items()}}


def _run(
    subject: Subject, gallery: Path, provider: str, scratch: Path, *more: str
) -> list[dict[str, Any]]:
    out = scratch / "verdicts.jsonl"
    out.unlink(missing_ok=True)
    command(
        "run", subject.path, subject.video, "--gallery", gallery, "--jsonl", out,
        "--provider", provider, *more,
    )  # fmt: skip
    return [json.loads(line) for line in out.read_text().splitlines()]


def _rows_compared(got: list[dict[str, Any]], expected: list[dict[str, Any]]) -> dict[str, Any]:
    pairs = list(zip(got, expected, strict=True))
    return {
        "verdicts": len(pairs),
        "same_answer": sum(g["label"] == e["label"] for g, e in pairs),
        "score_apart": round(max(abs(g["score"] - e["score"]) for g, e in pairs), 6),
        "known": sum(g["known"] for g in got),
    }


def bench_part(paths: list[Path], provider: str, scratch: Path) -> Any:
    """Time the bundles by `vision-edge bench`."""
    out = scratch / "bench.json"
    providers = ",".join(dict.fromkeys(("cpu", provider)))
    command(
        "bench", *paths, "--provider", providers, "--batch", "1,16,64", "--rounds", 3,
        "--seconds", 0.3, "--cold-starts", 1, "--json", out,
    )  # fmt: skip
    document = json.loads(out.read_text())
    return {key: document[key] for key in ("results", "cold_start", "failed")}


def serve_part(
    subject: Subject, provider: str, graphs: bool, count: int, fps: float, scratch: Path
) -> dict[str, Any]:
    """Serve several looped videos, and listen to the verdicts from outside."""
    from station_process import StationProcess

    gallery = scratch / f"{subject.name}-serve.db"
    shutil.copy(subject.gallery, gallery)
    lines = [
        f'bundle = "{subject.path.absolute()}"',
        f'gallery = "{gallery}"',
        f'provider = "{provider}"',
        f"cuda_graph = {str(graphs).lower()}",
        "[server]",
        "requests_per_second = 10000.0",
    ]
    for number in range(count):
        lines += ["[[sources]]", f'name = "camera-{number}"', "loop = true", f"fps = {fps}"]
        lines += [f'address = "{subject.video.absolute()}"']
    with (
        tempfile.TemporaryDirectory() as folder,
        StationProcess(Path(folder), settings="\n".join(lines)) as station,
    ):
        time.sleep(2.0)
        began, before = time.monotonic(), station.metric("vision_edge_verdicts_total")
        time.sleep(6.0)
        seconds = time.monotonic() - began
        given = station.metric("vision_edge_verdicts_total") - before
        ages = station.ages(began, time.monotonic())
        used = station.resources()
    quantiles = {f"age_p{q}_ms": round(float(np.percentile(ages, q)), 2) for q in (50, 95)}
    return {
        "cameras": count,
        "fps_each": fps,
        "verdicts_per_s": round(given / seconds, 1),
        "heard": len(ages),
        **quantiles,
        "rss_mb": round(used["rss_mb"]),
    }


def measure(report: Report, args: argparse.Namespace, scratch: Path) -> None:
    """Do every stage that was asked for."""
    frames = frames_of(args.work)
    found = [path for paths in bundles(args.work).values() for path in paths.values()]
    subjects = list(_subjects(report, found, args.work, scratch))
    provider = args.provider
    if "verdicts" in args.stages:
        for subject in subjects:
            for way, options in ways(provider).items():
                report.part(
                    "verdicts", f"{subject.name}, {way}", 10.0,
                    lambda s=subject, o=options: verdict_part(s, provider, o),
                )  # fmt: skip
    if "cameras" in args.stages:
        camera_parts(report, subjects, provider, frames)
    for subject in subjects if "commands" in args.stages else []:
        if subject.name.startswith("vision-edge-tiny"):
            report.part(
                "commands", subject.name, 30.0,
                lambda s=subject: command_part(s, provider, args.work, scratch),
            )  # fmt: skip
    if "serve" in args.stages:
        for subject in [one for one in subjects if one.name.endswith("fp16")]:
            for count, fps in ((1, 60.0), (16, 30.0), (16, 60.0)):
                report.part(
                    "serve", f"{subject.name}, {count} x {fps:g}", 20.0,
                    lambda s=subject, c=count, f=fps: serve_part(
                        s, provider, provider == "cuda", c, f, scratch
                    ),
                )  # fmt: skip
    if "bench" in args.stages:
        report.part("bench", "bench", 60.0, lambda: bench_part(found, provider, scratch))


def _subjects(report: Report, paths: list[Path], work: Path, scratch: Path) -> Iterator[Subject]:
    """Yield the bundles with the CPU's verdicts; one that cannot run there is named."""
    for path in paths:
        made: list[Subject] = []
        report.part(
            "on_cpu", path.name, 10.0,
            lambda p=path, m=made: m.append(make_subject(p, work, scratch)),
        )  # fmt: skip
        yield from made


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--provider", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--seconds", type=float, default=440.0, help="for the whole program")
    parser.add_argument("--work", type=Path, default=Path(".out/on_gpu"))
    parser.add_argument("--prepare", action="store_true", help="make what takes long, and stop")
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    if args.prepare:
        raise SystemExit(str(prepare(args.work, slow_only=True) or 0))
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    args.out.mkdir(parents=True, exist_ok=True)
    stages = {stage: {} for stage in ("on_cpu", *args.stages)}
    document = {**facts(args.provider), "provider": args.provider, **stages, "skipped": []}
    report = Report(args.out / "on_gpu.json", args.seconds, document)
    report.document["not_made"] = prepare(args.work)
    with tempfile.TemporaryDirectory() as scratch:
        measure(report, args, Path(scratch))
    report.save()
    print(f"took {report.document['took_s']} s; see {report.file}")
    if not any(report.document[stage] for stage in args.stages):
        raise SystemExit("nothing was measured")


if __name__ == "__main__":
    main()
