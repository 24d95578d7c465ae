"""NumPy, OpenCV, and the programs that read streams."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from vision_edge.doctor.finding import Finding
from vision_edge.doctor.host import Answer, Host, ask

_NUMPY = "import numpy; tell(version=numpy.__version__, file=numpy.__file__)"
_OPENCV = """
import cv2
tell(version=cv2.__version__, file=cv2.__file__, build=cv2.getBuildInformation())
"""
_GSTREAMER_PACKAGES = (
    "sudo apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad gstreamer1.0-libav"
)


def numpy(_host: Host) -> list[Finding]:
    """Look whether NumPy can be imported: nothing works without."""
    answer = ask("numpy", _NUMPY)
    if answer.state == "ok":
        version = answer.facts["version"]
        return [Finding("vision", "NumPy", version, facts=answer.facts)]
    fix = 'pip install --force-reinstall "numpy>=1.26"'
    return [broken("vision", "NumPy", answer, fix)]


def broken(area: str, name: str, answer: Answer, fix: str) -> Finding:
    """Return the finding about something essential that is absent or cannot be imported."""
    text = {
        "absent": "not installed",
        "failed": f"cannot be imported: {answer.reason}",
        "crashed": f"crashes the program when it is imported ({answer.reason})",
        "timeout": f"cannot be imported: {answer.reason}",
    }[answer.state]
    if "numpy.core.multiarray" in answer.reason or "_ARRAY_API" in answer.reason:
        fix = 'pip install "numpy<2"  (this build was made for NumPy 1)'
    facts = {"state": answer.state, "reason": answer.reason}
    return Finding(area, name, text, "error", fix, facts)


def opencv(_host: Host) -> list[Finding]:
    """Look at OpenCV and at what its build can read."""
    answer = ask("cv2", _OPENCV)
    if answer.state != "ok":
        return [broken("vision", "OpenCV", answer, _opencv_fix(answer))]
    build = answer.facts.pop("build")
    can = {name: _built_with(build, name) for name in ("FFMPEG", "GStreamer", "v4l/v4l2")}
    text = f"{answer.facts['version']}, {Path(answer.facts['file']).parent}"
    findings = [Finding("vision", "OpenCV", text, facts={**answer.facts, "built_with": can})]
    for name, reads in (("FFMPEG", "videos and RTSP"), ("v4l/v4l2", "USB cameras")):
        if not can[name]:
            fix = 'pip install --force-reinstall "opencv-python>=4.9"'
            text = f"built without {name}: reads no {reads}"
            findings.append(Finding("vision", f"OpenCV {name}", text, "warning", fix))
    return findings + _gstreamer_of(can["GStreamer"])


def _opencv_fix(answer: Answer) -> str:
    library = re.search(r"(lib[\w.+-]+\.so[\w.]*): cannot open", answer.reason)
    if library is None:
        return 'pip install "vision-edge[edge]"'
    package = "libgl1" if library[1].startswith("libGL") else "libglib2.0-0"
    return f"sudo apt-get install {package}  ({library[1]} is missing)"


def _built_with(build: str, name: str) -> bool:
    return re.search(rf"{re.escape(name)}:\s+YES", build) is not None


def _gstreamer_of(built_in: bool) -> list[Finding]:
    """Say how GStreamer is reached: wheels of OpenCV never have it."""
    if built_in:
        return [Finding("vision", "GStreamer", "in OpenCV's build", facts={"by": "opencv"})]
    if shutil.which("gst-launch-1.0"):
        text = "by gst-launch-1.0 (OpenCV was built without)"
        return [Finding("vision", "GStreamer", text, facts={"by": "pipe"})]
    text = "neither in OpenCV's build nor as gst-launch-1.0: no csi:// and no gst://"
    return [Finding("vision", "GStreamer", text, "info", _GSTREAMER_PACKAGES, {"by": None})]


def programs(host: Host) -> list[Finding]:
    """Look for the programs that read and write streams."""
    findings = []
    for name, option, package in (
        ("gst-launch-1.0", "--version", _GSTREAMER_PACKAGES),
        ("ffmpeg", "-version", "sudo apt-get install ffmpeg"),
    ):
        said = host.command(name, option)
        if said is None:
            text = "not there (nothing needs it but what its name says)"
            findings.append(Finding("vision", name, text, "info", package))
        else:
            findings.append(Finding("vision", name, said.splitlines()[0] if said else "there"))
    return findings
