"""What a configuration names and the file does not hold is said."""

from pathlib import Path
from typing import Any

import pytest
from support.toolkit import adapter_in, edit_config, random_head, refusal

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.hub import hub_notes
from vision_edge.toolkit.backbones.backbone import Backbone

Q = "blocks.0.attn.qkv"


def _notes(folder: Path, backbone: Backbone, **config: Any) -> tuple[str, ...]:
    adapter_in(folder, backbone, head=random_head())
    edit_config(folder, **config)
    return read_adapter(folder, backbone).notes


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"target_modules": ["qkv", "fc1"]}, ["target_modules", "fc1"]),
        ({"target_modules": ["kv"]}, ["target_modules", "kv"]),
        ({"target_modules": r".*\.mlp\.fc\d"}, ["target_modules", "mlp"]),
        ({"modules_to_save": ["head", "score"]}, ["modules_to_save", "score"]),
        ({"modules_to_save": ["classifier", "score"]}, ["modules_to_save", "classifier, score"]),
        ({"rank_pattern": {"fc1": 4}}, ["rank_pattern", "fc1"]),
        ({"alpha_pattern": {"fc2": 4, "qkv": 3}}, ["alpha_pattern", "fc2"]),
        ({"lora_alpha": 0, "alpha_pattern": {}}, ["lora_alpha is 0", "changes nothing"]),
        ({"alpha_pattern": {r"blocks\.0\.attn\.qkv": 0}}, ["lora_alpha is 0", Q]),
    ],
)
def test_what_has_no_effect_is_said(
    tmp_path: Path, backbone: Backbone, config: dict[str, Any], words: list[str]
) -> None:
    (note,) = _notes(tmp_path / "a", backbone, **config)
    assert all(word in note for word in words)
    assert "qkv" not in note or Q in words


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"target_modules": None, "modules_to_save": None},
        {"target_modules": "all-linear"},
        {"target_modules": r".*\.attn\.qkv"},
        {"target_modules": "(?=x)qkv"},
        {"target_modules": ["qkv"], "modules_to_save": ["head"]},
        {"rank_pattern": None, "alpha_pattern": {"qkv": 5}},
    ],
)
def test_what_is_all_there_needs_no_word(
    tmp_path: Path, backbone: Backbone, config: dict[str, Any]
) -> None:
    assert _notes(tmp_path / "a", backbone, **config) == ()


def test_a_pickle_beside_the_weights_is_said_not_to_be_read(
    tmp_path: Path, backbone: Backbone
) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    (folder / "adapter_model.bin").write_bytes(b"x")
    (note,) = read_adapter(folder, backbone).notes
    assert "adapter_model.safetensors is read" in note
    assert "adapter_model.bin" in note


def test_a_shard_is_named_for_what_it_is(tmp_path: Path, backbone: Backbone) -> None:
    folder = adapter_in(tmp_path / "hub" / "a", backbone)
    shard = folder / "adapter_model-00001-of-00002.safetensors"
    (folder / "adapter_model.safetensors").rename(shard)
    for path in (folder, shard):
        with refusal(AdapterError, shard, "one shard"):
            read_adapter(path, backbone)
    (folder / "adapter_config.json").unlink()
    adapter_in(tmp_path / "hub" / "b", backbone)
    assert any(shard.name in note and "shard" in note for note in hub_notes(tmp_path / "hub"))
