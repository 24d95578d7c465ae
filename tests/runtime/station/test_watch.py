"""What examples/deploy/watch offers is true: a real Prometheus scrapes a station by it.

Every expression of the dashboard and of the alerts is asked, and names metrics that there are.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.paths import ROOT
from support.station import Served, eventually, served, settings_for, strangers
from support.wires import free_port

pytest.importorskip("fastapi")

from vision_edge.station.attached import wires_of
from vision_edge.station.core.log_lines import formatter

yaml = pytest.importorskip("yaml")
WATCH = ROOT / "examples" / "deploy" / "watch"
METRIC = re.compile(r"vision_edge_\w+")
STATIONS = '{instance=~"$station"'


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((WATCH / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    panels = json.loads((WATCH / "dashboard.json").read_text())["panels"]
    of_panels = [target["expr"] for panel in panels for target in panel["targets"]]
    return of_panels + [rule["expr"] for rule in rules()]


@pytest.fixture(scope="module")
def station(
    bundle_path: Path, _registered: Path, shots: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("watched")
    gallery = Path(shutil.copy(_registered, folder / "parts.gallery"))
    good = {"name": "good", "address": shots, "loop": True, "fps": 10}
    odd = {"name": "odd", "address": strangers(folder / "odd"), "loop": True, "fps": 10}
    modbus = {"port": free_port()}
    with served(settings_for(bundle_path, gallery, good, odd, modbus=modbus)) as running:
        for wire in wires_of(running.station):
            running.station.add_wire(wire)
        yield running


@pytest.fixture(scope="module")
def prometheus(station: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs prometheus (Debian: prometheus)")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    text = (WATCH / "prometheus.yml").read_text()
    assert "127.0.0.1:8080" in text and "scrape_interval: 5s" in text
    text = text.replace("127.0.0.1:8080", station.url.removeprefix("http://"))
    (folder / "prometheus.yml").write_text(text.replace("interval: 5s", "interval: 1s"))
    shutil.copy(WATCH / "alerts.yml", folder)
    command = [
        program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
                eventually(lambda: _scraped(client), 20)
                time.sleep(3)  # a rate needs more than one scrape
                yield client
        finally:
            running.terminate()
            running.wait(10)


def _scraped(client: httpx.Client) -> bool:
    try:
        return bool(asked(client, "vision_edge_ready == 1"))
    except (httpx.HTTPError, ValueError):  # it answers 503 in words until it is ready
        return False


def asked(client: httpx.Client, expression: str) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", (expression, answer)
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def test_every_metric_that_is_named_exists(station: Served) -> None:
    text = station.client.get("/metrics").text
    there = set(re.findall(r"^(vision_edge_\w+)", text, re.M))
    for expression in expressions():
        assert set(METRIC.findall(expression)) <= there, expression


@pytest.mark.parametrize("expression", expressions())
def test_prometheus_answers_what_the_dashboard_asks(
    prometheus: httpx.Client, expression: str
) -> None:
    found = asked(prometheus, expression.replace("$station", ".*"))
    alert = expression in {rule["expr"] for rule in rules()}
    assert bool(found) != alert, "a panel shows something, and nothing is wrong now"


def test_the_alerts_are_loaded_and_the_numbers_are_the_stations(
    prometheus: httpx.Client, station: Served
) -> None:
    loaded = prometheus.get("/api/v1/rules").json()["data"]["groups"]
    names = {rule["name"] for group in loaded for rule in group["rules"]}
    assert names == {rule["alert"] for rule in rules()}
    [products] = asked(prometheus, "vision_edge_gallery_products")
    assert float(products["value"][1]) == station.station.products.count == 3
    live = asked(prometheus, "vision_edge_source_live")
    assert {one["metric"]["source"] for one in live} == {"good", "odd"}


def test_the_dashboard_is_one_and_its_panels_do_not_overlap() -> None:
    document = json.loads((WATCH / "dashboard.json").read_text())
    places = [panel["gridPos"] for panel in document["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in document["panels"]}) == len(places)


def test_lines_of_the_log_are_objects() -> None:
    lines = formatter("json")
    record = logging.LogRecord(
        "vision_edge.x", logging.WARNING, "x.py", 1, "a\n%s „%s“", ("b", "ü"), None
    )
    line = lines.format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert (said["level"], said["logger"], said["message"]) == (
        "WARNING", "vision_edge.x", "a\nb „ü“",
    )  # fmt: skip
    assert said["time"].endswith("+00:00")
    try:
        raise ValueError("broken")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    assert "ValueError: broken" in json.loads(lines.format(record))["error"]
    assert formatter("text").format(record).splitlines()[0].endswith("a")
