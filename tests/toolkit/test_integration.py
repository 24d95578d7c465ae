"""Real weights, real images and a real third-party adapter, where `../shared` has them."""

import copy
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from support.toolkit import (
    SHARED,
    SIZE,
    adapter_in,
    embedding_of,
    merged_copy,
    needs_shared,
    random_pixels,
    refusal,
)

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.peft_format import MODEL_FILE
from vision_edge.toolkit.backbones.backbone import (
    Backbone,
    BackboneOptions,
    load_backbone,
    random_backbone,
)
from vision_edge.toolkit.data.dataset import open_dataset
from vision_edge.toolkit.evaluation.episodes import EpisodeSettings
from vision_edge.toolkit.evaluation.evaluate import evaluate

pytestmark = [pytest.mark.integration, needs_shared]

ADAPTER = SHARED / "adapters" / "hf_vit_base_r4"
REFERENCE = {"euclidean": 79.2, "centred-cosine": 83.0}
"""5-way 1-shot on neu_steel, by an evaluator written apart from ours: shared/data/README.md."""


@pytest.fixture(scope="module")
def vit_base() -> Backbone:
    """A ViT-B/16 of random weights, for small images; the adapter's own base is not to be had."""
    return random_backbone("vit_base_patch16_224", img_size=SIZE)


@pytest.mark.slow
def test_nearest_prototypes_of_a_real_vit_agree_with_an_independent_evaluator() -> None:
    backbone = load_backbone(
        BackboneOptions(
            name="vit_tiny_patch16_224",
            weights=SHARED / "weights" / "vit_tiny_patch16_224.safetensors",
        )
    )
    assert backbone.spec.mean == backbone.spec.std == (0.5, 0.5, 0.5)
    data = open_dataset(SHARED / "data" / "neu_steel.zip", default="test")
    (row,) = evaluate(data, [backbone.embedder()], EpisodeSettings(episodes=300))
    for metric, expected in REFERENCE.items():
        assert row.accuracies[metric].mean == pytest.approx(expected, abs=1.2)
        assert 0.2 < row.accuracies[metric].ci95 < 1.5


def test_a_third_party_adapter_is_read_whole(vit_base: Backbone) -> None:
    adapter = read_adapter(ADAPTER, vit_base)
    assert adapter.base == "google/vit-base-patch16-224-in21k"
    assert len(adapter.updates) == 4 * 12
    ranks = {name.split(".", 2)[2]: update.rank for name, update in adapter.updates.items()}
    assert ranks == {"attn.qkv": 12, "attn.proj": 4, "mlp.fc1": 4, "mlp.fc2": 4}
    assert adapter.head is None
    assert len(adapter.notes) == 2
    assert "not used" in adapter.notes[0]
    assert "is not proven" in adapter.notes[1]
    assert "classifier" in adapter.notes[0]


def test_its_updates_are_its_own_products_times_alpha_over_r(vit_base: Backbone) -> None:
    updates, tensors = read_adapter(ADAPTER, vit_base).updates, load_file(ADAPTER / MODEL_FILE)
    layer = "base_model.model.vit.encoder.layer.7."

    def product(name: str) -> torch.Tensor:
        A, B = (tensors[f"{layer}{name}.lora_{factor}.weight"] for factor in "AB")
        return 16 / 4 * B @ A

    parts = [product(f"attention.attention.{part}") for part in ("query", "key", "value")]
    expected = {
        "attn.qkv": torch.cat(parts),
        "attn.proj": product("attention.output.dense"),
        "mlp.fc1": product("intermediate.dense"),
        "mlp.fc2": product("output.dense"),
    }
    for name, matrix in expected.items():
        assert matrix.abs().max() > 1e-4
        got = updates[f"blocks.7.{name}"].product()
        torch.testing.assert_close(got, matrix, atol=1e-6, rtol=1e-4)


def test_it_goes_through_us_to_peft_and_computes_the_same(
    tmp_path: Path, vit_base: Backbone
) -> None:
    adapter = read_adapter(ADAPTER, vit_base)
    folder = adapter_in(tmp_path / "rewritten", vit_base, adapter.updates)
    pixels = random_pixels()
    plain = embedding_of(vit_base.model, pixels)
    merged = embedding_of(merged_copy(vit_base, adapter.updates).model, pixels)
    on_timm = peft.PeftModel.from_pretrained(copy.deepcopy(vit_base.model), str(folder)).eval()
    through_peft = embedding_of(on_timm.base_model.model, pixels)
    assert (merged - plain).abs().max() > 1e-2
    torch.testing.assert_close(through_peft, merged, atol=1e-4, rtol=1e-3)
    again = read_adapter(folder, vit_base)
    for module, update in adapter.updates.items():
        torch.testing.assert_close(again.updates[module].product(), update.product())


def test_it_is_not_put_onto_another_backbone() -> None:
    with refusal(AdapterError, ADAPTER, "vit-base-patch16", "vit_tiny_patch16_224"):
        read_adapter(ADAPTER, random_backbone("vit_tiny_patch16_224"))
