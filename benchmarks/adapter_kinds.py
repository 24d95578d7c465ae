"""Writes the table "adapter kinds by outcome" of docs/reference/adapters.md.

    python benchmarks/adapter_kinds.py [--check]

Each kind is made and saved by the `peft` library on a tiny model with random weights, then given to
`read_adapter`. What is read is compared with PEFT's own merged forward.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.peft_adapters import CONFIGS, refused_kinds, saved, tuned  # noqa: E402
from support.toolkit import embedding_of, merged_copy, random_pixels, tiny_backbone  # noqa: E402

from vision_edge.runtime.errors import AdapterError  # noqa: E402
from vision_edge.toolkit.adapters.adapter import read_adapter  # noqa: E402
from vision_edge.toolkit.adapters.peft_kinds import (  # noqa: E402
    BASE_CHANGING,
    KINDS,
    VARIANTS,
    WITHOUT_EFFECT,
)
from vision_edge.toolkit.backbones.backbone import Backbone  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "adapters.md"
BEGIN, END = "<!-- adapter kinds: begin -->", "<!-- adapter kinds: end -->"


def main() -> None:
    """Write the table, or with `--check` say whether it is up to date."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it differs")
    check = parser.parse_args().check
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    text = PAGE.read_text(encoding="utf-8")
    new = with_table(text)
    if check and new != text:
        raise SystemExit(f"{PAGE.name} is not up to date: run this without --check")
    PAGE.write_text(new, encoding="utf-8")


def with_table(text: str) -> str:
    """Return the page's text with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    rows = ["| kind | outcome |", "| --- | --- |", *(f"| {k} | {o} |" for k, o in outcomes())]
    return "\n".join([before + BEGIN, *rows, END + after])


def outcomes() -> Iterator[tuple[str, str]]:
    """Yield each kind and what becomes of it."""
    backbone = tiny_backbone()
    with tempfile.TemporaryDirectory() as folder:
        for index, (kind, config) in enumerate(CONFIGS.items()):
            yield kind, _read(backbone, config, Path(folder, f"read-{index}"))
        tried = {}
        for index, (kind, make) in enumerate(refused_kinds().items()):
            tried[kind] = _refused(backbone, kind, make(backbone), Path(folder, f"r{index}"))
    yield from tried.items()
    for what in VARIANTS.values():
        if what not in tried and not any(kind in what for kind in tried):
            yield what, "refused by name"
    starts = [start for start in BASE_CHANGING if start not in tried]
    yield f"other initialisations that change the base: {', '.join(starts)}", "refused by name"
    others = sorted(set(KINDS.values()) - tried.keys(), key=str.lower)
    yield f"PEFT's other methods: {', '.join(others)}", "refused by name"
    fields = ", ".join(f"`{name}`" for name in WITHOUT_EFFECT)
    yield f"fields that change nothing of what the tensors compute: {fields}", "read"
    yield "a field that is not known here, such as a later PEFT's", "read, with a note"


def _read(backbone: Backbone, config: dict[str, Any], folder: Path) -> str:
    model = tuned(backbone, **config)
    adapter = read_adapter(saved(model, folder), backbone)
    pixels = random_pixels()
    got = embedding_of(merged_copy(backbone, adapter.updates).model, pixels)
    with torch.no_grad():
        merged = copy.deepcopy(model).merge_and_unload()
        expected = merged.forward_features(pixels)[:, 0]
    error = float((got - expected).abs().max() / expected.abs().max())
    return "read" if error < 1e-5 else f"**wrong by {error:.0e}**"


def _refused(backbone: Backbone, kind: str, model: Any, folder: Path) -> str:
    try:
        read_adapter(saved(model, folder), backbone)
    except AdapterError as error:
        return "refused by name" if kind in error.what else "**refused as something else**"
    return "**read**"


if __name__ == "__main__":
    main()
