"""Builds a TensorRT-RTX engine of every backbone in every precision; needs no GPU.

    python benchmarks/engine_builds.py --out .out/bench

Weights are random: a build depends on shapes and types. For each backbone a bundle is exported in
float32 and rewritten in float16, the smallest also in int8, and each is compiled for two compute
capabilities with a free batch. What cannot be made is reported, and the status is then 1.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from gpu_candidates import make_subject
from measured import circumstances

from vision_edge.export.precision.int8 import MIN_IMAGES, to_int8
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle, write_bundle
from vision_edge.runtime.bundles.manifest import COHORT_FILE, MODEL_FILE
from vision_edge.runtime.images.generated_scenes import generated_scenes
from vision_edge.runtime.inference.tensorrt.builder import build
from vision_edge.runtime.inference.tensorrt.key import BuildSettings

BACKBONES = ("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224")
INT8 = ("vit_tiny_patch16_224", "test_vit")  # calibrating a larger one takes minutes
SETTINGS = BuildSettings(flavour="tensorrt-rtx", compute_capabilities=("8.9", "12.0"))


def int8_bundle(plain: Bundle, path: Path) -> Bundle:
    """Write the int8 form of a bundle, for TensorRT."""
    images = np.stack(generated_scenes(MIN_IMAGES, plain.manifest.preprocessing.size, seed=2))
    fields = plain.manifest.model_dump(mode="json", exclude={"files"})
    model = to_int8(plain.model, images, for_tensorrt=True).model
    files = {MODEL_FILE: model, COHORT_FILE: (plain.path / COHORT_FILE).read_bytes()}
    write_bundle(path, {**fields, "precision": "int8"}, files)
    return load_bundle(path)


def measure(backbone: str, folder: Path) -> list[dict[str, Any]]:
    """Export a backbone and compile each of its bundles."""
    subject, missing = make_subject(backbone, folder)
    rows: list[dict[str, Any]] = [{"backbone": backbone, "refused": text} for text in missing]
    bundles = dict(subject.bundles)
    if backbone in INT8:
        try:
            bundles["int8"] = int8_bundle(bundles["fp32"], folder / "int8")
        except Exception as error:  # the others are still of interest
            rows.append({"backbone": backbone, "refused": f"int8 bundle: {error}"})
    for precision, bundle in bundles.items():
        row: dict[str, Any] = {"backbone": backbone, "precision": precision}
        started, processor = time.monotonic(), time.process_time()
        try:
            data, _ = build(bundle, SETTINGS)
            row |= {
                "engine_mb": round(len(data) / 1e6, 1),
                "onnx_mb": round(len(bundle.model) / 1e6, 1),
                "seconds": round(time.monotonic() - started, 1),
                "processor_s": round(time.process_time() - processor, 1),
            }
        except Exception as error:
            row["refused"] = f"{type(error).__name__}: {error}"
        print(row, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    rows = []
    for backbone in args.backbones:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(backbone, Path(folder))
    document = {**circumstances(), "tensorrt_rtx": version("tensorrt_rtx"), "rows": rows}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "engine_builds.json").write_text(json.dumps(document, indent=2) + "\n")
    if any("refused" in row for row in rows):
        raise SystemExit("not every engine could be built; see the rows")


if __name__ == "__main__":
    main()
