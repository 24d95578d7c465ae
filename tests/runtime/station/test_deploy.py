"""What examples/deploy offers is sound: the settings load, the unit is a unit, the images start."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support.paths import ROOT

pytest.importorskip("pydantic_settings")
from vision_edge.station.settings.station import StationSettings
from vision_edge.station.systemd import Notifier

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
DEPLOY = ROOT / "examples" / "deploy"
KEY = re.compile(r"^# (\[[a-z.]+\]|[a-z_0-9]+ = .*)$")


def uncommented() -> str:
    """Return the example's settings with every commented key in force."""
    lines = (DEPLOY / "station.toml").read_text().splitlines()
    return "\n".join(line[2:] if KEY.match(line) else line for line in lines)


def keys_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Return every key that a settings model knows, dotted."""
    found = set()
    for name, field in model.model_fields.items():
        inner = [part for part in _parts(field.annotation) if _is_model(part)]
        found.add(prefix + name)
        for part in inner:
            found |= keys_of(part, f"{prefix}{name}.")
    return found


def _parts(annotation: Any) -> list[Any]:
    arguments = getattr(annotation, "__args__", ())
    return [annotation, *(part for argument in arguments for part in _parts(argument))]


def _is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def keys_in(document: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, value in document.items():
        found.add(prefix + name)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict) and name != "products":
                found |= keys_in(inner, f"{prefix}{name}.")
    return found


def loaded(text: str) -> StationSettings:
    document = tomllib.loads(text)
    return StationSettings(from_file=document)


def test_the_example_settings_load_as_they_are() -> None:
    settings = loaded((DEPLOY / "station.toml").read_text())
    assert settings.station.name == "hall-1-press-2"
    assert settings.fleet is not None
    assert settings.fleet.line == "hall-1"


def test_the_example_names_every_key_and_no_other() -> None:
    assert keys_in(tomllib.loads(uncommented())) == keys_of(StationSettings)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_the_unit_is_verified_by_systemd(tmp_path: Path) -> None:
    text = (DEPLOY / "vision-edge.service").read_text()
    unit = tmp_path / "vision-edge.service"
    unit.write_text(text.replace("/opt/vision-edge/bin/vision-edge", sys.executable))
    line = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


INSTRUCTIONS = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN",
    "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip


def instructions(name: str) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions, lines joined, comments left out."""
    lines = [line for line in (DEPLOY / name).read_text().splitlines() if line.strip()]
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], " ".join(line.split()[1:])) for line in joined]


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.jetson"])
def test_an_image_copies_what_there_is_and_runs_as_nobody_special(name: str) -> None:
    steps = instructions(name)
    assert {instruction for instruction, _ in steps} <= INSTRUCTIONS
    assert steps[0][0] == "FROM"
    for instruction, rest in steps:
        if instruction == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
        if instruction in ("CMD", "ENTRYPOINT"):
            assert isinstance(json.loads(rest), list)
    last = dict(steps)
    assert last["USER"] == "1000:1000"
    check = json.loads(last["HEALTHCHECK"].partition("CMD ")[2])
    assert "/livez" in check[-1]
    compile(check[-1], "HEALTHCHECK", "exec")
    assert json.loads(last["ENTRYPOINT"]) == ["vision-edge"]
    shell = shutil.which("sh")
    for instruction, rest in steps:
        if instruction == "RUN" and shell:
            assert subprocess.run([shell, "-n", "-c", rest], timeout=10).returncode == 0, rest


def test_the_composition_is_one() -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"station", "broker"}
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    build = services["station"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_systemd_hears_that_a_service_is_ready_alive_and_ending(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "60000"})
        notifier.ready("serving on\nhttp://x")
        assert manager.recv(1000) == b"READY=1\nSTATUS=serving on http://x"
        for _ in range(3):  # more often than needed
            notifier.beat()
        assert manager.recv(1000) == b"WATCHDOG=1"
        notifier.stopping()
        assert manager.recv(1000) == b"STOPPING=1"
    notifier.stopping()  # nobody listens any more
    Notifier({"WATCHDOG_USEC": "x"}).beat()


def test_an_abstract_address_works_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0vision-edge-test-notify")
        manager.settimeout(5)
        Notifier({"NOTIFY_SOCKET": "@vision-edge-test-notify"}).ready("x")
        assert manager.recv(100).startswith(b"READY=1")
