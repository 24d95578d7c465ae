"""Layouts of data that do not tell products apart: sound against defective parts, and detection.

Read as classes they would give a model that answers another question, without a word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from vision_edge.runtime.errors import DataError
from vision_edge.runtime.gallery.labels import one_form

Parts = tuple[str, ...]
"""A picture's path below the root, by folder."""

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
_SAME = {"training": "train", "testing": "test", "valid": "val", "validation": "val"}
_YEAR = re.compile(r"[\s_-]*(?:19|20)\d\d$")

_GOOD = frozenset(
    (
        "good", "ok", "okay", "normal", "nominal", "pass", "passed", "undamaged", "intact",
        "fault-free", "defect-free", "defectfree", "faultless", "io", "flawless", "sound",
        "conforming", "conform", "accept", "accepted", "nondefective", "anomaly-free",
        "gut", "gute", "gutteil", "gutteile", "fehlerfrei",
        "conforme", "bon", "bonne", "bons",
        "bueno", "buena", "buenos", "correcto", "conformes",
        "buono", "buona", "buoni",
        "良品", "良", "合格", "合格品", "正常", "正常品", "良好", "양품", "정상",
        "годен", "годные", "норма",
    )
)  # fmt: skip
_BAD = frozenset(
    (
        "defect", "defects", "defective", "bad", "ng", "nok", "nio", "ko", "fail", "failed",
        "faulty", "fault", "damage", "damaged", "anomaly", "anomalies", "anomalous", "anomal",
        "abnormal", "broken", "reject", "rejected", "rejects", "scratch", "scratched", "scratches",
        "crack", "cracked", "dent", "dented", "hole", "stain", "contamination", "contaminated",
        "def", "flaw", "flawed", "nonconforming", "nonconform",
        "schlecht", "schlechte", "schlechtteil", "schlechtteile", "fehler", "fehlerhaft",
        "ausschuss", "mauvais", "mauvaise", "defaut", "défaut", "defectueux", "défectueux",
        "rebut", "malo", "mala", "malos", "defecto", "defectuoso", "defectuosos", "incorrecto",
        "difetto", "difettoso", "difettosi", "scarto", "scarti",
        "不良品", "不良", "不合格", "不合格品", "异常", "異常", "缺陷", "欠陥", "欠陥品", "不正常",
        "불량", "불량품", "брак",
    )
)  # fmt: skip
_PLAIN = frozenset(
    ("good", "ok", "io", "gut", "ng", "nok", "nio", "bad", "def", "defect", "defective", "schlecht")
)
"""Words that hardly name a product in part: `ok-front` and `def-front`, but not `hole-saw`."""
_NOT = re.compile(
    r"(?:(?:non|not|no|un|sans|ohne|without|sin|senza|zero)[\s_-]+|non|un(?=[b-hj-z]))(.+)"
)
"""A folder's name that says the opposite of the rest: `non_defective`, `nonconforming`."""
_SIDES = ("images", "image", "labels", "label", "masks", "mask", "annotations", "jpegimages")
"""Folders of data for detection and segmentation, beside or around the splits."""


def canonical(split: str) -> str:
    """Return what a split is called here: `valid`, `Validation` and `val` are one."""
    lower = one_form(split).lower()
    return _SAME.get(lower, lower)


def is_split(name: str) -> bool:
    """Whether a folder is called as a split."""
    return name.lower() in SPLITS


def refuse_anomalies(root: Path, paths: Sequence[Parts], depth: int) -> None:
    """Refuse what tells sound parts from defective ones, as data for anomaly detection do.

    Args:
        root: What the paths are below, for errors.
        paths: The pictures' paths.
        depth: How many folders lie around everything.

    Raises:
        DataError: Naming both folders.
    """
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


def refuse_detection(root: Path, classes: Collection[str]) -> None:
    """Refuse data whose classes would be called as splits are, as data for detection do.

    Args:
        root: Where they lie, for errors.
        classes: What would be taken for classes, with no folders in them.

    Raises:
        DataError: Naming the folders.
    """
    plain = {_YEAR.sub("", name.lower()) for name in classes}
    if len(classes) > 1 and plain <= SPLITS | set(_SIDES):
        names = ", ".join(map(repr, sorted(classes)[:4]))
        raise DataError(
            f"{root}: the folders that hold the pictures are called {names}, as the splits of data "
            "for detection are, and not as classes",
            fix="lay it out as split/class/image: cut the objects out, each into its class's "
            "folder",
        )


def _only_good_to_train(paths: Sequence[Parts], depth: int) -> bool:
    train = {
        parts[depth + 1].lower()
        for parts in paths
        if len(parts) >= depth + 3 and canonical(parts[depth]) == "train"
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
