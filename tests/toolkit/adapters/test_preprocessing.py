"""An adapter carries how its pixels were prepared, and is refused on pixels prepared otherwise."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.cli import refused_command, run_command
from support.toolkit import SIZE, adapter_in, refusal, tiny_backbone, weights_in, without_hash

from vision_edge.runtime.errors import AdapterError, VisionEdgeError
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.peft_format import MODEL_FILE
from vision_edge.toolkit.adapters.preprocessing import PREPROCESSING_KEY
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone

OTHER = "0.1,0.9,0.2"
TUNE = ("--tasks", 2, "--way", 3, "--steps", 2, "--batch", 6, "--device", "cpu")


@pytest.fixture(scope="module")
def hub(image_folder: Path, weights_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "hub"
    run_command("tune", image_folder, "--weights", weights_file, "--out", out, *TUNE)
    return out


@pytest.fixture(scope="module")
def meta(hub: Path, weights_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "meta"
    run_command("build", hub, "--weights", weights_file, "--out", out)
    return out


def _stated(folder: Path) -> PreprocessSpec:
    with safe_open(folder / MODEL_FILE, "pt") as stream:
        return PreprocessSpec.model_validate_json(stream.metadata()[PREPROCESSING_KEY])


def test_tune_and_build_write_it(hub: Path, meta: Path, weights_file: Path) -> None:
    spec = load_backbone(BackboneOptions(weights=weights_file)).spec
    assert _stated(hub / "task-0000") == _stated(meta) == spec
    assert read_adapter(meta).preprocessing == spec


@pytest.mark.parametrize("option", ["--mean", "--std"])
@pytest.mark.parametrize("command", ["build", "export", "evaluate"])
def test_another_mean_or_std_is_refused_with_both_values_and_the_fix(
    command: str,
    option: str,
    hub: Path,
    meta: Path,
    weights_file: Path,
    image_folder: Path,
    tmp_path: Path,
) -> None:
    where = {
        "build": ("build", hub, "--out", tmp_path / "out"),
        "export": ("export", "--adapter", meta, "--out", tmp_path / "out"),
        "evaluate": ("evaluate", image_folder, "--adapter", meta, "--device", "cpu"),
    }[command]
    error = refused_command(*where, "--weights", weights_file, option, OTHER)
    assert isinstance(error, AdapterError)
    agreed = getattr(_stated(meta), option[2:])
    right = ",".join(f"{value:g}" for value in agreed)
    assert OTHER in error.what
    assert right in error.what
    assert f"{option} {right}" in str(error.fix)
    assert not (tmp_path / "out").exists()


def test_what_was_tuned_with_another_mean_needs_it_ever_after(
    image_folder: Path, weights_file: Path, tmp_path: Path
) -> None:
    weights = ("--weights", weights_file)
    run_command("tune", image_folder, *weights, "--out", tmp_path / "h", *TUNE, "--mean", OTHER)
    error = refused_command("build", tmp_path / "h", *weights, "--out", tmp_path / "m")
    assert f"--mean {OTHER}" in str(error.fix)
    run_command("build", tmp_path / "h", *weights, "--out", tmp_path / "m", "--mean", OTHER)
    assert _stated(tmp_path / "m").mean == (0.1, 0.9, 0.2)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"interpolation": "bilinear"}, "interpolation"), ({"crop_pct": 0.9}, "crop_pct")],
)
def test_so_does_every_other_part_of_it(
    change: dict[str, object], word: str, backbone: Backbone, tmp_path: Path
) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    changed = backbone.spec.model_copy(update=change)
    with refusal(AdapterError, folder, word, *change.values()):
        read_adapter(folder, Backbone(backbone.name, backbone.model, changed))


def test_the_size_may_differ(weights_file: Path, backbone: Backbone, tmp_path: Path) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    larger = load_backbone(BackboneOptions(weights=weights_file, size=2 * SIZE))
    assert larger.sha256 == backbone.sha256
    assert read_adapter(folder, larger).backbone_sha256 == larger.sha256


def test_a_hash_of_the_resampled_weights_is_still_accepted(
    weights_file: Path, tmp_path: Path
) -> None:
    """Adapters of earlier versions carry the hash of the weights at the size of their tuning."""
    larger = load_backbone(BackboneOptions(weights=weights_file, size=2 * SIZE))
    folder = adapter_in(tmp_path / "a", larger)
    path = folder / MODEL_FILE
    own = json.dumps({"backbone_sha256": larger.sha256_as_resampled})
    save_file(load_file(path), path, metadata={"format": "pt", "vision_edge": own})
    assert read_adapter(folder, larger).preprocessing is None
    with refusal(AdapterError, folder, "tuned on backbone"):
        read_adapter(folder, load_backbone(BackboneOptions(weights=weights_file)))


def test_adapters_of_others_state_nothing_and_pass(backbone: Backbone, tmp_path: Path) -> None:
    folder = without_hash(adapter_in(tmp_path / "a", backbone))
    assert read_adapter(folder, backbone).preprocessing is None


@pytest.mark.parametrize("text", ["{", '{"mean": "grey"}', '{"std": [0, 0, 0]}', "[]"])
def test_what_makes_no_sense_is_refused(text: str, backbone: Backbone, tmp_path: Path) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    path = folder / MODEL_FILE
    save_file(load_file(path), path, metadata={PREPROCESSING_KEY: text})
    with refusal(AdapterError, path, PREPROCESSING_KEY):
        read_adapter(folder, backbone)


def test_a_backbone_exports_at_another_size_than_its_hub_was_tuned_at(
    meta: Path, weights_file: Path
) -> None:
    larger = load_backbone(BackboneOptions(weights=weights_file, size=2 * SIZE))
    assert read_adapter(meta, larger).method == "average"
    with pytest.raises(VisionEdgeError):
        read_adapter(meta, tiny_backbone(seed=3))


def test_weights_that_state_another_mean_are_refused_too(
    backbone: Backbone, tmp_path: Path
) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    weights = weights_in(tmp_path / "w.safetensors", backbone, mean=(0.1, 0.9, 0.2))
    with refusal(AdapterError, OTHER, "--mean"):
        read_adapter(folder, load_backbone(BackboneOptions(weights=weights)))
