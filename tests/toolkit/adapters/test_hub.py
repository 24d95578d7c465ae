import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.toolkit import (
    DEPTH,
    DIM,
    adapter_in,
    edit_config,
    hub_in,
    qv_updates,
    random_low_rank,
    refusal,
    tiny_backbone,
    without_hash,
)

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.hub import adapter_paths, read_hub
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE
from vision_edge.toolkit.backbones.backbone import Backbone


def _paper_file(path: Path) -> None:
    tensors = {f"w_a_{i:03d}": torch.full((2, DIM), 0.01) for i in range(2 * DEPTH)}
    tensors |= {f"w_b_{i:03d}": torch.full((DIM, 2), 0.01) for i in range(2 * DEPTH)}
    save_file(tensors, path)


def test_adapters_of_both_layouts_are_found_sorted(tmp_path: Path, backbone: Backbone) -> None:
    adapter_in(tmp_path / "b", backbone)
    adapter_in(tmp_path / "a", backbone)
    _paper_file(tmp_path / "c.safetensors")
    assert [adapter.name for adapter in read_hub(tmp_path, backbone)] == ["a", "b", "c"]


def test_what_is_no_adapter_is_passed_over(tmp_path: Path, backbone: Backbone) -> None:
    adapter_in(tmp_path / "a", backbone)
    adapter_in(tmp_path / ".b-1234.tmp", backbone)
    (tmp_path / "notes").mkdir()
    (tmp_path / "hub.json").write_text("{}")
    (tmp_path / ".hidden.safetensors").write_bytes(b"")
    assert adapter_paths(tmp_path) == [tmp_path / "a"]


def test_an_adapter_is_a_hub_of_one(tmp_path: Path, backbone: Backbone) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    assert adapter_paths(folder) == [folder]


@pytest.mark.parametrize("kept", [CONFIG_FILE, MODEL_FILE])
def test_half_an_adapter_is_reported_not_passed_over(
    tmp_path: Path, backbone: Backbone, kept: str
) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    gone = {CONFIG_FILE, MODEL_FILE} - {kept}
    (folder / gone.pop()).unlink()
    with refusal(AdapterError, folder):
        list(read_hub(tmp_path, backbone))


def test_an_empty_or_absent_hub_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    with refusal(AdapterError, tmp_path, "no adapters"):
        list(read_hub(tmp_path, backbone))
    with refusal(AdapterError, tmp_path / "none"):
        list(read_hub(tmp_path / "none", backbone))
    (tmp_path / "file").write_text("")
    with refusal(AdapterError, tmp_path / "file"):
        adapter_paths(tmp_path / "file")


def test_a_bad_adapter_ends_the_reading_and_is_named(tmp_path: Path, backbone: Backbone) -> None:
    hub = hub_in(tmp_path / "hub", backbone, count=4)
    edit_config(hub / "a1", use_dora=True)
    read = []
    with refusal(AdapterError, hub / "a1", "DoRA"):
        read.extend(adapter.name for adapter in read_hub(hub, backbone))
    bad: list[tuple[str, str]] = []
    names = [
        adapter.name
        for adapter in read_hub(hub, backbone, on_bad=lambda p, e: bad.append((p, str(e))))
    ]
    assert names == ["a0", "a2", "a3"]
    assert [name for name, _ in bad] == ["a1"]
    assert "DoRA" in bad[0][1]


@pytest.mark.parametrize("how", ["hash", "name", "shape", "depth"])
def test_adapters_of_several_backbones_do_not_mix(tmp_path: Path, how: str) -> None:
    ours = tiny_backbone(name="vit_tiny_patch16_224")
    hub = hub_in(tmp_path / "hub", ours, count=2)
    stranger = hub / "b"
    if how == "hash":
        adapter_in(stranger, tiny_backbone(seed=1, name="vit_tiny_patch16_224"))
    elif how == "name":
        without_hash(adapter_in(stranger, ours))
        edit_config(stranger, base_model_name_or_path="facebook/deit-small-patch16-224")
    elif how == "shape":
        updates = {**qv_updates(), "blocks.0.attn.proj": random_low_rank((3 * DIM, DIM), 4)}
        without_hash(adapter_in(stranger, ours, updates))
    else:
        without_hash(adapter_in(stranger, ours, qv_updates(depth=3)))
    read_adapter(hub / "a0", ours)
    with refusal(AdapterError, stranger):
        list(read_hub(hub, ours))


def test_reading_is_lazy(tmp_path: Path, backbone: Backbone) -> None:
    hub = hub_in(tmp_path / "hub", backbone, count=2)
    (hub / "a1" / CONFIG_FILE).write_text(json.dumps({"peft_type": "IA3"}))
    adapters = read_hub(hub, backbone)
    assert next(adapters).name == "a0"
    with refusal(AdapterError, hub / "a1"):
        next(adapters)
