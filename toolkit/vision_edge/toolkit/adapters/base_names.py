"""Names of pretrained vision models, as adapters record them: family, size, patch.

A recorded base is a name on a hub (`google/vit-base-patch16-224`), timm's name of a model with its
tag (`vit_small_patch14_dinov2.lvd142m`), or a path on the machine that tuned. Only the part of a
path that names the model speaks: folders above it are words of their owner (`/data/large_parts/`),
but for those that are called as a family and nothing else is (`/models/mocov3/`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_OTHERS = (
    "swin", "swinv2", "convnext", "convnextv2", "resnet", "regnet", "efficientnet", "hiera", "sam",
    "segformer", "dpt", "blip", "blip2", "aimv2", "radio", "ijepa", "vjepa", "vjepa2", "dit",
    "cait", "xcit", "volo", "pvt", "cvt", "twins", "tnt", "focalnet", "vilt", "videomae",
    "data2vec", "florence", "vitamin", "poolformer", "pit", "mobilenet", "densenet", "inception",
    "vgg", "yolo", "yolos", "detr", "maskformer", "mask2former", "oneformer", "zoedepth", "webssl",
    "coatnet", "mixer", "sapiens", "tips", "lingbot", "trocr", "donut", "layoutlm", "flava",
    "groupvit", "kosmos", "paligemma", "llava", "idefics", "pixtral", "moondream", "phikon",
    "virchow", "gigapath", "prithvi", "owlv2", "nougat", "align", "perceiver",
)  # fmt: skip
_LANGUAGE = (
    r"(?:distil|al|de)?(?:bert|roberta)[a-z]*|gpt\w*|llama\w*|qwen\w*|mistral\w*|mixtral\w*"
    r"|gemma\w*|t5|flan|phi\d*|opt|bloom\w*|falcon\w*|deepseek\w*|whisper\w*|wav2vec\w*"
)
_FAMILIES: tuple[tuple[str, str], ...] = (
    ("vision-edge", r"\bvision-edge-tiny\b"),
    ("SigLIP 2", r"siglip-?2\b|siglip.*\bv2-webli\b"),
    ("Grounding DINO", r"\bgrounding-?dino\b"),
    ("Depth Anything", r"\bdepth-anything"),
    ("TinyViT", r"\btiny-?vit\b(?!-patch)"),
    ("SigLIP", r"siglip"),
    ("DINOv3", r"dino-?v3"),
    ("DINOv2 with registers", r"dino-?v2.*\bregs?\d*\b|\breg\d*-dino-?v2|dino-?v2.*registers?"),
    ("DINOv2", r"dino-?v2"),
    ("DINO", r"\bdino(?:v1)?\b"),
    ("EVA-CLIP", r"\beva\d*\b.*clip|\beva-?\d*clip"),
    ("CLIP", r"\b(?!clipp|clips\b)[a-z0-9]*clip[a-z0-9]*\b"),
    ("CLIP", r"\bvit-[a-z]+-?\d+.*-(?:openai|laion\d\w*|datacomp\w*|metaclip\w*|dfn\w*)\b"),
    ("Perception Encoder", r"\bpe-(?:core|lang|spatial)\b|\bvit-pe\b|perception-encoder"),
    ("EVA-02", r"\beva-?02\b"),
    ("EVA", r"\beva\b"),
    ("BEiT-3", r"\bbeit-?3\b"),
    ("BEiT v2", r"\bbeit-?v2\b"),
    ("BEiT", r"\bbeit\b"),
    ("DeiT III", r"\bdeit-?(?:3|iii)\b"),
    ("distilled DeiT", r"\bdeit\b.*\bdistill?ed\b"),
    ("DeiT", r"\bdeit\b"),
    ("MSN", r"\bmsn\b"),
    ("iBOT", r"\bibot\b"),
    ("MoCo", r"\bmoco(?:-?v?\d)?\b"),
    ("internvit", r"\bvit\b.*\bintern\d+m\b|\bintern-?vit\b"),
    ("RelPos ViT", r"\bvit\b.*\bs?relpos\b"),
    ("XP ViT", r"\bvit\b.*\bxp\b"),
    ("RPN ViT", r"\bvit\b.*\brpn\b"),
    ("MIIL ViT", r"\bvit\b.*\bmiil\b"),
    ("Bamboo ViT", r"\bvit\b.*\bbamboo\b"),
    ("ViT with registers", r"\bvit\b.*\breg\d+\b"),
    ("MAE", r"\bmae\b"),
    ("language model", rf"\b(?:{_LANGUAGE})\b"),
    ("ViT", r"\bvit\b.*\bsam-in1k\b"),  # trained with sharpness-aware minimisation
    *((name, rf"\b{name}(?:-?v?\d+\w?)?\b") for name in _OTHERS),
    ("hybrid ViT", r"\bvit\b.*\br\d*-s\d+\b|\bvit\b.*\bresnet\d+|\bvit-hybrid\b"),
    ("RoPE-ViT", r"\bvit\b.*\brope\b"),
    ("ViT", r"\bvit(?:-?[tsblhg]-?\d+)?\b"),
)
"""Families by a pattern on a name in lower case whose words are joined by hyphens; the first that
is found counts. Weights of two families never go together, even where all shapes do."""
_SPEAK_ALONE = frozenset(
    ("SigLIP", "SigLIP 2", "DINOv2", "DINOv3", "EVA-02", "BEiT v2", "BEiT-3", "DeiT III", "iBOT",
     "MoCo")
)  # fmt: skip
"""Families whose name is no everyday word: a folder called so tells what lies in it."""
_COMPILED = tuple((family, re.compile(pattern)) for family, pattern in _FAMILIES)
_VARIETY = re.compile(r"\b([a-z]+vit)(?:v\d)?\b")  # mobilevit, owlvit, ...
_KIN = re.compile(r"\b(?:like|style|ish)\b")

_SIZE_WORDS = (
    "nano", "tiny", "little", "medium", "betwixt", "small", "base", "large", "huge", "giant",
    "gigantic", "so400m", "so150m", "so150m2", "7b",
)  # fmt: skip
_SIZES = "|".join(sorted(_SIZE_WORDS, key=len, reverse=True))
_BEFORE_PATCH = re.compile(rf"\b({_SIZES})-(?:distill?ed-)?patch")
_LETTER = re.compile(r"\b(?:vit|core|spatial|lang|deit|vilt)-?([tsblhg])-?(\d{1,2})(?:plus)?\b")
_SHORT = re.compile(r"\b([tblhg])(8|14|16|32)\b")  # siglip-b16; s16 is a stride
_ANY_SIZE = re.compile(rf"\b({_SIZES})\b")
_LETTERS = {"t": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge", "g": "giant"}
_PATCH = re.compile(r"\bpatch-?(\d{1,3})\b")
_SOURCES = {
    "CLIP": ("openai", "laion2b", "laion400m", "laion", "metaclip", "dfn", "datacomp", "webli"),
    "DINOv3": ("eupe", "sat493m", "lvd1689m"),
}

_SUFFIX = re.compile(r"\.(?:safetensors|bin|pth|pt|ckpt|onnx|h5|npz|msgpack)$")
_HUB_FOLDER = re.compile(r"models--(?:(?P<owner>.+?)--)?(?P<name>.+)$")
_GENERIC = re.compile(
    r"(?:[0-9a-f]{7,64}|\d+|snapshots|main|master|refs|blobs|resolve|tree|raw|default"
    r"|(?:checkpoint|epoch|step|global-step|run|version|v)-?\d*"
    r"|(?:best|last|final|latest)?-?(?:model|checkpoint|weights|ckpt|adapter)?"
    r"|(?:pytorch-)?model(?:-\d+-of-\d+)?|outputs?|results?|pretrained|backbone|encoder|merged)$"
)
_CLIMB = 4  # folders of no name of their own that are passed on the way up


@dataclass(frozen=True)
class BaseName:
    """What a recorded base says.

    Attributes:
        text: The part that names the model.
        family: Such as `"ViT"` or `"DINOv2"`; None if no family that is known is named.
        size: Such as `"base"`.
        patch: Side of a patch in pixels.
        source: Whose weights, where one family was trained several times (CLIP, DINOv3).
        kin: The family that it says it is *like* (`dinov2-like`), which is no claim to be it.
    """

    text: str
    family: str | None = None
    size: str | None = None
    patch: int | None = None
    source: str | None = None
    kin: str | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        """What two names must share to be of one base, as far as names tell."""
        known = (self.family, self.size, self.patch, self.source)
        return known if self.family else (hyphenated(self.text),)


def hyphenated(text: str) -> str:
    """Return a name in lower case with its words joined by single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def parse_base(path: str) -> BaseName:
    """Understand a recorded base.

    Args:
        path: A name on a hub, a timm name, a path, or an address.

    Returns:
        What it says; without a family if nothing that is known is named.
    """
    parts, from_hub = _parts(path)
    last = len(parts) - 1
    for index in range(last, max(last - _CLIMB, -1), -1):
        part = _SUFFIX.sub("", parts[index])
        owner = parts[index - 1] if index else ""
        if re.fullmatch(r"\d{1,2}", part) and _is_open_clip(owner):
            part = f"{owner}-{part}"  # ViT-B/16
        if _GENERIC.match(hyphenated(part)):
            continue
        found = _understood(part, owner)
        if index < last and not from_hub and not (found.family and found.size):
            break  # a folder's word, not a model's name
        return _in_folder(found, parts[:index]) if found.family == "ViT" else found
    return _in_folder(BaseName(path), parts)


def _in_folder(found: BaseName, folders: list[str]) -> BaseName:
    """Take the family of the nearest folder that is called as one, where a name has none itself."""
    for part in reversed(folders[-_CLIMB:]):
        family = _understood(part, "").family
        pattern = dict(_COMPILED).get(family or "")
        if family in _SPEAK_ALONE and pattern and pattern.fullmatch(hyphenated(part)):
            return replace(found, family=family)
    return found


def _is_open_clip(part: str) -> bool:
    return re.fullmatch(r"vit-?[tsblhg]", hyphenated(part)) is not None


def _parts(path: str) -> tuple[list[str], bool]:
    """Split a path; a hub's cache folder counts as the name that it stands for.

    Returns:
        The parts, and whether they are certain to be a name on a hub.
    """
    text = path.strip().replace("\\", "/")
    text = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]+://[^/]*/", "", text)
    text = re.sub(r"^[A-Za-z][\w-]+:(?!/)", "", text).split("?")[0]
    text = re.sub(r"(?<=[\w.])@[\w./-]+$", "", text)  # a revision on the hub
    parts = [part for part in text.split("/") if part not in ("", ".")]
    for part in parts:
        if match := _HUB_FOLDER.match(part):  # below it lies a snapshot's hash
            return [match["owner"] or "", match["name"]], True
    return parts, False


def _understood(part: str, owner: str) -> BaseName:
    text = hyphenated(part)
    family = next((family for family, pattern in _COMPILED if pattern.search(text)), None)
    if variety := _VARIETY.search(text):
        family = variety[1]
    if family and _KIN.search(text):
        return BaseName(part, kin=family)
    if family is None:
        return BaseName(part)
    letter = _LETTER.search(text) or _SHORT.search(text)
    patch = _PATCH.search(text)
    words = f"{hyphenated(owner)}-{text}".split("-")
    return BaseName(
        part,
        family,
        _size(text) or (_LETTERS[letter[1]] if letter else None),
        int(patch[1]) if patch else int(letter[2]) if letter else None,
        next((source for source in _SOURCES.get(family, ()) if source in words), None),
    )


def _size(text: str) -> str | None:
    """Return the size word beside the patch; otherwise the one that there is, if it is only one."""
    if match := _BEFORE_PATCH.search(text):
        return match[1]
    words = set(_ANY_SIZE.findall(text))
    return words.pop() if len(words) == 1 else None
