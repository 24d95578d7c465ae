"""Operating system, processor, board, Python, memory, disk and clock."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vision_edge.doctor.finding import Finding
from vision_edge.doctor.host import Host
from vision_edge.runtime.system.cpus import usable_cpus
from vision_edge.runtime.system.processor import FLAGS, features, gains

_JETPACK = {"32": "4", "35": "5", "36": "6", "38": "7", "39": "7"}
_GB = 1e9
_RELEASED = 2026
_LEAST_MEMORY_GB, _LEAST_DISK_GB, _NO_DISK_GB = 0.5, 1.0, 0.05


def operating_system(host: Host) -> list[Finding]:
    """Look at kernel, distribution and Python."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', host.text("/etc/os-release") or "", re.M))
    name = release.get("PRETTY_NAME", platform.system())
    python = platform.python_version()
    return [
        Finding("system", "OS", name, facts={"name": name}),
        Finding("system", "kernel", f"{platform.release()} {platform.machine()}"),
        Finding("system", "Python", f"{python}, {sys.executable}", facts={"version": python}),
        Finding("system", "vision-edge", own_version()),
    ]


def own_version() -> str:
    """Return the version of vision-edge; `"unknown"` if it runs from its source folder."""
    try:
        return version("vision-edge")
    except PackageNotFoundError:
        return "unknown (not installed)"


def processor(host: Host) -> list[Finding]:
    """Look at the processor, its cores and the features that matter."""
    text = host.text("/proc/cpuinfo") or ""
    fields = dict(re.findall(r"^([^\t:\n]+?)\s*:[ \t]*(.*)$", text, re.M))
    model = fields.get("model name") or _arm_model(host) or platform.machine()
    found = features(text)
    cores = usable_cpus(host.path("/sys/fs/cgroup"))
    present = os.cpu_count() or cores
    limited = "" if cores >= present else f" of {present}"
    return [
        Finding("system", "CPU", model, facts={"model": model}),
        Finding("system", "cores usable", f"{cores}{limited}", facts={"cores": cores}),
        Finding("system", "CPU features", _described(found), facts={"features": found}),
        Finding("system", "narrower arithmetic", gains(found), "info"),
    ]


def _described(found: list[str]) -> str:
    if not found:
        return "none that speed a model up"
    return ", ".join(f"{flag} ({FLAGS[flag]})" for flag in found)


def _arm_model(host: Host) -> str | None:
    """Return a name for an ARM processor, which `/proc/cpuinfo` does not always tell."""
    compatible = host.path("/proc/device-tree/compatible")
    try:
        return compatible.read_bytes().split(b"\0")[-2].decode("utf-8", "replace")
    except (OSError, IndexError):
        return None


def board(host: Host) -> list[Finding]:
    """Look at the board, and at the Jetson software on it."""
    model = host.text("/proc/device-tree/model")
    if model is None:
        product = host.text("/sys/class/dmi/id/product_name") or "unknown"
        return [Finding("board", "model", product, "info", facts={"model": product})]
    findings = [Finding("board", "model", model, facts={"model": model})]
    return findings + _jetson(host)


def _jetson(host: Host) -> list[Finding]:
    matched = re.search(r"R(\d+) .*?REVISION: ([\d.]+)", host.text("/etc/nv_tegra_release") or "")
    if matched is None:
        return []
    l4t = f"{matched[1]}.{matched[2]}"
    findings = [Finding("board", "L4T", l4t, facts={"l4t": l4t})]
    package = host.command("dpkg-query", "-W", "-f", "${Version}", "nvidia-jetpack")
    if package:
        findings.append(Finding("board", "JetPack", package, facts={"jetpack": package}))
    else:
        guess = _JETPACK.get(matched[1])
        findings.append(
            Finding(
                "board",
                "JetPack",
                f"its packages are not all installed (L4T {l4t} is of JetPack {guess or '?'})",
                "warning",
                "sudo apt-get update && sudo apt-get install nvidia-jetpack",
            )
        )
    return findings + _power(host)


def _power(host: Host) -> list[Finding]:
    mode = re.search(r"pmode:(\d+)", host.text("/var/lib/nvpmodel/status") or "")
    if mode is None:
        return []
    text = f"mode {int(mode[1])} (see `sudo nvpmodel -q --verbose`; it decides the speed)"
    return [Finding("board", "power", text, "info", facts={"mode": int(mode[1])})]


def memory(host: Host) -> list[Finding]:
    """Look at the memory, and at the container's limit of it."""
    table = dict(re.findall(r"^(\w+):\s+(\d+) kB", host.text("/proc/meminfo") or "", re.M))
    if "MemTotal" not in table:
        return [Finding("resources", "memory", "unknown", "info")]
    total = int(table["MemTotal"]) * 1024 / _GB
    free = int(table.get("MemAvailable") or table["MemTotal"]) * 1024 / _GB
    limit = host.text("/sys/fs/cgroup/memory.max") or ""
    if limit.isdecimal() and int(limit) / _GB < total:
        total = int(limit) / _GB
        free = min(free, total - _used(host))
    facts = {"total_gb": round(total, 2), "available_gb": round(free, 2)}
    text = f"{free:.1f} of {total:.1f} GB available"
    if free < _LEAST_MEMORY_GB:
        fix = "end other programs (`ps aux --sort=-rss | head`), or add swap or zram"
        return [Finding("resources", "memory", text, "warning", fix, facts)]
    return [Finding("resources", "memory", text, facts=facts)]


def _used(host: Host) -> float:
    """Return the GB that this container holds and cannot give back at once."""
    used = host.text("/sys/fs/cgroup/memory.current") or ""
    cache = re.search(r"^inactive_file (\d+)", host.text("/sys/fs/cgroup/memory.stat") or "", re.M)
    held = int(used) if used.isdecimal() else 0
    return max(0, held - (int(cache[1]) if cache else 0)) / _GB


def disk(folder: Path) -> list[Finding]:
    """Look at the room where galleries and records will be written."""
    try:
        free = shutil.disk_usage(folder).free / _GB
    except OSError as error:
        return [Finding("resources", "disk", f"{folder}: {error.strerror}", "info")]
    facts = {"folder": str(folder), "free_gb": round(free, 2)}
    text = f"{free:.1f} GB free at {folder}"
    if free >= _LEAST_DISK_GB:
        return [Finding("resources", "disk", text, facts=facts)]
    fix = f"make room: du -xh --max-depth=2 {folder} | sort -h | tail"
    state = "error" if free < _NO_DISK_GB else "warning"
    return [Finding("resources", "disk", text, state, fix, facts)]  # type: ignore[arg-type]


def clock(host: Host) -> list[Finding]:
    """Look whether the clock can be right: verdicts and galleries carry its time."""
    now = time.gmtime()
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", now)
    if now.tm_year < _RELEASED:
        fix = "sudo timedatectl set-ntp true (a board without a battery forgets the time)"
        return [Finding("resources", "clock", f"{text} is in the past", "error", fix)]
    synchronised = host.command("timedatectl", "show", "-p", "NTPSynchronized", "--value")
    facts = {"synchronised": {"yes": True, "no": False}.get(synchronised or "")}
    if synchronised == "no":
        fix = "sudo timedatectl set-ntp true"
        return [Finding("resources", "clock", f"{text}, not synchronised", "warning", fix, facts)]
    told = "synchronised" if synchronised == "yes" else "not known whether synchronised"
    return [Finding("resources", "clock", f"{text}, {told}", facts=facts)]
