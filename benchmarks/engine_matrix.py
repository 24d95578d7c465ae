"""Which cards TensorRT-RTX builds an engine for, by bundle and precision; needs no GPU.

    python benchmarks/engine_matrix.py --out .out/bench

The embedded model and a ViT-Tiny of random weights, in float32, float16 and int8, for each compute
capability apart. Each cell is built although the runtime would refuse it beforehand, so that a rule
that refuses too much shows as well: the status is 1 if a card that was to be had failed, or one
that was refused built.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from measured import circumstances
from on_gpu_inputs import PRECISIONS, bundles, prepare_bundles, widened

from vision_edge.export.precision.int8 import MIN_IMAGES, to_int8
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle, write_bundle
from vision_edge.runtime.bundles.manifest import COHORT_FILE, MODEL_FILE
from vision_edge.runtime.errors import EngineError
from vision_edge.runtime.images.generated_scenes import generated_scenes
from vision_edge.runtime.inference.tensorrt.builder import build
from vision_edge.runtime.inference.tensorrt.key import BuildSettings
from vision_edge.runtime.inference.tensorrt.possible import impossible

CARDS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


def int8_for_tensorrt(plain: Bundle, path: Path) -> Bundle:
    """Write the int8 form of a bundle as `export` does for TensorRT, unless it is there."""
    if not path.exists():
        images = np.stack(generated_scenes(MIN_IMAGES, plain.manifest.preprocessing.size, seed=2))
        model = to_int8(widened(plain.model), images, for_tensorrt=True).model
        fields = plain.manifest.model_dump(mode="json", exclude={"files"})
        cohort = (plain.path / COHORT_FILE).read_bytes()
        files = {MODEL_FILE: model, COHORT_FILE: cohort}
        write_bundle(path, {**fields, "precision": "int8"}, files)
    return load_bundle(path)


def cell(bundle: Bundle, card: str) -> dict[str, Any]:
    """Build for one card, and say whether that was to be had."""
    settings = BuildSettings(flavour="tensorrt-rtx", compute_capabilities=(card,))
    refused = impossible(bundle, settings).get(card)
    started = time.monotonic()
    row: dict[str, Any] = {"card": card, "refused": refused}
    try:
        data, _ = build(bundle, settings)
        row["engine_mb"] = round(len(data) / 1e6, 1)
    except EngineError as error:
        row["failed"] = error.what.partition(": ")[2][:200]
    return {**row, "seconds": round(time.monotonic() - started, 1)}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the matrix as the docs show it: megabytes, or a dash where there is no engine."""
    lines = [f"| bundle | {' | '.join(CARDS)} |", "| --- |" + " --- |" * len(CARDS)]
    for name in dict.fromkeys(row["bundle"] for row in rows):
        cells = {row["card"]: row.get("engine_mb", "-") for row in rows if row["bundle"] == name}
        lines.append(f"| {name} | {' | '.join(str(cells[card]) for card in CARDS)} |")
    return "\n".join(lines)


def main() -> None:
    """Build, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path(".out/on_gpu"))
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    prepare_bundles(args.work, ("fp32", "fp16"))
    rows = []
    for model, paths in bundles(args.work).items():
        plain = load_bundle(paths["fp32"])
        for precision in PRECISIONS:
            name = f"{model}, {precision}"
            int8 = args.work / f"{model}-int8-tensorrt"
            chosen = int8_for_tensorrt(plain, int8) if precision == "int8" else None
            bundle = chosen or load_bundle(paths[precision])
            for card in CARDS:
                rows.append({"bundle": name, **cell(bundle, card)})
                print(rows[-1], flush=True)
    document = {**circumstances(), "tensorrt_rtx": version("tensorrt_rtx"), "rows": rows}
    (args.out / "engine_matrix.json").write_text(json.dumps(document, indent=2) + "\n")
    print(table(rows))
    wrong = [row for row in rows if (row["refused"] is None) == ("failed" in row)]
    if wrong:
        raise SystemExit(f"the rule and the builder disagree: {wrong}")


if __name__ == "__main__":
    main()
