"""How labelled images are laid out in folders: wrapped, split, by class, or of another kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vision_edge.runtime.errors import DataError
from vision_edge.runtime.gallery.labels import one_form
from vision_edge.toolkit.data.other_layouts import (
    Parts,
    canonical,
    is_split,
    refuse_anomalies,
    refuse_detection,
)


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
        DataError: If there is no such split or no class, or it is laid out to find anomalies or
            objects.
    """
    wrapped = _wrapping(paths, split)
    depth = len(wrapped)
    refuse_anomalies(root, paths, depth)
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
    if not folded:
        refuse_detection(root, {label for label, _ in labelled})
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
        if not alone or is_split(name) or name == split:
            break
        wrapped.append(name)
    return tuple(wrapped)


def _split_wanted(
    root: Path, paths: Sequence[Parts], depth: int, split: str | None, default: str | None
) -> str | None:
    """Return the split's folder by its name in the data; None where there are none."""
    first = sorted({parts[depth] for parts in paths if len(parts) > depth + 1})
    within = [parts for parts in paths if len(parts) > depth and is_split(parts[depth])]
    has_splits = bool(within) and all(len(parts) >= depth + 3 for parts in within)
    wanted = split or (default if has_splits else None)
    if wanted is None:
        return None
    for same in (lambda name: name == wanted, lambda name: canonical(name) == canonical(wanted)):
        found = next(filter(same, first), None)
        if found is not None:
            return found
    raise DataError(
        f"{root}: there is no split {wanted!r}",
        fix=f"use --split with one of: {', '.join(first[:8])}",
    )
