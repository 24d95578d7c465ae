"""What a processor gives is said before anything is tried on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_edge.runtime.system.processor import features, features_here, gains, has_bf16

_XEON = "fpu avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_int8"
SAPPHIRE = f"model name\t: Xeon\nflags\t\t: {_XEON}\n"
ZEN3 = "model name\t: EPYC\nflags\t\t: fpu avx2 sse4_2\n"
ORIN = "processor\t: 0\nFeatures\t: fp asimd aes asimddp\nCPU part\t: 0xd42\n"


@pytest.mark.parametrize(
    ("cpuinfo", "bf16", "said"),
    [
        (SAPPHIRE, True, "bf16 in OpenVINO 2.7 times"),
        (SAPPHIRE.replace(" amx_bf16 amx_int8", ""), True, "--precision-hint auto"),
        (ZEN3, False, "little: int8 without VNNI"),
        (ZEN3.replace("avx2", "avx2 avx_vnni"), False, "int8 about 1.9 times"),
        (ORIN, False, "was not measured"),
        ("processor\t: 0\n", False, "measure with `vision-edge bench`"),
    ],
)
def test_gains_follow_the_units(cpuinfo: str, bf16: bool, said: str) -> None:
    found = features(cpuinfo)
    assert has_bf16(found) == bf16
    assert said in gains(found)


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    assert features_here(tmp_path / "absent") == []
    assert features_here()
