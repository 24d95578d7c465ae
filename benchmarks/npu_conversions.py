"""Which families of backbones convert for boards without hand work, and still are the same model.

    python benchmarks/npu_conversions.py --out .out/bench

Each family of `docs/reference/backbones.md` in timm's own code, shrunk to two blocks with random
weights, is exported, written with fixed shapes (`export --target npu`), converted by ncnn's pnnx
and by OpenVINO, and run by both on the CPU. The figure is the least cosine to the bundle's own
embeddings on eight scenes; the gate asks 0.9999. What cannot be done is named; the status is 1 only
if a converted model is another model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
from measured import circumstances

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.families import SHRUNK, shrunk

from vision_edge.export.bundle import ExportImages, export_bundle
from vision_edge.export.gate.parity import compare
from vision_edge.export.settings import MIN_COSINE, ExportSettings
from vision_edge.export.static_model import planes, write_static_model
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.errors import require
from vision_edge.runtime.images.generated_scenes import SOURCE, generated_scenes
from vision_edge.runtime.inference.session import open_session

_IMAGES = 8


def by_ncnn(folder: Path, images: Image) -> Embeddings:
    """Convert by pnnx and embed by ncnn, in float32."""
    line = [sys.executable, "-c", "import pnnx; pnnx.pnnx()", "model.onnx", "fp16=0"]
    subprocess.run(line, cwd=folder, check=True, capture_output=True, timeout=120)
    net: Any = ncnn.Net()
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, name, False)
    if net.load_param(str(folder / "model.ncnn.param")):
        raise RuntimeError("ncnn does not load what pnnx wrote")
    net.load_model(str(folder / "model.ncnn.bin"))
    rows = []
    for pixels in planes(images):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(pixels))
        status, answer = extractor.extract("out0")
        if status:
            raise RuntimeError(f"ncnn fails with status {status}")
        rows.append(np.array(answer).ravel())
    return np.stack(rows)


def by_openvino(folder: Path, images: Image) -> Embeddings:
    """Embed by OpenVINO, in float32."""
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = require("openvino").Core().compile_model(str(folder / "model.onnx"), "CPU", settings)
    return np.stack([np.array(compiled({0: p[None]})[0])[0] for p in planes(images)])


def convert(name: str, folder: Path) -> dict[str, Any]:
    """Export one family and convert it; each step's failure is kept."""
    row: dict[str, Any] = {"family": name}
    try:
        backbone = shrunk(name)
        size = backbone.spec.size
        bundle = export_bundle(
            backbone.model,
            backbone.spec,
            folder / "bundle",
            name=name,
            backbone=backbone.info(),
            images=ExportImages(generated_scenes(4, size), SOURCE, from_station=False),
            settings=ExportSettings(max_accuracy_drop=50.0),
        )
        images = np.stack(generated_scenes(_IMAGES, size, seed=12))
        expected = open_session(bundle, "cpu").embed(images)
        static = write_static_model(bundle, folder / "static")
    except Exception as error:
        return {**row, "refused": str(error).splitlines()[0][:160]}
    for way, embed in (("ncnn", by_ncnn), ("openvino", by_openvino)):
        try:
            row[way] = round(compare(expected, embed(static, images)).min_cosine, 6)
        except Exception as error:  # noqa: PERF203 (the other way is still of interest)
            row[way] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return row


def main() -> None:
    """Convert, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", default=list(SHRUNK))
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    rows = []
    for name in args.families:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(convert(name, Path(folder)))
            print(rows[-1], flush=True)
    versions = {name: version(name) for name in ("pnnx", "ncnn", "openvino")}
    args.out.mkdir(parents=True, exist_ok=True)
    document = {**circumstances(), "versions": versions, "rows": rows}
    (args.out / "npu_conversions.json").write_text(json.dumps(document, indent=2) + "\n")
    others = [
        row
        for row in rows
        if any(isinstance(row.get(w), float) and row[w] < MIN_COSINE["fp32"]
               for w in ("ncnn", "openvino"))
    ]  # fmt: skip
    if others:
        raise SystemExit(f"another model came out: {others}")


if __name__ == "__main__":
    main()
