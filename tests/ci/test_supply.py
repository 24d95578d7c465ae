"""Bills of materials, licences and wheels of this checkout: as a user of it would get them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from supply import licences
from supply.dependencies import (
    BASE,
    ROOT,
    Package,
    SupplyError,
    direct,
    extras,
    packages_of,
    pins,
    project,
)
from supply.sbom import bill
from supply.wheels import commit_time


@pytest.mark.parametrize("extra", extras())
def test_the_bill_of_each_extra_is_valid_and_whole(extra: str) -> None:
    text = bill(extra)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    if extra == BASE:
        assert text == bill(extra), "the same every time"
    told = json.loads(text)
    names = {one["name"] for one in told["components"] if one["type"] == "library"}
    assert names == set(packages_of(extra))
    assert set(direct(extra)) <= names
    edges = {one["ref"]: set(one.get("dependsOn", ())) for one in told["dependencies"]}
    assert set(direct(extra)) <= edges[f"vision-edge[{extra}]"]
    reached, waiting = set(), [f"vision-edge[{extra}]"]
    while waiting:
        reached.add(one := waiting.pop())
        waiting += edges.get(one, set()) - reached
    assert names <= reached, "nothing without a way to it"
    (model,) = (one for one in told["components"] if one["type"] == "machine-learning-model")
    assert model["hashes"][0]["alg"] == "SHA-256"


def test_a_bill_that_breaks_the_schema_is_refused() -> None:
    told = json.loads(bill(BASE))
    told["components"][0]["type"] = "brick"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(told)) is not None


def test_what_runs_on_a_device_is_pinned_down_to_the_last_package() -> None:
    loose = {
        package.name
        for extra in ("base", "edge", "reports", "station", "modbus", "opcua", "openvino", "triton")
        for package in packages_of(extra).values()
        if not package.pinned
    }
    assert loose == set()


def test_an_installed_version_that_is_not_the_pinned_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    numpy = [line for line in lines if line.startswith("numpy==")]
    assert len(numpy) == 2, "one for each Python"
    changed = ["numpy==1.0.0" if line in numpy else line for line in lines]
    (tmp_path / "constraints.txt").write_text("\n".join(dict.fromkeys(changed)))
    with pytest.raises(SupplyError, match=r"numpy \S+ is installed.*pins 1\.0\.0"):
        packages_of(BASE, tmp_path)


def test_every_dependency_has_a_licence_that_is_accepted() -> None:
    packages = {p.name: p for extra in extras() for p in packages_of(extra).values()}
    assert len(packages) > 100
    objections = [licences.objection(package) for package in packages.values()]
    assert [one for one in objections if one] == []


def test_the_page_of_licences_is_what_is_installed() -> None:
    page = licences.PAGE.read_text()
    assert licences.told_by(page), "run `make licences`"
    without = "\n".join(line for line in page.splitlines() if not line.startswith("| numpy"))
    assert not licences.told_by(without)


@pytest.mark.parametrize(
    ("said", "free"),
    [
        ("MIT", True),
        ("MIT AND (BSD-3-Clause OR GPL-2.0-only)", True),
        ("GPL-3.0-or-later", False),
        ("AGPL-3.0-only", False),
        ("MIT AND AGPL-3.0-only", False),
        ("MPL-2.0", False),
        ("LicenseRef-NVIDIA-Proprietary", False),
        ("SSPL-1.0", False),
        (None, False),
    ],
)
def test_a_licence_that_surprises_is_told(
    said: str | None, free: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "surprise-1.0.dist-info"
    folder.mkdir()
    line = "" if said is None else f"License-Expression: {said}\n"
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: surprise\nVersion: 1.0\n{line}")
    monkeypatch.syspath_prepend(str(tmp_path))
    objection = licences.objection(Package("surprise", "1.0", False, ()))
    assert (objection is None) is free
    assert objection is None or "surprise" in objection


def test_wheels_and_sdist_are_the_same_twice_and_bear_the_commits_time() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "supply", "wheel-twice"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT / ".ci"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    rows = [line.split() for line in told.stdout.splitlines()]
    assert all(len(digest) == 64 for digest, _ in rows)
    version = project()["version"]
    assert {name for _, name in rows} == {
        f"vision_edge-{version}-py3-none-any.whl",
        f"vision_edge-{version}-1device-py3-none-any.whl",
        f"vision_edge-{version}.tar.gz",
    }
    assert commit_time(ROOT) > 1_600_000_000


def test_versions_are_pinned_once_for_each_python() -> None:
    assert all(len(versions) == 1 for versions in pins().values())
