"""Where a login leads, by the script that browsers run."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi")

from vision_edge.station.http.page.page import FOLDER

if shutil.which("node") is None:
    pytest.skip("needs node, for the browser's own parser", allow_module_level=True)

ORIGIN = "http://station:8080"
STARTS = (
    "", "/", "//", "///", "/\\", "\\\\", "/.//", "/./\\", "/..//", "/x/..//", "/%2e//", "/%2e%2e//",
    "/\t/", "/\n/", "\t//", " //", "\x00//", "\x01/", "/\x7f/", "/%09/", "/%2f", "/%5c", "/;//",
    "/?//", "/#//", "http:", "http:/", "http://", "https://", "//u:p@", "data:,", "/@",
    "javascript:", "http://station:8080@", "http://station:8080.", "//station:8080@", "/:80//",
    "blob:", "//[::1]",
)  # fmt: skip
ENDS = ("", "evil.example/", "evil.example:8080", "/evil.example", "\\evil.example", "%00", "..//e")
FORMS = [start + end for start, end in itertools.product(STARTS, ENDS)]


def destinations(tmp_path: Path, forms: list[str]) -> list[str]:
    """Return where a browser lands: what `location.replace` makes of what the script returns."""
    shutil.copy(FOLDER / "static/destination.js", tmp_path / "destination.mjs")
    script = tmp_path / "run.mjs"
    script.write_text(
        "import { destination } from './destination.mjs';"
        "let text = ''; for await (const part of process.stdin) text += part;"
        f"const land = (s) => new URL(destination(s, '{ORIGIN}'), '{ORIGIN}/login').href;"
        "console.log(JSON.stringify(JSON.parse(text).map(land)));"
    )
    asked = json.dumps(forms)
    done = subprocess.run(
        ["node", script], input=asked, capture_output=True, text=True, timeout=60, check=True
    )
    return list(json.loads(done.stdout))


def test_no_form_of_next_leads_to_another_host(tmp_path: Path) -> None:
    encoded = [f"?next={quote(form, safe='')}" for form in FORMS]
    raw = [f"?next={form}" for form in FORMS]
    for asked, landed in zip(encoded + raw, destinations(tmp_path, encoded + raw), strict=True):
        assert landed.startswith(f"{ORIGIN}/"), (asked, landed)


def test_a_page_of_the_station_is_come_back_to(tmp_path: Path) -> None:
    page = "/register?source=a&label=b%20c"
    assert destinations(tmp_path, [f"?next={quote(page)}", "", "?next="]) == [
        f"{ORIGIN}{page}", f"{ORIGIN}/", f"{ORIGIN}/",
    ]  # fmt: skip
