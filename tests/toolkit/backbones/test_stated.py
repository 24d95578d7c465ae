"""What the files beside weights state decides: activation, preprocessing, and it is said."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.families import weights_of
from support.hugging_face import (
    saved,
    tiny_clip,
    tiny_dinov2,
    tiny_projected_clip,
    tiny_siglip,
    tiny_vit,
)
from support.toolkit import embedding_of, random_pixels, refusal

from vision_edge.runtime.errors import BackboneError
from vision_edge.toolkit.backbones import stated
from vision_edge.toolkit.backbones.backbone import BackboneOptions, load_backbone, random_backbone
from vision_edge.toolkit.backbones.loading import create_model
from vision_edge.toolkit.backbones.projection import projection_widths
from vision_edge.toolkit.backbones.stated import Chosen, choose, read_stated
from vision_edge.toolkit.backbones.weights import WeightsMetadata

CLIP = "vit_base_patch32_clip_224"


@pytest.mark.parametrize(
    ("make", "architecture"),
    [
        (tiny_vit, "vit_base_patch16_224"),
        (tiny_clip, CLIP),
        (lambda: tiny_clip("gelu"), "vit_base_patch32_clip_quickgelu_224"),
        (tiny_projected_clip, CLIP),
        (tiny_dinov2, "vit_small_patch14_dinov2"),
        (lambda: tiny_dinov2(4), "vit_small_patch14_reg4_dinov2"),
        (tiny_siglip, "vit_base_patch16_siglip_224"),
    ],
)
def test_transformers_weights_embed_as_transformers_does(
    make: Any, architecture: str, tmp_path: Path
) -> None:
    model, pixels = make(), random_pixels()
    loaded = load_backbone(BackboneOptions(weights=saved(model, tmp_path, architecture)))
    with torch.no_grad():
        output = model(pixel_values=pixels)
    if architecture == "vit_base_patch16_224":
        expected = output.last_hidden_state[:, 0]
    else:
        expected = getattr(output, "image_embeds", None)
        expected = output.pooler_output if expected is None else expected
    torch.testing.assert_close(embedding_of(loaded.model, pixels), expected, atol=1e-5, rtol=1e-4)
    assert loaded.dim == expected.shape[1]


def test_without_its_projection_clip_gives_the_class_token(tmp_path: Path) -> None:
    model, pixels = tiny_projected_clip(), random_pixels()
    weights = saved(model, tmp_path, CLIP)
    whole = load_backbone(BackboneOptions(weights=weights))
    plain = load_backbone(BackboneOptions(weights=weights, projection=False))
    with torch.no_grad():
        expected = model.vision_model(pixel_values=pixels).pooler_output  # type: ignore[operator, union-attr]
    torch.testing.assert_close(embedding_of(plain.model, pixels), expected, atol=1e-5, rtol=1e-4)
    assert whole.embedding.endswith("then CLIP's projection")
    assert plain.embedding == "[CLS] after the final norm"
    assert whole.sha256 == plain.sha256, "adapters change neither's projection"


def test_a_projection_that_is_not_there_cannot_be_asked_for(tmp_path: Path) -> None:
    weights = saved(tiny_clip(), tmp_path, CLIP)
    with refusal(BackboneError, weights, "--projection"):
        load_backbone(BackboneOptions(weights=weights, projection=True))


def test_a_classifier_s_head_is_no_projection() -> None:
    assert projection_widths("vit_base_patch16_clip_224.openai") == {512}
    assert projection_widths("vit_base_patch16_clip_224.openai_ft_in1k") == set()
    assert projection_widths("vit_base_patch16_224") == set()
    assert 1000 not in projection_widths("vit_base_patch16_clip_224")


# --- the activation --------------------------------------------------------------------------


def _chosen(
    folder: Path,
    config: dict[str, Any] | None,
    name: str = CLIP,
    activation: str | None = None,
) -> Chosen:
    """Decide for CLIP weights in a file that says nothing, with or without a config beside it."""
    path = folder / "model.safetensors"
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return choose(name, path, WeightsMetadata(), read_stated(path), {}, activation)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"hidden_act": "quick_gelu"}, "quick_gelu"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"hidden_act": "gelu_pytorch_tanh"}, "gelu_tanh"),
        ({"model_type": "clip", "vision_config": {"hidden_act": "gelu"}}, "gelu"),
        ({"model_type": "clip", "vision_config": {}}, "quick_gelu"),
        ({"architecture": "vit_base_patch32_clip_quickgelu_224"}, "quick_gelu"),
        ({"architecture": CLIP, "model_args": {"act_layer": "gelu"}}, "gelu"),
    ],
)
def test_the_activation_is_what_the_config_states(
    config: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    chosen = _chosen(tmp_path, config)
    assert chosen.arguments == {"act_layer": expected}
    said = [note for note in chosen.notes if expected in note and "config.json" in note]
    assert bool(said) == (expected != "gelu"), "what timm's name says already needs no word"


def test_a_gelu_config_under_a_quickgelu_name_is_said(tmp_path: Path) -> None:
    chosen = _chosen(tmp_path, {"hidden_act": "gelu"}, "vit_base_patch32_clip_quickgelu_224")
    assert chosen.arguments == {"act_layer": "gelu"}
    assert "the activation is gelu" in chosen.notes[0]


@pytest.mark.parametrize("config", [None, {}, {"model_type": "vit"}])
def test_clip_weights_that_say_nothing_need_the_option(
    config: dict[str, Any] | None, tmp_path: Path
) -> None:
    with refusal(BackboneError, tmp_path, "QuickGELU", "--activation"):
        _chosen(tmp_path, config)
    assert _chosen(tmp_path, config, activation="quick_gelu").arguments == {
        "act_layer": "quick_gelu"
    }


def test_the_option_goes_before_the_config(tmp_path: Path) -> None:
    chosen = _chosen(tmp_path, {"hidden_act": "quick_gelu"}, activation="gelu")
    assert chosen.arguments == {"act_layer": "gelu"}


@pytest.mark.parametrize(
    "name", ["vit_base_patch32_clip_quickgelu_224", f"{CLIP}.laion2b_e16", "vit_tiny_patch16_224"]
)
def test_a_name_that_says_it_needs_nothing_more(name: str, tmp_path: Path) -> None:
    assert _chosen(tmp_path, None, name).arguments == {}


@pytest.mark.parametrize("name", ["mish", "relu", "silu", "swish", "selu"])
@pytest.mark.parametrize("model", [CLIP, "vit_tiny_patch16_224"])
def test_an_activation_that_nothing_here_has_is_refused(
    name: str, model: str, tmp_path: Path
) -> None:
    with refusal(BackboneError, "config.json", name, "--activation"):
        _chosen(tmp_path, {"hidden_act": name}, model)
    assert _chosen(tmp_path, {"hidden_act": name}, model, "gelu").arguments == {"act_layer": "gelu"}


@pytest.mark.parametrize(
    ("gate", "activation", "taken"),
    [
        ("mlp.weights_in.weight", "silu", True),
        ("mlp.gate_proj.weight", "silu", True),
        ("mlp.weights_in.weight", "gelu", True),
        ("mlp.weights_in.weight", "relu", False),
        ("mlp.fc1.weight", "silu", False),
    ],
)
def test_gated_mlps_alone_have_silu(
    gate: str, activation: str, taken: bool, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_act": activation}))
    path, name = tmp_path / "w.safetensors", "vit_giant_patch14_dinov2"
    tensors = {f"blocks.0.{gate}": torch.zeros(1)}
    if taken:
        assert not choose(name, path, WeightsMetadata(), read_stated(path), tensors, None).arguments
        return
    with refusal(BackboneError, "config.json", activation, name):
        choose(name, path, WeightsMetadata(), read_stated(path), tensors, None)


def test_a_model_of_gelu_alone_takes_no_file_that_states_another(tmp_path: Path) -> None:
    with refusal(BackboneError, "config.json", "quick_gelu", "gelu alone"):
        _chosen(tmp_path, {"hidden_act": "quick_gelu"}, "beit_base_patch16_224")


def test_a_model_of_one_activation_takes_no_other(tmp_path: Path) -> None:
    weights = weights_of("eva02_tiny_patch14_224", tmp_path)
    with refusal(BackboneError, "--activation", "eva02_tiny_patch14_224"):
        load_backbone(BackboneOptions(weights=weights, activation="gelu"))


# --- preprocessing ---------------------------------------------------------------------------

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """timm's ViT-Tiny in a file that says nothing."""
    path = tmp_path / "w.safetensors"
    save_file(create_model("vit_tiny_patch16_224").state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("name", "document", "interpolation"),
    [
        (
            "preprocessor_config.json",
            {"image_mean": IMAGENET[0], "image_std": IMAGENET[1], "resample": 2},
            "bilinear",
        ),
        (
            "config.json",
            {
                "architecture": "vit_tiny_patch16_224",
                "pretrained_cfg": {
                    "mean": IMAGENET[0],
                    "std": IMAGENET[1],
                    "interpolation": "bilinear",
                },
            },
            "bilinear",
        ),
    ],
)
def test_preprocessing_is_what_the_files_beside_the_weights_state(
    tiny: Path, name: str, document: dict[str, Any], interpolation: str
) -> None:
    tiny.with_name(name).write_text(json.dumps(document))
    loaded = load_backbone(BackboneOptions(name="vit_tiny_patch16_224", weights=tiny))
    assert (loaded.spec.mean, loaded.spec.std) == IMAGENET
    assert loaded.spec.interpolation == interpolation
    assert any(name in note for note in loaded.notes)


def _said(tmp_path: Path, **document: Any) -> stated.Stated:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(document))
    return read_stated(tmp_path / "w.safetensors")


SYMMETRIC = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}


@pytest.mark.parametrize(
    ("document", "mean", "std"),
    [
        ({"do_normalize": False, **SYMMETRIC}, 0.0, 1.0),
        ({"do_normalize": False}, 0.0, 1.0),
        ({"do_normalize": True, "rescale_factor": 1 / 255, **SYMMETRIC}, 0.5, 0.25),
        ({"rescale_factor": 0.00392156862745098, **SYMMETRIC}, 0.5, 0.25),
        ({"rescale_factor": 2 / 255, **SYMMETRIC}, 0.25, 0.125),
        ({"rescale_factor": 2 / 255, "do_normalize": False}, 0.0, 0.5),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51] * 3}, 0.5, 0.2),
    ],
)
def test_what_scales_pixels_is_turned_into_mean_and_std(
    document: dict[str, Any], mean: float, std: float, tmp_path: Path
) -> None:
    said = _said(tmp_path, **document)
    assert said.problem is None
    assert said.mean == pytest.approx([mean] * 3)
    assert said.std == pytest.approx([std] * 3)
    pixels = torch.tensor([0.0, 100.0, 255.0])  # as transformers computes it
    scaled = pixels * (document.get("rescale_factor", 1 / 255))
    scaled = pixels if document.get("do_rescale") is False else scaled
    if document.get("do_normalize") is not False:
        scaled = (scaled - document["image_mean"][0]) / document["image_std"][0]
    torch.testing.assert_close((pixels / 255 - mean) / std, scaled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"do_rescale": False, **SYMMETRIC}, "do_rescale"),
        ({"do_rescale": False, "do_normalize": False}, "do_rescale"),
        ({"rescale_factor": 1, "do_rescale": False}, "do_rescale"),
        ({"rescale_factor": 0, **SYMMETRIC}, "rescale_factor"),
        ({"rescale_factor": "x", **SYMMETRIC}, "rescale_factor"),
        ({"rescale_factor": 2 / 255}, "no mean and std"),
        ({"rescale_offset": True, **SYMMETRIC}, "rescale_offset"),
        ({"do_flip_channel_order": True, **SYMMETRIC}, "do_flip_channel_order"),
        (
            {"image_mean": [123.675, 116.28, 103.53], "image_std": [58.4, 57.1, 57.4]},
            "--mean 0.485",
        ),
    ],
)
def test_what_is_said_of_pixels_and_not_done_is_refused_unless_options_say_it(
    document: dict[str, Any], word: str, tiny: Path
) -> None:
    tiny.with_name("preprocessor_config.json").write_text(json.dumps(document))
    options = BackboneOptions(name="vit_tiny_patch16_224", weights=tiny)
    with refusal(BackboneError, word, "--mean"):
        load_backbone(options)
    given = {"mean": IMAGENET[0], "std": IMAGENET[1]}
    loaded = load_backbone(options.model_copy(update=given))
    assert (loaded.spec.mean, loaded.spec.std) == IMAGENET


@pytest.mark.parametrize(
    ("resample", "kernel"),
    [
        (0, "nearest"), (1, "lanczos"), (2, "bilinear"), (3, "bicubic"), (4, "box"), (5, "hamming"),
        (7, "7"), (-1, "-1"), (True, "True"), ("bilinear", "bilinear"), ("area", "area"),
    ],
)  # fmt: skip
def test_a_kernel_that_the_runtime_has_not_is_refused_by_name(
    resample: Any, kernel: str, tiny: Path
) -> None:
    document = {"resample": resample, **SYMMETRIC}
    tiny.with_name("preprocessor_config.json").write_text(json.dumps(document))
    options = BackboneOptions(name="vit_tiny_patch16_224", weights=tiny)
    if kernel in ("bilinear", "bicubic"):
        assert load_backbone(options).spec.interpolation == kernel
        return
    with refusal(BackboneError, kernel, "--interpolation"):
        load_backbone(options)
    given = options.model_copy(update={"interpolation": "bilinear"})
    assert load_backbone(given).spec.interpolation == "bilinear"


@pytest.mark.parametrize("field", ["mean", "std"])
def test_values_of_pixels_up_to_255_are_refused_with_those_to_give(field: str) -> None:
    with refusal(BackboneError, field, f"--{field} 0.5,0.5,0.5"):
        load_backbone(BackboneOptions(**{field: (127.5, 127.5, 127.5)}))  # type: ignore[arg-type]


def test_a_processor_s_nested_file_is_read_and_goes_first(tmp_path: Path) -> None:
    nested = {"image_processor": {"image_mean": IMAGENET[0], "image_std": IMAGENET[1]}}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    for said in (read_stated(tmp_path / "w.safetensors"), _said(tmp_path, **SYMMETRIC)):
        assert (said.mean, said.std) == IMAGENET
        assert said.preprocessing_file == "processor_config.json"
    (tmp_path / "processor_config.json").write_text('{"image_seq_length": 5}')
    assert read_stated(tmp_path / "w.safetensors").mean == (0.5, 0.5, 0.5)
    (tmp_path / "processor_config.json").write_text('{"image_processor": 5}')
    with refusal(BackboneError, "processor_config.json", "image_processor"):
        read_stated(tmp_path / "w.safetensors")


@pytest.mark.parametrize("tag", ["dino", "mae"])
def test_the_tag_of_a_name_decides_and_a_bare_name_is_remarked_upon(
    tag: str, tmp_path: Path
) -> None:
    name = {"dino": "vit_small_patch16_224", "mae": "vit_base_patch16_224"}[tag]
    small = {"embed_dim": 32, "depth": 1, "num_heads": 2}
    tagged, bare = (random_backbone(n, **small).spec for n in (f"{name}.{tag}", name))
    assert (tagged.mean, tagged.std) == IMAGENET
    assert bare.mean == (0.5, 0.5, 0.5)
    assert not _chosen(tmp_path, None, f"{name}.{tag}").notes
    (note,) = _chosen(tmp_path, None, name).notes
    assert "mean and std" in note
    assert ".dino" in note


def test_timm_s_own_config_names_the_model(tiny: Path) -> None:
    document = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"tag": "augreg_in21k"}}
    tiny.with_name("config.json").write_text(json.dumps(document))
    loaded = load_backbone(BackboneOptions(weights=tiny))
    assert loaded.name == "vit_tiny_patch16_224.augreg_in21k"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "{"),
        ("config.json", "[1]"),
        ("config.json", "[" * 100_000),
        ("config.json", " " * (stated.MAX_BYTES + 1)),
        ("preprocessor_config.json", '{"image_mean": [1, 2]}'),
        ("preprocessor_config.json", '{"image_std": "grey"}'),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_by_name(tiny: Path, name: str, text: str) -> None:
    tiny.with_name(name).write_text(text)
    with refusal(BackboneError, tiny.parent):
        load_backbone(BackboneOptions(name="vit_tiny_patch16_224", weights=tiny))


def test_nothing_is_stated_where_there_are_no_files(tiny: Path) -> None:
    assert read_stated(tiny) == stated.Stated()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"image_mean": [0.1] * 3}, ["the mean is that of preprocessor_config.json", "--std"]),
        ({"image_std": [0.1] * 3}, ["the std is that of preprocessor_config.json", "--mean"]),
        ({"pixel_mean": [0.1] * 3}, ["preprocessor_config.json", "by no name that is known"]),
        ({"norm_mean": [0.1] * 3, "norm_std": [1] * 3}, ["by no name that is known", "--mean"]),
        ({"image_processor": {"image_mean": [0.1] * 3, "image_std": [1] * 3}}, ["are those of"]),
    ],
)
def test_what_a_file_says_in_part_or_by_other_names_is_said(
    document: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    model = create_model("test_vit")
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(document))
    loaded = load_backbone(BackboneOptions(name="test_vit", weights=tmp_path / "w.safetensors"))
    (note,) = loaded.notes
    assert all(word in note for word in words)
    if "image_mean" in document or "image_processor" in document:
        assert loaded.spec.mean == (0.1, 0.1, 0.1)


def test_a_processor_of_grey_pictures_is_refused_by_name(tmp_path: Path) -> None:
    document = {"image_mean": [0.1] * 3, "image_std": [1] * 3, "do_grayscale": True}
    save_file(create_model("test_vit").state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(document))
    with refusal(BackboneError, "do_grayscale", "grey"):
        load_backbone(BackboneOptions(name="test_vit", weights=tmp_path / "w.safetensors"))
