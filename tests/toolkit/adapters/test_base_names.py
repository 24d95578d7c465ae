"""Names as they are in the wild, and in all the places where a machine puts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_edge.toolkit.adapters.base_names import hyphenated, parse_base

NAMES: dict[str, tuple[str, str | None, int | None]] = {
    "google/vit-base-patch16-224": ("ViT", "base", 16),
    "google/vit-base-patch16-224-in21k": ("ViT", "base", 16),
    "google/vit-large-patch32-384": ("ViT", "large", 32),
    "google/vit-huge-patch14-224-in21k": ("ViT", "huge", 14),
    "WinKawaks/vit-tiny-patch16-224": ("ViT", "tiny", 16),
    "vit_tiny_patch16_224": ("ViT", "tiny", 16),
    "timm/vit_small_patch16_224.augreg_in21k_ft_in1k": ("ViT", "small", 16),
    "facebook/dino-vits16": ("DINO", "small", 16),
    "facebook/dino-vitb8": ("DINO", "base", 8),
    "vit_small_patch16_224.dino": ("DINO", "small", 16),
    "facebook/dinov2-base": ("DINOv2", "base", None),
    "vit_small_patch14_dinov2.lvd142m": ("DINOv2", "small", 14),
    "dinov2_vitl14": ("DINOv2", "large", 14),
    "facebook/dinov2-with-registers-large": ("DINOv2 with registers", "large", None),
    "vit_base_patch14_reg4_dinov2.lvd142m": ("DINOv2 with registers", "base", 14),
    "dinov2_vitb14_reg": ("DINOv2 with registers", "base", 14),
    "facebook/dinov3-vits16-pretrain-lvd1689m": ("DINOv3", "small", 16),
    "vit_base_patch16_dinov3.lvd1689m": ("DINOv3", "base", 16),
    "google/siglip-base-patch16-224": ("SigLIP", "base", 16),
    "google/siglip-so400m-patch14-384": ("SigLIP", "so400m", 14),
    "google/siglip2-base-patch16-224": ("SigLIP 2", "base", 16),
    "vit_base_patch16_siglip_224.webli": ("SigLIP", "base", 16),
    "openai/clip-vit-base-patch32": ("CLIP", "base", 32),
    "laion/CLIP-ViT-B-16-laion2B-s34B-b88K": ("CLIP", "base", 16),
    "vit_base_patch16_clip_224.openai": ("CLIP", "base", 16),
    "facebook/metaclip-b32-400m": ("CLIP", "base", 32),
    "facebook/deit-base-patch16-224": ("DeiT", "base", 16),
    "facebook/deit-base-distilled-patch16-224": ("distilled DeiT", "base", 16),
    "deit_tiny_distilled_patch16_224.fb_in1k": ("distilled DeiT", "tiny", 16),
    "deit3_small_patch16_224.fb_in22k_ft_in1k": ("DeiT III", "small", 16),
    "microsoft/beit-base-patch16-224-pt22k-ft22k": ("BEiT", "base", 16),
    "beitv2_base_patch16_224.in1k_ft_in22k": ("BEiT v2", "base", 16),
    "beit3_base_patch16_224.in22k_ft_in1k": ("BEiT-3", "base", 16),
    "facebook/vit-mae-base": ("MAE", "base", None),
    "vit_large_patch16_224.mae": ("MAE", "large", 16),
    "facebook/vit-msn-small": ("MSN", "small", None),
    "eva02_base_patch14_224.mim_in22k": ("EVA-02", "base", 14),
    "eva02_base_patch16_clip_224.merged2b": ("EVA-CLIP", "base", 16),
    "vit_pe_core_base_patch16_224.fb": ("Perception Encoder", "base", 16),
    "facebook/PE-Core-B16-224": ("Perception Encoder", "base", 16),
    "microsoft/swin-tiny-patch4-window7-224": ("swin", "tiny", 4),
    "apple/mobilevit-small": ("mobilevit", "small", None),
    "google/owlvit-base-patch32": ("owlvit", "base", 32),
    "vit_small_r26_s32_224.augreg_in21k": ("hybrid ViT", "small", None),
    "meta-llama/Llama-3.2-1B": ("language model", None, None),
    "google-bert/bert-base-uncased": ("language model", "base", None),
    "test_vit": ("ViT", None, None),
    "test_vit.r160_in1k": ("ViT", None, None),
    "vit_base_patch16_224.sam_in1k": ("ViT", "base", 16),
    "vit_base_patch16_siglip_224.v2_webli": ("SigLIP 2", "base", 16),
    "timm/tiny_vit_5m_224.dist_in22k": ("TinyViT", "tiny", None),
    "tiny-vit-21m": ("TinyViT", "tiny", None),
    "WinKawaks/tiny-vit-patch16-224": ("ViT", "tiny", 16),
    "IDEA-Research/grounding-dino-base": ("Grounding DINO", "base", None),
    "depth-anything/Depth-Anything-V2-Small": ("Depth Anything", "small", None),
    "hustvl/yolos-tiny": ("yolos", "tiny", None),
    "google/mobilenet_v3_small": ("mobilenet", "small", None),
    "nvidia/C-RADIOv2-B": ("radio", None, None),
    "facebook/webssl-dino300m-full2b-224": ("webssl", None, None),
    "ibot_vitb16": ("iBOT", "base", 16),
    "MoCo-v3-vit-b": ("MoCo", None, None),
    "mocov3_vit_small": ("MoCo", "small", None),
    "vit_relpos_base_patch16_224.sw_in1k": ("RelPos ViT", "base", 16),
    "vit_srelpos_small_patch16_224": ("RelPos ViT", "small", 16),
    "timm/vit_small_patch16_xp_224": ("XP ViT", "small", 16),
    "vit_base_patch16_rpn_224.sw_in1k": ("RPN ViT", "base", 16),
    "vit_base_patch16_224_miil.in21k": ("MIIL ViT", "base", 16),
    "vit_base_patch16_224.bamboo": ("Bamboo ViT", "base", 16),
    "vit_little_patch16_reg4_gap_256.sbb_in1k": ("ViT with registers", "little", 16),
    "vit_intern300m_patch14_448.ogvl_dist": ("internvit", None, 14),
    "OpenGVLab/InternViT-300M-448px": ("internvit", None, None),
    "siglip-b16": ("SigLIP", "base", 16),
    "ViT-B-32__openai": ("CLIP", "base", 32),
    "vit_small_patch16_rope_224.naver_in1k": ("RoPE-ViT", "small", 16),
    "google/vit-base-patch16-224-in21k@refs/pr/7": ("ViT", "base", 16),
    "hf-hub:timm/vit_small_patch14_dinov2.lvd142m@main": ("DINOv2", "small", 14),
}
UNKNOWN = [
    "my-model", "acme/parts-encoder", "/data/large_parts/model", "backbone",
    "/home/me/dino_project/checkpoint-500", "", "   ", "///", "tinyimages", "/models/base/large",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_tells_family_size_and_patch(name: str) -> None:
    found = parse_base(name)
    assert (found.family, found.size, found.patch) == NAMES[name]


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_names_no_model_tells_nothing(name: str) -> None:
    found = parse_base(name)
    assert (found.family, found.size, found.patch, found.kin) == (None, None, None, None)


@pytest.mark.parametrize(
    ("path", "family", "size"),
    [
        ("/models/vit/siglip-b16/model", "SigLIP", "base"),
        ("/models/siglip/model.safetensors", "SigLIP", None),
        ("/ckpts/mocov3/vit-b-300ep.pth.tar", "MoCo", None),
        ("/ckpts/MoCo-v3/vit_base_patch16_224/best_model", "MoCo", "base"),
        ("/ckpts/dinov2/vit_base_patch16_224", "DINOv2", "base"),
        ("/ckpts/dinov2/deit_base_patch16_224", "DeiT", "base"),
        ("/ckpts/moco_parts/vit_base_patch16_224", "ViT", "base"),
        ("/models/vit/model", None, None),
        ("/paperclip/vit_base_patch16_224", "ViT", "base"),
    ],
)
def test_a_folder_called_as_a_family_speaks(
    path: str, family: str | None, size: str | None
) -> None:
    found = parse_base(path)
    assert (found.family, found.size) == (family, size)


def test_open_clip_s_names_with_a_slash_are_one_name() -> None:
    found = parse_base("ViT-B/16")
    assert (found.family, found.size, found.patch) == ("ViT", "base", 16)


@pytest.mark.parametrize("name", ["some/dinov2-like", "me/siglip-style-encoder", "vit_base_like"])
def test_being_like_a_family_is_no_claim_to_be_of_it(name: str) -> None:
    assert parse_base(name).family is None
    assert parse_base(name).kin


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("openai/clip-vit-base-patch32", "openai"),
        ("vit_base_patch32_clip_224.openai", "openai"),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "laion2b"),
        ("vit_base_patch32_clip_224", None),
        ("openai/vit-base-patch16", None),
        ("facebook/dinov3-vitl16-pretrain-sat493m", "sat493m"),
        ("vit_base_patch16_dinov3_qkvb.eupe_lvd1689m", "eupe"),
        ("vit_base_patch16_dinov3.lvd1689m", "lvd1689m"),
    ],
)
def test_whose_clip_it_is(name: str, source: str | None) -> None:
    assert parse_base(name).source == source


FOLDER_WORDS = [
    "large", "tiny", "base", "large_parts", "dino", "clip-art", "deit", "siglip tests", "beit",
    "vit-huge-patch14-224", "mae", "Projects", "data", "übung", "C",
]  # fmt: skip
folders = st.lists(st.sampled_from(FOLDER_WORDS), max_size=4).map("/".join)
SEPARATE = [name for name in NAMES if "/" not in name] + [
    n.split("/")[1] for n in NAMES if "/" in n
]


@given(name=st.sampled_from(SEPARATE), above=folders, root=st.sampled_from(["", "/", "./", "C:/"]))
def test_folders_above_the_name_change_nothing(name: str, above: str, root: str) -> None:
    expected = parse_base(name)
    for path in (f"{root}{above}/{name}", f"{root}{above}/{name}/"):
        found = parse_base(path)
        assert (found.family, found.size, found.patch) == (
            expected.family, expected.size, expected.patch,
        )  # fmt: skip
    backwards = f"{root}{above}/{name}".replace("/", "\\")
    assert parse_base(backwards).family == expected.family


BELOW = [
    "checkpoint-500", "model.safetensors", "pytorch_model.bin", "best_model", "final", "weights",
    "checkpoint-500/model.safetensors", "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678",
]  # fmt: skip


@given(
    name=st.sampled_from([n for n, (_, size, _) in NAMES.items() if size and "/" not in n]),
    below=st.sampled_from(BELOW),
    above=folders,
)
def test_generic_parts_below_the_name_are_passed(name: str, below: str, above: str) -> None:
    found = parse_base(f"/{above}/{name}/{below}")
    assert (found.family, found.size, found.patch) == NAMES[name]


@given(
    name=st.sampled_from([n for n in NAMES if n.count("/") == 1]),
    home=folders,
    commit=st.text("0123456789abcdef", min_size=40, max_size=40),
    below=st.sampled_from(["", "/", "/model.safetensors"]),
)
def test_a_hub_s_cache_folder_stands_for_its_name(
    name: str, home: str, commit: str, below: str
) -> None:
    folder = "models--" + name.replace("/", "--")
    found = parse_base(f"/{home}/hub/{folder}/snapshots/{commit}{below}")
    expected = parse_base(name)
    assert found.identity == expected.identity


@pytest.mark.parametrize("name", NAMES)
def test_addresses_and_prefixes_stand_for_the_name(name: str) -> None:
    for written in (f"https://huggingface.co/{name}", f"hf-hub:{name}", f"{name}.safetensors"):
        assert parse_base(written).identity == parse_base(name).identity, written
    assert parse_base(name.upper()).family == parse_base(name).family


@given(st.text(max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    found = parse_base(text)
    assert found.text == text or hyphenated(found.text) in hyphenated(text)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("microsoft/trocr-base-handwritten", "trocr"),
        ("google/paligemma-3b-pt-224", "paligemma"),
        ("llava-hf/llava-1.5-7b-hf", "llava"),
        ("owkin/phikon-v2", "phikon"),
        ("paige-ai/Virchow2", "virchow"),
        ("prov-gigapath/prov-gigapath", "gigapath"),
        ("naver-clova-ix/donut-base", "donut"),
    ],
)
def test_models_that_hold_a_vision_transformer_among_others_are_none_of_its_kind(
    name: str, family: str
) -> None:
    assert parse_base(name).family == family


def test_the_embedded_backbone_is_a_family_of_its_own() -> None:
    assert parse_base("vision-edge-tiny").family == "vision-edge"
    assert parse_base("vit_tiny_patch16_224").family == "ViT"
