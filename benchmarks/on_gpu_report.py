"""The report of `on_gpu.py`: written part by part, within a time, with what was left out."""

from __future__ import annotations

import contextlib
import json
import platform
import subprocess
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from measured import circumstances

PACKAGES = ("onnxruntime-gpu", "onnxruntime", "numpy", "opencv-python", "opencv-python-headless")


@dataclass
class Report:
    """The figures so far, written after each part, and the time that is left.

    Attributes:
        file: Where they go.
        seconds: For all of it.
        document: The figures.
    """

    file: Path
    seconds: float
    document: dict[str, Any]
    started: float = field(default_factory=time.monotonic)

    def part(self, stage: str, name: str, needs: float, make: Callable[[], Any]) -> None:
        """Do one part, if it is likely to end in time; a failure is kept, and the others go on."""
        left = self.seconds - (time.monotonic() - self.started)
        if left < needs:
            self._skip(f"{stage}, {name}: {left:.0f} s are left, it takes about {needs:g} s")
            return
        try:
            figures = make()
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            self._skip(f"{stage}, {name}: {type(error).__name__}: {str(error)[:300]}")
            return
        print(f"{stage}, {name}: {json.dumps(figures)}", flush=True)
        self.document[stage][name] = figures
        self.save()

    def save(self) -> None:
        """Write what there is."""
        self.document["took_s"] = round(time.monotonic() - self.started, 1)
        self.file.write_text(json.dumps(self.document, indent=1) + "\n")

    def _skip(self, what: str) -> None:
        print(f"skipped: {what}", flush=True)
        self.document["skipped"].append(what)
        self.save()


def facts(provider: str) -> dict[str, Any]:
    """Return what the figures depend on."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    card = "none: a trial of the program"
    if provider == "cuda":
        asked = [
            "nvidia-smi",
            "--query-gpu=name,driver_version,memory.total",
            "--format=csv,noheader",
        ]
        card = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return {
        **circumstances(),
        "card": card,
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
