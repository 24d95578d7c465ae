"""Whether an adapter belongs to a backbone, by what it records of where it came from.

A hash of the weights proves it. Without one the recorded name decides, then the model's class, then
how the layers are called: they can tell another family of weights, and never prove that two are the
same. Two families of one shape (ViT, DINO, MAE, DeiT, BEiT, ...) fit each other's adapters in every
dimension, and what comes out is noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from vision_edge.toolkit.adapters.base_names import BaseName, hyphenated, parse_base

TRUST_OPTION = "--trust-base"
_TEXT_TASKS = ("CAUSAL_LM", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS")
_VIT = frozenset({"ViT", "DeiT", "DINO", "MAE", "MSN", "iBOT", "MoCo", "MIIL ViT", "vision-edge"})
_CLASSES: dict[str, frozenset[str]] = {
    "vit": _VIT,
    "vit_mae": frozenset({"MAE"}),
    "vit_msn": frozenset({"MSN"}),
    "deit": frozenset({"DeiT", "distilled DeiT"}),
    "beit": frozenset({"BEiT", "BEiT v2", "dit"}),
    "dinov2": frozenset({"DINOv2"}),
    "dinov2_with_registers": frozenset({"DINOv2 with registers"}),
    "dinov3_vit": frozenset({"DINOv3"}),
    "clip": frozenset({"CLIP", "EVA-CLIP"}),
    "siglip": frozenset({"SigLIP", "SigLIP 2"}),
    "siglip2": frozenset({"SigLIP 2"}),
    "vision_model": frozenset({"CLIP", "EVA-CLIP", "SigLIP", "SigLIP 2"}),
}
"""Families that a class of transformers is used for: DINO's weights are loaded into a ViT."""
_CLASSES_OF_ANY = ("timm_wrapper",)
_OF_EVA = frozenset(
    ("EVA", "EVA-02", "EVA-CLIP", "DINOv3", "Perception Encoder", "RoPE-ViT", "sapiens", "lingbot")
)
_TIMM_MODULES = {
    "vision_transformer": None,  # ViT, DeiT, CLIP, SigLIP, DINOv2: says nothing
    "deit": frozenset({"distilled DeiT", "DeiT"}),
    "eva": _OF_EVA,
    "beit": frozenset({"BEiT", "BEiT v2"}),
    "vision_transformer_relpos": frozenset({"RelPos ViT"}),
}
_OF_CLIP = frozenset({"CLIP", "EVA-CLIP"})
_BY_CLASS: tuple[tuple[str, frozenset[str]], ...] = (
    ("siglip2", _CLASSES["siglip2"]),
    ("siglip", _CLASSES["siglip"]),
    ("dinov2withregisters", _CLASSES["dinov2_with_registers"]),
    ("dinov2", _CLASSES["dinov2"]),
    ("dinov3", _CLASSES["dinov3_vit"]),
    ("dinovisiontransformer", frozenset({"DINOv2", "DINOv2 with registers", "DINOv3"})),
    ("internvision", frozenset({"internvit"})),
    ("clip", _OF_CLIP),
    ("chineseclip", _OF_CLIP),
    ("vitmae", _CLASSES["vit_mae"]),
    ("vitmsn", _CLASSES["vit_msn"]),
    ("vit(?:model|for)", _VIT),
    ("deit(?:model|for)", _CLASSES["deit"]),
    ("beit(?:model|for|$)", _CLASSES["beit"]),
    ("data2vecvision", frozenset({"data2vec"})),
    ("ijepa", frozenset({"ijepa"})),
    ("swin", frozenset({"swin"})),
    ("convnext", frozenset({"convnext"})),
    ("resnet", frozenset({"resnet"})),
    (
        "(?:distil|al|de)?(?:ro)?bert|gpt|llama|qwen|mistral|mixtral|gemma|t5|phi\\d?for|opt(?:for|model)",
        frozenset({"language model"}),
    ),
)
"""Families by how a class's name begins, in lower case: whichever library it is of."""
_LIBRARY = re.compile(r"(?P<library>transformers|timm)\.models\.(?P<module>\w+)")
_LAYOUT = re.compile(
    r"(?:^|\.)(?P<name>vit|vit_mae|vit_msn|deit|beit|dinov2|dinov2_with_registers|dinov3_vit|siglip"
    r"|vision_model|swin|swinv2|data2vec_vision|ijepa|bert|roberta|distilbert|gpt_neox)"
    r"\.(?:encoder\.|transformer\.)?layers?\."
)


@dataclass(frozen=True)
class Recorded:
    """What an adapter says of the model that it was tuned on; None where it says nothing.

    Attributes:
        base: `base_model_name_or_path`.
        library: `auto_mapping.parent_library`, such as `transformers.models.vit.modeling_vit`.
        model_class: `auto_mapping.base_model_class`.
        task: `task_type`.
        layout: How its layers are called, such as `deit` for `deit.encoder.layer.0...`.
    """

    base: str | None = None
    library: str | None = None
    model_class: str | None = None
    task: str | None = None
    layout: str | None = None

    @property
    def name(self) -> BaseName | None:
        """The base's name, understood."""
        return parse_base(self.base) if self.base and self.base.strip() else None


@dataclass(frozen=True)
class Finding:
    """What was found: a reason to refuse, or a note.

    Attributes:
        problem: Why it cannot be taken, None if it can.
        note: What a user should know of one that is taken.
        fix: What to do about the problem.
    """

    problem: str | None = None
    note: str | None = None
    fix: str = ""


def layout_of(modules: Iterable[str]) -> str | None:
    """Return what the names of an adapter's modules say of its model's class."""
    for module in modules:
        if match := _LAYOUT.search(module):
            return match["name"]
    return None


def compare_base(recorded: Recorded, backbone: str) -> Finding:
    """Compare what an adapter records, other than a hash, with a backbone's name.

    Args:
        recorded: What the adapter says.
        backbone: The backbone's name: timm's with its tag, or its owner's.

    Returns:
        A problem if they contradict each other; else a note that nothing is proven, or, where the
        recorded name tells nothing, that it cannot be told.
    """
    ours, theirs = parse_base(backbone), recorded.name
    same_name = theirs is not None and hyphenated(theirs.text) == hyphenated(ours.text)
    if theirs is not None and theirs.kin:
        return Finding(
            note=f"was tuned on {recorded.base!r}, which calls itself like {theirs.kin}: whether "
            f"it goes with {backbone!r} cannot be told; only shapes were checked"
        )
    if theirs is not None and not same_name:
        finding = _by_name(recorded.base or "", theirs, ours, backbone)
        if finding is not None:
            return finding
    families, said = _by_class(recorded, named=theirs is not None)
    if families is not None and ours.family is not None and ours.family not in families:
        return _other(said, ours.family, backbone)
    if theirs is None:
        return Finding(
            note="records no base and carries no backbone hash; only names and shapes were checked"
        )
    if same_name:
        return Finding(note=f"names this backbone ({recorded.base!r}) and carries no backbone hash")
    if theirs.family is None or ours.family is None:
        unknown = recorded.base if theirs.family is None else backbone
        return Finding(
            note=f"was tuned on {recorded.base!r}, and whether that is {backbone!r} cannot be "
            f"told: {unknown!r} names no family of models that is known; only shapes were checked"
        )
    return Finding(
        note=f"was tuned on {recorded.base!r}, of the same family ({ours.family}); it carries no "
        "backbone hash, so that these are its weights is not proven"
    )


def _by_name(base: str, theirs: BaseName, ours: BaseName, backbone: str) -> Finding | None:
    """Return why two names contradict each other; None if they do not, or one tells nothing."""
    if theirs.family is None or ours.family is None:
        return None
    if theirs.family != ours.family:
        return _other(f"tuned on {base!r}, of the family {theirs.family}", ours.family, backbone)
    for what in ("size", "patch", "source"):
        a, b = getattr(theirs, what), getattr(ours, what)
        if a and b and a != b:
            return _other(f"tuned on {base!r} ({what} {a})", f"{ours.family}, {what} {b}", backbone)
    return None


def _other(said: str, family: str, backbone: str) -> Finding:
    return Finding(
        f"it was {said}, not on {backbone!r} ({family})",
        fix="give the backbone that it was tuned on, by timm's name with its tag; if you know that "
        f"its weights are these, say {TRUST_OPTION}",
    )


def _by_class(recorded: Recorded, named: bool) -> tuple[frozenset[str] | None, str]:
    """Return the families that class, layout or task allow (None: any), and what says so."""
    if recorded.task in _TEXT_TASKS and not named:
        return frozenset({"language model"}), f"made for the task {recorded.task}, of text"
    if recorded.model_class and (of_class := _of_class(recorded.model_class)) is not None:
        library = f" of {recorded.library}" if recorded.library else ""
        return of_class, f"tuned on {recorded.model_class}{library}"
    if match := _LIBRARY.match(recorded.library or ""):
        table = _CLASSES if match["library"] == "transformers" else _TIMM_MODULES
        module = match["module"]
        if module in _CLASSES_OF_ANY:
            return None, ""
        said = f"tuned on {recorded.model_class or 'a model'} of {match[0]}"
        return table.get(module, frozenset({module})), said
    if recorded.layout is not None:
        allowed = _CLASSES.get(recorded.layout, frozenset({recorded.layout}))
        return allowed, f"tuned on a model whose layers are called {recorded.layout!r}"
    return None, ""


def _of_class(name: str) -> frozenset[str] | None:
    """Return the families that a class is of, None if its name tells nothing."""
    lower = name.lower()
    return next((found for start, found in _BY_CLASS if re.match(start, lower)), None)
