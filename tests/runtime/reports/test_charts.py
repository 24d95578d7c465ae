"""Charts: every value is where its axis says, and text never becomes markup."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.reports.charts import Interval, Line, interval_chart, line_chart
from vision_edge.runtime.reports.drawing import DARK, LIGHT, Drawing, chart_rules
from vision_edge.runtime.reports.scales import Scale, decimals, linear_ticks, log_ticks


def shapes(drawing: Drawing, name: str) -> list[Element]:
    return [shape for shape in ElementTree.fromstring(drawing.__html__()) if shape.tag == name]


def said(drawing: Drawing) -> list[str]:
    return [shape.text or "" for shape in shapes(drawing, "text")]


@pytest.mark.parametrize("high", [0.0, 1e-9, 0.3, 1.0, 7.7, 99.0, 100.0, 1e6])
@pytest.mark.parametrize("low", [0.0, -0.3, -8.0, -1e6])
def test_linear_ticks_enclose_what_they_measure(low: float, high: float) -> None:
    ticks = linear_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high
    assert 2 <= len(ticks) <= 9
    texts = [f"{tick:.{decimals(ticks)}f}" for tick in ticks]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.3), (1.0, 9.9), (19.1, 4508.0), (0.02, 60000)])
def test_log_ticks_enclose_what_they_measure(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert ticks[0] < low
    assert ticks[-1] >= high


def test_scales_are_linear_or_logarithmic() -> None:
    assert Scale(2, 4, 100, 0).at(3) == 50
    assert Scale(1, 100, 0, 10, log=True).at(10) == pytest.approx(5)
    assert Scale(1, 100, 0, 10, log=True).at(0) == 0  # less than there is
    assert Scale(3, 3, 7, 9).at(3) == 7


def test_a_line_goes_through_its_points() -> None:
    drawing = line_chart("t", "u", [Line("a", [(0, 0), (10, 4)])], floor=0.0)
    line = shapes(drawing, "polyline")[0]
    assert line.get("points") == "62.0,212.0 416.0,34.0"
    assert {"a", "u", "step", "0", "4"} <= set(said(drawing))


@pytest.mark.parametrize("points", [[], [(3, 1.0)], [(0, 5.0), (1, 5.0)]])
def test_few_points_are_drawn_too(points: list[tuple[float, float]]) -> None:
    drawing = line_chart("t", "u", [Line("a", points)], marked=points[0] if points else None)
    lengths = [
        float(v) for s in shapes(drawing, "circle") for v in (s.attrib["cx"], s.get("cy", ""))
    ]
    assert all(math.isfinite(length) for length in lengths)
    assert len(lengths) == 2 * (len(points) + bool(points))
    assert len(shapes(drawing, "polyline")) == (2 if points else 0)  # the line, and its legend


def test_a_point_is_marked_with_what_it_is() -> None:
    drawing = line_chart("t", "u", [Line("a", [(0, 1), (4, 2)])], marked=(4, 2), mark="kept")
    assert "kept" in said(drawing)
    assert [shape.get("class") for shape in shapes(drawing, "circle")].count("ring") == 1


@pytest.mark.parametrize("count", [1, 2, 9])
def test_values_lie_within_their_intervals(count: int) -> None:
    values = [Interval(f"m{i}" * (1 + 9 * i), 50 + 5 * i, 0.5 * i) for i in range(count)]
    drawing = interval_chart("t", "accuracy in %", values, note="n")
    dots = shapes(drawing, "circle")
    ranges = [s for s in shapes(drawing, "line") if "thick" in (s.get("class") or "")]
    assert len(dots) == len(ranges) == count
    for dot, line in zip(dots, ranges, strict=True):
        x1, x, x2 = (float(v or "nan") for v in (line.get("x1"), dot.get("cx"), line.get("x2")))
        assert 0 <= x1 <= x <= x2 <= drawing.width
    assert {"m0", "50.0 ± 0.0"} <= set(said(drawing))


def test_text_never_becomes_markup(tmp_path: Path) -> None:
    evil = "</svg><script>\"&'\udcff"
    line_chart(evil, evil, [Line(evil, [(0, 1), (1, 2)])], mark=evil).save(tmp_path / "x.svg")
    text = (tmp_path / "x.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(text)[0].text == evil.replace("\udcff", "\\udcff")
    assert "<script" not in text


def test_a_file_is_whole_without_css_variables() -> None:
    text = line_chart("t", "u", [Line("a", [(0, 1), (1, 2)])]).document()
    assert "var(" not in text
    assert LIGHT["s0"] in text and DARK["s0"] in text and "prefers-color-scheme: dark" in text
    assert not re.search(r"url\(|@import|href", text)


def test_every_colour_that_charts_use_is_there_twice() -> None:
    used = set(re.findall(r"var\(--([\w-]+)\)", chart_rules()))
    assert used <= set(LIGHT) == set(DARK)


@pytest.mark.parametrize("name", ["x.png", "x.pdf", "x"])
def test_another_format_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(VisionEdgeError, match=name) as caught:
        Drawing(9, 9, "t").save(tmp_path / name)
    assert "x.svg" in str(caught.value.fix)
    assert list(tmp_path.iterdir()) == []


def test_charts_need_the_standard_library_alone() -> None:
    import subprocess
    import sys

    code = (
        "import sys; import vision_edge.runtime.reports.charts; "
        "print(sorted({'jinja2', 'numpy', 'cv2', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
