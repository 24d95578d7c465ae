"""The site: whole, browsable offline, and refused where a link, an anchor or a name is dead."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest
from support.paths import ROOT

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")
FACES = ("runtime", "export", "toolkit", "station")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site/hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a folder; what would reach out fails, since no proxy answers."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)],
        cwd=root, capture_output=True, text=True, timeout=120,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": ""},
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_on_the_site(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html")
        name = name.with_name("index.html") if page.name == "README.md" else name
        assert (site / name).is_file(), name


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_every_public_name_is_in_the_reference(site: Path, face: str) -> None:
    listed = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    known = {line.split()[0] for line in listed.splitlines()}
    names = importlib.import_module(f"vision_edge.{face}").__all__
    assert {f"vision_edge.{face}.{name}" for name in names} <= known


@pytest.mark.slow
def test_an_error_tells_a_reader_what_it_takes_and_raises(site: Path) -> None:
    page = (site / "reference/api-runtime.html").read_text("utf-8")
    section = page.split('id="vision_edge.runtime.load_bundle"')[1].split("<h2")[0]
    text = re.sub(r"<[^>]+>", " ", section)
    assert "Raises:" in text and "BundleError" in text and "Returns:" in text


@pytest.mark.slow
def test_links_out_of_the_docs_lead_to_copies(site: Path) -> None:
    assert (site / "repository/examples/station/station.toml").is_file()
    assert (site / "repository/index.html").is_file()
    page = (site / "how-to/station.html").read_text("utf-8")
    assert 'href="../repository/examples/station/station.toml"' in page


@pytest.mark.slow
def test_a_dead_link_anchor_file_or_name_is_refused(tmp_path: Path) -> None:
    for name in ("docs", "mkdocs.yml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    for name in ("toolkit", "export", "runtime", "examples", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    for face in FACES:
        (tmp_path / f"docs/reference/api-{face}.md").write_text(f"# {face}\n")
    (tmp_path / "docs/tutorial/bad.md").write_text(
        "# Bad\n[a](nowhere.md) [b](python.md#no-such) [c](../../examples/none.toml)\n\n"
        "::: vision_edge.runtime.NoSuchName\n"
    )
    told = build(tmp_path, tmp_path / "site")
    assert told.returncode != 0
    assert "vision_edge.runtime.NoSuchName could not be found" in told.stderr
    (tmp_path / "docs/tutorial/bad.md").write_text(
        "# Bad\n[a](nowhere.md) [b](python.md#no-such) [c](../../examples/none.toml)\n"
    )
    told = build(tmp_path, tmp_path / "site")
    assert told.returncode != 0
    for dead in ("nowhere.md", "#no-such", "examples/none.toml"):
        assert dead in told.stderr


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<link rel=stylesheet href=//fonts.example/css>",
        '<img alt="" src="http://x.example/a.png">',
        "@import 'https://fonts.example/css';",
        "body { background: url(https://x.example/a.png) }",
    ],
)
def test_what_would_be_fetched_from_elsewhere_is_found(hooks: ModuleType, text: str) -> None:
    assert len(hooks.foreign(text)) == 1


def test_links_that_a_reader_follows_are_not_fetched(hooks: ModuleType) -> None:
    assert hooks.foreign('<a href="https://arxiv.org/abs/2412.02220">the paper</a>') == []
    assert hooks.foreign('<img src="../images/a.png">') == []


def test_links_lead_to_where_files_are_on_the_site(hooks: ModuleType) -> None:
    text = "[a](../../examples/station/station.toml) [b](deploy.md#x) [c](https://a.example/b)"
    assert hooks.led(text, "how-to/station.md") == (
        "[a](../repository/examples/station/station.toml) [b](deploy.md#x) [c](https://a.example/b)"
    )
    assert hooks.led("[d](docs/how-to/jetson.md)", "repository/README.md") == (
        "[d](../how-to/jetson.md)"
    )
