"""Scenes by the API: parts in view, region and empty picture; by role, and in the audit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip("fastapi")

from support.parts import NAMES, empty_belt, several
from support.station import API, Served, eventually, served, settings_for

from vision_edge.runtime.bundles.shipped import asset


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("scenes")
    pictures, empty = several(folder / "belt")
    tokens = folder / "tokens"
    tokens.write_text("o" * 43 + " operator anna\n" + "e" * 43 + " engineer emil\n")
    source = {"address": pictures, "loop": True, "fps": 5.0, "locate": "presence"}
    whole = {"address": pictures, "loop": True, "fps": 5.0, "name": "whole"}
    tables = [{**source, "name": "belt", "empty": empty}, {**source, "name": "bare"}, whole]
    settings = settings_for(
        asset("bundle"), folder / "p.db", *tables, server={"token_file": tokens}
    )
    with served(settings) as station:
        yield station


def call(running: Served, method: str, path: str, who: str = "e", **more: Any) -> Any:
    headers = {"Authorization": f"Bearer {who * 43}"}
    return running.client.request(method, f"{API}/sources/{path}", headers=headers, **more)


def test_the_parts_in_view_are_told(running: Served) -> None:
    found = eventually(
        lambda: (got := call(running, "GET", "belt/parts", "o").json())["parts"] and got, 20
    )
    assert found["size"] == [640, 480]
    assert len(found["parts"]) == len(NAMES)
    record = eventually(lambda: running.station.records(1, "belt"), 20)[0]
    assert len(record["parts"]) == len(NAMES)
    states = {line["name"]: line for line in running.station.status()["sources"]}
    assert states["belt"]["in_view"] == len(NAMES)
    assert states["bare"]["in_view"] is None, "nothing tells until the empty scene is known"
    capture = call(running, "POST", "belt/freeze").json()
    assert len(capture["parts"]) == len(NAMES)


def test_a_region_is_an_engineers_to_set_and_is_noted(running: Served) -> None:
    eventually(lambda: running.station.line("belt").whole)
    body = {"roi": {"x": 0, "y": 60, "width": 640, "height": 360}}
    assert call(running, "POST", "belt/scene/roi", "o", json=body).status_code == 403
    answer = call(running, "POST", "belt/scene/roi", json=body)
    assert answer.status_code == 200
    assert answer.json()["roi_from"] == "page"
    line = running.station.line("belt")
    eventually(lambda: line.latest.image.shape[:2] == (360, 640), 20)
    assert call(running, "GET", "belt/whole.jpg", "o").headers["content-type"] == "image/jpeg"
    outside = {"roi": {"x": 600, "y": 0, "width": 200, "height": 200}}
    assert call(running, "POST", "belt/scene/roi", json=outside).status_code == 422
    assert call(running, "POST", "belt/scene/roi", json={"roi": None}).json()["roi"] is None
    audit = running.station.state.path / "audit.jsonl"
    noted = [text for text in audit.read_text().splitlines() if "scene/roi" in text]
    assert any('"emil"' in text and "360" in text for text in noted)


def test_a_source_without_an_empty_picture_says_so_until_one_is_taken(running: Served) -> None:
    line = running.station.line("bare")
    eventually(lambda: line.whole is not None and line.status()["doubt"], 20)
    assert "empty scene" in str(line.status()["doubt"])
    answer = call(running, "POST", "bare/scene/empty", "o").json()
    assert (answer["empty_from"], answer["empty_author"]) == ("page", "anna")
    eventually(lambda: line.status()["doubt"] is None, 20)
    assert call(running, "POST", "bare/scene/empty/forget", "o").json()["empty_from"] == "none"
    assert call(running, "GET", "nowhere/scene", "o").status_code == 404


def test_an_empty_picture_of_the_page_tells_when_nothing_is_in_view(running: Served) -> None:
    """It holds for whole pictures, too, and for the guard, to whom another scene is no change."""
    told = lambda: [r.get("in_view", True) for r in running.station.records(3, "whole")]  # noqa: E731
    eventually(lambda: told() == [True] * 3, 20)
    call(running, "POST", "whole/scene/empty", "o")
    eventually(lambda: told() == [False] * 3, 20)
    assert running.station.line("whole").status()["change"] is None
    call(running, "POST", "whole/scene/empty/forget", "o")
    eventually(lambda: told() == [True] * 3, 20)


def test_a_scene_outlives_a_restart(tmp_path: Path) -> None:
    pictures, empty = several(tmp_path / "belt")
    source = {"address": pictures, "loop": True, "fps": 5.0, "locate": "presence", "empty": empty}
    settings = settings_for(asset("bundle"), tmp_path / "p.db", source)
    with served(settings) as first:
        eventually(lambda: first.station.line("source-0").whole, 20)
        first.station.set_roi("source-0", (0, 40, 640, 400))
        first.station.take_empty("source-0", "test")
    with served(settings) as again:
        scene = again.station.line("source-0").scene.current()
        assert (scene.roi, scene.empty_from) == ((0, 40, 640, 400), "page")
        assert scene.empty is not None
        assert scene.empty.shape == empty_belt().shape
        assert cv2.imread(str(empty)) is not None


@pytest.mark.parametrize("path", ["whole.jpg", "frame.jpg"])
def test_what_the_api_shows_of_an_empty_belt_serves_as_its_empty_picture(
    tmp_path: Path, path: str
) -> None:
    """As docs/how-to/line-engineer.md has it, with a region of interest."""
    pictures, _ = several(tmp_path / "belt")
    cv2.imwrite(str(tmp_path / "clear.png"), empty_belt())
    source: dict[str, Any] = {"loop": True, "fps": 5.0, "locate": "presence"}
    source |= {"roi": (20, 40, 600, 400), "name": "cam"}
    clear = settings_for(
        asset("bundle"), tmp_path / "p.db", {**source, "address": tmp_path / "clear.png"}
    )
    with served(clear) as first:
        eventually(lambda: first.station.line("cam").latest, 20)
        file = tmp_path / "empty.jpg"
        file.write_bytes(first.client.get(f"{API}/sources/cam/{path}").content)
    table = {**source, "address": pictures, "empty": tmp_path / "empty.jpg"}
    with served(settings_for(asset("bundle"), tmp_path / "q.db", table)) as again:
        line = again.station.line("cam")
        eventually(lambda: line.parts_in_view, 20)
        assert (line.status()["state"], line.status()["doubt"]) == ("live", None)
