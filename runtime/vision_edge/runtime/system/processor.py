"""What a processor can compute quickly, as the kernel tells it, and what a model gains by that."""

from __future__ import annotations

import re
from pathlib import Path

FLAGS = {
    "avx2": "float32",
    "avx512f": "float32",
    "avx512_vnni": "int8",
    "avx_vnni": "int8",
    "avx512_bf16": "bf16",
    "amx_int8": "int8",
    "amx_bf16": "bf16",
    "asimd": "float32",
    "asimddp": "int8",
    "i8mm": "int8",
    "bf16": "bf16",
}
"""Processor features that make a model faster, and the arithmetic they speed up."""
_CPUINFO = Path("/proc/cpuinfo")


def features(cpuinfo: str) -> list[str]:
    """Return the features of `FLAGS` that a `/proc/cpuinfo` names, in their order."""
    fields = dict(re.findall(r"^([^\t:\n]+?)\s*:[ \t]*(.*)$", cpuinfo, re.M))
    words = set((fields.get("flags") or fields.get("Features") or "").split())
    return [flag for flag in FLAGS if flag in words]


def features_here(cpuinfo: Path = _CPUINFO) -> list[str]:
    """Return this processor's features; none where the kernel does not tell."""
    try:
        return features(cpuinfo.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return []


def has_bf16(found: list[str]) -> bool:
    """Whether a processor of these features multiplies in bf16."""
    return any(FLAGS[flag] == "bf16" for flag in found)


def gains(found: list[str]) -> str:
    """Say what narrower arithmetic gives on a processor of these features.

    The factors are of a ViT-Tiny on one thread: those of docs/how-to/export.md, and bf16 without
    AMX as OpenVINO's own ratio on one such processor.
    """
    if "amx_bf16" in found:
        return "bf16 in OpenVINO 2.7 times as fast as float32 (--precision-hint auto), int8 1.9"
    if "asimddp" in found or "i8mm" in found:
        return "int8 has units of its own here; by how much it is faster was not measured"
    if "avx512_bf16" in found:
        return "int8 about 1.9 times as fast as float32; bf16 about 1.5 (--precision-hint auto)"
    if "avx512_vnni" in found or "avx_vnni" in found:
        return "int8 about 1.9 times as fast as float32 (--precision int8)"
    if "avx2" in found:
        return "little: int8 without VNNI was 1.5 times as fast as float32, for 0.2 points"
    return "nothing known: measure with `vision-edge bench` before choosing int8"
