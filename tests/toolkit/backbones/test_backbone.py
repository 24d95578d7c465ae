import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from support.hugging_face import (
    clip_backbone,
    cls_of_clip,
    cls_of_vit,
    old_vit_name,
    tiny_clip,
    tiny_vit,
    vit_backbone,
)
from support.toolkit import (
    DEPTH,
    DIM,
    SIZE,
    embedding_of,
    random_images,
    random_pixels,
    refusal,
    tiny_backbone,
    weights_in,
)

from vision_edge.runtime.bundles import shipped as assets
from vision_edge.runtime.errors import BackboneError, VisionEdgeError
from vision_edge.toolkit.backbones.backbone import (
    EMBEDDED,
    Backbone,
    BackboneOptions,
    load_backbone,
    random_backbone,
    state_sha256,
)
from vision_edge.toolkit.backbones.weights import METADATA_KEY


def test_weights_from_a_file_embed_as_the_model_they_came_from(
    backbone: Backbone, weights_file: Path
) -> None:
    loaded = load_backbone(BackboneOptions(weights=weights_file))
    images = random_images()
    assert loaded.sha256 == backbone.sha256
    assert (loaded.dim, loaded.parameters) == (DIM, backbone.parameters)
    np.testing.assert_array_equal(
        loaded.embedder().embed(images), backbone.embedder().embed(images)
    )


@pytest.mark.parametrize("name", [None, EMBEDDED])
def test_the_embedded_backbone_loads_and_knows_its_preprocessing(name: str | None) -> None:
    embedded = load_backbone(BackboneOptions(name=name))
    assert embedded.name == EMBEDDED
    assert embedded.spec.size == 160
    near_black, near_white = (np.full((1, 160, 160, 3), value, np.uint8) for value in (5, 250))
    vectors = embedded.embedder().embed(np.concatenate([near_black, near_white]))
    assert vectors.shape == (2, embedded.dim)
    assert np.isfinite(vectors).all()
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1


def test_an_altered_embedded_backbone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = next(a for a in assets.list_assets() if a.name == "backbone.safetensors")
    altered = bytearray(shipped.path.read_bytes())
    altered[-1] ^= 1
    (tmp_path / shipped.name).write_bytes(altered)
    moved = dataclasses.replace(shipped, path=tmp_path / shipped.name)
    monkeypatch.setattr(assets, "list_assets", lambda: [moved])
    with refusal(VisionEdgeError, tmp_path / shipped.name, "altered"):
        load_backbone()


def test_an_embedding_is_the_class_token_after_the_final_norm(backbone: Backbone) -> None:
    pixels, seen = random_pixels(), []
    hook = backbone.model.norm.register_forward_hook(lambda _m, _i, out: seen.append(out))
    embedding = embedding_of(backbone.model, pixels)
    hook.remove()
    assert torch.equal(embedding, seen[0][:, 0])


def test_a_backbone_is_frozen_and_in_evaluation_mode(weights_file: Path) -> None:
    model = load_backbone(BackboneOptions(weights=weights_file)).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_random_weights_follow_the_seed_and_leave_torch_s_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = tiny_backbone(seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert first.sha256 == tiny_backbone(seed=1).sha256
    assert first.sha256 != tiny_backbone(seed=2).sha256


def test_the_hash_is_of_values_not_of_files(tmp_path: Path) -> None:
    rounded = {name: t.half() for name, t in tiny_backbone().model.state_dict().items()}
    own = {METADATA_KEY: json.dumps({"architecture": "test_vit", "model_args": _sizes()})}
    save_file(rounded, tmp_path / "half.safetensors", metadata=own)
    single = {name: t.float() for name, t in rounded.items()}
    save_file(single, tmp_path / "single.safetensors", metadata=own)
    half, full = (
        load_backbone(BackboneOptions(weights=tmp_path / f"{name}.safetensors"))
        for name in ("half", "single")
    )
    assert half.sha256 == full.sha256


def _sizes() -> dict[str, int]:
    return {"img_size": SIZE, "depth": DEPTH}


def test_the_hash_sees_names_shapes_and_values() -> None:
    state = {"a": torch.arange(6.0), "b": torch.zeros(2)}
    hashes = {
        state_sha256(state),
        state_sha256({**state, "a": torch.arange(6.0).reshape(2, 3)}),
        state_sha256({**state, "a": torch.arange(6.0) + torch.eye(6)[5] * 1e-6}),
        state_sha256({"c": state["a"], "b": state["b"]}),
    }
    assert len(hashes) == 4
    assert state_sha256({"b": state["b"], "a": state["a"]}) == state_sha256(state)


def test_info_is_what_the_manifest_says(backbone: Backbone) -> None:
    info = backbone.info()
    assert (info.name, info.sha256, info.parameters) == (
        "test_vit",
        backbone.sha256,
        sum(p.numel() for p in backbone.model.parameters()),
    )


# --- preprocessing ---------------------------------------------------------------------------


FILE_SAYS = {
    "mean": (0.1, 0.2, 0.3),
    "std": (0.4, 0.5, 0.6),
    "crop_pct": 0.9,
    "interpolation": "bilinear",
}
OPTIONS_SAY = {
    "mean": (0.7, 0.6, 0.5),
    "std": (0.7, 0.8, 0.9),
    "crop_pct": 0.8,
    "interpolation": "bicubic",
}


@pytest.mark.parametrize("field", FILE_SAYS)
def test_options_go_before_the_file_s_own_words(tmp_path: Path, field: str) -> None:
    path = weights_in(tmp_path / "w.safetensors", tiny_backbone(), name="mine", **FILE_SAYS)
    option = {field: OPTIONS_SAY[field]}
    loaded = load_backbone(BackboneOptions(weights=path, **option))
    assert loaded.name == "mine"
    assert loaded.spec.model_dump() == {**FILE_SAYS, **option, "size": SIZE}


def test_without_any_words_timm_s_mean_is_used_and_nothing_is_cropped(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(random_backbone("test_vit").model.state_dict(), path)
    spec = load_backbone(BackboneOptions(name="test_vit", weights=path)).spec
    config = timm.get_pretrained_cfg("test_vit").to_dict()
    assert (spec.mean, spec.std) == (config["mean"], config["std"])
    assert spec.crop_pct == 1.0
    assert spec.size == 160


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"std": (0.0, 1.0, 1.0)}, "std"),
        ({"interpolation": "nearest"}, "nearest"),
        ({"crop_pct": 1.5}, "crop_pct"),
        ({"size": 40}, "multiple"),
        ({"size": 8}, "multiple"),
        ({"size": 0}, "size of 0"),
        ({"size": -16}, "size of -16"),
        ({"size": 160000}, "size of 160000"),
    ],
)
def test_preprocessing_that_makes_no_sense_is_refused(
    weights_file: Path, options: dict[str, Any], word: str
) -> None:
    with refusal(BackboneError, word):
        load_backbone(BackboneOptions(weights=weights_file, **options))


def test_another_size_resamples_the_position_embedding_only(
    backbone: Backbone, weights_file: Path
) -> None:
    larger = load_backbone(BackboneOptions(weights=weights_file, size=2 * SIZE))
    assert larger.spec.size == 2 * SIZE
    before, after = backbone.model.state_dict(), larger.model.state_dict()
    assert after["pos_embed"].shape == (1, 1 + 16, DIM)
    assert torch.equal(after["pos_embed"][:, 0], before["pos_embed"][:, 0])
    mean_before, mean_after = (s["pos_embed"][0, 1:].mean(0) for s in (before, after))
    torch.testing.assert_close(mean_after, mean_before, atol=0.02, rtol=0)
    assert all(torch.equal(after[name], before[name]) for name in before if name != "pos_embed")
    assert larger.embedder().embed(random_images(size=2 * SIZE)).shape == (3, DIM)


# --- refusals --------------------------------------------------------------------------------


def test_an_unknown_model_is_refused_with_a_suggestion() -> None:
    with refusal(BackboneError, "vit_base_patch16_244", "vit_base_patch16_224"):
        load_backbone(BackboneOptions(name="vit_base_patch16_244"))


def test_what_is_no_vision_transformer_is_refused() -> None:
    with refusal(BackboneError, "resnet18", "ResNet", "vision transformer"):
        random_backbone("resnet18")


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with refusal(BackboneError, tmp_path / "none.safetensors"):
        load_backbone(BackboneOptions(name="test_vit", weights=tmp_path / "none.safetensors"))


def test_a_file_that_does_not_say_its_model_needs_a_name(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(tiny_backbone().model.state_dict(), path)
    with refusal(BackboneError, path, "--backbone"):
        load_backbone(BackboneOptions(weights=path))


def test_without_the_hub_the_message_asks_for_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("we could not connect to 'https://huggingface.co'\nlong story")

    monkeypatch.setattr(timm, "create_model", offline)
    with refusal(BackboneError, "vit_tiny_patch16_224", "could not connect", "--weights"):
        load_backbone(BackboneOptions(name="vit_tiny_patch16_224"))


def _with(state: dict[str, torch.Tensor], **changes: torch.Tensor | None) -> Any:
    named = {name.replace("__", "."): tensor for name, tensor in changes.items()}
    return {name: tensor for name, tensor in {**state, **named}.items() if tensor is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm__weight": torch.full((DIM,), torch.nan)}, ["norm.weight", "NaN"]),
        ({"norm__weight": torch.full((DIM,), torch.inf)}, ["norm.weight", "NaN or infinity"]),
        ({"norm__weight": torch.ones(DIM + 1)}, ["norm.weight", f"({DIM + 1},)", f"({DIM},)"]),
        ({"norm__weight": None}, ["1 missing", "norm.weight"]),
        ({"blocks__2__norm1__weight": torch.ones(DIM)}, ["1 unknown", "blocks.2.norm1.weight"]),
        ({"cls_token": torch.tensor(1.0)}, ["cls_token"]),
        ({"pos_embed": torch.zeros(1, 5, DIM + 2)}, ["position embedding", f"{DIM + 2}"]),
        ({"pos_embed": torch.zeros(1, 7, DIM)}, ["position embedding", "(1, 7, 64)"]),
        ({"pos_embed": torch.zeros(1, 1, DIM)}, ["position embedding"]),
        ({"pos_embed": torch.zeros(5, 1, DIM)}, ["position embedding"]),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, backbone: Backbone, changes: dict[str, Any], words: list[str]
) -> None:
    path = tmp_path / "w.safetensors"
    own = {METADATA_KEY: json.dumps({"architecture": "test_vit", "model_args": _sizes()})}
    save_file(_with(backbone.model.state_dict(), **changes), path, metadata=own)
    with refusal(BackboneError, path, *words):
        load_backbone(BackboneOptions(weights=path))


def test_weights_of_another_model_are_refused(tmp_path: Path, weights_file: Path) -> None:
    with refusal(BackboneError, weights_file, "width 192", "--backbone"):
        load_backbone(BackboneOptions(name="vit_tiny_patch16_224", weights=weights_file))


# --- Hugging Face weights --------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "vit."])
@pytest.mark.parametrize("names", ["new", "old"])
def test_a_hugging_face_vit_embeds_the_same_in_timm(
    tmp_path: Path, names: str, prefix: str
) -> None:
    model = tiny_vit()
    state = {
        prefix + (name if names == "new" else old_vit_name(name)): tensor
        for name, tensor in model.state_dict().items()
    }
    state |= {"classifier.weight": torch.ones(2, DIM), "pooler.dense.weight": torch.ones(DIM, DIM)}
    pixels = random_pixels()
    got = embedding_of(vit_backbone(tmp_path, state).model, pixels)
    torch.testing.assert_close(got, cls_of_vit(model, pixels), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_a_hugging_face_clip_embeds_the_same_in_timm(activation: str) -> None:
    model = tiny_clip(activation)
    pixels = random_pixels()
    expected = cls_of_clip(model, pixels)
    state = {f"vision_model.{name}": tensor for name, tensor in model.state_dict().items()}
    state["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    right = embedding_of(clip_backbone(state, activation).model, pixels)
    torch.testing.assert_close(right, expected, atol=1e-5, rtol=1e-4)
    other = {"gelu": "quick_gelu", "quick_gelu": "gelu"}[activation]
    wrong = embedding_of(clip_backbone(state, other).model, pixels)
    assert (wrong - expected).abs().max() > 1e-3


def test_a_whole_clip_gives_its_vision_tower() -> None:
    model = tiny_clip()
    state = {f"vision_model.{name}": tensor for name, tensor in model.state_dict().items()}
    text = {
        f"text_model.{name}": torch.full_like(tensor, 9.0)
        for name, tensor in model.state_dict().items()
    }
    rest = {"visual_projection.weight": torch.ones(2, DIM), "logit_scale": torch.tensor(1.0)}
    pixels = random_pixels()
    got = embedding_of(clip_backbone({**state, **text, **rest}).model, pixels)
    torch.testing.assert_close(got, cls_of_clip(model, pixels), atol=1e-5, rtol=1e-4)
