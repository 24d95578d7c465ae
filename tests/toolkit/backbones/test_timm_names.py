import pytest
from support.toolkit import BLOCK_LINEARS, tiny_backbone
from torch import nn

from vision_edge.toolkit.backbones.timm_names import Target, is_head, timm_target

SAME_LAYERS = {
    "attn.qkv:q": (
        "encoder.layer.7.attention.attention.query",
        "layers.7.attention.q_proj",
        "encoder.layers.7.self_attn.q_proj",
    ),
    "attn.qkv:k": (
        "encoder.layer.7.attention.attention.key",
        "layers.7.attention.k_proj",
        "encoder.layers.7.self_attn.k_proj",
    ),
    "attn.qkv:v": (
        "encoder.layer.7.attention.attention.value",
        "layers.7.attention.v_proj",
        "encoder.layers.7.self_attn.v_proj",
    ),
    "attn.qkv": ("blocks.7.attn.qkv",),
    "attn.proj": (
        "blocks.7.attn.proj",
        "encoder.layer.7.attention.output.dense",
        "layers.7.attention.o_proj",
        "encoder.layers.7.self_attn.out_proj",
    ),
    "mlp.fc1": ("blocks.7.mlp.fc1", "encoder.layer.7.intermediate.dense", "layers.7.mlp.fc1"),
    "mlp.fc2": ("blocks.7.mlp.fc2", "encoder.layer.7.output.dense", "layers.7.mlp.fc2"),
}
CASES = [(name, target) for target, names in SAME_LAYERS.items() for name in names]


@pytest.mark.parametrize("prefix", ["", "vit.", "model.vision_model.", "base.blocks_of."])
@pytest.mark.parametrize(("name", "target"), CASES)
def test_every_library_s_name_maps_onto_timm_s(name: str, target: str, prefix: str) -> None:
    module, _, part = target.partition(":")
    assert timm_target(prefix + name) == Target(f"blocks.7.{module}", part or None)


@pytest.mark.parametrize(
    "name",
    [
        "patch_embed.proj",
        "embeddings.patch_embeddings.projection",
        "head",
        "classifier",
        "layers.x.attention.q_proj",
        "blocks.0.attn.qkv.extra",
        "blocks.0.norm1",
        "myblocks.0.attn.qkv",
        "text_model.encoder.layers.0.self_attn.q_proj",
        "model.text_model.encoder.layers.0.mlp.fc1",
        "language_model.model.layers.0.self_attn.q_proj",
        "model.language_model.layers.3.mlp.up_proj",
        "text_encoder.layers.0.self_attn.v_proj",
        "text.transformer.blocks.0.attn.qkv",
        "vilt.bert.encoder.layer.0.attention.attention.query",
        "decoder.blocks.0.attn.qkv",
        "qformer.encoder.layer.0.intermediate.dense",
        "audio_tower.layers.0.self_attn.k_proj",
        "layers.0.blocks.1.attn.qkv",
        "stages.2.blocks.1.mlp.fc1",
        "encoder.layers.0.blocks.1.attention.self.query",
        "",
    ],
)
def test_other_modules_map_onto_nothing(name: str) -> None:
    assert timm_target(name) is None


def test_each_linear_layer_of_a_timm_block_maps_onto_itself() -> None:
    linear = [
        name
        for name, module in tiny_backbone().model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    assert len(linear) == 2 * len(BLOCK_LINEARS)
    assert [timm_target(name) for name in linear] == [Target(name) for name in linear]


@pytest.mark.parametrize("name", ["head", "classifier", "vit.classifier", "model.fc", "score"])
def test_heads_are_known_by_name(name: str) -> None:
    assert is_head(name)


@pytest.mark.parametrize("name", ["blocks.0.mlp.fc1", "layers.3.mlp.fc2", "header", "head.norm"])
def test_other_names_are_no_heads(name: str) -> None:
    assert not is_head(name)
