"""From a hub to a meta-LoRA on disk: a PEFT directory with its report, whole or not at all."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2

from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.export.model.merge import LowRank, merge
from vision_edge.runtime.errors import AdapterError, VisionEdgeError
from vision_edge.runtime.system.files import atomic_folder
from vision_edge.toolkit.adapters.adapter import write_adapter
from vision_edge.toolkit.averaging.average import AverageSettings, average_hub, settings_document
from vision_edge.toolkit.averaging.counsel import UNTESTED, below_plain
from vision_edge.toolkit.averaging.factors import factor_average
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.data.dataset import Dataset
from vision_edge.toolkit.evaluation.episodes import EpisodeSettings
from vision_edge.toolkit.evaluation.evaluate import evaluate, to_document
from vision_edge.toolkit.meta.held_out_tasks import held_out_document
from vision_edge.toolkit.recycle.pipeline import RecycleResult, recycle_hub
from vision_edge.toolkit.recycle.report.facts import recycle_report
from vision_edge.toolkit.recycle.report.page import write_page
from vision_edge.toolkit.recycle.report.pool_sheet import pool_sheet
from vision_edge.toolkit.recycle.report.words import RECYCLED
from vision_edge.toolkit.recycle.settings import RecycleSettings, Watch, Where

REPORT_FILE = "report.json"
PAGE_FILE = "report.html"
SHEET_FILE = "pool.png"
AVERAGED = "average"
"""What tables call the meta-LoRA of `build_average`."""


def build_average(
    hub: Path,
    out: Path,
    backbone: Backbone,
    settings: AverageSettings | None = None,
    *,
    skip_bad: bool = False,
    trust_base: bool = False,
    seed: int = 0,
    test: Dataset | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write the average of a hub as a meta-LoRA.

    Args:
        hub: A folder of adapters.
        out: The meta-LoRA's folder; an adapter that is there is replaced.
        backbone: What they belong to.
        settings: Rank, size, direction, weights.
        skip_bad: Leave out adapters that cannot be used, and name them in the report.
        trust_base: Take adapters whatever base they record.
        seed: Noted in the report; nothing is drawn.
        test: Labelled images on which the plain backbone is compared; nothing is chosen by them.
        progress: Called with the name of each adapter.

    Returns:
        What `report.json` in the folder says.

    Raises:
        AdapterError: If there is no adapter, or one cannot be used.
        VisionEdgeError: If `out` is there and is no adapter.
    """
    refuse_overwrite(out)
    started, chosen = time.monotonic(), settings or AverageSettings()
    result = average_hub(
        hub, backbone, chosen, skip_bad=skip_bad, trust_base=trust_base, progress=progress
    )
    tables = []
    if test is not None:
        states = {backbone.name: {}, AVERAGED: result.updates}
        tables.append(_real_table(test, backbone, states, "cpu"))
    said = [*result.report["warnings"], *_warned(tables, AVERAGED)]
    advice = [*result.report["counsel"], *([] if tables else [UNTESTED])]
    report = {
        **result.report,
        **_origin(hub, seed, started),
        "evaluations": tables,
        "warnings": said,
        "counsel": advice,
    }
    info = {"method": "average", "settings": settings_document(chosen), "hub": hub.name}
    with atomic_folder(out) as folder:
        write_adapter(folder, result.updates, backbone, info=info)
        _write_report(folder, report)
    return report


def build_recycled(
    hub: Path,
    out: Path,
    backbone: Backbone,
    settings: RecycleSettings | None = None,
    where: Where | None = None,
    watch: Watch | None = None,
    *,
    test: Dataset | None = None,
) -> dict[str, Any] | None:
    """Run LoRA Recycle over a hub, and write the meta-LoRA with its report, page and sheet.

    Args:
        hub: A folder of adapters.
        out: The meta-LoRA's folder; an adapter that is there is replaced.
        backbone: What they belong to.
        settings: See `RecycleSettings` and `preset_settings`.
        where: Device, folders, prior; by default the CPU, without a prior, with what is finished
            kept in `OUT.work`.
        watch: Hears how it gets on.
        test: Labelled images for the report's table; nothing is chosen by them.

    Returns:
        What `report.json` in the folder says; None on any process but the first.

    Raises:
        VisionEdgeError: As `recycle_hub` does, or if `out` is there and is no adapter.
    """
    refuse_overwrite(out)
    started, chosen = time.monotonic(), settings or RecycleSettings()
    place = where or Where(work=out.with_name(out.name + ".work"))
    result = recycle_hub(hub, backbone, chosen, place, watch)
    if not place.ranks.first:
        return None
    states = _states(hub, backbone, result, place.trust_base, (watch or Watch()).note)
    tables = [held_out_document(backbone, states, result.parts, chosen.meta, place.device)]
    if test is not None:
        tables.append(_real_table(test, backbone, states, place.device))
    report = {
        **recycle_report(result, chosen, backbone, hub.name, tables),
        **_origin(hub, chosen.meta.seed, started),
    }
    report["warnings"] += _warned(tables[1:], RECYCLED)
    report["counsel"] += [] if test is not None else [UNTESTED]
    info = {"method": "recycle", "settings": chosen.document(), "hub": hub.name}
    sheet = bytes(cv2.imencode(".png", pool_sheet(result.parts))[1])
    with atomic_folder(out) as folder:
        write_adapter(folder, result.updates, backbone, info=info)
        _write_report(folder, report)
        (folder / SHEET_FILE).write_bytes(sheet)
        write_page(folder / PAGE_FILE, report, sheet)
    return report


def refuse_overwrite(out: Path) -> None:
    """Replace only what is an adapter already.

    Raises:
        VisionEdgeError: If `out` is there and is none.
    """
    if out.exists() and not (out / "adapter_config.json").is_file():
        raise VisionEdgeError(
            f"{out} exists and is not an adapter, so it is not overwritten",
            fix="give --out a new folder",
        )


def _origin(hub: Path, seed: int, started: float) -> dict[str, Any]:
    """Return what every report says: when, from which hub, and how long it took."""
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "hub": hub.name,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 3),
    }


def _write_report(folder: Path, report: dict[str, Any]) -> None:
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")


def _warned(tables: Sequence[dict[str, Any]], own: str) -> list[str]:
    """Return what tables of real images speak against a meta-LoRA."""
    return [said for table in tables if (said := below_plain(table, own)) is not None]


def _states(
    hub: Path,
    backbone: Backbone,
    result: RecycleResult,
    trust_base: bool,
    note: Callable[[str], None],
) -> dict[str, Mapping[str, LowRank]]:
    """Return what the report compares, by name, the plain backbone first."""
    states: dict[str, Mapping[str, LowRank]] = {backbone.name: {}}
    skipped = result.average.report["skipped"]
    try:
        states["LoRAs Avg (factors)"] = factor_average(
            hub, backbone, skipped, trust_base=trust_base
        )
    except AdapterError as error:
        note(f"without the paper's LoRAs Avg: {error.what}")
    states["average of products"] = result.average.updates
    states["subspace average"] = result.subspace.updates
    states["recycled"] = result.updates
    return states


def _real_table(
    data: Dataset, backbone: Backbone, states: Mapping[str, Mapping[str, LowRank]], device: str
) -> dict[str, Any]:
    """Evaluate on labelled images, which nothing was chosen by."""
    episodes = EpisodeSettings()
    embedders = []
    for name, updates in states.items():
        changed = copy.deepcopy(backbone.model)
        merge(changed, updates)
        embedders.append(TorchEmbedder(changed.to(device), backbone.spec, name))
    used = [data]
    rows = evaluate(data, embedders, episodes, used=used.append)
    return to_document(used[-1], episodes, rows)
