"""The examination: every probe at once, none able to end the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vision_edge.doctor import cameras, engines, extras, gpu_providers, imports, system
from vision_edge.doctor.finding import Finding
from vision_edge.doctor.host import Host

Probe = Callable[[Host], list[Finding]]
PROBES: tuple[tuple[str, Probe], ...] = (
    ("system", system.operating_system),
    ("system", system.processor),
    ("board", system.board),
    ("resources", system.memory),
    ("resources", lambda _: system.disk(Path.cwd())),
    ("resources", system.clock),
    ("vision", imports.numpy),
    ("vision", imports.opencv),
    ("vision", imports.programs),
    ("engine", engines.onnx_runtime),
    ("engine", gpu_providers.gpu_providers),
    ("engine", engines.openvino),
    ("engine", engines.tensorrt),
    ("engine", engines.tensorrt_rtx),
    ("engine", engines.cuda_python),
    ("gpu", engines.gpu),
    ("camera", cameras.cameras),
    ("extras", lambda host: extras.extras(jetson=host.is_jetson)),
    ("extras", lambda _: extras.rivals()),
)
"""Area and probe of each part of the examination, in the order of the report."""

_AT_ONCE = 4


def examine(
    host: Host | None = None, probes: Sequence[tuple[str, Probe]] = PROBES
) -> list[Finding]:
    """Run every probe and return what they found, in order."""
    machine = host or Host()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda pair: _isolated(pair[0], pair[1], machine), probes)
    return [finding for findings in found for finding in findings]


def _isolated(area: str, probe: Probe, host: Host) -> list[Finding]:
    """Run one probe; what it raises is its finding."""
    try:
        return probe(host)
    except Exception as error:  # a strange machine must not hide what the other probes see
        reason = f"could not be looked at ({type(error).__name__}: {error})"
        return [Finding(area, getattr(probe, "__name__", area), reason, "info")]
