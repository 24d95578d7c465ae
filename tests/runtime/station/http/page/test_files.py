"""The pages' own files: contrast, texts, no inline script, nothing fetched from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from vision_edge.station.http.page import page
from vision_edge.station.http.page.texts import ENGLISH

TEMPLATES = sorted((page.FOLDER / "templates").iterdir())
STATIC = sorted((page.FOLDER / "static").iterdir())
SCRIPTS = [path for path in STATIC if path.suffix == ".js"]
STYLES = [path for path in STATIC if path.suffix == ".css"]

TEXT_PAIRS = [
    ("text", "bg"),
    ("text", "surface"),
    ("text", "sunken"),
    ("muted", "bg"),
    ("muted", "surface"),
    ("muted", "sunken"),
    ("accent", "bg"),
    ("accent", "surface"),
    ("accent-deep", "surface"),
    ("on-accent", "accent"),
    ("on-accent", "accent-deep"),
    ("on-accept", "accept"),
    ("on-review", "review"),
    ("on-unknown", "unknown"),
    ("on-old", "old"),
    ("good-text", "surface"),
    ("good-text", "bg"),
    ("fair-text", "surface"),
    ("bad-text", "surface"),
    ("bad-text", "bg"),
    ("on-warn", "warn-bg"),
    ("on-bad", "bad-bg"),
    ("on-toast", "toast"),
    ("on-toast-action", "toast"),
    ("on-screen", "screen"),
]
SHAPE_PAIRS = [
    ("edge", "bg"),
    ("edge", "surface"),
    ("edge", "old"),
    ("focus", "bg"),
    ("focus", "surface"),
    ("accent", "bg"),
]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_is_aa(theme: str) -> None:
    colours = _colours("tokens.css") | (_colours("dark.css") if theme == "dark" else {})

    for least, pairs in ((4.5, TEXT_PAIRS), (3.0, SHAPE_PAIRS)):
        for front, back in pairs:
            ratio = _contrast(colours[front], colours[back])
            assert ratio >= least, f"{theme}: --{front} on --{back} is {ratio:.2f}"


def test_verdicts_can_be_read_from_afar() -> None:
    colours = _colours("tokens.css")
    for band in ("accept", "unknown"):
        assert _contrast(colours[f"on-{band}"], colours[band]) >= 6.0


def test_contrast_of_black_on_white_is_known() -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21.0)


def test_dark_theme_redefines_known_colours_only() -> None:
    assert set(_colours("dark.css")) <= set(_colours("tokens.css"))


def test_colours_come_from_the_tokens() -> None:
    """A colour written elsewhere would have escaped the check of contrast."""
    allowed = {"#ffffff", "#000000", "#0b4f8a", "#ffc531"}  # over photographs, in any theme
    for path in STYLES:
        if path.name not in ("tokens.css", "dark.css"):
            assert set(re.findall(r"#[0-9a-f]{3,8}\b", path.read_text("utf-8"))) <= allowed, path


def test_every_text_that_is_asked_for_exists() -> None:
    for path in [*TEMPLATES, *SCRIPTS]:
        for key in _asked(path):
            assert key in ENGLISH, f"{path.name} asks for {key!r}"


def test_every_text_is_used() -> None:
    asked = {key for path in [*TEMPLATES, *SCRIPTS] for key in _asked(path)}
    everything = "".join(path.read_text("utf-8") for path in [*TEMPLATES, *SCRIPTS])
    heads = set(re.findall(r"[`'\"]([a-z.-]+\.)(?:\$\{|['\"] ~)", everything))
    literal = set(re.findall(r"['\"]([a-z][a-z.-]+)['\"]", everything))
    unused = [
        key
        for key in ENGLISH
        if key not in asked | literal and not any(key.startswith(head) for head in heads)
    ]
    assert unused == []


def test_no_words_stand_in_templates() -> None:
    """All words come from the texts, so that a translation reaches them."""
    for path in TEMPLATES:
        bare = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", path.read_text("utf-8"), flags=re.S)
        for text in re.findall(r">([^<]*)<", bare):
            assert not re.search(r"[^\W\d_]{2}", text), f"{path.name}: {text.strip()!r}"


def test_nothing_inline_and_nothing_from_elsewhere() -> None:
    for path in TEMPLATES:
        html = path.read_text("utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html), path
        assert not re.search(r"<script(?![^>]*\ssrc=)", html), path
    for path in [*TEMPLATES, *STATIC]:
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|url\(|@import", text), path


def test_scripts_never_parse_markup() -> None:
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    for path in SCRIPTS:
        assert not re.search(banned, path.read_text("utf-8")), path


def test_scripts_import_what_exists() -> None:
    for path in SCRIPTS:
        for name in re.findall(r'from "\./([\w.-]+)"', path.read_text("utf-8")):
            assert (path.parent / name).is_file(), f"{path.name} imports {name}"


def _colours(name: str) -> dict[str, str]:
    text = (page.FOLDER / "static" / name).read_text("utf-8")
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6});", text))


def _contrast(first: str, second: str) -> float:
    """Contrast ratio by WCAG 2.2, "contrast ratio" and "relative luminance"."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _asked(path: Path) -> set[str]:
    text = path.read_text("utf-8")
    single = set(re.findall(r"\bt(?:Or)?\(\s*['\"]([a-z][a-z.-]*[a-z])['\"][,)\s]", text))
    counted = re.findall(r"\btn\(\s*['\"]([a-z][a-z.-]*)['\"]", text)
    return single | {f"{key}.{form}" for key in counted for form in ("one", "many")}
