"""Write the index of the shipped assets: names, sizes, hashes, licences.

    python examples/embedded/index_assets.py

Run it after an asset has been trained or exported again; `vision-edge assets` verifies the result.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vision_edge.runtime.bundles.shipped import INDEX
from vision_edge.runtime.system.files import atomic_file, sha256_file

ROOT = Path(__file__).resolve().parents[2]
LICENSE = "Apache-2.0"
PACKAGES = {
    ROOT / "toolkit/vision_edge/toolkit/assets": {
        "backbone.safetensors": "vision-edge-tiny: the embedded backbone, a ViT-Tiny/16 at 160 px",
        "prior.safetensors": "a small BatchNorm network: the prior of LoRA Inversion",
        "hub": "the embedded lora hub: LoRAs of vision-edge-tiny with their heads",
    },
    ROOT / "runtime/vision_edge/runtime/assets": {
        "bundle": "vision-edge-tiny with the hub's average merged, as ONNX",
    },
}


def entry(folder: Path, name: str, what: str) -> dict[str, Any]:
    """Describe one asset: a file, or a folder with all files below it."""
    path = folder / name
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    return {
        "name": name,
        "what": what,
        "license": LICENSE,
        "bytes": sum(file.stat().st_size for file in files),
        "sha256": {file.relative_to(folder).as_posix(): sha256_file(file) for file in files},
    }


def main() -> None:
    """Write one index a package, of the assets that are there."""
    for folder, assets in PACKAGES.items():
        entries = [entry(folder, n, what) for n, what in assets.items() if (folder / n).exists()]
        if entries:
            with atomic_file(folder / INDEX) as temporary:
                temporary.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
            print(f"{folder / INDEX}: {', '.join(e['name'] for e in entries)}")


if __name__ == "__main__":
    main()
