"""Cameras: V4L2 devices, whether this user may read them, CSI, and GenICam by Aravis."""

from __future__ import annotations

import array
import fcntl
import getpass
import grp
import os
import re
import struct
from pathlib import Path

from vision_edge.doctor.finding import Finding
from vision_edge.doctor.host import Host
from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources import aravis
from vision_edge.runtime.sources.gst_pipelines import has_element

_QUERY_CAPABILITIES = 0x80685600  # VIDIOC_QUERYCAP of linux/videodev2.h
_CAPTURES = 0x00000001 | 0x00001000  # V4L2_CAP_VIDEO_CAPTURE, ..._MPLANE
_CAPABILITY_BYTES, _DEVICE_CAPABILITIES = 104, 88


def cameras(host: Host) -> list[Finding]:
    """Look at every `/dev/video*`, and at CSI."""
    found = sorted(host.path("/dev").glob("video*"), key=_number)
    devices = [device for device in found if device.name[5:].isdecimal()]
    findings = [_device(host, device) for device in devices]
    if not devices:
        fix = "plug one in (`lsusb` must show it); in a container add --device /dev/video0"
        findings = [Finding("camera", "V4L2", "no /dev/video*", "info", fix)]
    return findings + _csi(host, findings) + _genicam(host)


def _genicam(host: Host) -> list[Finding]:
    """Ask networks and USB for GenICam cameras, where Aravis is installed."""
    if host.root != Path("/"):
        return []
    try:
        found = aravis.devices()
    except SourceError:
        return []
    return [
        Finding("camera", f"genicam://{one.id}", f"{one.model} at {one.address}", facts=vars(one))
        for one in found
    ]


def _number(device: Path) -> int:
    digits = device.name[5:]
    return int(digits) if digits.isdecimal() else -1


def _device(host: Host, device: Path) -> Finding:
    name = host.text(f"/sys/class/video4linux/{device.name}/name") or "unnamed"
    path = f"/dev/{device.name}"
    facts = {"name": name, "path": path}
    if not os.access(device, os.R_OK | os.W_OK):
        return Finding(
            "camera", path, f"{name}: this user may not read it", "warning", _may(device), facts
        )
    captures = captures_video(device)
    if captures is False:
        text = f"{name}: carries no pictures (metadata, or an encoder)"
        return Finding("camera", path, text, "info", facts=facts)
    return Finding("camera", path, name, facts={**facts, "captures": captures})


def _may(device: Path) -> str:
    """Return what gives this user the device."""
    group = _group_of(device)
    user = _user()
    if group is not None and group not in _groups():
        return (
            f"sudo usermod -aG {group} {user}, then log in again (container: --group-add {group})"
        )
    return f"sudo chmod g+rw {device}, or add a udev rule"


def _group_of(device: Path) -> str | None:
    try:
        return grp.getgrgid(device.stat().st_gid).gr_name
    except (OSError, KeyError):
        return None


def _groups() -> set[str]:
    numbers = set(os.getgroups())
    return {group.gr_name for group in grp.getgrall() if group.gr_gid in numbers}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "$USER"


def captures_video(device: Path) -> bool | None:
    """Ask a V4L2 device whether it delivers pictures; None if it does not say."""
    try:
        handle = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        answer = array.array("B", bytes(_CAPABILITY_BYTES))
        fcntl.ioctl(handle, _QUERY_CAPABILITIES, answer)
        (capabilities,) = struct.unpack_from("<I", answer, _DEVICE_CAPABILITIES)
        return bool(capabilities & _CAPTURES)
    except OSError:
        return None
    finally:
        os.close(handle)


def _csi(host: Host, devices: list[Finding]) -> list[Finding]:
    """Look at CSI cameras, where the board has any."""
    if host.is_jetson:
        return [_argus(host, devices)]
    if has_element("libcamerasrc"):
        return [Finding("camera", "CSI", "csi://0 by libcamera, if one is connected", "info")]
    return []


def _argus(host: Host, devices: list[Finding]) -> Finding:
    sensors = [finding.value for finding in devices if re.match(r"vi-output", str(finding.value))]
    if not has_element("nvarguscamerasrc"):
        fix = "sudo apt-get install nvidia-l4t-gstreamer gstreamer1.0-tools"
        return Finding("camera", "CSI", "GStreamer has no nvarguscamerasrc", "warning", fix)
    if not host.path("/tmp/argus_socket").exists():  # noqa: S108  # NVIDIA's own place for it
        fix = "sudo systemctl restart nvargus-daemon (container: -v /tmp/argus_socket)"
        return Finding("camera", "CSI", "nvargus-daemon does not run", "warning", fix)
    if not sensors:
        fix = "check the cable, then choose the camera: sudo /opt/nvidia/jetson-io/jetson-io.py"
        return Finding("camera", "CSI", "no sensor", "info", fix)
    told = ", ".join(f"csi://{index}: {name}" for index, name in enumerate(sensors))
    return Finding("camera", "CSI", told, facts={"sensors": sensors})
