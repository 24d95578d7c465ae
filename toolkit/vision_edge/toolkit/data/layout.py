"""How labelled images are laid out in folders: wrapped, split, by class, or of another kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_edge.runtime.errors import DataError
from vision_edge.runtime.gallery.labels import one_form

Parts = tuple[str, ...]
"""A picture's path below the root, by folder."""

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
_SAME = {"training": "train", "testing": "test", "valid": "val", "validation": "val"}

_GOOD = frozenset(
    [
        "good",
        "ok",
        "okay",
        "normal",
        "nominal",
        "pass",
        "passed",
        "undamaged",
        "intact",
        "fault-free",
        "defect-free",
        "io",
        "gut",
        "gute",
        "flawless",
        "sound",
        "conforming",
        "conform",
        "conforme",
        "bon",
        "bonne",
    ]
)
_BAD = frozenset(
    [
        "defect",
        "defects",
        "defective",
        "bad",
        "ng",
        "nok",
        "nio",
        "fail",
        "failed",
        "faulty",
        "fault",
        "damage",
        "damaged",
        "anomaly",
        "anomalies",
        "anomalous",
        "anomal",
        "abnormal",
        "broken",
        "reject",
        "rejected",
        "scratch",
        "scratched",
        "scratches",
        "crack",
        "cracked",
        "dent",
        "dented",
        "hole",
        "stain",
        "contamination",
        "contaminated",
        "def",
        "schlecht",
        "schlechte",
        "flaw",
        "flawed",
        "mauvais",
        "mauvaise",
        "defaut",
        "défaut",
        "defectueux",
        "défectueux",
        "fehler",
        "fehlerhaft",
        "ausschuss",
    ]
)
_PLAIN = frozenset(
    ["good", "ok", "io", "gut", "ng", "nok", "nio", "bad", "def", "defect", "defective", "schlecht"]
)
"""Words that hardly name a product in part: `ok-front` and `def-front`, but not `hole-saw`."""
_NOT = re.compile(r"(?:(?:non|not|no|un|sans|ohne)[\s_-]+|non|un(?=[b-hj-z]))(.+)")
"""A folder's name that says the opposite of the rest: `non_defective`, `nonconforming`."""


@dataclass(frozen=True)
class Layout:
    """Labelled paths.

    Attributes:
        labelled: Class and path of each picture, sorted.
        split: The split's name, or None.
        wrapped: The folders around everything that were looked through.
        loose: Paths that lie in no class's folder.
        folded: Folders below the classes', whose pictures are taken for their class's.
    """

    labelled: tuple[tuple[str, Parts], ...]
    split: str | None
    wrapped: Parts
    loose: tuple[Parts, ...]
    folded: tuple[Parts, ...] = ()


def laid_out(root: Path, paths: Sequence[Parts], split: str | None, default: str | None) -> Layout:
    """Tell classes and splits by the folders that pictures lie in.

    Args:
        root: What the paths are below, for errors.
        paths: The pictures' paths.
        split: The split asked for, or None.
        default: The split to use where there are splits and none was asked for.

    Raises:
        DataError: If there is no such split or no class, or it is laid out to find anomalies.
    """
    wrapped = _wrapping(paths, split)
    depth = len(wrapped)
    _refuse_anomalies(root, paths, depth)
    wanted = _split_wanted(root, paths, depth, split, default)
    if wanted is not None:
        paths = [parts for parts in paths if len(parts) > depth and parts[depth] == wanted]
        depth += 1
    labelled = sorted((_class(parts[depth]), parts) for parts in paths if len(parts) >= depth + 2)
    if not labelled:
        raise DataError(
            f"{root}: no images in class folders",
            fix="lay it out as class/image or split/class/image",
        )
    loose = tuple(parts for parts in paths if len(parts) < depth + 2)
    folded = sorted({parts[:-1] for _, parts in labelled if len(parts) > depth + 2})
    return Layout(tuple(labelled), wanted, wrapped, loose, tuple(folded))


def _class(folder: str) -> str:
    """Return a folder's name as a class: one form of Unicode, and text whatever its bytes."""
    return one_form(folder.encode("utf-8", "backslashreplace").decode("utf-8"))


def _wrapping(paths: Sequence[Parts], split: str | None) -> Parts:
    """Return the folders that lie around everything: a zip of a folder has the folder within."""
    wrapped: list[str] = []
    while paths:
        depth = len(wrapped)
        first = {parts[depth] for parts in paths if len(parts) > depth + 2}
        alone = len(first) == 1 and all(len(parts) > depth + 2 for parts in paths)
        name = next(iter(first), "")
        if not alone or _is_split(name) or name == split:
            break
        wrapped.append(name)
    return tuple(wrapped)


def _is_split(name: str) -> bool:
    return name.lower() in SPLITS


def _split_wanted(
    root: Path, paths: Sequence[Parts], depth: int, split: str | None, default: str | None
) -> str | None:
    """Return the split's folder by its name in the data; None where there are none."""
    first = sorted({parts[depth] for parts in paths if len(parts) > depth + 1})
    within = [parts for parts in paths if len(parts) > depth and _is_split(parts[depth])]
    has_splits = bool(within) and all(len(parts) >= depth + 3 for parts in within)
    wanted = split or (default if has_splits else None)
    if wanted is None:
        return None
    for same in (lambda name: name == wanted, lambda name: _canonical(name) == _canonical(wanted)):
        found = next(filter(same, first), None)
        if found is not None:
            return found
    raise DataError(
        f"{root}: there is no split {wanted!r}",
        fix=f"use --split with one of: {', '.join(first[:8])}",
    )


def _canonical(split: str) -> str:
    lower = one_form(split).lower()
    return _SAME.get(lower, lower)


def _refuse_anomalies(root: Path, paths: Sequence[Parts], depth: int) -> None:
    """Refuse what tells sound parts from defective ones, as data for anomaly detection do."""
    folders = {_words(folder) for parts in paths for folder in parts[depth:-1]}
    good = next((name for name, words in folders if name in _GOOD or words & _GOOD), None)
    bad = next((n for n, words in folders if n != good and (n in _BAD or words & _BAD)), None)
    masks = next((name for name, _ in folders if name in ("ground_truth", "groundtruth")), None)
    if good is not None and (bad or masks or _only_good_to_train(paths, depth)):
        raise DataError(
            f"{root}: laid out to find anomalies (folders {good!r} and "
            f"{bad or masks or 'train/' + good!r}): it tells sound parts from defective ones, and "
            "vision-edge tells products apart",
            fix="use an anomaly detector for that; if these are products all the same, give the "
            "folders their names",
        )


def _only_good_to_train(paths: Sequence[Parts], depth: int) -> bool:
    train = {
        parts[depth + 1].lower()
        for parts in paths
        if len(parts) >= depth + 3 and _canonical(parts[depth]) == "train"
    }
    return len(train) == 1 and train <= _GOOD


def _words(folder: str) -> tuple[str, frozenset[str]]:
    """Return a folder's name and its words; those between hyphens only where they are plain.

    Of a name that denies a word, such as `non_defective`, it is the opposite.
    """
    lower = one_form(folder).lower()
    denied = _NOT.fullmatch(lower)
    if denied and denied[1] in _GOOD | _BAD:
        return lower, frozenset(["bad" if denied[1] in _GOOD else "good"])
    words = frozenset(re.split(r"[\s_]+", lower))
    apart = frozenset(re.split(r"[^a-z]+", lower.replace(".", "")))
    return lower, words | (apart & _PLAIN)
