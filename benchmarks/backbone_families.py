"""The tables of docs/reference/backbones.md: families by command, and timm's names by outcome.

    python benchmarks/backbone_families.py --results R.json --write docs/reference/backbones.md

Every family's architecture is shrunk (two blocks, 16 patches, random weights) and goes through the
real commands, half a minute each, `--jobs N` of them at once; a family that is in the results
already is not run again, so a run that was ended goes on where it stopped. timm's names are made
on the meta device, one block of each. The package must be installed (`pip install -e .[server]`,
and pytest, whose helpers make the pictures), for its commands announce themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import timm
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.families import SHRUNK, STAGES, Chain, shrunk, weights_of
from support.toolkit import class_folders

from vision_edge.runtime.system.files import atomic_file
from vision_edge.toolkit.backbones.families import (
    embedding_kind,
    family_of,
    unsuitable,
)

MODULES = (
    "vision_transformer", "vision_transformer_hybrid", "vision_transformer_relpos",
    "vision_transformer_sam", "eva", "beit", "deit", "naflexvit",
)  # fmt: skip
OK = "yes"


def run_all(path: Path, jobs: int) -> dict[str, dict[str, str]]:
    """Run every stage on every family, and keep what came of it."""
    results: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.is_file() else {}
    todo = [name for name in SHRUNK if name not in results]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(
        jobs, get_context("spawn"), torch.set_num_threads, (threads,)
    ) as processes:
        running = {processes.submit(run_one, name): name for name in todo}
        for done in as_completed(running):
            name = running[done]
            results[name] = done.result()
            with atomic_file(path) as temporary:
                temporary.write_text(json.dumps(results, indent=2))
            print(name, results[name], file=sys.stderr, flush=True)
    return {name: results[name] for name in SHRUNK}


def run_one(name: str) -> dict[str, str]:
    """Return what came of each stage on a family."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        chain = Chain(weights_of(name, root), class_folders(root / "train", 4, 8), root)
        return {stage: _outcome(chain, stage) for stage in STAGES}


def _outcome(chain: Chain, stage: str) -> str:
    try:
        chain.run(stage)
    except AssertionError as error:  # run_command's: it holds what the command refused with
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return OK


def families(results: dict[str, dict[str, str]]) -> list[str]:
    """Return the table of families by command, and the reasons of what is refused."""
    head = ["family", "tried on", "embedding", *STAGES[:-1], "register, run"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    reasons: dict[str, int] = {}
    for name, outcomes in results.items():
        backbone = shrunk(name)
        embedding = embedding_kind(backbone.model, name)
        cells = [_cell(outcomes[stage], reasons) for stage in STAGES]
        row = [backbone.family.name, f"`{name}`", embedding, *cells]
        lines.append("| " + " | ".join(row) + " |")
    lines.append("")
    return lines + [f"{number}. {reason}" for reason, number in reasons.items()]


def _cell(outcome: str, reasons: dict[str, int]) -> str:
    if outcome == OK:
        return OK
    said = outcome.rpartition("Error(")[2].split("\\n  fix")[0].strip("'\"")
    reason = said.rpartition(": ")[2]
    number = reasons.setdefault(reason[0].upper() + reason[1:] + ".", len(reasons) + 1)
    return f"refused ({number})"


def sources(results: dict[str, dict[str, str]]) -> list[str]:
    """Return where each family is published, a line each."""
    found = {family.name: family.source for family in map(_family, results)}
    return [f"- {name}: {source}." for name, source in found.items()]


def _family(name: str) -> Any:
    return shrunk(name).family


def names() -> list[str]:
    """Return which of timm's names are taken and which refused, and why."""
    taken: dict[str, list[str]] = defaultdict(list)
    refused: dict[str, list[str]] = defaultdict(list)
    for name in (name for module in MODULES for name in timm.list_models(module=module)):
        if name.startswith("test_"):
            continue
        model = _structure(name)
        reason = unsuitable(model)
        if reason is None:
            taken[family_of(model, name).name].append(name)
        else:
            refused[re.sub(r"block \d+", "blocks", reason[0])].append(name)
    count = sum(map(len, taken.values()))
    total = count + sum(map(len, refused.values()))
    lines = [f"Of timm {timm.__version__}'s {total} ViT-like names {count} load.", ""]
    lines += ["| family | names |", "| --- | --- |"]
    lines += [f"| {family} | {_listed(found)} |" for family, found in taken.items()]
    lines += ["", "Refused when they load:", "", "| why | names |", "| --- | --- |"]
    return lines + [f"| {reason} | {_listed(found)} |" for reason, found in refused.items()]


def _structure(name: str) -> Any:
    try:
        return timm.create_model(name, num_classes=0, device="meta", depth=1)
    except (AssertionError, TypeError):  # its depth is not free
        return timm.create_model(name, num_classes=0, device="meta")


def _listed(found: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in found)


def write(path: Path, parts: dict[str, list[str]]) -> None:
    """Put each part between its two markers in a page."""
    text = path.read_text(encoding="utf-8")
    for name, lines in parts.items():
        begin, end = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
        before, _, rest = text.partition(begin)
        after = rest.partition(end)[2]
        text = before + begin + "\n" + "\n".join(lines) + "\n\n" + end + after
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Run what is not run yet, and write the page's tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--write", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="Families at once.")
    options = parser.parse_args()
    results = run_all(options.results, max(1, options.jobs))
    parts = {"families": families(results), "sources": sources(results), "names": names()}
    write(options.write, parts)


if __name__ == "__main__":
    main()
