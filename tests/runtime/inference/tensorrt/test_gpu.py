"""What an engine is bound to: GPU, driver and CUDA, as the device says."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.engines import Cuda, Device

from vision_edge.runtime.errors import EngineError, MissingExtraError
from vision_edge.runtime.inference.tensorrt.gpu import Gpu, driver_version, find_gpu

OPEN_MODULE = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder)
GCC version:  gcc version 13.3.0
"""
CLOSED_MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15\n"
TEGRA = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"


def test_the_device_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    assert find_gpu() == Gpu("Orin", "8.7", "540.4.0", "12.6")
    assert str(find_gpu()) == "Orin (compute capability 8.7, driver 540.4.0)"
    device.cuda = Cuda("RTX 4000", (8, 9))
    device.cuda.version = 13010
    assert find_gpu() == Gpu("RTX 4000", "8.9", "540.4.0", "13.1")


def test_an_unknown_driver_is_told_apart_by_its_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch).driver = None
    assert find_gpu().driver == "for CUDA 12.6"


def test_no_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch).cuda.devices = 0
    with pytest.raises(EngineError, match="cudaErrorNoDevice"):
        find_gpu()


def test_without_cudas_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(MissingExtraError, match=r"vision-edge\[tensorrt\]"):
        find_gpu()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (OPEN_MODULE, "580.95.05"),
        (CLOSED_MODULE, "535.183.01"),
        ("something else", None),
    ],
)
def test_the_drivers_version(tmp_path: Path, text: str, version: str | None) -> None:
    (tmp_path / "version").write_text(text)
    assert driver_version(tmp_path / "version", tmp_path / "none") == version


def test_a_jetson_is_known_by_its_linux(tmp_path: Path) -> None:
    (tmp_path / "release").write_text(TEGRA)
    assert driver_version(tmp_path / "none", tmp_path / "release") == "R36.4.3"
