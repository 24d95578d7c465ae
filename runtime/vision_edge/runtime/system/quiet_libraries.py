"""What the libraries below us would tell their makers: off, unless the user asked for it.

ONNX Runtime 1.32 writes a device id and a queue of events below the user's cache folder when a
session opens, and sends them to Microsoft. It reads `ORT_DISABLE_TELEMETRY` when it is imported and
never again (its own `disable_telemetry_events` comes too late), so the variable must stand before.
OpenVINO's Python package sends an event as it is imported and writes an id to `~/intel`; it goes on
without its `openvino_telemetry` package, which has no switch but a question at the terminal. The
Hugging Face hub, which timm asks for weights, adds facts about the machine to its requests.
"""

from __future__ import annotations

import os
import sys

VARIABLES = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""Environment variables that are set where the user has not set them, to whatever value."""
WITHHELD = ("openvino_telemetry",)
"""Packages that are not let into the process; who has imported one before keeps it."""


def keep_libraries_quiet() -> None:
    """Turn off what libraries send about their use, in this process and in those it starts.

    `vision_edge.runtime` calls this when it is imported, which everything of ours does before it
    imports a library that it concerns. A variable that is set already, `ORT_DISABLE_TELEMETRY=0`
    for instance, stays as it is.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    for name in WITHHELD:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # how Python marks it absent
