"""The embedding of each family is timm's own pooled output, and what is unsuitable is refused."""

import copy
from pathlib import Path
from typing import Any

import onnx
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from support.cli import run_command
from support.families import SHRUNK, STAGES, Chain, as_timm_makes_it, shrunk, weights_of
from support.toolkit import (
    class_folders,
    embedding_of,
    random_low_rank,
    random_pixels,
    refusal,
)
from torch import Tensor

from vision_edge.export.graph.layers import layers_of
from vision_edge.export.graph.to_onnx import to_onnx
from vision_edge.export.model.edge_model import EdgeModel
from vision_edge.export.model.merge import merge
from vision_edge.export.model.patch_tokens import tokens_and_patches
from vision_edge.export.model.pruning import Pruning, pruned, why_not_prunable
from vision_edge.export.precision import variant as variant_module
from vision_edge.runtime.errors import BackboneError, ExportError
from vision_edge.toolkit.adapters.adapter import read_adapter, write_adapter
from vision_edge.toolkit.backbones.backbone import BackboneOptions, load_backbone
from vision_edge.toolkit.backbones.families import FAMILIES, family_of, unsuitable
from vision_edge.toolkit.backbones.tokens import check_tokens, forward_tokens, why_no_tokens
from vision_edge.toolkit.tuning.injection import inject

CHAINED = (
    "deit_tiny_distilled_patch16_224",
    "vit_base_patch16_siglip_224",
    "eva02_base_patch14_224",
)
"""Two tokens, attention pooling, rotary positions with query, key and value apart."""
PRUNABLE = [name for name in SHRUNK if why_no_tokens(shrunk(name).model) is None]


@torch.no_grad()
def pooled(model: Any, pixels: Tensor) -> Tensor:
    """timm's own embedding."""
    result: Tensor = model.forward_head(model.forward_features(pixels), pre_logits=True)
    return result


@pytest.mark.parametrize("name", SHRUNK)
def test_the_embedding_is_timm_s_own_pooled_output(name: str, tmp_path: Path) -> None:
    loaded = load_backbone(BackboneOptions(weights=weights_of(name, tmp_path)))
    pixels = random_pixels(4)
    expected = pooled(as_timm_makes_it(name), pixels)
    got = embedding_of(loaded.model, pixels)
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=1e-5)
    assert loaded.dim == got.shape[1]


@pytest.mark.parametrize("name", SHRUNK)
def test_an_adapter_of_each_family_merges_as_it_was_tuned_and_comes_back(
    name: str, tmp_path: Path
) -> None:
    backbone, pixels = shrunk(name), random_pixels(3)
    tuned = copy.deepcopy(backbone.model)
    layers = inject(tuned, 2)
    for seed, layer in enumerate(layers.values()):
        layer.B.data.copy_(torch.randn(layer.B.shape, generator=torch.manual_seed(seed)) * 0.2)
    write_adapter(tmp_path, {n: layer.update() for n, layer in layers.items()}, backbone)
    merged = copy.deepcopy(backbone.model)
    merge(merged, read_adapter(tmp_path, backbone).updates)
    expected = embedding_of(tuned, pixels)
    torch.testing.assert_close(embedding_of(merged, pixels), expected, atol=1e-5, rtol=1e-4)
    assert (expected - embedding_of(backbone.model, pixels)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["eva02_base_patch14_224", "vit_small_patch16_dinov3"])
def test_an_adapter_names_the_layers_that_timm_has(name: str, tmp_path: Path) -> None:
    backbone = shrunk(name)
    updates = {"blocks.0.attn.qkv": random_low_rank((192, 64), 2)}
    write_adapter(tmp_path, updates, backbone)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    modules = {key.split(".lora_")[0].removeprefix("base_model.model.") for key in tensors}
    theirs = dict(as_timm_makes_it(name).named_modules())
    assert modules <= theirs.keys()
    again = read_adapter(tmp_path, backbone).updates["blocks.0.attn.qkv"]
    torch.testing.assert_close(again.product(), updates["blocks.0.attn.qkv"].product())


# --- leaving out patches ---------------------------------------------------------------------


@torch.no_grad()
def masked(model: Any, pixels: Tensor, keep: Tensor) -> Tensor:
    """timm's own blocks, with the patches that are not kept hidden from every token."""
    x = model._pos_embed(model.patch_embed(pixels))
    x, rope = x if isinstance(x, tuple) else (x, None)
    prefix = model.num_prefix_tokens
    seen = torch.zeros(len(x), x.shape[1], dtype=torch.bool)
    seen[:, :prefix] = True
    seen.scatter_(1, keep + prefix, True)
    x = model.norm_pre(x)
    for block in model.blocks:
        mask = seen[:, None, None, :]
        x = block(x, attn_mask=mask) if rope is None else block(x, attn_mask=mask, rope=rope)
    kept = x[seen].reshape(len(x), -1, x.shape[2])
    result: Tensor = model.forward_head(model.norm(kept))
    return result


@pytest.mark.parametrize("name", PRUNABLE)
def test_patches_left_out_are_as_if_hidden(name: str) -> None:
    model, pixels = shrunk(name).model, random_pixels(3)
    keep = torch.stack([torch.randperm(16, generator=torch.manual_seed(i))[:5] for i in range(3)])
    keep = keep.sort(1).values
    with torch.no_grad():
        got = forward_tokens(model, pixels, keep=keep).embedding
    torch.testing.assert_close(got, masked(model, pixels, keep), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", PRUNABLE)
def test_export_leaves_out_what_inversion_leaves_out(name: str) -> None:
    model, pixels, pruning = shrunk(name).model, random_pixels(3), Pruning.parse("1:0.5")
    with torch.no_grad():
        expected = forward_tokens(model, pixels, pruning=pruning).embedding
    got = embedding_of(pruned(model, pruning), pixels)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert (got - embedding_of(model, pixels)).abs().max() > 1e-4


@pytest.mark.parametrize("name", PRUNABLE)
def test_the_patches_beside_an_embedding_are_of_the_model_s_own_tokens(name: str) -> None:
    model, pixels = shrunk(name).model, random_pixels(2)
    with torch.no_grad():
        embedding, patches = tokens_and_patches(model, pixels, 4)
        tokens = model.fc_norm(model.forward_features(pixels))[:, model.num_prefix_tokens :]
    torch.testing.assert_close(embedding, embedding_of(model, pixels), atol=1e-5, rtol=1e-4)
    apart = (patches[:, :, None] - tokens[:, None]).abs().amax(-1)  # (N, 4, 16)
    assert apart.amin(-1).max() < 1e-4
    assert all(len(set(row.tolist())) == 4 for row in apart.argmin(-1)), "four different patches"


@pytest.mark.parametrize("name", sorted(SHRUNK.keys() - set(PRUNABLE)))
def test_whose_patches_cannot_be_left_out_is_refused_with_the_reason(name: str) -> None:
    backbone = shrunk(name)
    reason = why_not_prunable(backbone.model)
    assert reason is not None
    with refusal(BackboneError, name, reason, "--method average"):
        check_tokens(backbone.model, name)
    with refusal(ExportError, reason, "--prune"):
        pruned(backbone.model, Pruning.parse("1:0.5"))


def test_without_cls_the_attention_of_all_tokens_says_what_matters() -> None:
    model = shrunk("vit_base_patch16_siglip_224").model
    with torch.no_grad():
        order = forward_tokens(model, random_pixels(2), with_order=True).order
        x = model.blocks[0](model._pos_embed(model.patch_embed(random_pixels(2))))
        attention = model.blocks[1].attn
        q, k, _ = attention.qkv(model.blocks[1].norm1(x)).reshape(2, 16, 3, 2, 32).unbind(2)
        scores = torch.einsum("nqhd,nkhd->nhqk", q, k) / 32**0.5
    got = scores.softmax(-1).mean((1, 2)).argsort(1, descending=True)
    assert order is not None
    assert torch.equal(order.long(), got)


# --- refused when it loads -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit_small_r26_s32_224", ["hybrid", "HybridEmbed"]),
        ("vit_base_mci_224", ["hybrid"]),
        ("vit_small_patch16_18x2_224", ["ParallelThingsBlock", "standard attention"]),
        ("vit_base_patch16_xp_224", ["ParallelScalingBlock"]),
        ("vit_dwee_patch16_reg1_gap_256", ["DiffAttention"]),
        ("vit_giant_patch16_sapiens2", ["grouped queries"]),
        ("naflexvit_base_patch16_siglip", ["NaFlexVit", "vit_base_patch16_siglip_224"]),
        ("vit_relpos_small_patch16_224", ["VisionTransformerRelPos"]),
        ("samvit_base_patch16", ["VisionTransformerSAM"]),
        ("swin_tiny_patch4_window7_224", ["SwinTransformer"]),
        ("convnext_tiny", ["ConvNeXt"]),
    ],
)
def test_an_unsuitable_model_is_refused_by_name_before_weights_are_read(
    name: str, words: list[str], tmp_path: Path
) -> None:
    weights = tmp_path / "w.safetensors"
    save_file({"x": torch.zeros(1)}, weights)
    with torch.device("meta"), refusal(BackboneError, name, *words):
        load_backbone(BackboneOptions(name=name, weights=weights))


def test_every_vit_of_timm_is_taken_or_refused_with_a_reason() -> None:
    """On the meta device, a block of each, for structure is all that counts."""
    taken = 0
    names = [
        name
        for module in ("vision_transformer", "vision_transformer_hybrid", "eva", "beit", "deit")
        for name in timm.list_models(module=module)
        if "sapiens2" not in name  # these need their depth
    ]
    for name in names[::7]:
        model = timm.create_model(name, num_classes=0, device="meta", depth=1)
        reason = unsuitable(model)
        if reason is None:
            assert family_of(model, name) in FAMILIES
            taken += 1
        else:
            assert all(len(text) > 20 for text in reason), name
    assert taken > 0.75 * len(names[::7])


@pytest.mark.parametrize("name", [n for n in SHRUNK if n != "beit_base_patch16_224"])
def test_the_hash_is_of_what_the_weights_are_not_of_their_size(name: str, tmp_path: Path) -> None:
    weights = weights_of(name, tmp_path)
    native = load_backbone(BackboneOptions(weights=weights))
    larger = load_backbone(BackboneOptions(weights=weights, size=48))
    assert larger.spec.size == 48
    assert larger.sha256 == native.sha256 == native.sha256_as_resampled
    assert larger.is_known_as(larger.sha256_as_resampled), "what earlier versions wrote"
    assert not larger.is_known_as(shrunk(name, seed=1).sha256)
    assert embedding_of(larger.model, random_pixels(2, 48)).shape == (2, 64)


def test_beit_at_another_size_is_refused(tmp_path: Path) -> None:
    weights = weights_of("beit_base_patch16_224", tmp_path)
    with refusal(BackboneError, "relative_position_bias_table"):
        load_backbone(BackboneOptions(weights=weights, size=48))


# --- every command ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAINED)
def test_a_family_passes_every_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: dict[str, bytes] = {}  # the exporter takes seconds: one graph serves all precisions
    original = variant_module.to_onnx

    def once(model: Any, size: int) -> bytes:
        key = str(getattr(model.model, "patches_left", {}))
        if key not in graphs:
            graphs[key] = original(model, size)
        return graphs[key]

    monkeypatch.setattr(variant_module, "to_onnx", once)
    images = class_folders(tmp_path / "train", 4, 8)
    chain = Chain(weights_of(name, tmp_path), images, tmp_path)
    for stage in STAGES:
        assert chain.run(stage)
    said = run_command(
        "evaluate", images, "--bundle", tmp_path / "bundle-fp32", "--weights", chain.weights,
        "--adapter", tmp_path / "average", "--way", 3, "--query", 3, "--episodes", 5,
    )  # fmt: skip
    assert "average" in said


def test_layers_of_a_graph_have_names_of_their_own_whatever_the_layout(tmp_path: Path) -> None:
    """Norms after the branches, and no bias on `qkv`: the place of a layer says nothing here."""
    backbone = shrunk("vit_base_patch16_rpn_224")
    graph = onnx.load_model_from_string(to_onnx(EdgeModel(backbone.model, backbone.spec), 32))
    names = [layer.name for layer in layers_of(graph.graph)]
    assert len(set(names)) == len(names)
    assert {"blocks.0.mlp.fc1", "blocks.1.mlp.fc2", "blocks.1.attn.proj"} <= set(names)
