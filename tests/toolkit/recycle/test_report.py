"""The report of recycling: its facts, its contact sheet and its page."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.html import Balanced
from support.toolkit import adapter_in, hub_in, leftovers, qv_updates, random_head

from vision_edge.toolkit.averaging.average import AverageSettings
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.meta.settings import MetaSettings
from vision_edge.toolkit.pool.tasks import TaskShape
from vision_edge.toolkit.recycle.pipeline import RecycleResult, recycle_hub
from vision_edge.toolkit.recycle.report.facts import recycle_report
from vision_edge.toolkit.recycle.report.page import write_page
from vision_edge.toolkit.recycle.report.pool_sheet import pool_sheet
from vision_edge.toolkit.recycle.report.words import SYNTHETIC, summary
from vision_edge.toolkit.recycle.settings import RecycleSettings, Where

SETTINGS = RecycleSettings(
    subspace=AverageSettings(rank=4),
    inversion=InversionSettings(per_class=3, iterations=3),
    meta=MetaSettings(
        steps=4, tasks=2, shape=TaskShape(2, 1, 2), evaluate_every=2, evaluate_tasks=2
    ),
)
PNG = bytes(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1])
EVIL = '<script>alert("1")</script>'
NBSP = "\N{NO-BREAK SPACE}"


@pytest.fixture(scope="module")
def result(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> RecycleResult:
    """A recycled hub of five adapters: one whose classes have no names, one without a head."""
    root = tmp_path_factory.mktemp("report")
    hub = hub_in(root / "hub", backbone, count=3)
    info = {"method": "tune"}
    adapter_in(hub / "nameless", backbone, qv_updates(seed=8), head=random_head(3, 8), info=info)
    adapter_in(hub / "headless", backbone, qv_updates(seed=9), info=info)
    (hub / "damaged").mkdir()
    (hub / "damaged" / "adapter_config.json").write_text("{")
    return recycle_hub(hub, backbone, SETTINGS, Where(root / "work", skip_bad=True))


def document(data: str, *rows: tuple[str, float | None, float | None]) -> dict[str, Any]:
    """A table as `evaluate.to_document` makes it."""
    form = {"way": 5, "shot": 1, "episodes": 600}
    results = [{"name": name, **form, "accuracy": a, "ci95": c} for name, a, c in rows]
    return {"data": data, "metric": "centred-cosine", **form, "query": 15, "results": results}


SYNTHETIC_TABLE = document(
    SYNTHETIC, ("vit", 40.0, 5.0), ("average", 42.0, 5.0), ("recycled", 43.0, 5.0)
)
REAL_TABLE = document("cubs", ("vit", 61.2, 0.7), ("average", 66.5, 0.7), ("recycled", 67.0, 0.7))


@pytest.fixture
def report(result: RecycleResult, backbone: Backbone) -> dict[str, Any]:
    return recycle_report(result, SETTINGS, backbone, "hub", [SYNTHETIC_TABLE, REAL_TABLE])


def page_of(report: dict[str, Any], folder: Path) -> str:
    write_page(folder / "report.html", report, PNG)
    return (folder / "report.html").read_text(encoding="utf-8")


def walk(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        value = list(value.values())
    for entry in value if isinstance(value, list) else []:
        yield from walk(entry)


class TestReport:
    def test_is_json(self, report: dict[str, Any]) -> None:
        assert json.loads(json.dumps(report, allow_nan=False)) == report
        assert all(isinstance(v, (dict, list, str, int, float, type(None))) for v in walk(report))

    def test_merges_the_adapters_with_their_images(
        self, report: dict[str, Any], result: RecycleResult
    ) -> None:
        by_name = {fact["name"]: fact for fact in report["adapters"]}
        assert sorted(by_name) == ["a0", "a1", "a2", "headless", "nameless"]
        part = next(part for part in result.parts if part.name == "a1")
        assert {k: by_name["a1"][k] for k in ("agreement", "cross_entropy", "prior")} == {
            k: part.facts[k] for k in ("agreement", "cross_entropy", "prior")
        }
        assert by_name["a1"]["images"] == 2 * 3
        assert by_name["nameless"]["images"] == 3 * 3
        assert (by_name["headless"]["images"], by_name["headless"]["agreement"]) == (0, None)

    def test_shares_in_the_mean_add_up_to_one(self, report: dict[str, Any]) -> None:
        assert sum(fact["share"] for fact in report["adapters"]) == pytest.approx(1, abs=1e-4)

    def test_says_what_was_left_out_and_learned(
        self, report: dict[str, Any], result: RecycleResult
    ) -> None:
        assert list(report["skipped"]) == ["damaged"]
        assert report["curves"] == result.meta.curves
        assert report["step"] == result.meta.step
        assert set(report["stages"]) == {"average", "invert", "meta-learn"}
        assert report["pool"] == {"adapters": 4, "classes": 9, "images": 27, "not_of_hub": []}

    @pytest.mark.parametrize("start", ["subspace", "average", "random"])
    def test_energy_is_that_of_the_start(
        self, start: str, result: RecycleResult, backbone: Backbone
    ) -> None:
        report = recycle_report(result, replace(SETTINGS, start=start), backbone, "hub", None)
        expected = {
            "subspace": result.subspace.report["energy_kept"],
            "average": result.average.report["energy_kept"],
            "random": None,
        }
        assert report["energy_kept"] == expected[start]
        assert report["evaluations"] == []

    def test_not_a_number_becomes_null_and_broken_text_is_escaped(
        self, result: RecycleResult, backbone: Backbone
    ) -> None:
        parts = [
            replace(part, facts={**part.facts, "prior": math.nan, "agreement": np.float32(0.5)})
            for part in result.parts
        ]
        changed = replace(result, parts=parts)
        report = recycle_report(changed, SETTINGS, backbone, "hub\udcff", None)
        assert report["adapters"][0]["prior"] is None
        assert report["adapters"][0]["agreement"] == 0.5
        assert report["hub"] == "hub\\udcff"
        json.dumps(report, allow_nan=False, ensure_ascii=False).encode("utf-8")

    def test_a_part_of_another_adapter_of_the_same_name_is_not_taken_for_its_own(
        self, result: RecycleResult, backbone: Backbone
    ) -> None:
        parts = [replace(result.parts[0], sha256="0" * 64), *result.parts[1:]]
        report = recycle_report(replace(result, parts=parts), SETTINGS, backbone, "hub", None)
        assert report["adapters"][0]["images"] == 0
        assert report["pool"]["not_of_hub"] == ["a0"]


class TestSummary:
    def test_real_images_come_before_synthetic_ones(self, report: dict[str, Any]) -> None:
        said = summary(report)
        assert f"On cubs (5-way 1-shot, 600 tasks) it recognises 67.0 ± 0.7{NBSP}%" in said
        assert "5.8 points above vit" in said
        assert "no clear difference from average (+0.5 points)" in said
        assert "synthetic tasks" not in said

    def test_owns_up_to_a_loss(self, report: dict[str, Any]) -> None:
        report["evaluations"] = [document("x", ("vit", 70.0, 0.5), ("recycled", 60.0, 0.5))]
        assert "10.0 points below vit" in summary(report)

    def test_says_that_real_images_were_not_tested(self, report: dict[str, Any]) -> None:
        report["evaluations"] = [SYNTHETIC_TABLE]
        assert "not tested on real images" in summary(report)
        assert "no clear difference from vit (+3.0 points)" in summary(report)

    def test_says_that_the_start_was_kept(self, report: dict[str, Any]) -> None:
        assert "found nothing better than its start" in summary({**report, "step": 0})
        assert "step 2 was kept" in summary({**report, "step": 2})

    def test_says_that_nothing_was_learned(self, report: dict[str, Any]) -> None:
        report["settings"]["meta"]["steps"] = 0
        assert "Without meta-learning" in summary({**report, "step": 0})


class TestSheet:
    def test_a_row_an_adapter_and_a_column_a_class(self, result: RecycleResult) -> None:
        sheet = pool_sheet(result.parts, side=40)
        assert sheet.dtype == np.uint8
        assert sheet.shape == (4 * (36 + 40 + 54), 5 * (40 + 12) + 12, 3)

    def test_no_more_rows_and_columns_than_asked_for(self, result: RecycleResult) -> None:
        sheet = pool_sheet(result.parts, columns=1, rows=2, side=40)
        assert sheet.shape == (2 * (36 + 40 + 54), 40 + 24, 3)

    def test_shows_the_images(self, result: RecycleResult) -> None:
        part = result.parts[0]
        sheet = pool_sheet([part], side=32)  # their own size
        first = part.images(np.flatnonzero(part.labels == 0)[:1])[0]
        inner = slice(3, -3)  # within the frame
        shown = sheet[40 : 40 + 32, 12 : 12 + 32]
        np.testing.assert_array_equal(shown[inner, inner], first[inner, inner])

    def test_names_are_drawn_where_they_are_known(self, result: RecycleResult) -> None:
        part = result.parts[0]
        named, bare = pool_sheet([part]), pool_sheet([replace(part, classes=())])
        assert named.shape == bare.shape
        assert (named != bare).any()
        pool_sheet([replace(part, name="漢字" * 80, classes=("é" * 99, ""))])

    def test_no_parts_at_all(self) -> None:
        assert pool_sheet([], side=40).ndim == 3

    def test_a_class_without_images_is_left_out(self, result: RecycleResult) -> None:
        part = replace(result.parts[0], labels=np.zeros_like(result.parts[0].labels))
        one, two = pool_sheet([part], side=40), pool_sheet([result.parts[0]], side=40)
        second = np.s_[36:80, 12 + 52 : 12 + 92]
        assert len(np.unique(one[second].reshape(-1, 3), axis=0)) == 1
        assert len(np.unique(two[second].reshape(-1, 3), axis=0)) > 9


class TestPage:
    def test_is_balanced_and_needs_nothing_else(
        self, report: dict[str, Any], tmp_path: Path
    ) -> None:
        text = page_of(report, tmp_path)
        page = Balanced(text)
        assert "<script" not in text
        assert not re.search(r"https?://|url\(|@import", text)
        for image in page.all("img"):
            assert (image["src"] or "").startswith("data:image/png;base64,")
            assert image["alt"]
        assert leftovers(tmp_path) == []

    def test_tables_have_captions_and_headers(self, report: dict[str, Any], tmp_path: Path) -> None:
        page = Balanced(page_of(report, tmp_path))
        assert len(page.all("caption")) == len(page.all("table")) == 7
        assert {head["scope"] for head in page.all("th")} == {"row", "col"}
        assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))

    def test_curves_have_a_point_a_look_and_the_step_is_marked(
        self, report: dict[str, Any], tmp_path: Path
    ) -> None:
        text = page_of(report, tmp_path)
        lines = Balanced(text).all("polyline")
        counts = {(line["class"], len((line["points"] or "").split())) for line in lines}
        looks = len(report["curves"])
        # the legend's have two points; no training before step 0
        assert counts == {("thick s0", looks), ("faint", looks - 1), ("thick s0", 2), ("faint", 2)}
        assert text.count(f"step {report['step']} kept") == 2
        for label in ("loss", "accuracy in %", "step"):
            assert f">{label}</text>" in text

    def test_the_best_is_marked_with_its_difference(
        self, report: dict[str, Any], tmp_path: Path
    ) -> None:
        text = page_of(report, tmp_path)
        rows = re.findall(r'<tr class="best">.*?</tr>', text)
        assert len(rows) == 2
        assert all("recycled" in row for row in rows)
        assert "67.0" in rows[0] and "+5.8" in rows[0]

    def test_what_comes_from_files_is_escaped(self, report: dict[str, Any], tmp_path: Path) -> None:
        report = copy.deepcopy(report)
        report["hub"] = EVIL
        report["adapters"][0] |= {
            "name": EVIL,
            "classes": [EVIL],
            "notes": [EVIL],
            "outlier": True,
        }
        report["skipped"] = {EVIL: EVIL}
        report["pool"]["not_of_hub"] = [EVIL]
        report["backbone"]["name"] = EVIL
        report["created"] = EVIL
        report["settings"][EVIL] = EVIL
        report["stages"][EVIL] = {"seconds": 1.0, "peak_mb": 1.0}
        report["evaluations"] = [document(EVIL, (EVIL, 1.0, 1.0), ("recycled", 2.0, 1.0))]
        text = page_of(report, tmp_path)
        Balanced(text)
        assert "<script" not in text
        assert text.count("&lt;script&gt;") > 15

    def test_missing_pieces(
        self, result: RecycleResult, backbone: Backbone, tmp_path: Path
    ) -> None:
        report = recycle_report(result, SETTINGS, backbone, "hub", None)
        for fact in report["adapters"]:
            fact |= dict.fromkeys(("agreement", "cosine_to_rest", "share"))
        report["skipped"], report["curves"] = {}, []
        text = page_of(report, tmp_path)
        Balanced(text)
        assert "Nothing was measured" in text
        assert "Left out" not in text

    def test_unknown_accuracies(self, report: dict[str, Any], tmp_path: Path) -> None:
        table = document("x", ("vit", None, None), ("average", 50.0, None), ("recycled", 51.0, 1.0))
        text = page_of({**report, "evaluations": [table]}, tmp_path)
        Balanced(text)
        assert "no clear difference from average (+1.0 points)" in text

    def test_of_equals_none_is_marked(self, report: dict[str, Any], tmp_path: Path) -> None:
        table = document("x", ("vit", 100.0, 0.0), ("recycled", 100.0, 0.0))
        assert 'class="best"' not in page_of({**report, "evaluations": [table]}, tmp_path)

    def test_one_look_only(self, report: dict[str, Any], tmp_path: Path) -> None:
        report = {**report, "curves": report["curves"][:1], "step": 0}
        Balanced(page_of(report, tmp_path))

    def test_loose_surrogates_are_written_escaped(
        self, report: dict[str, Any], tmp_path: Path
    ) -> None:
        assert "\\udcff" in page_of({**report, "hub": "\udcff"}, tmp_path)

    def test_is_written_whole_or_not_at_all(self, report: dict[str, Any], tmp_path: Path) -> None:
        before = page_of(report, tmp_path)
        with pytest.raises(KeyError):
            write_page(tmp_path / "report.html", {"hub": "x"}, PNG)
        assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
