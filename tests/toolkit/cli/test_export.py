"""`vision-edge export` in every precision, pruned, and for other targets; on a tiny backbone."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cli import refused_command, run_command
from support.toolkit import class_folders, image_of, leftovers, tiny_backbone, weights_in
from typer.testing import CliRunner

from vision_edge.cli.app import app
from vision_edge.cli.declarations import OptionError
from vision_edge.export.gate.parity import compare
from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.export.model.pruning import Pruning, pruned
from vision_edge.export.precision import variant as variant_module
from vision_edge.runtime.bundles import bundle as bundle_module
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import DataError, ExportError, VisionEdgeError
from vision_edge.runtime.images.preprocess import prepare
from vision_edge.runtime.inference.session import open_session
from vision_edge.toolkit.backbones.backbone import Backbone


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures to calibrate on."""
    return class_folders(tmp_path_factory.mktemp("frames") / "frames", classes=3, count=8)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """A tiny backbone whose layers are all different, biases too."""
    ours = tiny_backbone()
    generator = torch.Generator().manual_seed(1)
    for parameter in ours.model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return Backbone(ours.name, ours.model, ours.spec)


@pytest.fixture(scope="module")
def weights_file(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weights_in(tmp_path_factory.mktemp("weights") / "tiny.safetensors", backbone)


@pytest.fixture(scope="module")
def graphs() -> dict[str, bytes]:
    """Graphs that the exporter made already: it takes seconds each time."""
    return {}


@pytest.fixture(autouse=True)
def _exported_once(graphs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    original = variant_module.to_onnx

    def cached(model: Any, size: int) -> bytes:
        key = str(getattr(model.model, "patches_left", {}))
        if key not in graphs:
            graphs[key] = original(model, size)
        return graphs[key]

    monkeypatch.setattr(variant_module, "to_onnx", cached)


def _export(weights_file: Path, out: Path, *options: object) -> str:
    return run_command("export", "--weights", weights_file, "--out", out, *options)


def _refused(weights_file: Path, out: Path, *options: object) -> VisionEdgeError:
    error = refused_command("export", "--weights", weights_file, "--out", out, *options)
    assert not out.exists()
    assert leftovers(out.parent) == []
    return error


# --- what comes out --------------------------------------------------------------------------


def test_fp16(weights_file: Path, backbone: Backbone, frames: Path, tmp_path: Path) -> None:
    output = _export(weights_file, tmp_path / "b", "--precision", "fp16", "--images", frames)
    assert "fp16" in output
    assert "1-shot accuracy" in output
    bundle = load_bundle(tmp_path / "b")
    manifest = bundle.manifest
    assert (manifest.precision, manifest.schema_version) == ("fp16", "1.2")
    assert manifest.parity.asked_min_cosine == 0.999
    assert manifest.parity.float_layers is not None
    images = np.stack([prepare(image_of(c, 3), backbone.spec) for c in range(6)])
    got = open_session(bundle, "cpu").embed(images)
    assert got.dtype == np.float32
    assert compare(backbone.embedder().embed(images), got).min_cosine > 0.999


def test_fused_attention_is_another_graph_that_passes_the_same_gate(
    weights_file: Path, tmp_path: Path
) -> None:
    _export(weights_file, tmp_path / "b", "--precision", "fp16", "--fused-attention")
    bundle = load_bundle(tmp_path / "b")
    assert bundle.manifest.parity.min_cosine > 0.999
    assert b"MultiHeadAttention" in bundle.model


def test_int8_is_judged_by_images_that_it_was_not_calibrated_on(
    weights_file: Path, frames: Path, tmp_path: Path
) -> None:
    _export(weights_file, tmp_path / "b", "--precision", "int8", "--calibrate", frames)
    manifest = load_bundle(tmp_path / "b").manifest
    parity = manifest.parity
    assert manifest.precision == "int8"
    assert (parity.calibration_images, parity.images) == (18, 6)
    assert parity.calibration_source == "images of frames"
    assert parity.image_source == "held-out images of frames"
    assert 0.98 <= parity.min_cosine <= parity.mean_cosine < 1 - 1e-7
    assert "generated" in manifest.scoring.cohort_source, "what calibrates may be products"


def test_pruning_and_labelled_images(
    weights_file: Path, image_folder: Path, backbone: Backbone, tmp_path: Path
) -> None:
    output = _export(
        weights_file, tmp_path / "b", "--prune", "1:0.5", "--gate-data", image_folder,
        "--min-cosine", "0.5", "--max-accuracy-drop", "50",
    )  # fmt: skip
    assert "patches left out (1:0.5)" in output
    bundle = load_bundle(tmp_path / "b")
    parity = bundle.manifest.parity
    assert parity.pruning is not None and parity.accuracy is not None
    assert parity.pruning.steps == "1:0.5"
    assert parity.pruning.mean_cosine < parity.mean_cosine
    assert (parity.accuracy.data.split("/")[1], parity.accuracy.way) == ("test", 3)
    images = np.stack([prepare(image_of(c, 3), backbone.spec) for c in range(6)])
    twin = TorchEmbedder(pruned(backbone.model, Pruning.parse("1:0.5")), backbone.spec)
    got = open_session(bundle, "cpu").embed(images)
    assert compare(twin.embed(images), got).min_cosine > 0.9999


def test_tensorrt_rtx_ahead_of_time(weights_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    output = _export(
        weights_file, tmp_path / "b", "--target", "tensorrt-rtx", "--compute-capability", "8.9"
    )
    assert "tensorrt-rtx" in output
    load_bundle(tmp_path / "b")
    (record,) = (tmp_path / "b" / "engines").glob("*.json")
    assert "8.9" in record.read_text()


def test_a_model_repository_for_triton(weights_file: Path, frames: Path, tmp_path: Path) -> None:
    options = ("--target", "triton", "--images", frames)
    output = _export(weights_file, tmp_path / "line 3", *options)
    (model,) = (tmp_path / "line 3-triton").iterdir()
    assert str(model) in output
    bundle = load_bundle(tmp_path / "line 3")
    assert (model / "1" / "model.onnx").read_bytes() == bundle.model
    own = tmp_path / "models"
    _export(weights_file, tmp_path / "b", *options, "--repository", own)
    assert [path.name for path in own.iterdir()] == ["b"]
    assert not (tmp_path / "b-triton").exists()


def test_the_model_for_npus_lies_beside_the_bundle(weights_file: Path, tmp_path: Path) -> None:
    output = _export(weights_file, tmp_path / "b", "--target", "npu")
    assert str(tmp_path / "b-npu") in output
    about = json.loads((tmp_path / "b-npu" / "input.json").read_text())
    assert about["fingerprint"] == load_bundle(tmp_path / "b").manifest.fingerprint
    assert about["input"]["shape"][:2] == [1, 3]


# --- refused ---------------------------------------------------------------------------------


def test_int8_without_images_says_what_to_give(weights_file: Path, tmp_path: Path) -> None:
    error = _refused(weights_file, tmp_path / "b", "--precision", "int8")
    assert isinstance(error, ExportError)
    assert all(word in str(error) for word in ("--calibrate", "gallery", "pool")), str(error)


@pytest.mark.parametrize(("count", "words"), [(3, ("16", "got 3")), (17, ("16", "got 13"))])
def test_too_few_images_to_calibrate_and_to_judge(
    weights_file: Path, tmp_path: Path, count: int, words: tuple[str, ...]
) -> None:
    few = class_folders(tmp_path / "few", classes=1, count=count)
    error = _refused(weights_file, tmp_path / "b", "--precision", "int8", "--calibrate", few)
    assert all(word in str(error) for word in words), str(error)


@pytest.mark.parametrize(
    ("prune", "words"),
    [
        ("3:0.5", ("block 3", "2 blocks")),
        ("0:0.5", ("0:0.5",)),
        ("1:1", ("1:1",)),
        ("1:0", ("drops none",)),
        ("1:-0.5", ("1:-0.5",)),
        ("1:nan", ("1:nan",)),
        ("half", ("half", "BLOCK:RATIO")),
        ("1:0.5,1:0.5", ("at most once",)),
    ],
)
def test_prune_settings_out_of_range_are_refused(
    weights_file: Path, tmp_path: Path, prune: str, words: tuple[str, ...]
) -> None:
    error = _refused(weights_file, tmp_path / "b", "--prune", prune)
    assert all(word in str(error) for word in words), str(error)


def test_a_limit_that_is_missed_leaves_the_older_bundle(
    weights_file: Path, frames: Path, tmp_path: Path
) -> None:
    out = tmp_path / "b"
    _export(weights_file, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    options = ("--precision", "int8", "--calibrate", frames, "--min-cosine", "0.9999999")
    error = refused_command("export", "--weights", weights_file, "--out", out, *options)
    words = ("parity gate", "is missing", "nothing was written", "most harm is blocks.")
    assert all(word in str(error) for word in words), str(error)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "kind", "word"),
    [
        (("--precision", "fp16", "--half-weights"), ExportError, "--half-weights"),
        (("--fused-attention", "--half-weights"), ExportError, "--half-weights"),
        (("--fused-attention", "--target", "tensorrt-rtx"), OptionError, "--target onnx"),
        (("--gate-data", "absent"), DataError, "absent"),
        (("--precision", "int8", "--calibrate", "absent"), DataError, "absent"),
        (("--calibrate", "absent"), OptionError, "--precision int8"),
        (("--compute-capability", "8.9"), OptionError, "tensorrt-rtx"),
        (("--repository", "models"), OptionError, "--target triton"),
        (("--target", "npu", "--precision", "fp16"), OptionError, "choose the precision"),
        (("--target", "npu", "--prune", "1:0.5"), OptionError, "--prune"),
        (("--target", "npu", "--patches"), OptionError, "--patches"),
        (("--target", "tensorrt", "--compute-capability", "8.9"), OptionError, "tensorrt-rtx"),
    ],
)
def test_options_that_cannot_be_met_are_refused(
    weights_file: Path, tmp_path: Path, options: tuple[str, ...], kind: type, word: str
) -> None:
    error = _refused(weights_file, tmp_path / "b", *options)
    assert isinstance(error, kind), repr(error)
    assert word in str(error)


def test_an_engine_without_a_gpu_is_refused_at_once(weights_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    if Path("/dev/nvidia0").exists():
        pytest.skip("here is a GPU")
    options = ("--weights", weights_file, "--out", tmp_path / "b", "--target", "tensorrt-rtx")
    result = CliRunner().invoke(app, ["export", *map(str, options)])
    assert isinstance(result.exception, VisionEdgeError)
    assert not (tmp_path / "b").exists()


def test_a_full_disk_leaves_nothing(
    weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(bundle_module.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        _export_raising(weights_file, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def _export_raising(weights_file: Path, out: Path) -> None:
    """Run the command as `main` does, which turns an OSError into a message."""
    result = CliRunner().invoke(app, ["export", "--weights", str(weights_file), "--out", str(out)])
    assert result.exception is not None
    raise result.exception


def test_the_manifest_s_figures_are_json(weights_file: Path, tmp_path: Path) -> None:
    _export(weights_file, tmp_path / "b")
    parity = json.loads((tmp_path / "b" / "manifest.json").read_text())["parity"]
    assert set(parity) == {
        "images", "image_source", "min_cosine", "mean_cosine", "asked_min_cosine", "accuracy",
        "verdicts",
    }  # fmt: skip
    assert parity["verdicts"]["agreement"] == 1.0
