import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.toolkit import refusal, tiny_backbone

from vision_edge.runtime.errors import AdapterError, BackboneError, VisionEdgeError
from vision_edge.toolkit.backbones.weights import (
    read_metadata,
    read_safetensors,
    to_timm_names,
    write_safetensors,
)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _half_a_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 8)


def _pickle(path: Path) -> None:
    torch.save({"a": torch.ones(2)}, path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [_truncated, _half_a_header, _empty, _noise, _pickle, _folder]


@pytest.mark.parametrize("error", [BackboneError, AdapterError])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_by_name(
    tmp_path: Path, damage: Callable[[Path], None], error: type[VisionEdgeError]
) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(16)}, path)
    damage(path)
    with refusal(error, path):
        read_safetensors(path, error)
    with refusal(BackboneError, path):
        read_metadata(path)


def test_tensors_and_metadata_are_read_as_written(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16)}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"key": "value"})
    read, metadata = read_safetensors(tmp_path / "w.safetensors")
    assert metadata == {"key": "value"}
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert read["b"].dtype == torch.float16


def test_the_same_contents_are_written_as_the_same_bytes(tmp_path: Path) -> None:
    """safetensors itself orders metadata at random."""
    tensors = {
        "b": torch.arange(6.0).reshape(2, 3),
        "a": torch.ones(3, dtype=torch.float16),
        "é": torch.ones(1, dtype=torch.uint8),
    }
    metadata = {"format": "pt", "vision_edge": '{"classes": ["ç", "\\""]}', "a": "", "z": "1"}
    path = tmp_path / "w.safetensors"
    written = set()
    for order in (sorted(metadata), sorted(metadata, reverse=True)) * 8:
        write_safetensors(path, tensors, {key: metadata[key] for key in order})
        written.add(path.read_bytes())
    read, read_back = read_safetensors(path)
    assert len(written) == 1
    assert read_back == metadata
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_a_file_that_is_not_ours_says_nothing_of_itself(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors", metadata={"format": "pt"})
    metadata = read_metadata(tmp_path / "w.safetensors")
    assert metadata.architecture is None
    assert metadata.timm_arguments() == {}


def test_metadata_give_sizes_and_preprocessing(tmp_path: Path) -> None:
    own = {"architecture": "test_vit", "model_args": {"depth": 3}, "mean": [0.1, 0.2, 0.3]}
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata={"vision_edge": json.dumps(own)})
    metadata = read_metadata(path)
    assert metadata.timm_arguments() == {"depth": 3}
    assert metadata.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("not json", "JSON"),
        ("[]", "object"),
        ('{"model_args": {"pretrained_cfg": {"url": "http://x"}}}', "pretrained_cfg"),
        ('{"model_args": {"depth": 0}}', "model_args.depth"),
        ('{"model_args": {"img_size": 1000000}}', "model_args.img_size"),
        ('{"model_args": {"embed_dim": "wide"}}', "model_args.embed_dim"),
        ('{"mean": [0.5, 0.5]}', "mean"),
    ],
)
def test_metadata_that_make_no_sense_are_refused(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata={"vision_edge": text})
    with refusal(BackboneError, path, word):
        read_metadata(path)


def test_timm_names_stay_and_become_float32() -> None:
    state = {name: t.half() for name, t in tiny_backbone().model.state_dict().items()}
    renamed = to_timm_names({**state, "head.weight": torch.ones(5, 64), "head.bias": torch.ones(5)})
    assert renamed.keys() == state.keys()
    assert all(torch.equal(renamed[name], state[name].float()) for name in state)
    assert {tensor.dtype for tensor in renamed.values()} == {torch.float32}


def test_query_key_and_value_are_stacked_in_timm_s_order() -> None:
    parts = {part: torch.full((4, 4), float(index)) for index, part in enumerate("qkv")}
    shuffled = {f"layers.0.attention.{part}_proj.weight": parts[part] for part in "vqk"}
    fused = to_timm_names(shuffled)["blocks.0.attn.qkv.weight"]
    assert torch.equal(fused, torch.cat([parts["q"], parts["k"], parts["v"]]))


def test_names_that_are_not_understood_are_kept() -> None:
    assert set(to_timm_names({"vit.strange.thing": torch.ones(1)})) == {"strange.thing"}


@pytest.mark.parametrize("missing", list("qkv"))
def test_a_missing_projection_is_refused(missing: str) -> None:
    tensors = {
        f"layers.0.attention.{part}_proj.weight": torch.ones(4, 4)
        for part in "qkv"
        if part != missing
    }
    with refusal(BackboneError, "file.safetensors", "blocks.0.attn.qkv.weight"):
        to_timm_names(tensors, "file.safetensors")


def test_projections_of_different_shapes_are_refused() -> None:
    tensors = {f"layers.0.attention.{part}_proj.weight": torch.ones(4, 4) for part in "qk"}
    tensors["layers.0.attention.v_proj.weight"] = torch.ones(4, 3)
    with refusal(BackboneError, "file.safetensors", "(4, 3)"):
        to_timm_names(tensors, "file.safetensors")


@pytest.mark.parametrize(
    "name",
    [
        "pooler.dense.weight",
        "vit.pooler.dense.bias",
        "classifier.weight",
        "vision_model.embeddings.position_ids",
        "visual_projection.weight",
        "text_projection.weight",
        "text_model.encoder.layers.0.self_attn.q_proj.weight",
        "text_model.embeddings.token_embedding.weight",
        "logit_scale",
    ],
)
def test_what_is_no_part_of_the_vision_tower_is_left_out(name: str) -> None:
    assert to_timm_names({name: torch.ones(2, 2)}) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [("model.", "module."), ("", "model."), ("vit.", "model.vit."), ("", "_orig_mod.")],
)
@pytest.mark.parametrize("name", ["embeddings.cls_token", "encoder.layer.0.layernorm_before.bias"])
def test_two_models_in_one_file_are_refused_by_both_names(one: str, other: str, name: str) -> None:
    tensors = {f"{prefix}{name}": torch.zeros(1, 1, 8) for prefix in (one, other)}
    with refusal(BackboneError, repr(f"{one}{name}"), repr(f"{other}{name}")):
        to_timm_names(tensors)


@pytest.mark.parametrize(
    "prefix", ["backbone.", "_orig_mod.", "state_dict.model.", "base_model.model."]
)
def test_what_trainers_put_before_transformers_names_is_passed(prefix: str) -> None:
    assert to_timm_names({f"{prefix}embeddings.cls_token": torch.zeros(1, 1, 8)}).keys() == {
        "cls_token"
    }
