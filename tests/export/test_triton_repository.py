"""A model repository that Triton's own configuration schema accepts, and nothing overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.runtime import DIM, SIZE, make_bundle, weights

from vision_edge.export.triton_repository import TritonSettings, model_name, write_triton_repository
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.system.files import sha256_file


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(bundle_path)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_model_lies_where_triton_looks(bundle: Bundle, tmp_path: Path) -> None:
    folder = write_triton_repository(bundle, tmp_path / "models")
    assert folder == tmp_path / "models" / "tiny"
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {"config.pbtxt", "1/model.onnx"}
    assert (folder / "1" / "model.onnx").read_bytes() == bundle.model
    assert folder.stat().st_mode & 0o055 == 0o055  # another user's server reads it


def test_the_configuration_is_triton_s_model_config(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc")
    from support.triton import read_config

    settings = TritonSettings(
        name="parts-v2", version=3, max_batch=16, preferred=(8, 4, 8), max_queue_delay_us=500,
        instances=2, kind="gpu", threads=1,
    )  # fmt: skip
    config: Any = read_config(write_triton_repository(bundle, tmp_path, settings))
    assert (config.name, config.backend) == ("parts-v2", "onnxruntime")
    assert config.max_batch_size == 16
    (images,), (embeddings,) = config.input, config.output
    assert (images.name, images.data_type, list(images.dims)) == ("images", 2, [SIZE, SIZE, 3])
    assert (embeddings.name, embeddings.data_type) == ("embeddings", 11)
    assert list(embeddings.dims) == [DIM]
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    (group,) = config.instance_group
    assert (group.count, group.Kind.Name(group.kind)) == (2, "KIND_GPU")
    assert list(config.version_policy.specific.versions) == [3]
    assert [run.batch_size for run in config.model_warmup] == [1, 4, 8]
    (given,) = config.model_warmup[0].inputs.values()
    assert (given.zero_data, list(given.dims)) == (True, [SIZE, SIZE, 3])
    assert {key: value.string_value for key, value in config.parameters.items()} == {
        "vision_edge_fingerprint": bundle.manifest.fingerprint,
        "vision_edge_manifest_sha256": sha256_file(bundle.path / "manifest.json"),
        "intra_op_thread_count": "1",
    }


def test_defaults_prefer_the_largest_batch_and_warm_up_can_be_left_out(
    bundle: Bundle, tmp_path: Path
) -> None:
    pytest.importorskip("tritonclient.grpc")
    from support.triton import read_config

    config = read_config(write_triton_repository(bundle, tmp_path, TritonSettings(warm_up=False)))
    assert list(config.dynamic_batching.preferred_batch_size) == [32]
    assert len(config.model_warmup) == 0
    assert config.instance_group[0].Kind.Name(config.instance_group[0].kind) == "KIND_AUTO"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tiny – ⚙", "tiny"),
        ("Line 1/valve", "Line_1_valve"),
        ("..-x.y", "x.y"),
        ("⚙", "model"),
        ("a\nb", "a_b"),
    ],
)
def test_names_are_made_fit(text: str, name: str) -> None:
    assert model_name(text) == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../x"},
        {"name": ""},
        {"name": 'a"b'},
        {"version": 0},
        {"max_batch": 0},
        {"preferred": (64,)},
        {"preferred": (0,)},
        {"max_queue_delay_us": -1},
        {"instances": 0},
        {"threads": 0},
        {"kind": "tpu"},
    ],
)
def test_settings_that_triton_would_refuse_are_refused_here(wrong: dict[str, Any]) -> None:
    with pytest.raises(ExportError):
        TritonSettings(**wrong)


def test_a_newer_export_takes_the_place_of_an_older_one(bundle: Bundle, tmp_path: Path) -> None:
    write_triton_repository(bundle, tmp_path, TritonSettings(name="parts"))
    other = load_bundle(make_bundle(tmp_path / "b" / "bundle", matrix=weights(seed=3)))
    (tmp_path / "parts" / "stale").write_text("x")
    folder = write_triton_repository(other, tmp_path, TritonSettings(name="parts"))
    assert other.manifest.fingerprint in (folder / "config.pbtxt").read_text()
    assert names(folder) == ["1", "config.pbtxt"]
    assert names(tmp_path) == ["b", "parts"]


@pytest.mark.parametrize("there", ["folder", "file", "foreign model"])
def test_what_is_not_ours_is_not_overwritten(bundle: Bundle, tmp_path: Path, there: str) -> None:
    target = tmp_path / "tiny"
    if there == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "notes.txt").write_text("mine")
    if there == "foreign model":
        (target / "config.pbtxt").write_text('name: "tiny"')
    with pytest.raises(ExportError, match="was not exported by vision-edge"):
        write_triton_repository(bundle, tmp_path)
    assert "mine" in (target if there == "file" else target / "notes.txt").read_text()
    assert names(tmp_path) == ["tiny"]


def test_a_failed_write_leaves_the_older_model(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_triton_repository(bundle, tmp_path)
    before = (folder / "config.pbtxt").read_bytes()

    def full(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_triton_repository(bundle, tmp_path, TritonSettings(max_batch=8))
    assert (folder / "config.pbtxt").read_bytes() == before
    assert names(tmp_path) == ["tiny"]
