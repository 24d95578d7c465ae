"""What an adapter's configuration names and its tensors do not hold: said, for it has no effect."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from vision_edge.toolkit.adapters.patterns import compiled

_ALL_LINEAR = "all-linear"
_CLASSIFIERS = frozenset({"classifier", "score"})
"""PEFT adds both by itself for a classifier's task; a model has one."""


def effect_notes(
    document: Mapping[str, Any], modules: Collection[str], tensors: Collection[str]
) -> list[str]:
    """Return a note for each field of a configuration that names what is not there.

    Args:
        document: `adapter_config.json`, validated.
        modules: Modules that a LoRA in the file changes.
        tensors: Names of all its tensors.
    """
    targets = document.get("target_modules")
    whole = {name.rpartition(".")[0] for name in tensors}
    lists = {
        "target_modules": _absent_targets(targets, modules),
        "modules_to_save": _absent_saved(document.get("modules_to_save"), whole),
    }
    notes = [
        f"{field} names what the file does not hold: {', '.join(absent)}"
        for field, absent in lists.items()
        if absent
    ]
    for field in ("rank_pattern", "alpha_pattern"):
        idle = [text for text in document.get(field) or {} if not _matches(text, modules)]
        if idle:
            notes.append(f"{field} has no effect where it matches no module: {', '.join(idle)}")
    return notes


def zero_notes(scales: Mapping[str, float]) -> list[str]:
    """Return a note if the factor on `B A` is zero in modules.

    Args:
        scales: The factor by module.
    """
    zero = [module for module, scale in scales.items() if scale == 0]
    if not zero:
        return []
    what = "it changes nothing" if len(zero) == len(scales) else f"unchanged are {', '.join(zero)}"
    return [f"lora_alpha is 0: {what}"]


def _absent_targets(stated: object, modules: Collection[str]) -> list[str]:
    if isinstance(stated, str):
        return [stated] if stated != _ALL_LINEAR and not _matches(stated, modules) else []
    return [name for name in _names(stated) if not _ends(name, modules)]


def _absent_saved(stated: object, modules: Collection[str]) -> list[str]:
    inner = [f".{module}." for module in modules]
    absent = [name for name in _names(stated) if not any(f".{name}." in m for m in inner)]
    held = _CLASSIFIERS & set(_names(stated)) - set(absent)
    return [name for name in absent if not (held and name in _CLASSIFIERS)]


def _names(stated: object) -> list[str]:
    return [name for name in stated if isinstance(name, str)] if isinstance(stated, list) else []


def _ends(name: str, modules: Iterable[str]) -> bool:
    return any(f".{module}".endswith(f".{name}") for module in modules)


def _matches(pattern: str, modules: Iterable[str]) -> bool:
    """Whether a pattern matches any module; one that cannot be read safely is given the doubt."""
    try:
        return any(compiled(pattern).fullmatch(module) for module in modules)
    except ValueError:
        return True
