"""Addresses of cameras and streams, as a user writes them and as they may be shown."""

from __future__ import annotations

import re


def live_address(spec: str) -> tuple[int | str, str] | None:
    """Return the address of a camera or stream and its name without credentials, or None.

    Args:
        spec: A device index (`0`), `/dev/video0`, `v4l2:///dev/video0`, `csi://0`,
            `gst://PIPELINE`, `genicam://NAME`, `rtsp://...`, `http://...`, in upper case too;
            anything else is a file, or a pattern.
    """
    if re.fullmatch(r"\d{1,4}", spec):
        return int(spec), spec
    scheme, separator, rest = spec.partition("://")
    spec = f"{scheme.lower()}{separator}{rest}" if separator else spec
    device = spec.removeprefix("v4l2://")
    if device.startswith("/dev/"):
        return device, device
    if spec.startswith("gst://"):
        return spec, without_password(spec)
    if "://" in spec:
        return spec, without_credentials(spec)
    return None


def without_password(pipeline: str) -> str:
    """Return a GStreamer pipeline's text with the credentials in its addresses masked."""
    masked = re.sub(r"(://)[^\s\"']*@", r"\1", pipeline.removeprefix("gst://"))
    return "gst://" + re.sub(r"(user-(?:id|pw)=)(\"[^\"]*\"|\S+)", r"\1***", masked)


def without_credentials(address: str) -> str:
    """Return a stream's address without user name, password and query, for logs and verdicts.

    A password should have its `/`, `?` and `#` percent-encoded. Where it has not, everything before
    the last `@` is left out: rather too much than a part of the password.
    """
    scheme, rest = address.split("://", 1)
    authority, slash, path = re.split(r"[?#]", rest)[0].partition("/")
    if "@" not in authority and "@" in rest:
        authority, slash, path = re.split(r"[?#]", rest.rpartition("@")[2])[0].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
