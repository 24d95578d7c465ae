"""The doctor: right about what is there, about what is broken, and never down itself."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from support.runtime import MAIN, invoke, python

from vision_edge.doctor import cameras, engines, extras, imports, inputs, system
from vision_edge.doctor.examine import PROBES, examine
from vision_edge.doctor.finding import Finding, is_usable
from vision_edge.doctor.host import Answer, Host, run_python

ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0000\0nvidia,tegra234\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
    "etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nID=ubuntu\n',
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd aes asimddp\nCPU part\t: 0xd42\n",
    "proc/meminfo": "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n",
    "var/lib/nvpmodel/status": "pmode:0002",
    "dev/nvhost-gpu": "",
    "tmp/argus_socket": "",
    "sys/class/video4linux/video0/name": "vi-output, imx219 9-0010\n",
    "dev/video0": "",
}


def machine(root: Path, files: dict[str, str]) -> Host:
    """Return a machine of the files given."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Host(root)


def program(folder: Path, name: str, script: str) -> None:
    """Write a program."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH; the shell's own programs are not in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    cameras.has_element.cache_clear()
    return folder


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_a_jetson_is_recognised(tmp_path: Path, programs: Path) -> None:
    host = machine(tmp_path / "root", ORIN)
    program(programs, "dpkg-query", "echo 6.2+b77")
    found = by_name(system.operating_system(host) + system.processor(host) + system.board(host))
    assert found["OS"].value == "Ubuntu 22.04.5 LTS"
    assert found["CPU"].value == "nvidia,tegra234"
    assert found["CPU features"].facts == {"features": ["asimd", "asimddp"]}
    assert found["model"].value == "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"
    assert (found["L4T"].value, found["JetPack"].value) == ("36.4.3", "6.2+b77")
    assert found["power"].facts == {"mode": 2}


def test_a_jetson_without_jetpacks_packages_is_told_how_to_get_them(
    tmp_path: Path, programs: Path
) -> None:
    host = machine(tmp_path / "root", ORIN)
    program(programs, "dpkg-query", "exit 1")
    found = by_name(system.board(host))["JetPack"]
    assert found.state == "warning"
    assert "of JetPack 6" in found.value
    assert found.fix == "sudo apt-get update && sudo apt-get install nvidia-jetpack"


def test_this_machine_is_read(tmp_path: Path) -> None:
    host = Host()
    assert by_name(system.processor(host))["cores usable"].facts["cores"] >= 1
    assert by_name(system.memory(host))["memory"].facts["total_gb"] > 0.1
    assert by_name(system.disk(tmp_path))["disk"].facts["free_gb"] > 0


def test_a_containers_quota_limits_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    host = machine(tmp_path, {"sys/fs/cgroup/cpu.max": "150000 100000"})
    assert by_name(system.processor(host))["cores usable"].value == "2 of 8"


def test_little_memory_is_a_warning_and_a_containers_limit_counts(tmp_path: Path) -> None:
    plenty = machine(tmp_path, {"proc/meminfo": ORIN["proc/meminfo"]})
    (found,) = system.memory(plenty)
    assert (found.state, found.facts["available_gb"]) == ("ok", 8.19)
    limited = machine(
        tmp_path,
        {
            "sys/fs/cgroup/memory.max": "1000000000",
            "sys/fs/cgroup/memory.current": "900000000",
            "sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 100000000\n",
        },
    )
    (found,) = system.memory(limited)
    assert found.state == "warning"
    assert found.fix
    assert found.facts == {"total_gb": 1.0, "available_gb": 0.2}


@pytest.mark.parametrize(("free", "state"), [(2e9, "ok"), (0.5e9, "warning"), (1e6, "error")])
def test_a_full_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=int(free))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    (found,) = system.disk(tmp_path)
    assert found.state == state
    assert (found.fix is None) == (state == "ok")


def test_a_clock_that_forgot_the_time_is_an_error(
    monkeypatch: pytest.MonkeyPatch, programs: Path
) -> None:
    program(programs, "timedatectl", "echo no")
    (found,) = system.clock(Host())
    assert (found.state, found.fix) == ("warning", "sudo timedatectl set-ntp true")
    program(programs, "timedatectl", "echo yes")
    assert system.clock(Host())[0].state == "ok"
    epoch = system.time.gmtime(0)
    monkeypatch.setattr(system.time, "gmtime", lambda: epoch)
    assert system.clock(Host())[0].state == "error"


def test_a_module_that_kills_its_process_is_only_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text("import os, signal; os.kill(os.getpid(), 11)")
    (tmp_path / "tensorrt_rtx.py").write_text("raise ImportError('libnvinfer.so.10: absent')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(str(tmp_path))
    (crash,) = engines.tensorrt(Host(tmp_path))
    assert (crash.state, crash.value) == (
        "warning",
        "crashes the program when it is imported (killed by signal 11)",
    )
    (failed,) = engines.tensorrt_rtx(Host(tmp_path))
    assert failed.state == "warning"
    assert "libnvinfer.so.10: absent" in failed.value
    assert is_usable([crash, failed])


def test_a_module_that_hangs_is_given_up() -> None:
    answer = run_python("import time; time.sleep(30)", 0.5)
    assert (answer.state, answer.reason) == ("timeout", "no answer within 0.5 s")


def test_what_a_library_prints_or_does_at_its_end_does_not_disturb() -> None:
    answer = run_python("print('banner'); tell(version='1'); os.abort()")
    assert answer == Answer("ok", {"version": "1"})


def test_a_file_in_the_current_folder_is_not_taken_for_a_module(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(3)")
    code = "from vision_edge.doctor.imports import numpy; print(numpy(None)[0].state)"
    done = python(f"import sys; sys.path.remove(''); {code}", cwd=tmp_path)
    assert done.stdout == "ok\n", done.stderr


def test_engines_here_tell_their_versions() -> None:
    import onnxruntime

    found = by_name(engines.onnx_runtime(Host(Path("/nowhere"))))
    assert found["ONNX Runtime"].facts["version"] == onnxruntime.__version__
    assert "cpu" in found["ONNX Runtime"].value


def test_openvino_tells_its_devices() -> None:
    pytest.importorskip("openvino")
    (found,) = engines.openvino(Host())
    assert "CPU" in found.facts["devices"]


def test_a_gpu_that_onnx_runtime_cannot_use_is_pointed_out(tmp_path: Path) -> None:
    host = machine(tmp_path / "pc", {"proc/driver/nvidia/version": "x"})
    found = by_name(engines.onnx_runtime(host))["ONNX Runtime on the GPU"]
    assert found.fix == 'pip uninstall -y onnxruntime && pip install "vision-edge[edge-gpu]"'
    found = by_name(engines.onnx_runtime(machine(tmp_path / "orin", ORIN)))
    assert "for this JetPack" in str(found["ONNX Runtime on the GPU"].fix)


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, programs: Path) -> None:
    query = 'case "$1" in --query*) echo "NVIDIA L4, 550.54.15, 23034 MiB, 8.9";; '
    program(programs, "nvidia-smi", query + '*) echo "| CUDA Version: 12.4  |";; esac')
    found = by_name(engines.gpu(Host(tmp_path)))
    assert found["NVIDIA"].facts["compute_capability"] == "8.9"
    assert found["CUDA"].value == "driver up to 12.4"
    program(programs, "nvidia-smi", "exit 9")
    (silent,) = engines.gpu(machine(tmp_path / "pc", {"dev/nvidia0": ""}))
    assert (silent.state, bool(silent.fix)) == ("warning", True)
    (none,) = engines.gpu(Host(tmp_path / "other"))
    assert (none.value, none.state) == ("none", "info")


def test_what_opencv_was_built_with_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    build = "  FFMPEG:      NO\n  GStreamer:    YES (1.20.3)\n  v4l/v4l2:    YES (x)\n"
    answer = Answer("ok", {"version": "4.8.0", "file": "/usr/lib/cv2/x.so", "build": build})
    monkeypatch.setattr(imports, "ask", lambda *_: answer)
    found = by_name(imports.opencv(Host()))
    assert found["OpenCV"].facts["built_with"] == {
        "FFMPEG": False, "GStreamer": True, "v4l/v4l2": True,
    }  # fmt: skip
    assert found["OpenCV FFMPEG"].state == "warning"
    assert found["GStreamer"].value == "in OpenCV's build"


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        (
            "ImportError: libGL.so.1: cannot open shared object file: No such file",
            "sudo apt-get install libgl1  (libGL.so.1 is missing)",
        ),
        (
            "ImportError: numpy.core.multiarray failed to import",
            'pip install "numpy<2"  (this build was made for NumPy 1)',
        ),
        ("ImportError: other", 'pip install "vision-edge[edge]"'),
    ],
)
def test_an_opencv_that_cannot_be_imported_is_an_error_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, reason: str, fix: str
) -> None:
    monkeypatch.setattr(imports, "ask", lambda *_: Answer("failed", reason=reason))
    (found,) = imports.opencv(Host())
    assert (found.state, found.fix) == ("error", fix)


def test_missing_programs_are_no_fault(tmp_path: Path, programs: Path) -> None:
    program(programs, "ffmpeg", "echo ffmpeg version 6.1")
    found = by_name(imports.programs(Host(tmp_path)))
    assert found["ffmpeg"].value == "ffmpeg version 6.1"
    assert found["gst-launch-1.0"].state == "info"
    assert "apt-get install gstreamer1.0-tools" in str(found["gst-launch-1.0"].fix)


def test_cameras_are_named_and_those_that_may_not_be_read_pointed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Path
) -> None:
    host = machine(
        tmp_path,
        {
            "dev/video0": "",
            "dev/video2": "",
            "dev/video-dec": "",
            "dev/video10": "",
            "sys/class/video4linux/video0/name": "HD Webcam: C920\n",
            "sys/class/video4linux/video2/name": "Private\n",
        },
    )
    may = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "video2" not in str(path) and may(path, mode)
    )
    monkeypatch.setattr(cameras, "_group_of", lambda _: "video")
    monkeypatch.setattr(cameras, "_groups", set)
    monkeypatch.setattr(cameras, "_user", lambda: "operator")
    found = by_name(cameras.cameras(host))
    assert list(found) == ["/dev/video0", "/dev/video2", "/dev/video10"]
    assert found["/dev/video0"].value == "HD Webcam: C920"
    assert found["/dev/video2"].state == "warning"
    assert str(found["/dev/video2"].fix).startswith("sudo usermod -aG video operator, then log in")


@pytest.mark.parametrize(
    ("capabilities", "captures"), [(0x84A00001, True), (0x04A00000, False), (0x1000, True)]
)
def test_a_device_that_carries_no_pictures_is_told_from_a_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capabilities: int, captures: bool
) -> None:
    def query(_handle: int, _request: int, answer: Any) -> int:
        answer[88:92] = cameras.array.array("B", capabilities.to_bytes(4, "little"))
        return 0

    (tmp_path / "video0").write_bytes(b"")
    assert cameras.captures_video(tmp_path / "video0") is None  # a file is no device
    monkeypatch.setattr(cameras.fcntl, "ioctl", query)
    assert cameras.captures_video(tmp_path / "video0") is captures


def test_csi_sensors_of_a_jetson_are_found(tmp_path: Path, programs: Path) -> None:
    host = machine(tmp_path / "root", ORIN)
    found = by_name(cameras.cameras(host))["CSI"]
    assert (found.state, found.value) == ("warning", "GStreamer has no nvarguscamerasrc")
    program(programs, "gst-inspect-1.0", "exit 0")
    cameras.has_element.cache_clear()
    found = by_name(cameras.cameras(host))["CSI"]
    assert found.value == "csi://0: vi-output, imx219 9-0010"
    (tmp_path / "root" / "tmp" / "argus_socket").unlink()
    found = by_name(cameras.cameras(host))["CSI"]
    assert "systemctl restart nvargus-daemon" in str(found.fix)
    cameras.has_element.cache_clear()


def test_extras_are_read_from_the_packages_own_metadata() -> None:
    lines = [
        "numpy>=1.26",
        'numpy>=1.26; extra == "edge"',
        'no_such-Package>=2.0; extra == "station"',
        'pytest>=99.0; python_version > "3" and extra == "triton"',
        'numpy>=1; extra == "dev"',
    ]
    found = by_name(extras.extras(lines))
    assert list(found) == ["edge", "station", "triton"]
    assert found["edge"].value == "installed"
    assert found["station"].value == "missing: no-such-package"
    assert found["station"].fix == 'pip install "vision-edge[station]"'
    assert found["triton"].state == "warning"
    assert "(at least 99.0)" in found["triton"].value


def test_a_jetson_is_not_sent_to_pypi_for_what_jetpack_brings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extras, "installed_versions", dict)
    monkeypatch.setattr(extras, "is_installed", lambda _: False)
    lines = ['tensorrt>=10; extra == "tensorrt"', 'fastapi>=1; extra == "station"']
    found = by_name(extras.extras(lines, jetson=True))
    assert "not from PyPI on a Jetson" in str(found["tensorrt"].fix)
    assert found["station"].fix == 'pip install "vision-edge[station]"'
    found = by_name(extras.extras(lines))
    assert found["tensorrt"].fix == 'pip install "vision-edge[tensorrt]"'


def test_cudas_python_module_is_named_for_this_cuda(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "ask", lambda *_: Answer("absent"))
    program(programs, "nvidia-smi", 'echo "| CUDA Version: 12.4  |"')
    (found,) = engines.cuda_python(machine(tmp_path / "pc", {"dev/nvidia0": ""}))
    assert (found.state, found.fix) == ("info", 'pip install "cuda-bindings~=12.0"')
    (found,) = engines.cuda_python(Host(tmp_path / "no gpu"))
    assert (found.state, found.fix) == ("info", None)
    (found,) = engines.cuda_python(machine(tmp_path / "orin", ORIN))
    assert found.fix == 'pip install "cuda-bindings~=12.6"'


def test_packages_that_overwrite_each_other_are_pointed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extras, "installed_versions", lambda: {"onnxruntime": "1"})
    assert extras.rivals() == []
    both = {"onnxruntime": "1", "onnxruntime-gpu": "1"}
    monkeypatch.setattr(extras, "installed_versions", lambda: both)
    (found,) = extras.rivals()
    assert found.state == "warning"
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in str(found.fix)


def test_a_probe_that_fails_is_a_finding_and_hides_no_other() -> None:
    def broken(_: Host) -> list[Finding]:
        raise RuntimeError("odd machine")

    findings = examine(Host(), [("gpu", broken), ("board", lambda _: [Finding("board", "x", "y")])])
    assert [finding.area for finding in findings] == ["gpu", "board"]
    assert findings[0].value == "could not be looked at (RuntimeError: odd machine)"


def test_an_empty_machine_breaks_no_probe(tmp_path: Path, programs: Path) -> None:
    findings = [f for _, probe in PROBES if probe not in SLOW for f in probe(Host(tmp_path))]
    assert {finding.area for finding in findings} >= {"system", "board", "resources", "camera"}


SLOW = {
    imports.numpy, imports.opencv, engines.onnx_runtime, engines.openvino,
    engines.tensorrt, engines.tensorrt_rtx, engines.cuda_python,
}  # fmt: skip


def test_a_bundle_is_verified_and_run(bundle_path: Path, bundle_copy: Path) -> None:
    findings, bundle = inputs.check_bundle(bundle_path, "cpu")
    assert bundle is not None
    assert [finding.state for finding in findings] == ["ok", "ok"]
    assert findings[1].facts["provider"] == "cpu"
    (bundle_copy / "model.onnx").write_bytes(b"altered")
    findings, bundle = inputs.check_bundle(bundle_copy)
    assert bundle is None
    assert [finding.state for finding in findings] == ["error"]
    assert "altered" in findings[0].value


def test_a_bundle_that_does_not_run_is_an_error(bundle_path: Path) -> None:
    findings, _ = inputs.check_bundle(bundle_path, "nothing")
    assert findings[1].state == "error"
    assert "unknown provider 'nothing'" in findings[1].value


def test_a_gallery_is_verified(registered: Path, bundle_path: Path, tmp_path: Path) -> None:
    (found,) = inputs.check_gallery(registered, inputs.load_bundle(bundle_path))
    assert (found.state, found.facts["products"]) == ("ok", ["bolt", "nut", "washer"])
    (absent,) = inputs.check_gallery(tmp_path / "absent", None)
    assert absent.state == "error"
    data = bytearray(registered.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    (tmp_path / "damaged").write_bytes(data)
    (damaged,) = inputs.check_gallery(tmp_path / "damaged", None)
    assert damaged.state == "error"
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    (other,) = inputs.check_gallery(tmp_path / "other.db", None)
    assert "not a gallery" in other.value


def test_the_command_reports_all_of_it_as_json(bundle_path: Path, registered: Path) -> None:
    result = invoke("doctor", bundle_path, "--gallery", registered, "--json")
    document = json.loads(result.stdout)
    areas = {finding["area"] for finding in document["findings"]}
    assert areas >= {"system", "vision", "engine", "camera", "extras", "bundle", "gallery"}
    assert document["usable"] is (result.exit_code == 0)
    assert all(f["fix"] for f in document["findings"] if f["state"] in ("warning", "error"))


BASE_ONLY = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("cv2", "onnxruntime", "openvino", "tensorrt_rtx", "torch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def test_with_the_base_package_alone_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BASE_ONLY)
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    done = python(MAIN, "doctor", tmp_path / "no-bundle", env={"PYTHONPATH": path, "COLUMNS": "80"})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Must be put right" in done.stdout
    assert 'pip install "vision-edge[edge]"' in done.stdout
    assert "not usable" in done.stdout
    assert "manifest.json cannot be read" in " ".join(done.stdout.split())


def test_a_requirement_of_another_python_is_not_missing() -> None:
    lines = [
        "no-such-package>=2; python_version < '3.10' and extra == 'station'",
        "no-such-package>=2; python_version >= '4.0' and extra == 'modbus'",
        "no-such-package>=2; python_version >= '3.10' and extra == 'opcua'",
        "pytest; python_version < '4.0' and extra == 'station'",
    ]
    found = by_name(extras.extras(lines))
    assert found["station"].value == "installed"
    assert "modbus" not in found
    assert found["opcua"].value == "missing: no-such-package"
