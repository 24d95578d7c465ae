"""A shift is played: ten products, three strangers, a rendered belt, a person who corrects.

The morning, corrections of what was not or wrongly named, a change that is undone and one that is
rolled back, the afternoon after a restart, and a second station with the first one's gallery.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.runtime import invoked
from support.station import Served, eventually, served, settings_for

pytest.importorskip("fastapi")

from vision_edge.demo.conveyor import Conveyor, ConveyorConfig, inspection_window
from vision_edge.demo.machine_parts import PART_NAMES
from vision_edge.runtime.arrays import Image
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.images.coding import encode_jpeg

PRODUCTS, STRANGERS = PART_NAMES[:10], PART_NAMES[10:13]
STEP, EMPTIES = 5, 8
BADLY = PRODUCTS[:4]
"""Products that are registered from a bad picture, whose warnings somebody accepted."""
CONFIG = ConveyorConfig(seed=5, speed=8.0, spacing=3.0, empty_rate=0.0, hand_rate=0.0)
SNAPSHOT = inspection_window(CONFIG)
VIEW = (
    CONFIG.width // 2 - 210,
    CONFIG.height // 2 - 180,
    CONFIG.width // 2 + 210,
    CONFIG.height // 2 + 180,
)


@dataclass
class Film:
    """What a camera above the belt's window sees, and what that is.

    Attributes:
        folder: Its pictures, in order.
        parts: The kinds of parts, in order.
        of_frame: Which of them a picture shows.
    """

    folder: Path
    parts: list[str]
    of_frame: dict[int, int]


def cut(image: Image, box: tuple[int, int, int, int]) -> Image:
    x0, y0, x1, y1 = box
    return image[y0:y1, x0:x1].copy()


class Belt:
    """Three passes of every part: one to register from, the morning, the afternoon."""

    def __init__(self, folder: Path) -> None:
        self._line = Conveyor(CONFIG, (*PRODUCTS, *STRANGERS), passes=3)
        self.empty = folder / "empty.png"
        self._gap = cut(self._line[0][0], VIEW)
        cv2.imwrite(str(self.empty), self._gap)
        passes = sorted(self._line.schedule.parts, key=lambda part: part.station)
        third = len(passes) // 3
        self._passes = [passes[k * third : (k + 1) * third] for k in range(3)]

    def _centre(self, part: Any) -> int:
        return round((CONFIG.width / 2 + part.station) / CONFIG.speed)

    def snapshots(self) -> dict[str, bytes]:
        """Return a picture of each product, as it lies under the camera; some out of focus."""
        found = {}
        for part in self._passes[0]:
            image = cut(self._line[self._centre(part)][0], SNAPSHOT)
            if part.label in BADLY:
                image = cv2.GaussianBlur(image, (0, 0), 16.0)
            found[part.label] = encode_jpeg(image)
        return {label: found[label] for label in PRODUCTS}

    def film(self, number: int, folder: Path) -> Film:
        """Render a pass: each part comes into view, passes and leaves."""
        folder.mkdir()
        film, count = Film(folder, [], {}), 0
        for part in self._passes[number]:
            middle = self._centre(part)
            frames = [self._line[n][0] for n in range(middle - 45, middle + 46, STEP)]
            for image in [cut(frame, VIEW) for frame in frames] + [self._gap] * EMPTIES:
                cv2.imwrite(str(folder / f"{count:05}.png"), image)
                film.of_frame[count] = len(film.parts)
                count += 1
            film.parts.append(part.label)
        return film


@pytest.fixture(scope="module")
def belt(tmp_path_factory: pytest.TempPathFactory) -> Belt:
    return Belt(tmp_path_factory.mktemp("belt"))


def station_on(film: Film, belt: Belt, gallery: Path, **sections: Any) -> Any:
    source = {
        "name": "belt", "address": film.folder, "trigger": "presence",
        "empty": str(belt.empty),
    }  # fmt: skip
    # what the cameras saw of strangers is the station's own, and not in an export
    sections = {"review": {"per_minute": 600}, "scoring": {"cohort": False}, **sections}
    return served(settings_for(asset("bundle"), gallery, source, **sections))


def played(running: Served) -> list[dict[str, Any]]:
    """Wait until the film is over; return its verdicts, oldest first."""
    eventually(lambda: running.station.lines[0].state == "ended", 60)
    running.station.review.flush()
    verdicts = running.ok(running.get("/verdicts", params={"limit": 1000}))["verdicts"]
    return list(reversed(verdicts))


def judged(film: Film, verdicts: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Return the verdicts of each part."""
    found: dict[int, list[dict[str, Any]]] = {}
    for verdict in verdicts:
        found.setdefault(film.of_frame[verdict["frame"]], []).append(verdict)
    return found


def named(film: Film, verdicts: list[dict[str, Any]]) -> int:
    """Return how many products were named rightly."""
    return sum(
        verdict["label"] == film.parts[part]
        for part, told in judged(film, verdicts).items()
        for verdict in told[:1]
        if film.parts[part] in PRODUCTS
    )


def products(running: Served) -> dict[str, int]:
    listed = running.ok(running.get("/products"))["products"]
    return {one["label"]: len(one["snapshots"]) for one in listed}


def correct(running: Served, film: Film, verdicts: list[dict[str, Any]]) -> int:
    """Decide on what waits, and put wrong green ones right; return how many were corrected."""
    truth = {v["id"]: film.parts[film.of_frame[v["frame"]]] for v in verdicts}
    count = 0
    for item in running.ok(running.get("/review", params={"limit": 1000}))["items"]:
        label = truth[item["id"]]
        if label in PRODUCTS:
            running.ok(running.post("/review/assign", {"ids": [item["id"]], "label": label}))
            count += 1
        else:
            running.ok(running.post("/review/dismiss", {"ids": [item["id"]]}))
    wrong = running.ok(running.get("/kept", params={"band": "accept", "limit": 500}))["verdicts"]
    for row in wrong:
        label = truth[row["id"]]
        if row["label"] == label:
            continue
        asked = {"ids": [row["id"]]}
        if label in PRODUCTS:
            running.ok(running.post("/kept/assign", {**asked, "label": label}))
        else:
            running.ok(running.post("/kept/reject", asked))
        count += 1
    return count


def check_numbers(running: Served, verdicts: list[dict[str, Any]], corrections: int) -> None:
    """The page, the API, the table and the verdicts themselves say the same."""
    counts = Counter(verdict["band"] for verdict in verdicts)
    answer = running.ok(running.get("/statistics"))
    page = running.client.get("/shift").text
    rows = list(csv.DictReader(io.StringIO(running.get("/statistics.csv").text)))
    for band in ("accept", "review", "unknown"):
        [shown] = re.findall(rf'data-count="{band}">(\d+)<', page)
        table = sum(int(row["verdicts"]) for row in rows if row["band"] == band)
        assert int(shown) == answer["total"][band] == table == counts[band], band
    check_products(answer, page, rows, verdicts)
    check_parts(running, verdicts)
    check_metrics(running, verdicts)
    check_deeds(running, answer)
    [shown] = re.findall(r'data-count="corrections">(\d+)<', page)
    assert int(shown) == sum(one["times"] for one in answer["corrections"]) == corrections
    kept = running.ok(running.get("/kept", params={"limit": 500}))
    assert kept["kept"] == len(kept["verdicts"]) == len(verdicts)
    assert sum(row["decided"] is not None for row in kept["verdicts"]) == corrections


def named_by(verdicts: list[dict[str, Any]]) -> Counter[str]:
    return Counter(verdict["label"] for verdict in verdicts if verdict["known"])


def check_products(
    answer: dict[str, Any], page: str, rows: list[dict[str, str]], verdicts: list[dict[str, Any]]
) -> None:
    """Each product's verdicts: in the answer, on the page, in the table."""
    listed = {one["label"]: (one["accept"], one["review"]) for one in answer["products"]}
    [table] = re.findall(r'<table id="products">(.*?)</table>', page, re.DOTALL)
    cells = re.findall(r'<th scope="row">(.*?)</th><td>(\d+)</td><td>(\d+)</td>', table)
    assert {label: (int(a), int(b)) for label, a, b in cells} == listed
    assert Counter({k: a for k, (a, _) in listed.items() if a}) == named_by(verdicts)
    of_table: Counter[str] = Counter()
    for row in rows:
        of_table[row["product"]] += int(row["verdicts"]) * (row["band"] == "accept")
    assert +of_table == named_by(verdicts)


def check_parts(running: Served, verdicts: list[dict[str, Any]]) -> None:
    """The parts on Health, their table and their metric: all restarts together."""
    [total] = running.ok(running.get("/counts"))["total"]
    bands = Counter(verdict["band"] for verdict in verdicts)
    assert total["products"] == named_by(verdicts)
    assert (total["parts"], total["unsure"], total["unknown"]) == (
        len(verdicts), bands["review"], bands["unknown"],
    )  # fmt: skip
    kinds: Counter[str] = Counter()
    for row in csv.DictReader(io.StringIO(running.get("/counts.csv").text)):
        kinds[row["kind"]] += int(row["parts"])
    told = {"product": bands["accept"], "unsure": bands["review"], "unknown": bands["unknown"]}
    assert +kinds == +Counter({**told, "missed": total["missed"]})
    assert +metric(running, "vision_edge_parts_total", "kind") == +kinds


def check_metrics(running: Served, verdicts: list[dict[str, Any]]) -> None:
    """Metrics count since the start of the process."""
    mine = {one["id"] for one in running.ok(running.get("/verdicts", params={"limit": 1000}))[
        "verdicts"
    ]}  # fmt: skip
    counts = Counter(verdict["band"] for verdict in verdicts if verdict["id"] in mine)
    assert metric(running, "vision_edge_verdicts_total", "band") == counts


def metric(running: Served, name: str, label: str) -> Counter[str]:
    """Return a metric's values by one of its labels."""
    found: Counter[str] = Counter()
    for line in running.client.get("/metrics").text.splitlines():
        if line.startswith(name + "{"):
            [value] = re.findall(rf'{label}="([^"]*)"', line)
            found[value] += int(float(line.split()[-1]))
    return found


def check_deeds(running: Served, answer: dict[str, Any]) -> None:
    """What was put right stands in the audit log; what was taken back stands there, too."""
    lines = (running.station.state.path / "audit.jsonl").read_text("utf-8").splitlines()
    deeds = [json.loads(line) for line in lines]
    right = sum(
        len(deed.get("ids", ()))
        for deed in deeds
        if re.search(r"/(review/(assign|reject)|kept/(assign|reject))$", deed["what"])
    )
    back = sum("rollback" in deed["what"] for deed in deeds)
    assert sum(one["times"] for one in answer["corrections"]) == right - back, deeds


def test_a_shift_is_played(belt: Belt, tmp_path: Path) -> None:
    gallery = tmp_path / "line.db"
    morning = belt.film(1, tmp_path / "morning")
    elsewhere = {"state_dir": tmp_path / "setting-up"}
    nothing = Film(belt.empty.parent, [], {})
    with station_on(nothing, belt, gallery, station=elsewhere) as running:
        for label, jpeg in belt.snapshots().items():
            files = {"images": ("part.jpg", jpeg, "image/jpeg")}
            form = {"label": label, "accept_warnings": "true"}
            running.ok(running.post("/products/upload", files=files, data=form), 201)
        assert len(products(running)) == 10

    # the morning: a state of its own, so that every part meets the same ten products
    with station_on(morning, belt, gallery) as running:
        told = played(running)
        before = named(morning, told)
        parts = judged(morning, told)
        assert len(parts) == len(morning.parts) == 13
        assert all(len(verdicts) == 1 for verdicts in parts.values())
        queue = running.ok(running.get("/review", params={"limit": 1000}))["items"]
        waiting = Counter(
            morning.of_frame[v["frame"]] for v in told if v["id"] in {i["id"] for i in queue}
        )
        assert set(waiting.values()) <= {1} and len(queue) == sum(waiting.values())
        assert len(queue) == sum(not v["known"] for v in told)  # and none was lost
        assert before < 10, "the belt must be hard enough for corrections to matter"
        corrections = correct(running, morning, told)
        assert corrections > 0
        assert running.ok(running.get("/review"))["pending"] == 0
        check_numbers(running, told, corrections)

        # a rename that is undone, a removal and a correction that are rolled back
        state = products(running)
        version = running.station.products.version
        first = PRODUCTS[0]
        running.ok(running.post("/products/rename", {"label": first, "new": "renamed"}))
        assert "renamed" in products(running)
        running.ok(running.post("/undo"))
        assert products(running) == state
        running.ok(running.post("/products/remove", {"label": first}))
        [row] = running.ok(running.get("/kept", params={"limit": 1, "corrected": False}))[
            "verdicts"
        ]
        running.ok(running.post("/kept/assign", {"ids": [row["id"]], "label": "a mistake"}))
        check_numbers(running, told, corrections + 1)
        running.ok(running.post("/rollback", {"version": version}))
        assert products(running) == state
        check_numbers(running, told, corrections)

    # the afternoon, after a restart: other poses, other light
    afternoon = belt.film(2, tmp_path / "afternoon")
    with station_on(afternoon, belt, gallery) as running:
        later = played(running)
        after = named(afternoon, later)
        assert all(len(v) == 1 for v in judged(afternoon, later).values())
        check_numbers(running, [*told, *later], corrections)

    # a second station, from the first one's export
    invoked("gallery", "export", "--gallery", gallery, "--out", tmp_path / "line.zip")
    second = tmp_path / "second.db"
    invoked("gallery", "import", tmp_path / "line.zip", "--gallery", second)
    with station_on(afternoon, belt, second) as running:
        assert products(running) == state
        there = played(running)
    assert [v["label"] for v in there] == [v["label"] for v in later]

    print(f"named {before} of 10 before the corrections, {after} after them")
    assert after > before
