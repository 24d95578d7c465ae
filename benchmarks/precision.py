"""Latency, agreement and few-shot accuracy of ViT-Tiny in every precision, on this computer's CPU.

    python benchmarks/precision.py --shared ../shared --prune 4:0.2,7:0.2,10:0.2

int8 is calibrated on grocery/train and mini_imagenet/val; the cosine to plain float32 is measured
on other images of theirs, the accuracy on the grocery and neu_steel test splits, on the same
episodes for all. For latency the variants take turns, in another order each round: medians of
rounds, batch 1. The computer's own limit, large products in ONNX Runtime, stands beside them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from measured import circumstances
from onnx import TensorProto, helper, numpy_helper
from precision_variants import Embed, Variant, backbone_of, pictures, variants

from vision_edge.export.gate.episodes import EpisodeSettings, accuracy_over
from vision_edge.export.gate.parity import compare
from vision_edge.runtime.arrays import Embeddings, Image
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.toolkit.data.dataset import open_dataset

TESTS = ("grocery", "neu_steel")
BATCH, BURST = 8, 6


def in_batches(embed: Embed, images: Image) -> Embeddings:
    """Embed images some at a time."""
    parts = [embed(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    return np.concatenate(parts)


def agreement(found: list[Variant], images: Image) -> dict[str, dict[str, float]]:
    """Compare each variant with the first, image by image."""
    embedded = [in_batches(variant.open(2)[0], images) for variant in found]
    figures = {}
    for variant, embeddings in zip(found, embedded, strict=True):
        parity = compare(embedded[0], embeddings)
        figures[variant.name] = {
            "min_cosine": round(parity.min_cosine, 5),
            "mean_cosine": round(parity.mean_cosine, 5),
        }
    return figures


def accuracies(
    found: list[Variant], path: Path, spec: PreprocessSpec, each: int, episodes: int
) -> dict[str, dict[str, float]]:
    """Return 5-way 1-shot accuracy on a test split, of up to `each` images a class."""
    data = open_dataset(path, "test")
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(members)[:each] for members in data.by_class()]
    images = data.prepared(spec, np.concatenate(chosen).tolist())
    ends = np.cumsum([len(rows) for rows in chosen])
    members = np.split(np.arange(ends[-1]), ends[:-1])
    settings = EpisodeSettings(episodes=episodes)
    figures = {}
    for variant in found:
        accuracy = accuracy_over(in_batches(variant.open(2)[0], images), members, settings)
        figures[variant.name] = {
            "accuracy": round(accuracy.mean, 2),
            "ci95": round(accuracy.ci95, 2),
        }
    return figures


def burst_ms(embed: Embed, image: Image) -> float:
    """Return the median of some calls, less the first, which meets cold caches and threads."""
    times = []
    for _ in range(BURST):
        started = time.perf_counter()
        embed(image)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times[1:])


def latencies(found: list[Variant], image: Image, threads: int, rounds: int) -> dict[str, Any]:
    """Time the variants in turns; image is uint8 (1, S, S, 3)."""
    opened = {variant.name: variant.open(threads) for variant in found}
    times: dict[str, list[float]] = {name: [] for name in opened}
    rng = np.random.default_rng(0)
    for _ in range(rounds + 1):
        for name in rng.permutation(list(opened)):
            times[name].append(burst_ms(opened[name][0], image))
    plain = times[found[0].name][1:]
    return {
        name: {
            "ms": round(statistics.median(own[1:]), 2),
            "times_faster": round(
                statistics.median(p / o for p, o in zip(plain, own[1:], strict=True)), 2
            ),
            "arithmetic": opened[name][1],
        }
        for name, own in times.items()
    }


def matrix_limits(size: int = 1024, repeats: int = 5) -> dict[str, float]:
    """Return what large products reach here on one thread, in G multiply-adds a second."""
    rng = np.random.default_rng(0)
    wide = [rng.normal(size=(size, size)).astype(np.float32) for _ in range(2)]
    narrow = [rng.integers(0, 64, (size, size)).astype(kind) for kind in (np.uint8, np.int8)]
    limits = {}
    for name, (left, right) in {"float32": wide, "int8": narrow}.items():
        run = product_of(right, "MatMul" if name == "float32" else "MatMulInteger", left.dtype)
        run(left)
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            run(left)
            times.append(time.perf_counter() - started)
        limits[name] = round(size**3 / min(times) / 1e9, 1)
    return limits


def product_of(right: np.ndarray, kind: str, dtype: np.dtype) -> Embed:
    """Return a product with a constant, in ONNX Runtime on one thread."""
    element = helper.np_dtype_to_tensor_dtype(dtype)
    result = TensorProto.FLOAT if kind == "MatMul" else TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(kind, ["images", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("images", element, [None, right.shape[0]])],
        [helper.make_tensor_value_info("product", result, [None, right.shape[1]])],
        [numpy_helper.from_array(right, "right")],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return Variant("product", model.SerializeToString()).open(1)[0]


def table(document: dict[str, Any]) -> str:
    """Lay the figures out as Markdown."""
    heads = ["variant", "MB", "ms, 1 thread", "faster", "ms, 2 threads", "faster"]
    heads += ["cosine min", "mean", *TESTS, "float32 layers"]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for name, own in document["variants"].items():
        cells = [name, own["megabytes"]]
        for threads in ("1", "2"):
            cells += [own["latency"][threads][key] for key in ("ms", "times_faster")]
        cells += [own["min_cosine"], own["mean_cosine"]]
        cells += [f"{own[test]['accuracy']} ± {own[test]['ci95']}" for test in TESTS]
        lines.append("| " + " | ".join(map(str, [*cells, len(own["float_layers"])])) + " |")
    return "\n".join(lines)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Make every variant and measure it."""
    backbone = backbone_of(args.shared)
    calibration, held_out = pictures(args.shared, backbone)
    found = list(variants(backbone, calibration, args.prune, args.only))
    print(*(f"{variant.name}: {variant.float_layers}" for variant in found), sep="\n", flush=True)
    cosines = agreement(found, held_out)
    print(json.dumps(cosines), flush=True)
    speed = {str(n): latencies(found, held_out[:1], n, args.rounds) for n in (1, 2)}
    print(json.dumps(speed), flush=True)
    scores = {
        test: accuracies(
            found, args.shared / "data" / f"{test}.zip", backbone.spec, args.each, args.episodes
        )
        for test in TESTS
    }
    rows = {
        variant.name: {
            "megabytes": round(len(variant.model) / 1e6, 1),
            "latency": {threads: own[variant.name] for threads, own in speed.items()},
            **cosines[variant.name],
            **{test: own[variant.name] for test, own in scores.items()},
            "float_layers": variant.float_layers,
        }
        for variant in found
    }
    return {"g_multiply_adds_a_second_1_thread": matrix_limits(), "variants": rows}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--prune", action="append", default=[], help="such as 4:0.2,7:0.2")
    parser.add_argument("--only", nargs="*", default=[], help="these variants beside plain float32")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--each", type=int, default=10_000, help="test images a class")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    document = {**circumstances(), "images_a_class": args.each, **measure(args)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "precision.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document["g_multiply_adds_a_second_1_thread"]))
    print(table(document))


if __name__ == "__main__":
    main()
