"""What transformers' config.json states is taken over, checked or refused; never passed over."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.families import weights_of
from support.toolkit import embedding_of, random_pixels, refusal
from support.transformers_families import TRANSFORMERS

from vision_edge.runtime.errors import BackboneError
from vision_edge.toolkit.adapters.base_check import Recorded, compare_base
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone
from vision_edge.toolkit.backbones.loading import create_model
from vision_edge.toolkit.backbones.stated import read_stated


def _saved(family: str, folder: Path, **config: Any) -> Path:
    its = TRANSFORMERS[family]
    its.load(its.make(), folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("swin", ["swin"]),
        ("siglip2_vision_model", ["siglip2", "fixed size"]),
        ("siglip2", ["siglip2", "vit_base_patch16_siglip_224"]),
        ("aimv2", ["aimv2", "timm"]),
        ("aimv2_vision_model", ["timm/aimv2"]),
        ("data2vec-vision", ["data2vec"]),
        ("vit_hybrid", ["convolutional"]),
        ("vision-encoder-decoder", ["backbones.md"]),
        ("a-model-of-tomorrow", ["a-model-of-tomorrow"]),
    ],
)
def test_other_models_of_transformers_are_refused_by_name(
    kind: str, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with refusal(BackboneError, tmp_path / "config.json", *words):
        read_stated(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("family", "stated", "word"),
    [
        ("ViT", {"num_attention_heads": 4}, "4 heads"),
        ("SigLIP", {"num_attention_heads": 8}, "8 heads"),
        ("DINOv3", {"rope_theta": 10000.0}, "rope_theta"),
        ("ViT", {"layer_norm_eps": "small"}, "layer_norm_eps"),
        ("ViT", {"layer_norm_eps": -1e-6}, "layer_norm_eps"),
        ("ViT", {"layer_norm_eps": float("nan")}, "layer_norm_eps"),
        ("ViT", {"num_attention_heads": True}, "num_attention_heads"),
    ],
)
def test_what_shapes_do_not_tell_is_checked(
    family: str, stated: dict[str, Any], word: str, tmp_path: Path
) -> None:
    weights = _saved(family, tmp_path, **stated)
    with refusal(BackboneError, tmp_path, word):
        load_backbone(BackboneOptions(weights=weights))


def test_a_clip_s_vision_tower_is_checked_by_its_own_part_of_the_config(tmp_path: Path) -> None:
    stated = {"model_type": "clip", "vision_config": {"num_attention_heads": 4}}
    weights = _saved("CLIP", tmp_path, **stated)
    with refusal(BackboneError, "4 heads"):
        load_backbone(BackboneOptions(weights=weights))


@pytest.mark.parametrize("bias", ["q", "v"])
def test_biases_that_a_dinov3_has_no_place_for_must_be_zero(bias: str, tmp_path: Path) -> None:
    """Of its larger models all are, and timm's names without `qkvb` leave them out."""
    weights = _saved("DINOv3", tmp_path)
    own = json.dumps(
        {
            "architecture": "vit_small_patch16_dinov3",
            "model_args": {
                "img_size": 32, "patch_size": 16, "depth": 2, "embed_dim": 64, "num_heads": 2,
                "mlp_ratio": 3,
            },
        }
    )  # fmt: skip
    tensors = load_file(weights)
    for name in tensors:
        if name.endswith(("q_proj.bias", "v_proj.bias")):
            tensors[name].zero_()
    save_file(tensors, weights, metadata={"vision_edge": own})
    loaded = load_backbone(BackboneOptions(weights=weights))
    its, pixels = TRANSFORMERS["DINOv3"], random_pixels()
    model = its.make()
    model.load_state_dict({**model.state_dict(), **_in_memory(tensors)})
    torch.testing.assert_close(
        embedding_of(loaded.model, pixels), its.expected(model, pixels), atol=1e-5, rtol=1e-5
    )
    tensors[f"layer.1.attention.{bias}_proj.bias"][0] = 1e-3
    save_file(tensors, weights, metadata={"vision_edge": own})
    with refusal(BackboneError, weights, f"blocks.1.attn.{bias}_bias", "qkvb"):
        load_backbone(BackboneOptions(weights=weights))


def _in_memory(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers 5 renames a DINOv3's layers as it loads them."""
    return {
        f"model.{name}" if name.startswith("layer.") else name: tensor
        for name, tensor in tensors.items()
    }


def test_a_decoder_for_pretraining_is_left_out_of_an_mae(tmp_path: Path) -> None:
    its = TRANSFORMERS["MAE"]
    weights = _saved("MAE", tmp_path)
    plain = load_backbone(BackboneOptions(weights=weights))
    with safe_open(weights, "pt") as stream:
        metadata = stream.metadata()
    tensors = {f"vit.{name}": tensor for name, tensor in load_file(weights).items()}
    tensors["decoder.decoder_layers.0.intermediate.dense.weight"] = torch.ones(2, 2)
    tensors["decoder.mask_token"] = torch.ones(1, 1, 2)
    save_file(tensors, weights, metadata=metadata)
    assert load_backbone(BackboneOptions(weights=weights)).sha256 == plain.sha256
    assert its.architecture.endswith(".mae")


# --- what is around a timm model, and beside its weights -------------------------------------


def _timm_file(folder: Path, name: str, rename: Any, config: dict[str, Any] | None = None) -> Path:
    """Weights of a shrunk timm model under other names, with a config beside them."""
    weights = weights_of(name, folder)
    with safe_open(weights, "pt") as stream:
        metadata = stream.metadata()
    tensors = {rename(key): tensor for key, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata=metadata)
    if config is not None:
        weights.with_name("config.json").write_text(json.dumps(config))
    return weights


@pytest.mark.parametrize("prefix", ["timm_model.", "model.", "_orig_mod.", "module.backbone."])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_base_patch14_224"])
def test_what_a_timm_model_was_part_of_is_taken_off_its_names(
    name: str, prefix: str, tmp_path: Path
) -> None:
    plain = load_backbone(BackboneOptions(weights=weights_of(name, tmp_path)))
    weights = _timm_file(tmp_path, name, lambda key: prefix + key)
    assert load_backbone(BackboneOptions(weights=weights)).sha256 == plain.sha256


def test_a_tower_beside_other_parts_is_not_taken_out_of_its_model(tmp_path: Path) -> None:
    """A projection of OpenCLIP's timm towers would be left out."""
    weights = _timm_file(tmp_path, "vit_tiny_patch16_224", lambda key: f"visual.trunk.{key}")
    with safe_open(weights, "pt") as stream:
        metadata = stream.metadata()
    more = {**load_file(weights), "visual.proj": torch.ones(4, 4)}
    save_file(more, weights, metadata=metadata)
    with refusal(BackboneError, weights, "visual."):
        load_backbone(BackboneOptions(weights=weights))


def _tiny(folder: Path, config: dict[str, Any], **options: Any) -> Backbone:
    """timm's test ViT with weights in a file that says nothing, and timm's config beside it."""
    arguments = {**config.get("model_args", {}), "global_pool": config.get("global_pool", "token")}
    model = create_model("test_vit", **{k: v for k, v in arguments.items() if v is not None})
    save_file(model.state_dict(), folder / "w.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return load_backbone(BackboneOptions(weights=folder / "w.safetensors", **options))


def test_what_timm_s_config_says_that_a_model_was_made_with_is_taken_over(tmp_path: Path) -> None:
    config = {
        "architecture": "test_vit",
        "global_pool": "avg",
        "model_args": {"img_size": 64, "num_heads": 4, "class_token": False},
    }
    loaded = _tiny(tmp_path, config)
    assert loaded.embedding == "mean of the patches, then fc_norm"
    assert loaded.spec.size == 64
    assert loaded.model.blocks[0].attn.num_heads == 4


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"block_fn": "mine"}, "block_fn"),
        ({"num_heads": "two"}, "num_heads"),
        ({"global_pool": "max"}, "global_pool"),
        ("img_size=64", "model_args"),
    ],
)
def test_what_it_was_made_with_and_is_not_known_is_refused(
    arguments: Any, word: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"architecture": "test_vit", "model_args": arguments}))
    with refusal(BackboneError, path, word):
        read_stated(tmp_path / "w.safetensors")


def test_a_name_that_is_not_the_config_s_is_said(tmp_path: Path) -> None:
    loaded = _tiny(tmp_path, {"architecture": "deit_tiny_patch16_224"}, name="test_vit")
    assert any("deit_tiny_patch16_224" in note for note in loaded.notes)
    tagged = _tiny(tmp_path, {"architecture": "test_vit"}, name="test_vit.r160_in1k")
    assert not any("as --backbone says" in note for note in tagged.notes)


def test_positions_of_another_size_are_said_where_nobody_asked_for_it(tmp_path: Path) -> None:
    model = create_model("test_vit", 64)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    options = BackboneOptions(name="test_vit", weights=tmp_path / "w.safetensors")
    (note,) = [n for n in load_backbone(options).notes if "resampled" in n]
    assert "4x4" in note
    assert "--size 64" in note
    asked = load_backbone(options.model_copy(update={"size": 64}))
    assert not any("resampled" in n for n in asked.notes)
    assert asked.sha256 == load_backbone(options).sha256


@pytest.mark.parametrize(
    ("family", "base", "taken"),
    [
        ("MSN", "facebook/vit-msn-base", True),
        ("MSN", "google/vit-base-patch16-224", False),
        ("MAE", "facebook/vit-mae-base", True),
    ],
)
def test_weights_whose_config_calls_them_otherwise_take_adapters_of_that_family(
    family: str, base: str, taken: bool, tmp_path: Path
) -> None:
    its = TRANSFORMERS[family]
    backbone = its.load(its.make(), tmp_path)
    assert (compare_base(Recorded(base), backbone.full_name).problem is None) == taken


# --- what is no whole file of weights, and names as hubs write them ----------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model-00001-of-00002.safetensors", ["several files", "max_shard_size"]),
        ("model.safetensors.index.json", ["several files"]),
        (".", ["a folder", "w.safetensors"]),
        ("gone.safetensors", ["no such file"]),
    ],
)
def test_what_is_no_whole_file_is_called_what_it_is(
    name: str, words: list[str], tmp_path: Path
) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    for part in ("model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        (tmp_path / part).write_bytes((tmp_path / "w.safetensors").read_bytes())
    with refusal(BackboneError, *words):
        load_backbone(BackboneOptions(name="test_vit", weights=tmp_path / name))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_weights_are_not_taken_for_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    state = create_model("test_vit").state_dict()
    state["blocks.0.attn.qkv.weight"] = (state["blocks.0.attn.qkv.weight"] * 100).to(dtype)
    save_file(state, tmp_path / "w.safetensors")
    with refusal(BackboneError, "blocks.0.attn.qkv.weight", str(dtype).removeprefix("torch.")):
        load_backbone(BackboneOptions(name="test_vit", weights=tmp_path / "w.safetensors"))


@pytest.mark.parametrize("name", ["pos_embed", "cls_token", "patch_embed.proj.bias"])
def test_whole_numbers_are_taken_for_no_parameter(name: str, tmp_path: Path) -> None:
    state = create_model("test_vit").state_dict()
    state[name] = torch.ones_like(state[name], dtype=torch.int64)
    save_file(state, tmp_path / "w.safetensors")
    with refusal(BackboneError, name, "int64"):
        load_backbone(BackboneOptions(name="test_vit", weights=tmp_path / "w.safetensors"))


@pytest.mark.parametrize("kind", [["vit"], 3, {"name": "vit"}])
def test_a_type_of_model_that_is_no_text_is_refused(kind: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with refusal(BackboneError, "model_type", "no text"):
        read_stated(tmp_path / "w.safetensors")


def test_a_period_of_rotary_positions_is_read_from_its_newer_place(tmp_path: Path) -> None:
    document = {"model_type": "dinov3_vit", "rope_parameters": {"rope_theta": 10.0}}
    (tmp_path / "config.json").write_text(json.dumps(document))
    assert read_stated(tmp_path / "w.safetensors").transformers.rope_theta == 10.0


@pytest.mark.parametrize("prefix", ["timm/", "hf-hub:timm/", "hf_hub:timm/", " "])
def test_a_name_on_timm_s_hub_is_the_name(prefix: str) -> None:
    assert BackboneOptions(name=f"{prefix}test_vit.r160_in1k").name == "test_vit.r160_in1k"


def test_a_tag_that_timm_has_not_is_refused_with_those_it_has(tmp_path: Path) -> None:
    save_file(create_model("test_vit").state_dict(), tmp_path / "w.safetensors")
    options = BackboneOptions(name="test_vit.dino", weights=tmp_path / "w.safetensors")
    with refusal(BackboneError, "'dino'", "test_vit.r160_in1k"):
        load_backbone(options)
