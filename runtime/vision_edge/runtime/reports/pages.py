"""Pages: one HTML file each that needs no network, no script and no other file.

A page is a jinja2 template that extends `reports/page.html`, which brings title, style (light and
dark, by the reader's settings) and a content security policy that forbids all else.
`reports/pieces.html` has the parts: sections, tiles, tables, bars, figures. All text is escaped;
charts (`charts`) are put in as they are. To make one, write a template beside your module,

    {% extends "reports/page.html" %}{% import "reports/pieces.html" as p %}
    {% block content %}
    {{ p.lead("The gallery holds " ~ (rows | length | counted("product")) ~ ".") }}
    {% call p.section("Snapshots") %}
    {{ p.plain_table("Snapshots of each product", ["Product", "Snapshots"], rows) }}
    {{ p.figure(chart, "How near each product is to its nearest other") }}
    {% endcall %}
    {% endblock %}

and call `write_page(out, Path(__file__).parent / "templates/gallery.html", title="Gallery",
made="vision-edge gallery check", rows=[["bolt", 3]], chart=line_chart(...))`.

Filters are the functions of `numbers`; `picture_source` makes a picture a part of the page.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import require
from vision_edge.runtime.reports import numbers
from vision_edge.runtime.reports.drawing import TEMPLATES, chart_rules, colour_variables
from vision_edge.runtime.system.files import atomic_file

FILTERS = ("number", "percent", "brief", "counted", "duration")


def write_page(path: Path, template: Path, /, *, title: str, made: str, **values: Any) -> None:
    """Write a page, whole or not at all.

    Args:
        path: The page's file.
        template: A template that extends `reports/page.html`; those beside it can be included.
        title: Heading of the page and of its window.
        made: What made it, for its last line.
        values: What the template names; one that it names and is not here is an error.

    Raises:
        MissingExtraError: If jinja2 is not installed.
    """
    page = _environment(template.parent).get_template(template.name)
    style = colour_variables() + chart_rules() + (TEMPLATES / "page.css").read_text("utf-8")
    text = page.render(title=title, made=made, style=style, **values)
    with atomic_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def picture_source(data: bytes, kind: str = "png") -> str:
    """Return a picture's bytes as what an `img` can show without another file.

    Args:
        data: An encoded picture.
        kind: `png` or `jpeg`.
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _environment(folder: Path) -> Any:
    """Return what renders the templates of a folder; those of this room are `reports/...`."""
    jinja2 = require("jinja2")
    ours = jinja2.PrefixLoader({"reports": jinja2.FileSystemLoader(TEMPLATES)})
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([ours, jinja2.FileSystemLoader(folder)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({name: getattr(numbers, name) for name in FILTERS})
    return environment
