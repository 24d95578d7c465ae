"""How many CPU cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """Return the cores that affinity and the container's quota leave, at least 1.

    More threads than that do not help: they are stopped for the rest of each quota period, and a
    frame then takes a multiple of its time.

    Args:
        cgroup: Where the control group's files are.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Return the cores of the control group's quota, of version 2 or 1; None where there is none.

    A quota set above this group's own folder is not seen; in a container the folder is the root.
    """
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        cores = float(limit) / float(period)
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None
    return cores if cores > 0 else None
