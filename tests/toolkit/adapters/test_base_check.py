import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toolkit import adapter_in, edit_config, hub_in, refusal, tiny_backbone, without_hash

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.base_check import Recorded, compare_base, layout_of
from vision_edge.toolkit.adapters.hub import read_hub

OURS = "vit_tiny_patch16_224"
OTHERS = {
    "google/siglip-base-patch16-224": "SigLIP",
    "facebook/dino-vits16": "DINO",
    "facebook/vit-mae-base": "MAE",
    "facebook/deit-tiny-patch16-224": "DeiT",
    "facebook/deit-tiny-distilled-patch16-224": "distilled DeiT",
    "microsoft/beit-base-patch16-224": "BEiT",
    "openai/clip-vit-base-patch16": "CLIP",
    "facebook/dinov2-small": "DINOv2",
    "vit_tiny_patch16_224.mae": "MAE",
}


@pytest.mark.parametrize("base", OTHERS)
def test_another_family_of_the_same_shape_is_refused_by_name_and_trusted_on_demand(
    tmp_path: Path, base: str
) -> None:
    ours = tiny_backbone(name=OURS)
    folder = without_hash(adapter_in(tmp_path / "a", ours))
    edit_config(folder, base_model_name_or_path=base)
    with refusal(AdapterError, folder, base, OTHERS[base], OURS, "--trust-base"):
        read_adapter(folder, ours)
    (note,) = read_adapter(folder, ours, trust_base=True).notes
    assert base in note
    assert "trusted" in note


@pytest.mark.parametrize("base", ["my-model", "/data/large_parts/model", "acme/encoder-v2"])
def test_an_unknown_base_cannot_be_told_and_that_is_said(tmp_path: Path, base: str) -> None:
    ours = tiny_backbone(name=OURS)
    folder = without_hash(adapter_in(tmp_path / "a", ours))
    edit_config(folder, base_model_name_or_path=base)
    (note,) = read_adapter(folder, ours).notes
    assert base in note
    assert "cannot be told" in note


def test_trust_does_not_make_shapes_fit(tmp_path: Path) -> None:
    folder = without_hash(adapter_in(tmp_path / "a", tiny_backbone()))
    with refusal(AdapterError, folder, "(192, 64)", "(288, 96)"):
        read_adapter(folder, tiny_backbone(embed_dim=96), trust_base=True)


def test_trust_reaches_over_a_hash_and_says_so(tmp_path: Path) -> None:
    ours, other = tiny_backbone(), tiny_backbone(seed=1)
    folder = adapter_in(tmp_path / "a", other)
    (note,) = read_adapter(folder, ours, trust_base=True).notes
    assert other.sha256[:12] in note


@pytest.mark.parametrize(
    "base",
    ["/data/large_parts/vit-tiny-patch16-224", "./base-models/vit_tiny_patch16_224/", OURS.upper()],
)
def test_words_of_folders_do_not_speak(tmp_path: Path, base: str) -> None:
    ours = tiny_backbone(name=OURS)
    folder = without_hash(adapter_in(tmp_path / "a", ours))
    edit_config(folder, base_model_name_or_path=base)
    read_adapter(folder, ours)


@pytest.mark.parametrize(
    ("recorded", "backbone", "word"),
    [
        (Recorded(library="transformers.models.dinov2.modeling_dinov2"), OURS, "models.dinov2"),
        (Recorded(library="transformers.models.beit.modeling_beit"), OURS, "beit"),
        (Recorded(library="transformers.models.llama.modeling_llama"), OURS, "llama"),
        (Recorded(library="timm.models.swin_transformer"), OURS, "swin"),
        (Recorded(layout="deit"), "vit_base_patch16_clip_224.openai", "deit"),
        (Recorded(layout="vision_model"), OURS, "vision_model"),
        (Recorded(task="CAUSAL_LM"), OURS, "CAUSAL_LM"),
        (Recorded(library="transformers", model_class="SiglipVisionModel"), OURS, "Siglip"),
        (Recorded(library="modeling_intern_vit", model_class="InternVisionModel"), OURS, "Intern"),
        (Recorded(library="open_clip.model", model_class="CLIP"), OURS, "CLIP of open_clip.model"),
        (Recorded(model_class="DinoVisionTransformer"), OURS, "DinoVision"),
        (Recorded(model_class="ViTMAEModel"), OURS, "ViTMAEModel"),
        (Recorded(model_class="LlamaForCausalLM"), OURS, "Llama"),
        (Recorded(model_class="BeitModel", layout="vit"), OURS, "BeitModel"),
        (Recorded("ibot_vitt16"), OURS, "iBOT"),
        (Recorded("vit_base_patch16_224_miil"), "vit_base_patch16_224", "MIIL"),
        (Recorded("/models/vit/siglip-b16/model"), "vit_base_patch16_224", "SigLIP"),
        (Recorded("vit-base-patch16-224"), OURS, "size"),
        (Recorded("vit-tiny-patch8-224"), OURS, "patch"),
        (Recorded("openai/clip-vit-base-patch32"), "vit_base_patch32_clip_224.laion2b", "source"),
        (Recorded("google/vit-tiny-patch16-224", layout="beit"), OURS, "beit"),
    ],
)
def test_whatever_contradicts_is_named(recorded: Recorded, backbone: str, word: str) -> None:
    finding = compare_base(recorded, backbone)
    assert word in (finding.problem or "")
    assert finding.fix


@pytest.mark.parametrize(
    ("recorded", "backbone"),
    [
        (Recorded(library="transformers.models.vit.modeling_vit"), OURS),
        (Recorded(library="transformers.models.vit.modeling_vit"), "vit_small_patch16_224.dino"),
        (Recorded(library="timm.models.vision_transformer"), "vit_base_patch16_siglip_224"),
        (Recorded(library="__main__", model_class="Mine"), OURS),
        (Recorded(layout="vision_model"), "vit_base_patch32_clip_224"),
        (Recorded(library="x", model_class="CLIPVisionModel"), "vit_base_patch32_clip_224"),
        (Recorded(library="x", model_class="VisionTransformer"), OURS),
        (Recorded(library="x", model_class="ViTForImageClassification"), OURS),
        (Recorded(library="x", model_class="DeiTModel"), "deit_tiny_distilled_patch16_224"),
        (Recorded(task="FEATURE_EXTRACTION"), OURS),
        (Recorded(layout="vit"), "a-backbone-of-mine"),
        (Recorded("a-backbone-of-mine"), "a-backbone-of-mine"),
        (Recorded("facebook/dino-vits16", layout="vit"), "vit_small_patch16_224.dino"),
        (Recorded("some/dinov2-like", layout="dinov2"), OURS),
    ],
)
def test_what_does_not_contradict_is_taken_with_a_note(recorded: Recorded, backbone: str) -> None:
    finding = compare_base(recorded, backbone)
    assert finding.problem is None
    assert finding.note


def test_layouts_are_seen_in_the_names_of_layers() -> None:
    assert layout_of(["deit.encoder.layer.0.attention.attention.query"]) == "deit"
    assert layout_of(["model.vision_model.encoder.layers.3.self_attn.q_proj"]) == "vision_model"
    assert layout_of(["blocks.0.attn.qkv", "layers.1.attention.q_proj"]) is None


@given(st.text(max_size=60), st.sampled_from([OURS, "vit_base_patch16_clip_224.openai", "mine"]))
def test_no_recorded_base_is_taken_or_refused_without_a_word(base: str, backbone: str) -> None:
    finding = compare_base(Recorded(base), backbone)
    assert (finding.problem is None) != (finding.note is None)


# --- hubs ------------------------------------------------------------------------------------

BASES = ["WinKawaks/vit-tiny-patch16-224", "facebook/deit-tiny-patch16-224", "microsoft/beit-base"]


def _mixed(folder: Path) -> Path:
    ours = tiny_backbone(name=OURS)
    hub = hub_in(folder, ours)
    for index, base in enumerate(BASES):
        edit_config(without_hash(hub / f"a{index}"), base_model_name_or_path=base)
    return hub


def test_mixed_bases_are_named_each_with_its_adapters(tmp_path: Path) -> None:
    hub, ours = _mixed(tmp_path / "hub"), tiny_backbone(name=OURS)
    with refusal(AdapterError, hub, *(f"{base!r}: a{i}" for i, base in enumerate(BASES))):
        list(read_hub(hub, ours))
    adapters = list(read_hub(hub, ours, trust_base=True))
    assert len(adapters) == 3
    assert all(base in a.notes[0] for a, base in zip(adapters, BASES, strict=True))
    left_out: list[str] = []
    kept = [a.name for a in read_hub(hub, ours, on_bad=lambda name, _: left_out.append(name))]
    assert (kept, left_out) == (["a0"], ["a1", "a2"])


def test_one_base_by_several_names_is_not_mixed(tmp_path: Path) -> None:
    hub, ours = _mixed(tmp_path / "hub"), tiny_backbone(name=OURS)
    for index, base in enumerate([f"/x/large/{OURS}", "a/vit-tiny-patch16-224-in21k"], start=1):
        edit_config(hub / f"a{index}", base_model_name_or_path=base)
    assert len(list(read_hub(hub, ours))) == 3


def test_an_unreadable_configuration_is_reported_as_itself(tmp_path: Path) -> None:
    hub, ours = _mixed(tmp_path / "hub"), tiny_backbone(name=OURS)
    for index in (1, 2):
        (hub / f"a{index}" / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    with refusal(AdapterError, hub / "a1", "IA3"):
        list(read_hub(hub, ours))
