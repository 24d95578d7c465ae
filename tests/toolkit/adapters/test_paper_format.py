from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from support.toolkit import (
    DEPTH,
    DIM,
    embedding_of,
    merged_copy,
    random_pixels,
    refusal,
    tiny_backbone,
)
from torch import Tensor, nn

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.backbones.backbone import Backbone

RANK = 4


def _tensors(depth: int = DEPTH, dim: int = DIM) -> dict[str, Tensor]:
    """As `save_lora_parameters` of the paper's code names them."""
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for index in range(2 * depth):
        tensors[f"w_a_{index:03d}"] = torch.randn(RANK, dim, generator=generator) * 0.1
        tensors[f"w_b_{index:03d}"] = torch.randn(dim, RANK, generator=generator) * 0.1
    tensors[f"fc_{dim}in_5out"] = torch.randn(5, dim, generator=generator)
    return tensors


class PaperQKV(nn.Module):
    """How the paper's code computes it (`_LoRA_qkv_timm`): added to the first and last D."""

    def __init__(self, qkv: nn.Linear, index: int, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.qkv = qkv
        query, value = f"{2 * index:03d}", f"{2 * index + 1:03d}"
        self.query = tensors[f"w_a_{query}"], tensors[f"w_b_{query}"]
        self.value = tensors[f"w_a_{value}"], tensors[f"w_b_{value}"]

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x)
        qkv[:, :, :DIM] += F.linear(F.linear(x, self.query[0]), self.query[1])
        qkv[:, :, -DIM:] += F.linear(F.linear(x, self.value[0]), self.value[1])
        return qkv


def test_the_merged_model_is_the_paper_s_model(tmp_path: Path, backbone: Backbone) -> None:
    tensors = _tensors()
    save_file(tensors, tmp_path / "lora.safetensors")
    adapter = read_adapter(tmp_path / "lora.safetensors", backbone)
    assert adapter.name == "lora"
    paper = tiny_backbone().model
    for index, block in enumerate(paper.blocks):
        block.attn.qkv = PaperQKV(block.attn.qkv, index, tensors)
    pixels = random_pixels()
    expected = embedding_of(paper, pixels)
    got = embedding_of(merged_copy(backbone, adapter.updates).model, pixels)
    assert (expected - embedding_of(backbone.model, pixels)).abs().max() > 1e-2
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(adapter.head.weight, tensors["fc_64in_5out"])
    assert adapter.head.bias is None


def test_a_file_without_a_head_is_read(tmp_path: Path, backbone: Backbone) -> None:
    tensors = _tensors()
    del tensors["fc_64in_5out"]
    save_file(tensors, tmp_path / "lora.safetensors")
    assert read_adapter(tmp_path / "lora.safetensors", backbone).head is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"w_b_002": None}, ["pair up"]),
        ({"w_a_000": None}, ["pair up"]),
        ({"w_a_003": None, "w_b_003": None}, ["pair up", "[0, 1, 2]"]),
        ({"w_a_001": None, "w_b_001": None}, ["pair up", "[0, 2, 3]"]),
        ({"w_c_000": torch.ones(2, 2)}, ["w_c_000", "(2, 2)"]),
        ({"fc_64in_5out": torch.ones(5, 63)}, ["fc_64in_5out", "(5, 63)"]),
        ({"w_a_000": torch.ones(RANK + 1, DIM)}, ["blocks.0.attn.qkv", "(5, 64)", "(64, 4)"]),
        ({"w_a_000": torch.ones(RANK, DIM + 1)}, ["blocks.0.attn.qkv"]),
        ({"w_b_003": torch.ones(DIM - 1, RANK)}, ["blocks.1.attn.qkv", "(63, 4)"]),
        ({"w_a_000": torch.ones(RANK)}, ["blocks.0.attn.qkv", "(4,)"]),
        ({"w_a_001": torch.full((RANK, DIM), torch.nan)}, ["NaN"]),
        ({"w_a_001": torch.ones(RANK, DIM, dtype=torch.int32)}, ["w_a_001", "int32"]),
    ],
)
def test_what_is_not_whole_is_refused(
    tmp_path: Path, backbone: Backbone, changes: dict[str, Tensor | None], words: list[str]
) -> None:
    path = tmp_path / "lora.safetensors"
    tensors = {**_tensors(), **changes}
    save_file({name: t for name, t in tensors.items() if t is not None}, path)
    with refusal(AdapterError, path, *words):
        read_adapter(path, backbone)


@pytest.mark.parametrize(
    ("depth", "dim", "words"), [(3, DIM, ["block 2"]), (2, 96, ["(288, 96)", "(192, 64)"])]
)
def test_an_adapter_of_another_backbone_is_refused(
    tmp_path: Path, backbone: Backbone, depth: int, dim: int, words: list[str]
) -> None:
    path = tmp_path / "lora.safetensors"
    save_file(_tensors(depth, dim), path)
    with refusal(AdapterError, path, *words):
        read_adapter(path, backbone)


def test_a_file_of_no_known_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({"something": torch.ones(2)}, path)
    with refusal(AdapterError, path, "something", CONFIG := "adapter_config.json"):
        read_adapter(path)
    save_file({}, path)
    with refusal(AdapterError, path, CONFIG):
        read_adapter(path)
