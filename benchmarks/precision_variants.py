"""What `precision.py` compares: one ViT in several types, pruned or not, on two runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from features import BACKBONE

from vision_edge.export.graph.tidy import tidy
from vision_edge.export.graph.to_onnx import to_onnx
from vision_edge.export.model.edge_model import EdgeModel
from vision_edge.export.model.pruning import Pruning, pruned
from vision_edge.export.precision.half import to_half
from vision_edge.export.precision.int8 import to_int8
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.errors import require
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone
from vision_edge.toolkit.data.dataset import open_dataset

Embed = Callable[[Image], Embeddings]
CALIBRATED, HELD_OUT = 64, 48
"""Images from each data set."""
SPLITS = (("grocery", "train"), ("mini_imagenet", "val"))
"""What int8 is calibrated on, and whose other images the cosine is measured on."""


@dataclass(frozen=True)
class Variant:
    """A serialised model on a runtime.

    Attributes:
        name: What to call it.
        model: ONNX.
        runtime: `"onnxruntime"` or `"openvino"`.
        hint: OpenVINO's arithmetic for what is float32 in the model.
        float_layers: Linear layers that int8 left in float32.
    """

    name: str
    model: bytes
    runtime: str = "onnxruntime"
    hint: str = "f32"
    float_layers: tuple[str, ...] = ()

    def open(self, threads: int) -> tuple[Embed, str]:
        """Load it; return how to embed, and the arithmetic that the runtime says it uses."""
        return self._openvino(threads) if self.runtime == "openvino" else self._onnxruntime(threads)

    def _onnxruntime(self, threads: int) -> tuple[Embed, str]:
        ort = require("onnxruntime")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = ort.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {"images": images})[0], "as the model"

    def _openvino(self, threads: int) -> tuple[Embed, str]:
        core = require("openvino").Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self.hint,
            "INFERENCE_NUM_THREADS": threads,
        }
        compiled = core.compile_model(core.read_model(self.model, b""), "CPU", settings)
        request = compiled.create_infer_request()
        used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        return lambda images: np.array(request.infer({0: images})[0]), used


def backbone_of(shared: Path) -> Backbone:
    """Load the shared ViT-Tiny."""
    weights = shared / "weights" / f"{BACKBONE}.safetensors"
    return load_backbone(BackboneOptions(name=BACKBONE, weights=weights))


def pictures(shared: Path, backbone: Backbone) -> tuple[Image, Image]:
    """Return images to calibrate on and others to compare on, none of a test split."""
    calibration, held_out = [], []
    for name, split in SPLITS:
        data = open_dataset(shared / "data" / f"{name}.zip", split)
        chosen = np.random.default_rng(0).permutation(len(data))[: CALIBRATED + HELD_OUT]
        images = data.prepared(backbone.spec, chosen.tolist())
        calibration.append(images[:CALIBRATED])
        held_out.append(images[CALIBRATED:])
    return np.concatenate(calibration), np.concatenate(held_out)


def variants(
    backbone: Backbone, calibration: Image, prunings: list[str], wanted: list[str]
) -> Iterator[Variant]:
    """Yield the plain float32 export on ONNX Runtime, then the wanted others; none means all.

    Args:
        backbone: What to export.
        calibration: For int8, uint8 (N, S, S, 3) BGR.
        prunings: Settings such as `4:0.2,7:0.2`; each is yielded in float32 and in int8.
        wanted: Names of variants.
    """
    size = backbone.spec.size
    plain = to_onnx(EdgeModel(backbone.model, backbone.spec), size)
    yield Variant("float32", plain)
    makers: dict[str, Callable[[], Variant]] = {
        "float32 tidied": lambda: Variant("float32 tidied", tidy(plain)),
        "float32 OpenVINO": lambda: Variant("float32 OpenVINO", plain, "openvino"),
        "bf16 OpenVINO": lambda: Variant("bf16 OpenVINO", plain, "openvino", "bf16"),
        "float16": lambda: Variant("float16", to_half(plain).model),
        "int8": lambda: _int8("int8", plain, calibration),
    }
    for steps in prunings:
        fewer = pruned(backbone.model, Pruning.parse(steps))
        short = to_onnx(EdgeModel(fewer, backbone.spec), size)
        names = f"float32 {steps}", f"int8 {steps}"
        makers[names[0]] = partial(Variant, names[0], tidy(short))
        makers[names[1]] = partial(_int8, names[1], short, calibration)
    on_openvino = {f"{name} OpenVINO": name for name in makers if name.startswith("int8")}
    unknown = set(wanted) - set(makers) - set(on_openvino)
    if unknown:
        known = ", ".join([*makers, *on_openvino])
        raise SystemExit(f"unknown: {', '.join(unknown)}; known: {known}")
    for name, make in makers.items():
        twin = f"{name} OpenVINO" if name in on_openvino.values() else None
        if not wanted or name in wanted or twin in wanted:
            variant = make()
            yield variant
            if twin is not None and (not wanted or twin in wanted):
                yield replace(variant, name=twin, runtime="openvino")


def _int8(name: str, model: bytes, calibration: Image) -> Variant:
    precise = to_int8(model, calibration)
    return Variant(name, precise.model, float_layers=precise.float_layers)
