"""An adapter's files: which layout they are of, what is in them, and our own words about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.not_here import beside_notes, refuse_absent, refuse_shard
from vision_edge.toolkit.adapters.paper_format import is_paper_layout, parse_paper
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE, Parsed, parse_peft
from vision_edge.toolkit.adapters.peft_kinds import told_by_tensor
from vision_edge.toolkit.adapters.preprocessing import read_preprocessing
from vision_edge.toolkit.backbones.weights import read_safetensors

OWN_KEY = "vision_edge"
"""Key of our own JSON in the safetensors metadata: backbone hash, classes, how it was made."""


def parsed_files(path: Path) -> tuple[Parsed, Path]:
    """Return an adapter's contents in its files' own names, and the file of its weights.

    Args:
        path: A PEFT directory, or a safetensors file in the layout of the paper's code.

    Raises:
        AdapterError: If it is absent, damaged, or of no layout that is read.
    """
    if path.is_dir():
        config, weights = path / CONFIG_FILE, path / MODEL_FILE
        refuse_absent(path)
        tensors, metadata = _read_tensors(weights)
        parsed = parse_peft(path, config, tensors, _own(metadata, weights))
        stated = read_preprocessing(metadata, str(weights))
        notes = [*parsed.notes, *beside_notes(path)]
        return replace(parsed, preprocessing=stated, notes=notes), weights
    refuse_shard(path)
    tensors, metadata = _read_tensors(path)
    if not is_paper_layout(tensors):
        raise _no_layout(path, list(tensors))
    return parse_paper(path, tensors, _own(metadata, path)), path


def _no_layout(path: Path, names: list[str]) -> AdapterError:
    """Return the error for a file alone that is not of the paper's layout."""
    if any(".lora_A." in name for name in names):
        beside = (path.parent / CONFIG_FILE).is_file()
        return AdapterError(
            f"{path}: PEFT's tensors alone; what they compute stands in {CONFIG_FILE}"
            + (" beside them" if beside else ", which is not beside them"),
            fix=f"give the folder: {path.parent}"
            if beside
            else f"give a directory with {CONFIG_FILE} and {MODEL_FILE}",
        )
    told = f"; {names[0]!r} is {told_by_tensor(names[0])}" if names else ""
    return AdapterError(
        f"{path}: no adapter layout that is known (first tensors: "
        f"{', '.join(names[:3]) or 'none'}){told}",
        fix=f"give a PEFT directory with {CONFIG_FILE} and {MODEL_FILE}",
    )


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors, metadata = read_safetensors(path, AdapterError)
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise AdapterError(
                f"{path}: tensor {name!r} is {tensor.dtype}, expected floating point",
                fix="the adapter is quantised or damaged; leave it out",
            )
    return tensors, metadata


def _own(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        own = json.loads(metadata.get(OWN_KEY, "{}"))
    except (ValueError, RecursionError) as error:
        raise AdapterError(
            f"{path}: metadata {OWN_KEY!r} is not JSON ({error})", fix="tune or build it again"
        ) from error
    kinds = {"backbone_sha256": str, "classes": list}
    if not isinstance(own, dict) or any(
        key in own and not isinstance(own[key], kind) for key, kind in kinds.items()
    ):
        raise AdapterError(
            f"{path}: metadata {OWN_KEY!r} is not what vision-edge writes",
            fix="tune or build it again",
        )
    return own
