"""Pages: whole, escaped, without anything from elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from support.html import Balanced

from vision_edge.runtime.errors import MissingExtraError
from vision_edge.runtime.reports import pages
from vision_edge.runtime.reports.charts import Line, line_chart
from vision_edge.runtime.reports.drawing import LIGHT
from vision_edge.runtime.reports.pages import picture_source, write_page

jinja2 = pytest.importorskip("jinja2")
EVIL = '<script>alert("1")</script>'
CHART = line_chart("t", "u", [Line("a", [(0, 1), (1, 2)])])
SHOWN = "\n".join(re.findall(r"^    (.*)$", pages.__doc__ or "", flags=re.MULTILINE))
"""The template that the module's docstring shows."""


def page(folder: Path, template: str, **values: Any) -> str:
    (folder / "t.html").write_text(template, encoding="utf-8")
    write_page(folder / "page.html", folder / "t.html", **{"title": "T", "made": "m", **values})
    return (folder / "page.html").read_text(encoding="utf-8")


def test_the_example_of_the_docstring_is_a_page(tmp_path: Path) -> None:
    text = page(tmp_path, SHOWN, rows=[["bolt", 3], [EVIL, 1]], chart=CHART)
    parsed = Balanced(text)
    assert "The gallery holds 2 products." in text
    assert '<td class="n">3</td>' in text
    assert "<script" not in text and "&lt;script&gt;" in text
    assert len(parsed.all("svg")) == len(parsed.all("table")) == 1
    assert len(SHOWN.strip().splitlines()) <= 10


def test_a_page_needs_nothing_else_and_forbids_it(tmp_path: Path) -> None:
    text = page(tmp_path, SHOWN, rows=[], chart=CHART)
    assert not re.search(r"https?://|url\(|@import|<script|<link", text)
    assert "default-src 'none'" in text
    assert f"--paper: {LIGHT['paper']}" in text and "prefers-color-scheme: dark" in text


def test_bars_stay_within_their_ends(tmp_path: Path) -> None:
    template = (
        '{% import "reports/pieces.html" as p %}{{ title }}{{ made }}'
        "{% for v, t in bars %}{{ p.bar(v, t) }}{% endfor %}"
    )
    text = page(
        tmp_path, template, bars=[(1, 4), (9, 4), (-1, 4), (none := None, 4), (1, 0), (0, 0)]
    )
    assert none is None
    assert re.findall(r"width:([\d.]+)%", text) == ["25.0", "100.0", "0.0", "0.0", "0.0", "0.0"]


def test_a_value_that_is_missing_is_an_error_and_leaves_the_old_page(tmp_path: Path) -> None:
    before = page(tmp_path, SHOWN, rows=[], chart=CHART)
    with pytest.raises(jinja2.UndefinedError, match="rows"):
        page(tmp_path, SHOWN, chart=CHART)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == before
    assert {path.name for path in tmp_path.iterdir()} == {"t.html", "page.html"}


def test_loose_surrogates_are_written_escaped(tmp_path: Path) -> None:
    assert "<title>\\udcff</title>" in page(tmp_path, SHOWN, title="\udcff", rows=[], chart=CHART)


def test_a_picture_is_part_of_the_page(tmp_path: Path) -> None:
    template = (
        '{% import "reports/pieces.html" as p %}{{ title }}{{ made }}{{ p.picture(src, "A bolt") }}'
    )
    text = page(tmp_path, template, src=picture_source(b"\xff\xd8", "jpeg"))
    assert Balanced(text).all("img") == [
        {"class": "sheet", "src": "data:image/jpeg;base64,/9g=", "alt": "A bolt"}
    ]


def test_without_jinja2_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"vision-edge\[reports\]"):
        page(tmp_path, SHOWN, rows=[], chart=CHART)
