"""The cores a process may use: its affinity, and its container's quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vision_edge.runtime.system.cpus import usable_cpus

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000", ALL),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("110000 100000", min(2, ALL)),
        ("900000000 100000", ALL),
        ("0 100000", ALL),
        ("nonsense", ALL),
        ("100000 0", ALL),
    ],
)
def test_a_quota_of_version_2(tmp_path: Path, text: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert usable_cpus(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", ALL), ("50000", 1)])
def test_a_quota_of_version_1(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert usable_cpus(tmp_path) == cores


def test_no_control_group_at_all(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == ALL


def test_affinity_counts() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cpus(Path("/nowhere")) == 1
    finally:
        os.sched_setaffinity(0, before)
