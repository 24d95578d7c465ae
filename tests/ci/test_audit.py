"""The audit of what is pinned: found, not found, and not asked are three things."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from supply.audit import NotAskedError, audited, is_affected
from supply.dependencies import ROOT, pins

NOW = datetime(2026, 11, 27, tzinfo=timezone.utc)


def _advisory(name: str, events: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    package = {"ecosystem": "PyPI", "name": name}
    ranges = [{"type": "ECOSYSTEM", "events": events}]
    return {
        "id": f"GHSA-{name}", "modified": "2026-11-20T00:00:00Z", "summary": "It lets in anyone.",
        "affected": [{"package": package, "ranges": ranges}], **more,
    }  # fmt: skip


def _database(path: Path, *advisories: dict[str, Any], padding: int = 0) -> Path:
    others = [_advisory("nobodys", [{"introduced": "0"}], id=f"PYSEC-{n}") for n in range(padding)]
    with zipfile.ZipFile(path, "w") as archive:
        for number, one in enumerate([*advisories, *others]):
            archive.writestr(f"{number}.json", json.dumps(one))
    return path


def _run(database: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "supply", "audit", database],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT / ".ci"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip


def _fresh() -> str:
    return datetime.now(timezone.utc).isoformat()


def test_a_pinned_version_that_is_vulnerable_is_found(tmp_path: Path) -> None:
    (numpy, *_) = sorted(pins(everywhere=True)["numpy"])
    bad = _advisory(
        "NumPy", [{"introduced": "0"}, {"fixed": "99"}], aliases=["CVE-1"], modified=_fresh()
    )
    told = _run(str(_database(tmp_path / "all.zip", bad, padding=1000)))
    assert told.returncode == 1
    assert f"numpy {numpy}: GHSA-NumPy, CVE-1: It lets in anyone." in told.stdout
    assert "numpy 1.26.4" in told.stdout, "Python 3.10's too"


def test_without_a_vulnerable_one_it_passes_and_says_what_it_asked(tmp_path: Path) -> None:
    good = _advisory("numpy", [{"introduced": "0"}, {"fixed": "1.0"}], modified=_fresh())
    told = _run(str(_database(tmp_path / "all.zip", good, padding=1000)))
    assert told.returncode == 0, told.stderr
    assert "asked of 1001 advisories" in told.stdout


@pytest.mark.parametrize("kind", ["absent", "no zip", "a part", "no json"])
def test_a_database_that_cannot_be_asked_is_no_pass(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    if kind == "no zip":
        path.write_bytes(b"<html>sign in</html>")
    elif kind == "a part":
        _database(path, _advisory("numpy", []), padding=10)
    elif kind == "no json":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("1.json", "{")
    told = _run(str(path))
    assert told.returncode == 3
    assert "NOT ASKED" in told.stderr
    assert "no pass" in told.stderr
    assert told.stdout == ""


def test_an_old_database_is_no_pass(tmp_path: Path) -> None:
    path = _database(tmp_path / "all.zip", _advisory("x", []))
    assert audited(str(path), least=1, now=NOW).found == []
    with pytest.raises(NotAskedError, match="38 days old"):
        audited(str(path), least=1, now=NOW + timedelta(days=31))


def test_without_a_database_nothing_was_asked() -> None:
    with pytest.raises(NotAskedError, match=r"make audit OSV=all\.zip"):
        audited("", least=1, now=NOW)


def test_a_withdrawn_advisory_and_another_ecosystems_say_nothing(tmp_path: Path) -> None:
    withdrawn = _advisory("numpy", [{"introduced": "0"}], withdrawn="2026-01-01T00:00:00Z")
    other = _advisory("numpy", [{"introduced": "0"}])
    other["affected"][0]["package"]["ecosystem"] = "npm"
    path = _database(tmp_path / "all.zip", withdrawn, other)
    assert audited(str(path), least=1, now=NOW).found == []


@pytest.mark.parametrize(
    ("events", "inside", "outside"),
    [
        ([{"introduced": "0"}], ["0", "0.0.1a1", "9"], []),
        ([{"introduced": "1.2"}, {"fixed": "1.4"}], ["1.2", "1.3.9", "1.4rc1"], ["1.1", "1.4"]),
        ([{"introduced": "1"}, {"last_affected": "1.4"}], ["1.4"], ["1.4.1", "0.9"]),
        (
            [{"introduced": "1"}, {"fixed": "2"}, {"introduced": "3"}, {"fixed": "4"}],
            ["1.5", "3"],
            ["2.5", "4", "0.1"],
        ),
        ([{"fixed": "2"}, {"introduced": "1"}], ["1"], ["2"]),
        ([{"introduced": "no version"}], [], ["1"]),
    ],
)
def test_ranges_are_read_as_osv_says(
    events: list[dict[str, str]], inside: list[str], outside: list[str]
) -> None:
    affected = {"ranges": [{"type": "ECOSYSTEM", "events": events}]}
    assert all(is_affected(affected, version) for version in inside)
    assert not any(is_affected(affected, version) for version in outside)
    assert not is_affected({"ranges": [{"type": "GIT", "events": events}]}, "1")


def test_listed_versions_count_however_they_are_written() -> None:
    assert is_affected({"versions": ["1.0", "not one"]}, "1.0.0")
    assert not is_affected({"versions": ["1.0"]}, "1.0.1")
