"""Which of vision-edge's extras are installed, and packages that stand in each other's way."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distributions, requires

from vision_edge.doctor.finding import Finding
from vision_edge.doctor.host import is_installed

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)(?:;(.*))?$")
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")
_PYTHON = re.compile(r"""python_version\s*(<|>=)\s*["']([\d.]+)["']""")
_VENDORED = {
    "opencv-python": "cv2",
    "onnxruntime": "onnxruntime",
    "onnxruntime-gpu": "onnxruntime",
    "tensorrt": "tensorrt",
}
"""Packages that a board's vendor installs under another name: what they are imported as."""

_NOT_FOR_JETSON = ("edge-gpu", "onnxruntime-tensorrt", "tensorrt", "tensorrt-rtx")
_RIVALS = {
    "OpenCV": (
        "opencv-python",
        "opencv-contrib-python",
        "opencv-python-headless",
        "opencv-contrib-python-headless",
    ),
    "ONNX Runtime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
}


@dataclass(frozen=True)
class Requirement:
    """A package that an extra asks for, and the least version of it (empty: any)."""

    extra: str
    package: str
    least: str


def extras(lines: list[str] | None = None, *, jetson: bool = False) -> list[Finding]:
    """Look at each extra.

    Args:
        lines: Requirements as in a package's metadata; by default, those of vision-edge.
        jetson: Whether this is a Jetson, for which PyPI has no GPU packages.
    """
    try:
        asked = requirements(requires("vision-edge") or [] if lines is None else lines)
    except PackageNotFoundError:
        return [
            Finding("extras", "all", "unknown: vision-edge is not installed as a package", "info")
        ]
    installed = installed_versions()
    names = sorted({requirement.extra for requirement in asked} - {"dev", "docs"})
    found = [_extra(name, [r for r in asked if r.extra == name], installed) for name in names]
    return [_for_jetson(finding) if jetson else finding for finding in found]


def _for_jetson(finding: Finding) -> Finding:
    """Return the finding without advice that would do harm there."""
    if finding.name not in _NOT_FOR_JETSON or finding.fix is None:
        return finding
    fix = "not from PyPI on a Jetson: JetPack brings it (docs/how-to/jetson.md)"
    return replace(finding, fix=fix)


def requirements(lines: list[str]) -> list[Requirement]:
    """Return what the extras ask for on this version of Python."""
    found = []
    for line in lines:
        matched, extra = _REQUIREMENT.match(line), _EXTRA.search(line)
        if matched is not None and extra is not None and _for_this_python(line):
            least = re.search(r">=\s*([\w.]+)", matched[2])
            found.append(Requirement(extra[1], canonical(matched[1]), least[1] if least else ""))
    return found


def _for_this_python(line: str) -> bool:
    """Whether a requirement counts here; of its markers, `python_version` may say that not."""
    marked = _PYTHON.search(line)
    if marked is None:
        return True
    here, asked = sys.version_info[:2], numbers(marked[2])
    return here < asked if marked[1] == "<" else here >= asked


def canonical(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_versions() -> dict[str, str]:
    """Return the version of every package installed, by its name."""
    return {
        canonical(dist.metadata["Name"]): dist.version
        for dist in distributions()
        if dist.metadata["Name"]
    }


def _extra(name: str, asked: list[Requirement], installed: dict[str, str]) -> Finding:
    missing = [r.package for r in asked if not _is_there(r.package, installed)]
    old = [
        f"{r.package} {installed[r.package]} (at least {r.least})"
        for r in asked
        if r.package in installed and numbers(installed[r.package]) < numbers(r.least)
    ]
    facts = {"missing": missing, "too_old": old}
    fix = f'pip install "vision-edge[{name}]"'
    if missing:
        return Finding("extras", name, f"missing: {', '.join(missing)}", "info", fix, facts)
    if old:
        return Finding("extras", name, f"too old: {', '.join(old)}", "warning", fix, facts)
    return Finding("extras", name, "installed", facts=facts)


def _is_there(package: str, installed: dict[str, str]) -> bool:
    """Whether a package is installed; the board's vendor may have done so in its own way."""
    if package in installed:
        return True
    other = "onnxruntime" if package == "onnxruntime-gpu" else None
    module = _VENDORED.get(package)
    return module is not None and other not in installed and is_installed(module)


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, to compare: `"1.24.0rc1"` gives (1, 24, 0)."""
    matched = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, matched[0].split("."))) if matched else ()


def rivals() -> list[Finding]:
    """Look for packages that overwrite each other's files."""
    installed = installed_versions()
    findings = []
    for what, packages in _RIVALS.items():
        there = [package for package in packages if package in installed]
        if len(there) > 1:
            names = " ".join(there)
            fix = f"pip uninstall -y {names}, then install the one that you want"
            text = f"installed over each other: {', '.join(there)}"
            findings.append(Finding("extras", what, text, "warning", fix, {"packages": there}))
    return findings
