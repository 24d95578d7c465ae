"""The families of backbones: what the embedding of each is, where that comes from, what is refused.

The one place that knows. An embedding is what timm pools of a model without its classifier,
`forward_head(forward_features(x), pre_logits=True)`; `FAMILIES` says which kind of pooling that is
and why. `unsuitable` says, before any weight is read, why a model cannot be a backbone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from timm.layers.attention import Attention, AttentionRope
from timm.layers.patch_embed import PatchEmbed
from timm.models import beit, eva, vision_transformer
from timm.models.deit import VisionTransformerDistilled
from torch import nn

CLS = "[CLS] after the final norm"
CLS_DIST = "mean of [CLS] and the distillation token after the final norm"
MEAN = "mean of the patches after the final norm"
MEAN_FC = "mean of the patches, then fc_norm"
ATTENTION_POOL = "attention pooling of the tokens after the final norm"
PROJECTED = ", then CLIP's projection where the weights carry it"

_ATTENTION = (Attention, AttentionRope, eva.EvaAttention, beit.Attention)
_BLOCKS = (
    vision_transformer.Block,
    vision_transformer.ResPostBlock,
    eva.EvaBlock,
    eva.EvaBlockPostNorm,
    beit.Block,
)
_INSTEAD = "use a plain model of the same size, such as vit_small_patch16_224 or deit3_small_*"


@dataclass(frozen=True)
class Family:
    """Backbones that were trained alike.

    Attributes:
        name: For people.
        recognise: Whether a model, given with timm's name of it, belongs here.
        source: Where it is published, and what its authors read as the image's embedding.
        example: A name in timm.
    """

    name: str
    recognise: Callable[[nn.Module, str], bool]
    source: str
    example: str


def _named(*parts: str) -> Callable[[nn.Module, str], bool]:
    return lambda _, name: any(part in name for part in parts)


FAMILIES: tuple[Family, ...] = (
    Family(
        "DeiT, distilled",
        lambda model, _: isinstance(model, VisionTransformerDistilled),
        "Touvron et al. 2021 (arXiv 2012.12877), section 4: both tokens are classified, averaged",
        "deit_tiny_distilled_patch16_224",
    ),
    Family("DeiT 3", _named("deit3_"), "Touvron et al. 2022 (arXiv 2204.07118)", "deit3_small_*"),
    Family(
        "PE",
        _named("vit_pe_"),
        "Bolya et al. 2025 (arXiv 2504.13181); core models pool by attention, spatial and "
        "language models have no pooling of their own and timm takes the mean",
        "vit_pe_core_tiny_patch16_384",
    ),
    Family(
        "DINOv3",
        _named("dinov3"),
        "Siméoni et al. 2025 (arXiv 2508.10104); timm pools the patches, transformers' "
        "pooler_output is [CLS]",
        "vit_small_patch16_dinov3",
    ),
    Family(
        "EVA-02", _named("eva02_"), "Fang et al. 2023 (arXiv 2303.11331)", "eva02_tiny_patch14_224"
    ),
    Family("EVA", _named("eva_"), "Fang et al. 2022 (arXiv 2211.07636)", "eva_large_patch14_196"),
    Family(
        "BEiT 3", _named("beit3_"), "Wang et al. 2022 (arXiv 2208.10442)", "beit3_base_patch16_224"
    ),
    Family(
        "BEiT, BEiT v2",
        lambda model, _: isinstance(model, beit.Beit),
        "Bao et al. 2021 (arXiv 2106.08254); Peng et al. 2022 (arXiv 2208.06366)",
        "beit_base_patch16_224",
    ),
    Family(
        "SigLIP, SigLIP 2",
        _named("siglip"),
        "Zhai et al. 2023 (arXiv 2303.15343); Tschannen et al. 2025 (arXiv 2502.14786); *_gap_* "
        "names take the mean instead",
        "vit_base_patch16_siglip_224",
    ),
    Family(
        "CLIP",
        _named("_clip_"),
        "Radford et al. 2021 (arXiv 2103.00020), section 2.4",
        "vit_base_patch32_clip_224",
    ),
    Family(
        "DINOv2, with registers too",
        _named("dinov2"),
        "Oquab et al. 2023 (arXiv 2304.07193); Darcet et al. 2023 (arXiv 2309.16588)",
        "vit_small_patch14_reg4_dinov2",
    ),
    Family("DINO", _named(".dino"), "Caron et al. 2021 (arXiv 2104.14294)", "*.dino"),
    Family("MAE", _named(".mae"), "He et al. 2021 (arXiv 2111.06377)", "vit_base_patch16_224.mae"),
    Family(
        "DeiT", _named("deit_"), "Touvron et al. 2021 (arXiv 2012.12877)", "deit_tiny_patch16_224"
    ),
    Family(
        "RoPE-ViT",
        _named("_rope_"),
        "Heo et al. 2024 (arXiv 2403.13298)",
        "vit_small_patch16_rope_224",
    ),
    Family("AIMv2", _named("aimv2"), "Fini et al. 2024 (arXiv 2411.14402)", "aimv2_1b_patch14_224"),
    Family(
        "RADIO", _named("_radio_"), "Ranzinger et al. 2023 (arXiv 2312.06709)", "vit_*_radio_v3"
    ),
    Family(
        "I-JEPA",
        _named("ijepa"),
        "Assran et al. 2023 (arXiv 2301.08243), which averages the patches",
        "vit_huge_patch14_gap_224.in1k_ijepa",
    ),
    Family(
        "ViT, pooled (GAP, registers)",
        lambda model, _: getattr(model, "global_pool", "token") != "token",
        "timm's own recipes; Darcet et al. 2023 (arXiv 2309.16588) for registers",
        "vit_base_patch16_reg4_gap_256",
    ),
    Family(
        "ViT (AugReg and others)",
        lambda *_: True,
        "Dosovitskiy et al. 2020 (arXiv 2010.11929); Steiner et al. 2021 (arXiv 2106.10270)",
        "vit_tiny_patch16_224",
    ),
)
"""In this order: the first that recognises a model is its family."""


def family_of(model: nn.Module, name: str) -> Family:
    """Return the family of a model.

    Args:
        model: A timm model that is suitable.
        name: timm's name of it, with its tag where it has one.
    """
    return next(family for family in FAMILIES if family.recognise(model, name))


def is_clip(name: str) -> bool:
    """Whether timm's name of a model says that it is CLIP's image tower."""
    return "_clip_" in name


def embedding_kind(model: nn.Module, name: str) -> str:
    """Return in words which embedding a model gives."""
    if isinstance(model, VisionTransformerDistilled):
        return CLS_DIST
    pool = getattr(model, "global_pool", "token")
    if pool == "token":
        return CLS + (PROJECTED if is_clip(name) else "")
    if pool == "avg":
        return MEAN if isinstance(model.fc_norm, nn.Identity) else MEAN_FC
    return ATTENTION_POOL


def unsuitable(model: Any) -> tuple[str, str] | None:
    """Return why a model cannot be a backbone and what to use instead, or None if it can.

    Args:
        model: Any timm model; its weights are not looked at.
    """
    kind = type(model).__name__
    if not isinstance(model, vision_transformer.VisionTransformer | eva.Eva | beit.Beit):
        if kind == "NaFlexVit":
            return (
                "a NaFlexVit takes pictures cut into patches of any number, not squares of one "
                "size",
                "use the model of fixed size that it was made from, such as vit_base_patch16_"
                "siglip_224",
            )
        return (
            f"a {kind} is not a plain vision transformer: a row of tokens with global attention",
            "use one of timm's vit_*, deit*, eva* or beit* models; docs/reference/backbones.md "
            "lists them",
        )
    reason = _odd_patches(model) or _odd_pooling(model) or _odd_blocks(model)
    return None if reason is None else (reason, _INSTEAD)


def _odd_patches(model: Any) -> str | None:
    embed = model.patch_embed
    if not isinstance(embed, PatchEmbed):
        return (
            f"it is a hybrid: a convolutional network ({type(embed).__name__}) makes its patches, "
            "and normalisation cannot be folded into that"
        )
    if not isinstance(embed.proj, nn.Conv2d) or embed.proj.padding not in ((0, 0), "valid"):
        return "its patches are not embedded by one unpadded convolution"
    return None


def _odd_pooling(model: Any) -> str | None:
    if model.global_pool not in ("token", "avg", "map"):
        return f"its pooling {model.global_pool!r} gives no embedding that its authors use"
    return None


def _odd_blocks(model: Any) -> str | None:
    for index, block in enumerate(model.blocks):
        kind, attention = type(block).__name__, getattr(block, "attn", None)
        if type(block) not in _BLOCKS:
            return (
                f"its block {index} is a {kind}, without the standard attention (one fused or "
                "separate query, key and value, then an output projection) that LoRAs adapt"
            )
        if not isinstance(attention, _ATTENTION) or type(attention) not in _ATTENTION:
            return (
                f"the attention of its block {index} is {type(attention).__name__}, not the "
                "standard one that LoRAs adapt"
            )
        if getattr(attention, "num_kv_groups", 1) > 1:
            return (
                f"block {index} has grouped queries: several share one key and value, so the "
                "three cannot be adapted alike"
            )
    return None
