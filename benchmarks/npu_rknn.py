"""Does Rockchip's compiler take the static model, and does its simulator give the same embeddings?

    python benchmarks/npu_rknn.py prepare --work .out/rknn        # with vision-edge
    python benchmarks/npu_rknn.py compile --work .out/rknn        # in an environment of its own

`prepare` writes the embedded model as `export --target npu` does, and eight scenes with the
bundle's own embeddings. `compile` needs `rknn-toolkit2` alone, which asks for an older numpy and
PyTorch than ours: it converts the file without hand work, in float16 for an RK3588, and compares
what the toolkit's simulator answers. No chip takes part.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np


def prepare(work: Path) -> None:
    """Write the static model, pictures and expected embeddings."""
    from vision_edge.export.static_model import planes, write_static_model
    from vision_edge.runtime.bundles.bundle import load_bundle
    from vision_edge.runtime.bundles.shipped import asset
    from vision_edge.runtime.images.generated_scenes import generated_scenes
    from vision_edge.runtime.inference.session import open_session

    work.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle(asset("bundle"))
    write_static_model(bundle, work / "npu")
    images = np.stack(generated_scenes(8, bundle.manifest.preprocessing.size, seed=5))
    expected = open_session(bundle, "cpu").embed(images)
    np.savez(work / "expected.npz", pixels=planes(images), embeddings=expected)


def compile_model(work: Path) -> None:
    """Convert, simulate, print and save the least cosine."""
    from rknn.api import RKNN

    given = np.load(work / "expected.npz")
    rknn = RKNN(verbose=False)
    rknn.config(
        mean_values=[[0, 0, 0]], std_values=[[1, 1, 1]], target_platform="rk3588",
        quant_img_RGB2BGR=False,
    )  # fmt: skip
    steps = {
        "load_onnx": rknn.load_onnx(model=str(work / "npu" / "model.onnx")),
        "build": rknn.build(do_quantization=False),
        "init_runtime": rknn.init_runtime(),
    }
    if any(steps.values()):
        raise SystemExit(f"not converted: {steps}")
    cosines = []
    for pixels, expected in zip(given["pixels"], given["embeddings"], strict=True):
        got = rknn.inference(inputs=[pixels[None]], data_format=["nchw"])[0].ravel()
        lengths = np.linalg.norm(got) * np.linalg.norm(expected)
        cosines.append(float((got * expected).sum() / lengths))
    document = {"rknn_toolkit2": version("rknn-toolkit2"), "min_cosine": round(min(cosines), 7)}
    (work / "npu_rknn.json").write_text(json.dumps(document) + "\n")
    print(document)


def main() -> None:
    """Do one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("prepare", "compile"))
    parser.add_argument("--work", type=Path, default=Path(".out/rknn"))
    args = parser.parse_args()
    prepare(args.work) if args.step == "prepare" else compile_model(args.work)


if __name__ == "__main__":
    main()
