"""What `on_gpu.py` needs, all of it made here: rendered frames, and bundles in three precisions.

Nothing is downloaded. The frames are the demonstration's conveyor belt at 1280x720; of each part
the first pass gives the snapshot that is registered, the others the frames that are judged.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vision_edge.demo.rendered_line import Conveyor
from vision_edge.demo.script import draw_cast
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle, write_bundle
from vision_edge.runtime.bundles.manifest import COHORT_FILE, MODEL_FILE
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.images.generated_scenes import generated_scenes
from vision_edge.runtime.images.video_writer import VideoWriter

VIDEO, SNAPSHOTS, CAST = "frames.mp4", "snapshots", "cast.json"
PRECISIONS = ("fp32", "fp16", "int8")
SIZE = (1280, 720)
_PASSES, _FRAMES_A_PASS = 3, 4


def prepare(work: Path, *, slow_only: bool = False) -> dict[str, str]:
    """Make what is not there yet.

    Args:
        work: Where it lies, and is left.
        slow_only: Only what takes long or needs PyTorch, to be carried elsewhere.

    Returns:
        What could not be made, and why, by name.
    """
    work.mkdir(parents=True, exist_ok=True)
    if not (work / CAST).exists():
        _render(work)
    return prepare_bundles(work, ("int8",) if slow_only else PRECISIONS)


def prepare_bundles(work: Path, precisions: Sequence[str]) -> dict[str, str]:
    """Make the bundles that are not there yet; the ViT-Tiny in float32 in any case."""
    work.mkdir(parents=True, exist_ok=True)
    missing = _bundles_of(asset("bundle"), "vision-edge-tiny", work, precisions)
    plain = work / "vit-tiny-224-fp32"
    if not plain.exists():
        lacking = [name for name in ("torch", "timm", "onnxscript") if find_spec(name) is None]
        if lacking:
            return {**missing, "vit-tiny-224": f"{', '.join(lacking)} not installed"}
        _export_vit(plain)
    return {**missing, **_bundles_of(plain, "vit-tiny-224", work, precisions)}


def bundles(work: Path) -> dict[str, dict[str, Path]]:
    """Return the bundles that are there, by model and precision."""
    found: dict[str, dict[str, Path]] = {}
    for model in ("vision-edge-tiny", "vit-tiny-224"):
        paths = {precision: work / f"{model}-{precision}" for precision in PRECISIONS}
        there = {precision: path for precision, path in paths.items() if path.is_dir()}
        if there:
            found[model] = there
    return found


def frames_of(work: Path) -> list[Image]:
    """Return the frames as a decoder gives them: uint8 (720, 1280, 3), BGR, each."""
    film = cv2.VideoCapture(str(work / VIDEO))
    frames = []
    while (read := film.read())[0]:
        frames.append(np.ascontiguousarray(read[1]))
    return frames


def registered(work: Path) -> list[Path]:
    """Return the snapshots to register; a file is called after its part."""
    names = json.loads((work / CAST).read_text())["registered"]
    return [work / SNAPSHOTS / f"{name}.jpg" for name in names]


def _render(work: Path) -> None:
    cast = draw_cast(0, _PASSES)
    larger = dataclasses.replace(cast.config, width=SIZE[0], height=SIZE[1], speed=24.0)
    cast = dataclasses.replace(cast, config=larger)
    line = cast.conveyor()
    (work / SNAPSHOTS).mkdir(exist_ok=True)
    writer = VideoWriter(work / VIDEO, 30.0)
    passes: dict[str, int] = {}
    for label, moments in _passages(line):
        number = passes[label] = passes.get(label, -1) + 1
        if number == 0:
            image = line[moments[len(moments) // 2]][0]
            cv2.imwrite(str(work / SNAPSHOTS / f"{label}.jpg"), image)
            continue
        middle = len(moments) // 2 - _FRAMES_A_PASS // 2
        for moment in moments[max(0, middle) :][:_FRAMES_A_PASS]:
            writer.write(line[moment][0])
    writer.close()
    document = {"registered": cast.registered, "strangers": cast.strangers, "seed": cast.seed}
    (work / CAST).write_text(json.dumps(document))


def _passages(line: Conveyor) -> list[tuple[str, list[int]]]:
    """Return each part that passes, with the frames in which it is wholly in the window."""
    found: dict[int, tuple[str, list[int]]] = {}
    for moment in range(0, len(line), 2):
        for part in line.truth(moment).parts:
            if part.centred:
                found.setdefault(part.instance, (part.label, []))[1].append(moment)
    return list(found.values())


def _bundles_of(plain: Path, name: str, work: Path, precisions: Sequence[str]) -> dict[str, str]:
    """Write a bundle in some precisions; return those that could not be made."""
    missing = {}
    for precision in precisions:
        path = work / f"{name}-{precision}"
        if path.exists():
            continue
        try:
            write_bundle(path, *_in_precision(load_bundle(plain), precision))
        except Exception as error:  # the others are still of interest
            missing[f"{name}-{precision}"] = f"{type(error).__name__}: {error}"
    return missing


def _in_precision(plain: Bundle, precision: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return manifest fields and files of a bundle in another precision."""
    model = plain.model
    if precision == "fp16":
        from vision_edge.export.precision.half import to_half

        model = to_half(model).model
    if precision == "int8":
        from vision_edge.export.precision.int8 import MIN_IMAGES, to_int8

        size = plain.manifest.preprocessing.size
        images = np.stack(generated_scenes(MIN_IMAGES, size, seed=2))
        model = to_int8(widened(model), images).model
    fields = plain.manifest.model_dump(mode="json", exclude={"files"})
    files = {MODEL_FILE: model, COHORT_FILE: (plain.path / COHORT_FILE).read_bytes()}
    return {**fields, "precision": precision}, files


def widened(model: bytes) -> bytes:
    """Return a model whose weights are float32 where they were stored in float16."""
    import onnx
    from onnx import numpy_helper

    whole = onnx.load_model_from_string(model)
    halves = {weight.name: weight for weight in whole.graph.initializer}
    nodes = []
    for node in whole.graph.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            weight = halves[node.input[0]]
            values = numpy_helper.to_array(weight).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    del whole.graph.node[:]
    whole.graph.node.extend(nodes)
    return bytes(whole.SerializeToString())


def _export_vit(path: Path) -> None:
    """Export a ViT-Tiny of random weights: speed does not depend on them."""
    import timm
    import torch

    from vision_edge.export.bundle import ExportImages, export_bundle
    from vision_edge.export.settings import ExportSettings
    from vision_edge.runtime.bundles.manifest import BackboneInfo
    from vision_edge.runtime.images.generated_scenes import SOURCE
    from vision_edge.runtime.images.preprocess import PreprocessSpec

    torch.manual_seed(0)
    name = "vit_tiny_patch16_224"
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    count = sum(parameter.numel() for parameter in model.parameters())
    export_bundle(
        model,
        PreprocessSpec(size=224),
        path,
        name="vit-tiny-224",
        backbone=BackboneInfo(name=name, sha256="0" * 64, parameters=count),
        images=ExportImages(generated_scenes(8, 224), SOURCE, from_station=False),
        settings=ExportSettings(min_cosine=0.999, half_weights=True),
    )
