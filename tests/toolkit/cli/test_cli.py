"""The server's commands from end to end, on a tiny backbone and generated images."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cli import refused_command, run_command, run_process
from support.toolkit import (
    adapter_in,
    class_folders,
    edit_config,
    edit_tensors,
    embedding_of,
    first_factor,
    hub_in,
    leftovers,
    merged_copy,
    qv_updates,
    random_images,
    refusal,
    tiny_backbone,
    weights_in,
    without_hash,
)

from vision_edge.export.model.embedder import normalise_pixels
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import (
    AdapterError,
    BackboneError,
    DataError,
    VisionEdgeError,
)
from vision_edge.runtime.inference.session import open_session
from vision_edge.runtime.pipeline.gallery_classifier import cohort_of
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE
from vision_edge.toolkit.averaging.average import AverageSettings, average_hub
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone
from vision_edge.toolkit.cli import evaluate as evaluate_module
from vision_edge.toolkit.recycle import building

TUNE = ("--tasks", 3, "--way", 3, "--steps", 25, "--batch", 9, "--lr", 1e-2, "--device", "cpu")
FEW = ("--way", 3, "--query", 5, "--episodes", 30, "--device", "cpu")


@pytest.fixture(scope="module")
def tuned(image_folder: Path, weights_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub made by `tune`; only to be read."""
    hub = tmp_path_factory.mktemp("cli") / "hub"
    output = run_command("tune", image_folder, "--weights", weights_file, "--out", hub, *TUNE)
    assert "3 adapters (0 were there already)" in output
    return hub


@pytest.fixture(scope="module")
def meta(tuned: Path, weights_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A meta-LoRA made by `build`; only to be read."""
    out = tmp_path_factory.mktemp("cli") / "meta"
    output = run_command("build", tuned, "--weights", weights_file, "--out", out, "--rank", 3)
    assert "average of 3 adapters" in output
    return out


@pytest.fixture(scope="module")
def bundle(meta: Path, weights_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle made by `export`; only to be read."""
    out = tmp_path_factory.mktemp("cli") / "bundle"
    output = run_command("export", "--weights", weights_file, "--adapter", meta, "--out", out)
    assert "cosine at least 1.0" in output or "cosine at least 0.9999" in output
    return out


# --- the way through -------------------------------------------------------------------------


def test_tune_reads_the_train_split_and_can_be_resumed(
    tuned: Path, image_folder: Path, weights_file: Path
) -> None:
    assert json.loads((tuned / "hub.json").read_text())["data"].endswith("/train")
    output = run_command("tune", image_folder, "--weights", weights_file, "--out", tuned, *TUNE)
    assert "3 adapters (3 were there already)" in output


def test_build_writes_the_average_and_a_report(tuned: Path, meta: Path, weights_file: Path) -> None:
    backbone = load_backbone(BackboneOptions(weights=weights_file))
    expected = average_hub(tuned, backbone, AverageSettings(rank=3))
    adapter = read_adapter(meta, backbone)
    for module, update in expected.updates.items():
        assert torch.equal(adapter.updates[module].product(), update.product())
    assert (adapter.method, adapter.head) == ("average", None)
    report = json.loads((meta / "report.json").read_text())
    assert report["adapters"] == expected.report["adapters"]
    assert report["settings"] == {"rank": 3, "scale": 1.0, "ridge": 0.5, "weights_of": []}
    assert {"created", "seconds", "energy_kept", "skipped", "hub", "seed"} <= report.keys()


def test_evaluate_compares_on_the_test_split(
    tmp_path: Path, image_folder: Path, weights_file: Path, meta: Path, bundle: Path
) -> None:
    output = run_command(
        "evaluate", image_folder, "--weights", weights_file, "--adapter", meta,
        "--bundle", bundle, *FEW, "--json", tmp_path / "r.json", "--plot", tmp_path / "r.svg",
    )  # fmt: skip
    document = json.loads((tmp_path / "r.json").read_text())
    plain, adapted, exported = document["results"]
    assert plain["name"] == "test_vit (NN)"
    assert adapted["name"] == "test_vit + meta (average)"
    assert document["data"].endswith("/test")
    assert exported["accuracy"] == pytest.approx(adapted["accuracy"], abs=0.5)
    assert adapted["accuracy"] > 60 > 100 / 3, "three colours are easily told apart"
    assert (tmp_path / "r.svg").read_text(encoding="utf-8").startswith("<svg ")
    assert "NN" in output


def test_the_bundle_is_the_merged_model(bundle: Path, meta: Path, weights_file: Path) -> None:
    backbone = load_backbone(BackboneOptions(weights=weights_file))
    adapter = read_adapter(meta, backbone)
    merged = merged_copy(backbone, adapter.updates)
    loaded = load_bundle(bundle)
    images = random_images(4)
    pixels = normalise_pixels(torch.from_numpy(images), backbone.spec)
    expected = embedding_of(merged.model, pixels).numpy()
    got = open_session(loaded, "cpu", threads=1).embed(images)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    manifest = loaded.manifest
    assert manifest.backbone.sha256 == backbone.sha256, "the backbone's hash, before merging"
    assert manifest.adapter.sha256 == adapter.sha256
    assert (manifest.adapter.name, manifest.adapter.method) == ("meta", "average")


def test_export_carries_figures_and_takes_images(
    tmp_path: Path, weights_file: Path, image_folder: Path
) -> None:
    figures = {"results": [{"name": "x", "accuracy": 50.0}]}
    (tmp_path / "e.json").write_text(json.dumps(figures))
    run_command(
        "export", "--weights", weights_file, "--out", tmp_path / "b", "--name", "line 3",
        "--evaluation", tmp_path / "e.json", "--images", image_folder, "--mean", "0.1,0.2,0.3",
    )  # fmt: skip
    loaded = load_bundle(tmp_path / "b")
    assert loaded.manifest.name == "line 3"
    assert loaded.manifest.evaluation == figures
    assert loaded.manifest.parity.images == 56
    assert image_folder.name in loaded.manifest.scoring.cohort_source
    assert loaded.manifest.preprocessing.mean == (0.1, 0.2, 0.3)
    assert loaded.manifest.adapter is None
    assert cohort_of(loaded).from_station


def test_public_photographs_are_impostors_but_set_no_thresholds(
    tmp_path: Path, weights_file: Path, image_folder: Path
) -> None:
    given = ["export", "--weights", weights_file, "--out", tmp_path / "b"]
    run_command(*given, "--images", image_folder, "--public")
    cohort = cohort_of(load_bundle(tmp_path / "b"))
    assert (cohort.from_station, cohort.photographs) == (False, True)
    assert "--public" in str(refused_command(*given, "--public"))


def test_evaluate_with_a_bundle_alone_needs_no_torch(
    tmp_path: Path, bundle: Path, image_folder: Path
) -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'timm', 'safetensors']))\n"
    start = "from vision_edge.cli.app import main; main()"
    arguments = ["evaluate", image_folder, "--bundle", bundle, "--way", "3", "--query", "5"]
    result = subprocess.run(
        [sys.executable, "-c", blocked + start, *map(str, arguments), "--episodes", "5"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert "bundle (cpu)" in result.stdout


def test_building_twice_gives_the_same_bytes(
    tmp_path: Path, tuned: Path, meta: Path, weights_file: Path
) -> None:
    run_command("build", tuned, "--weights", weights_file, "--out", tmp_path / "m", "--rank", 3)
    for name in (MODEL_FILE, CONFIG_FILE):
        assert (tmp_path / "m" / name).read_bytes() == (meta / name).read_bytes()


# --- build: refusals and what it leaves out --------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, backbone: Backbone) -> Path:
    return hub_in(tmp_path / "hub", backbone, count=4)


def test_one_bad_adapter_is_named_and_skip_bad_goes_on(
    tmp_path: Path, hub: Path, weights_file: Path
) -> None:
    name, tensor = first_factor(hub / "a1")
    edit_tensors(hub / "a1", {name: torch.full_like(tensor, torch.nan)})
    edit_config(hub / "a3", use_dora=True)
    build = ("build", hub, "--weights", weights_file, "--out", tmp_path / "meta")
    error = refused_command(*build)
    assert isinstance(error, AdapterError)
    assert str(hub / "a1") in str(error)
    assert not (tmp_path / "meta").exists()
    output = run_command(*build, "--skip-bad")
    report = json.loads((tmp_path / "meta" / "report.json").read_text())
    assert set(report["skipped"]) == {"a1", "a3"}
    assert "NaN" in report["skipped"]["a1"]
    assert "DoRA" in report["skipped"]["a3"]
    assert [fact["name"] for fact in report["adapters"]] == ["a0", "a2"]
    assert "left out a1" in output


def test_adapters_without_a_hash_are_noted(
    tmp_path: Path, hub: Path, weights_file: Path, backbone: Backbone
) -> None:
    without_hash(hub / "a2")
    output = run_command("build", hub, "--weights", weights_file, "--out", tmp_path / "meta")
    assert "carries no backbone hash" in output


def test_an_empty_hub_and_a_hub_of_another_backbone_are_refused(
    tmp_path: Path, hub: Path, weights_file: Path
) -> None:
    (tmp_path / "empty").mkdir()
    out = ("--out", tmp_path / "meta")
    error = refused_command("build", tmp_path / "empty", "--weights", weights_file, *out)
    assert str(tmp_path / "empty") in str(error)
    other = weights_in(tmp_path / "other.safetensors", tiny_backbone(seed=9))
    error = refused_command("build", hub, "--weights", other, *out)
    assert isinstance(error, AdapterError)
    assert str(hub / "a0") in str(error)
    assert not (tmp_path / "meta").exists()


def test_build_does_not_overwrite_what_is_no_adapter(
    tmp_path: Path, hub: Path, weights_file: Path
) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.txt").write_text("precious")
    error = refused_command("build", hub, "--weights", weights_file, "--out", out)
    assert str(out) in str(error)
    assert [path.name for path in out.iterdir()] == ["chapter.txt"]
    error = refused_command("build", hub, "--weights", weights_file, "--out", out / "chapter.txt")
    assert (out / "chapter.txt").read_text() == "precious"
    error = refused_command("build", hub, "--weights", weights_file, "--out", hub)
    assert len(list(hub.iterdir())) == 4


def test_an_interrupted_build_leaves_the_older_one(
    tmp_path: Path, hub: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = ("build", hub, "--weights", weights_file, "--out", tmp_path / "meta")
    run_command(*build, "--rank", 1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "meta").iterdir()}
    with monkeypatch.context() as patch:
        # the report is written last: by then the adapter is in the temporary folder
        patch.setattr(building, "REPORT_FILE", "no/such/folder/report.json")
        for arguments in (build, (*build[:-1], tmp_path / "new")):
            with pytest.raises(AssertionError, match="FileNotFoundError"):
                run_command(*arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub", "meta"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "meta").iterdir()} == before
    assert leftovers(tmp_path) == []
    run_command(*build)
    assert json.loads((tmp_path / "meta" / "report.json").read_text())["settings"]["rank"] == 96


def test_build_refuses_settings_that_make_no_sense(
    tmp_path: Path, hub: Path, weights_file: Path
) -> None:
    build = ("build", hub, "--weights", weights_file, "--out", tmp_path / "meta")
    assert "-2.0" in str(refused_command(*build, "--scale", -2))
    assert "nan" in str(refused_command(*build, "--scale", "nan"))


# --- the other commands' refusals ------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mean", "0.5,0.5"], ["--mean", "0.5,0.5"]),
        (["--mean", "nan,0,0"], ["--mean", "nan"]),
        (["--std", "a,b,c"], ["--std", "a,b,c"]),
        (["--std", "0,1,1"], ["std"]),
        (["--size", "33"], ["33", "multiple"]),
        (["--interpolation", "nearest"], ["nearest"]),
        (["--backbone", "resnet18"], ["resnet18"]),
        (["--backbone", "vit_tny_patch16_224"], ["vit_tiny_patch16_224"]),
    ],
)
def test_backbone_options_that_make_no_sense_are_refused(
    tmp_path: Path, weights_file: Path, options: list[str], words: list[str]
) -> None:
    error = refused_command("export", "--weights", weights_file, "--out", tmp_path / "b", *options)
    assert isinstance(error, BackboneError)
    assert all(word in str(error) for word in words), str(error)


def test_damaged_files_are_named(tmp_path: Path, weights_file: Path, backbone: Backbone) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights_file.read_bytes()[:1000])
    error = refused_command("export", "--weights", cut, "--out", tmp_path / "b")
    assert isinstance(error, BackboneError)
    assert str(cut) in str(error)
    folder = adapter_in(tmp_path / "a", backbone)
    (folder / MODEL_FILE).write_bytes(b"")
    export = ("export", "--weights", weights_file, "--out", tmp_path / "b", "--adapter")
    error = refused_command(*export, folder)
    assert isinstance(error, AdapterError)
    assert str(folder / MODEL_FILE) in str(error)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("content", [None, "{", "[]", "[" * 100_000])
def test_an_evaluation_that_is_no_json_object_is_refused(
    tmp_path: Path, weights_file: Path, content: str | None
) -> None:
    path = tmp_path / "e.json"
    if content is not None:
        path.write_text(content)
    error = refused_command(
        "export", "--weights", weights_file, "--out", tmp_path / "b", "--evaluation", path
    )
    assert isinstance(error, DataError)
    assert str(path) in str(error)


def test_data_that_cannot_serve_are_refused(
    tmp_path: Path, weights_file: Path, image_folder: Path
) -> None:
    tune = ("--weights", weights_file, "--out", tmp_path / "hub", "--device", "cpu")
    cases: list[tuple[type[VisionEdgeError], str, tuple[Any, ...]]] = [
        (DataError, "val", ("tune", image_folder, *tune, "--split", "val")),
        (DataError, "5-way", ("tune", image_folder, *tune, "--way", 5)),
        (DataError, "4 class", ("evaluate", image_folder, "--split", "train", "--way", 5)),
        (DataError, "need 16", ("evaluate", image_folder, "--way", 3)),
        (DataError, "none.zip", ("evaluate", tmp_path / "none.zip")),
        (VisionEdgeError, "-0.1", ("tune", image_folder, *tune, "--way", 2, "--lr", -0.1)),
        (VisionEdgeError, "tpu", ("evaluate", image_folder, *FEW[:4], "--device", "tpu")),
    ]
    for kind, word, arguments in cases:
        if arguments[0] == "evaluate":
            arguments = (*arguments, "--weights", weights_file)
        error = refused_command(*arguments)
        assert isinstance(error, kind), arguments
        assert word in str(error)
    assert not (tmp_path / "hub").exists()


def test_evaluate_names_an_unreadable_image(tmp_path: Path, weights_file: Path) -> None:
    root = class_folders(tmp_path / "parts", classes=3, count=7)
    (root / "k01" / "3.png").write_bytes(b"")
    said = run_command("evaluate", root, "--weights", weights_file, *FEW)
    assert "left out: 1 empty file (k01/3.png)" in said
    (root / "k01" / "4.png").write_bytes(b"")
    error = refused_command("evaluate", root, "--weights", weights_file, *FEW)
    assert "'k01' has 5 image(s)" in str(error), "without those that cannot be read"


def test_evaluate_refuses_a_plot_of_another_format_before_it_works(
    tmp_path: Path, image_folder: Path
) -> None:
    error = refused_command("evaluate", image_folder, "--plot", tmp_path / "r.docx")
    assert "r.docx" in str(error)


def test_each_backbone_needs_its_weights(image_folder: Path, weights_file: Path) -> None:
    error = refused_command(
        "evaluate", image_folder, *FEW,
        "--backbone", "test_vit", "--weights", weights_file, "--weights", weights_file,
    )  # fmt: skip
    assert "1 --backbone and 2 --weights" in str(error)


def test_an_adapter_goes_onto_the_backbone_that_it_fits(
    tmp_path: Path, image_folder: Path, weights_file: Path, backbone: Backbone
) -> None:
    other = tiny_backbone(seed=5)
    second = weights_in(tmp_path / "second.safetensors", other, name="second")
    folder = adapter_in(tmp_path / "a", other, qv_updates(), info={"method": "tune"})
    evaluate = ("evaluate", image_folder, *FEW, "--adapter", folder, "--json", tmp_path / "r.json")
    run_command(*evaluate, "--weights", weights_file, "--weights", second)
    names = [r["name"] for r in json.loads((tmp_path / "r.json").read_text())["results"]]
    assert names == ["test_vit (NN)", "second (NN)", "second + a (tune)"]
    error = refused_command(*evaluate, "--weights", weights_file)
    assert isinstance(error, AdapterError)
    assert str(folder) in str(error)


def test_the_baseline_stays_without_the_adapter(
    tmp_path: Path, weights_file: Path, backbone: Backbone
) -> None:
    updates = qv_updates()
    folder = adapter_in(tmp_path / "a", backbone, updates)
    options = [BackboneOptions(weights=weights_file)]
    plain, adapted = evaluate_module._with_adapters(options, [folder], "cpu")
    images = random_images()
    expected = merged_copy(backbone, updates).embedder().embed(images)
    np.testing.assert_array_equal(plain.embed(images), backbone.embedder().embed(images))
    np.testing.assert_allclose(adapted.embed(images), expected, atol=1e-5)
    assert np.abs(plain.embed(images) - expected).max() > 1e-2


# --- as its users run it ---------------------------------------------------------------------


def test_a_user_s_mistake_ends_with_a_message_and_status_1(
    tmp_path: Path, hub: Path, weights_file: Path
) -> None:
    result = run_process("evaluate", tmp_path / "none.zip")
    assert result.returncode == 1
    assert "none.zip" in result.stderr
    assert "fix:" in result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    (hub / "a1" / MODEL_FILE).write_bytes(b"")
    result = run_process("build", hub, "--weights", weights_file, "--out", tmp_path / "meta")
    assert result.returncode == 1
    assert str(hub / "a1") in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


def test_refusal_is_strict_about_words() -> None:
    """The helper that most tests of bad input rest on must itself be able to fail."""
    with pytest.raises(AssertionError, match="not in"), refusal(DataError, "absent word"):
        raise DataError("something else", fix="something")
    with pytest.raises(AssertionError, match="how to fix"), refusal(DataError):
        raise DataError("no remedy")
