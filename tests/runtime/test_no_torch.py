"""The runtime imports and works where nothing of the training stack is installed."""

from __future__ import annotations

import json
from pathlib import Path

from support.paths import ROOT
from support.runtime import python

CODE = """
import importlib, pkgutil, sys
from pathlib import Path

BLOCKED = {"torch", "torchvision", "timm", "safetensors", "onnx", "onnxscript", "matplotlib",
           "peft", "transformers"}
SERVER = ("vision_edge.toolkit.", "vision_edge.export")
ANNOUNCES = ("vision_edge.toolkit.cli", "vision_edge.toolkit._moved")  # import nothing of it

class Blocker:
    def find_spec(self, name, path=None, target=None):
        server = name.startswith(SERVER) and name not in ANNOUNCES
        if server or name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
rooms = ["runtime", "cli", "station", "demo", "bench", "doctor"]
names = [f"vision_edge.{room}" for room in rooms]
for name in list(names):
    package = importlib.import_module(name)
    names += [m.name for m in pkgutil.walk_packages(package.__path__, name + ".")]
for name in names:
    importlib.import_module(name)
print(len(names), file=sys.stderr)

from vision_edge.cli.app import app
bundle, shots, out = sys.argv[1:]
gallery = ["--gallery", f"{out}/g"]
for label in ("bolt", "nut", "washer"):
    app(["register", bundle, label, f"{shots}/{label}.png", *gallery], standalone_mode=False)
jsonl, save = ["--jsonl", f"{out}/o.jsonl"], ["--save", f"{out}/o.mp4"]
app(["run", bundle, shots, *gallery, *jsonl, *save], standalone_mode=False)
app(["gallery", "reembed", bundle, *gallery], standalone_mode=False)
app(["gallery", "list", *gallery], standalone_mode=False)
assert not BLOCKED & set(sys.modules)
print("all of it", file=sys.stderr)
"""


def test_a_whole_run_needs_none_of_the_training_stack(
    bundle_path: Path, shots: Path, tmp_path: Path
) -> None:
    done = python(CODE, bundle_path, shots, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "all of it"
    modules = int(done.stderr.splitlines()[0])
    assert modules == len(list((ROOT / "runtime" / "vision_edge").rglob("*.py")))
    rows = [json.loads(row) for row in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == ["bolt", "nut", "washer"]
    assert (tmp_path / "o.mp4").stat().st_size > 1000
