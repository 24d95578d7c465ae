"""What pages name is there: commands with their options, files, and each other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.commands import check_line, command_lines
from support.paths import ROOT

from vision_edge.runtime import Image

DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in DOCS.rglob("*.md")}
GUIDES = {
    **PAGES,
    **{name: (ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md")},
}
TOPS = ("toolkit/", "export/", "runtime/", "tests/", "benchmarks/", "examples/", "docs/")
LINES = [(name, line) for name, text in PAGES.items() for line in command_lines(text)]


def test_pages_show_commands() -> None:
    assert len(LINES) > 50


@pytest.mark.parametrize(("page", "line"), LINES)
def test_every_command_line_is_understood(page: str, line: str) -> None:
    check_line(line)


@pytest.mark.parametrize("page", GUIDES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", GUIDES[page])
    assert [path for path in named if path.startswith(TOPS) and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("index", ["docs/README.md", "docs/adr/README.md"])
def test_an_index_leads_to_every_page(index: str) -> None:
    home = Path(index).parent.as_posix()
    records = index == "docs/adr/README.md"
    wanted = {
        page.removeprefix(f"{home}/")
        for page in PAGES
        if page.startswith(f"{home}/") and page != index
        and (records or not page.startswith("docs/adr/0"))
    }  # fmt: skip
    linked = set(re.findall(r"\]\(([^)#]+\.md)\)", PAGES[index]))
    assert wanted <= linked, f"add to {index}: {sorted(wanted - linked)}"


def test_a_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in sorted((DOCS / "adr").glob("0*.md"))]
    assert numbers == [f"{n + 1:04}" for n in range(len(numbers))]


@pytest.mark.parametrize("page", PAGES)
def test_lists_stand_apart_so_that_the_site_shows_them_as_github_does(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    glued = re.findall(r"^(?!#|[-*|>]|\d+\. |    |$).*\n(?:[-*]|\d+\.) .*$", text, re.MULTILINE)
    continued = re.findall(r"\n\n +\S.*\n(?:[-*]|\d+\.) .*$", text, re.MULTILINE)
    assert glued + continued == []


def test_the_picture_of_the_data_flow_is_what_its_script_draws() -> None:
    code = "import runpy; print(runpy.run_path('docs/site/data_flow.py')['draw']().document())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (DOCS / "images/data-flow.svg").read_text("utf-8").strip()


def drawn(number: int, shift: int) -> Image:
    """Return a cup from above, a pen, or a key, as far as a few strokes can."""
    image = np.full((480, 480, 3), (170, 190, 200), np.uint8)
    noise = np.random.default_rng(number + shift).integers(0, 30, image.shape, np.uint8)
    if number == 0:
        cv2.circle(image, (240 + shift, 240), 140, (250, 250, 250), -1)
        cv2.circle(image, (240 + shift, 240), 115, (20, 40, 70), -1)
    elif number == 1:
        cv2.line(image, (90 + shift, 390), (390, 90 + shift), (160, 40, 20), 34)
        cv2.line(image, (90 + shift, 390), (70 + shift, 410), (30, 30, 30), 12)
    else:
        cv2.circle(image, (150, 150 + shift), 60, (20, 40, 60), 22)
        for end in ((380, 380 + shift), (330, 400 + shift)):
            cv2.line(image, (190, 190 + shift), end, (20, 40, 60), 18)
    return image - noise


@pytest.mark.slow
def test_the_first_tutorial_runs_as_it_is_written(tmp_path: Path) -> None:
    page = PAGES["docs/tutorial/first-verdict.md"]
    lines = re.findall(r"^    ((?:vision-edge|BUNDLE=).*)$", page, flags=re.MULTILINE)
    (tmp_path / "later").mkdir()
    for number, name in enumerate(("cup", "pen", "key")):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), drawn(number, 0))
        cv2.imwrite(str(tmp_path / "later" / f"{name}.jpg"), drawn(number, 15))
    command = f'"{sys.executable}" -c "from vision_edge.cli.app import main; main()" "$@"'
    script = "\n".join([f"vision-edge() {{ {command}; }}", "set -e", *lines])
    done = subprocess.run(
        ["bash", "-c", script.replace("python -c", f'"{sys.executable}" -c')],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first = (tmp_path / "verdicts.jsonl").read_text().splitlines()
    assert ['"nearest": "cup"' in first[0], '"nearest": "pen"' in first[2]] == [True, True]
    assert list((tmp_path / "sheets").iterdir())
