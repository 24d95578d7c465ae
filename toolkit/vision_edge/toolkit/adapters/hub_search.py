"""Finding the adapters of a hub, however deep: each is found or named, none is dropped.

The rule:

1. A folder with `adapter_config.json`, `adapter_model.safetensors` or `adapter_model.bin` is an
   adapter, the hub's own folder too. So is a file `*.safetensors` in the hub itself.
2. Of several numbered checkpoints of one run (`checkpoint-500`, `epoch-3`, `step_100`) the last
   counts, unless the run's folder holds an adapter itself, which is then the run's result. Those
   passed over are named.
3. A checkpoint without a number (`checkpoint-best`) beside numbered ones, or numbers of several
   things (`epoch-3` beside `checkpoint-500`), are ambiguous: refused, for which of them is the
   run's result is its owner's to say.
4. Everything else below is looked through, links followed: a named adapter's folder
   (`adapter/default`) is one more adapter. A folder that is reached twice counts once.
5. Folders and files that cannot hold an adapter are named; those whose names begin with a dot are
   temporary and left alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.paper_format import names_of_paper
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE

PICKLE_FILE = "adapter_model.bin"
SHARD = re.compile(r"adapter_model-\d+-of-\d+\.(?:safetensors|bin)$")
"""One of several files that an adapter's tensors were divided into."""
MAX_DEPTH = 8
"""Folders below the hub that are looked into; what lies deeper is named."""
_NUMBERED = re.compile(r"(checkpoint|ckpt|epoch|step|global[-_]?step)[-_]?(\d+)$", re.IGNORECASE)
_UNNUMBERED = re.compile(
    r"(?:checkpoint|ckpt)[-_]?(?:best|last|final|latest)?$|best(?:[-_](?:model|checkpoint))?$",
    re.IGNORECASE,
)
_NOT_READ = (
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz", ".gguf", ".h5", ".hdf5",
    ".onnx", ".msgpack", ".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".zst", ".7z", ".rar",
)  # fmt: skip


@dataclass
class Search:
    """What a search found.

    Attributes:
        found: The adapters, in the order of their paths below the hub.
        notes: What was passed over, and why.
    """

    found: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def search_hub(hub: Path) -> Search:
    """Look through a hub; see the rule above.

    Args:
        hub: A folder.

    Raises:
        AdapterError: If it is ambiguous which checkpoint of a run is meant, or a folder cannot be
            read.
    """
    search = Search()
    _look(hub, hub, search, {}, 0)
    search.found.sort(key=lambda path: path.relative_to(hub).as_posix())
    if hub in search.found and len(search.found) > 1:
        search.notes.append(
            f"the hub's folder holds an adapter itself; it counts beside the "
            f"{len(search.found) - 1} below it"
        )
    return search


def adapters_below(folder: Path) -> list[Path]:
    """Return all folders below one that hold files of an adapter, checkpoints too."""
    return sorted(
        Path(root)
        for root, _, names in os.walk(folder)
        if {CONFIG_FILE, MODEL_FILE, PICKLE_FILE} & set(names)
    )


def is_adapter_folder(folder: Path) -> bool:
    """Whether a folder holds any of an adapter's files, so that a damaged one is reported."""
    return any((folder / name).is_file() for name in (CONFIG_FILE, MODEL_FILE, PICKLE_FILE))


def _look(folder: Path, hub: Path, search: Search, seen: dict[Path, Path], depth: int) -> bool:
    """Add what is in a folder and below; return whether it holds any adapter."""
    place = folder.resolve()
    if place in seen:
        _note(search, hub, folder, f"the same folder as {_name(seen[place], hub)}")
        return True
    seen[place] = folder
    if depth > MAX_DEPTH:
        _note(search, hub, folder, f"deeper than {MAX_DEPTH} folders, not looked into")
        return True
    before, own = len(search.found), is_adapter_folder(folder)
    if own:
        search.found.append(folder)
    folders = list(_entries(folder, hub, search, own, depth))
    for child in _chosen(folders, folder, hub, search, own):
        if not _look(child, hub, search, seen, depth + 1) and not own:
            _note(search, hub, child, "holds no adapter")
    return len(search.found) > before


def _entries(folder: Path, hub: Path, search: Search, own: bool, depth: int) -> Iterator[Path]:
    """Yield a folder's folders; take or name its files."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise AdapterError(
            f"{folder}: cannot be read ({error.strerror})", fix="mend its permissions"
        ) from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield entry
        elif entry.is_symlink() and not entry.exists():
            _note(search, hub, entry, "a link that leads nowhere")
        elif not own and entry.suffix == ".safetensors":
            if depth == 0 or names_of_paper(entry):
                search.found.append(entry)
            elif SHARD.match(entry.name):
                _note(search, hub, entry, f"one shard of an adapter, without its {CONFIG_FILE}")
            else:
                _note(search, hub, entry, "safetensors, but no adapter's")
        elif not own and entry.suffix.lower() in _NOT_READ:
            _note(search, hub, entry, f"files of this kind ({entry.suffix}) are not read")


def _chosen(folders: list[Path], folder: Path, hub: Path, search: Search, own: bool) -> list[Path]:
    """Return the folders to look into: of a run's checkpoints the last alone, or none."""
    numbered = [
        (int(match[2]), child)
        for child in folders
        if (match := _NUMBERED.search(child.name)) and adapters_below(child)
    ]
    newest = max(numbered)[1].resolve() if numbered else None
    unnumbered = [
        child
        for child in folders
        if _UNNUMBERED.match(child.name) and child.resolve() != newest and adapters_below(child)
    ]
    if not own and numbered and (unnumbered or len(_counted(numbered)) > 1):
        names = ", ".join(_name(child, hub) for child in [*(c for _, c in numbered), *unnumbered])
        raise AdapterError(
            f"{folder}: several checkpoints of one run, and none is plainly its result: {names}",
            fix="keep the one that counts, or move it into the run's folder",
        )
    rest = [child for child in folders if child not in [c for _, c in numbered]]
    if own:
        rest = [child for child in rest if child not in unnumbered]
    last = [] if own or not numbered else [max(numbered)[1]]
    passed = [child for _, child in numbered if child not in last] + (unnumbered if own else [])
    if passed:
        kept = _name(folder if own else last[0], hub)
        names = ", ".join(_name(child, hub) for child in sorted(passed))
        search.notes.append(f"earlier checkpoints of {kept} are passed over: {names}")
    return sorted(rest + last)


def _counted(numbered: list[tuple[int, Path]]) -> set[str]:
    """Return what a run's checkpoints are numbered by: 3 epochs may be later than 500 steps."""
    words = (_NUMBERED.search(child.name) for _, child in numbered)
    return {re.sub(r"[-_]", "", word[1]).lower() for word in words if word}


def _note(search: Search, hub: Path, path: Path, why: str) -> None:
    search.notes.append(f"{_name(path, hub)}: {why}")


def _name(path: Path, hub: Path) -> str:
    relative = path.relative_to(hub).as_posix()
    return "the hub's own folder" if relative == "." else relative
