"""Which bases a hub's adapters record, by their configurations and headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.base_check import Recorded
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE, recorded_in
from vision_edge.toolkit.adapters.peft_kinds import read_document


def recorded_bases(paths: Iterable[Path]) -> Iterator[tuple[Path, Recorded]]:
    """Yield what adapters record, for those that can be read and carry no backbone hash.

    A hash decides by itself, and what cannot be read is reported when it is read in full.
    """
    for path in paths:
        if not (path / MODEL_FILE).is_file():
            continue
        try:
            with safe_open(path / MODEL_FILE, framework="pt") as stream:
                names, metadata = list(stream.keys()), stream.metadata() or {}
            if "backbone_sha256" not in metadata.get("vision_edge", ""):
                yield path, recorded_in(read_document(path / CONFIG_FILE), names)
        except (AdapterError, SafetensorError, OSError, ValueError, ValidationError):
            continue
