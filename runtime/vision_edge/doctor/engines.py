"""What can run a model: ONNX Runtime, OpenVINO, TensorRT, and the GPU under them."""

from __future__ import annotations

import re
from dataclasses import replace

from vision_edge.doctor.finding import Finding
from vision_edge.doctor.host import Answer, Host, ask
from vision_edge.doctor.imports import broken

_ONNXRUNTIME = """
import onnxruntime
tell(version=onnxruntime.__version__, providers=onnxruntime.get_available_providers(),
     file=onnxruntime.__file__)
"""
_OPENVINO = """
sys.modules["openvino_telemetry"] = None  # its package reports every import; see quiet_libraries
import openvino
core = openvino.Core()
devices = {}
for device in core.available_devices:
    try:
        can = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        devices[device] = [core.get_property(device, "FULL_DEVICE_NAME"), list(can)]
    except Exception as error:
        devices[device] = [str(error), []]
tell(version=openvino.__version__, devices=devices)
"""
_VERSION = "import {module}; tell(version={module}.__version__)"
_GPU_QUERY = "name,driver_version,memory.total,compute_cap"


def onnx_runtime(host: Host) -> list[Finding]:
    """Look at ONNX Runtime and its providers; a GPU that it cannot use is pointed out."""
    answer = ask("onnxruntime", _ONNXRUNTIME)
    if answer.state != "ok":
        return [broken("engine", "ONNX Runtime", answer, 'pip install "vision-edge[edge]"')]
    providers = [
        name.removesuffix("ExecutionProvider").lower() for name in answer.facts["providers"]
    ]
    text = f"{answer.facts['version']}: {', '.join(providers)}"
    finding = Finding("engine", "ONNX Runtime", text, facts=answer.facts)
    if has_gpu(host) and "cuda" not in providers:
        fix = 'pip uninstall -y onnxruntime && pip install "vision-edge[edge-gpu]"'
        if host.is_jetson:
            fix = "install NVIDIA's onnxruntime-gpu wheel for this JetPack; PyPI has none for it"
        return [
            finding,
            Finding(
                "engine",
                "ONNX Runtime on the GPU",
                "this build knows no CUDA, so the GPU stays idle with it",
                "info",
                fix,
            ),
        ]
    return [finding]


def openvino(_host: Host) -> list[Finding]:
    """Look at OpenVINO and its devices."""
    answer = ask("openvino", _OPENVINO)
    if answer.state != "ok":
        return [_optional("OpenVINO", answer, 'pip install "vision-edge[openvino]"')]
    devices = answer.facts["devices"]
    told = [f"{device} ({name}; {', '.join(can)})" for device, (name, can) in devices.items()]
    version = answer.facts["version"].split("-")[0]
    if not told:
        fix = "check the drivers of the device, or use --provider cpu"
        return [Finding("engine", "OpenVINO", f"{version}: no device", "warning", fix)]
    text = f"{version}: {', '.join(told)}"
    return [Finding("engine", "OpenVINO", text, facts=answer.facts)]


def tensorrt(host: Host) -> list[Finding]:
    """Look at TensorRT, which JetPack brings on a Jetson."""
    fix = 'pip install "vision-edge[tensorrt]"'
    if host.is_jetson:
        fix = (
            "sudo apt-get install python3-libnvinfer, and make the virtual environment with "
            "`python3 -m venv --system-site-packages`"
        )
    return [_version_of(host, "TensorRT", "tensorrt", fix)]


def tensorrt_rtx(host: Host) -> list[Finding]:
    """Look at TensorRT-RTX."""
    fix = 'pip install "vision-edge[tensorrt-rtx]"'
    return [_version_of(host, "TensorRT-RTX", "tensorrt_rtx", fix)]


def cuda_python(host: Host) -> list[Finding]:
    """Look at CUDA's Python module, without which no engine runs."""
    code = "from cuda import bindings; tell(version=bindings.__version__)"
    answer = ask("cuda.bindings", code)
    if answer.state == "ok":
        return [Finding("engine", "cuda-bindings", answer.facts["version"], facts=answer.facts)]
    return [_for_gpu(host, _optional("cuda-bindings", answer, _cuda_fix(host)))]


def _cuda_fix(host: Host) -> str:
    version = re.search(r"CUDA Version: (\d+)", host.command("nvidia-smi") or "")
    major = version[1] if version else "13"
    if host.is_jetson and "R36" in (host.text("/etc/nv_tegra_release") or ""):
        return 'pip install "cuda-bindings~=12.6"'
    return f'pip install "cuda-bindings~={major}.0"'


def _version_of(host: Host, name: str, module: str, fix: str) -> Finding:
    answer = ask(module, _VERSION.format(module=module))
    if answer.state != "ok":
        return _for_gpu(host, _optional(name, answer, fix))
    return Finding("engine", name, answer.facts["version"], facts=answer.facts)


def _optional(name: str, answer: Answer, fix: str) -> Finding:
    """Return the finding about an engine that nobody needs: absent is fine, broken is not."""
    finding = broken("engine", name, answer, fix)
    return replace(finding, state="info" if answer.state == "absent" else "warning")


def _for_gpu(host: Host, finding: Finding) -> Finding:
    """Return the finding without advice to install what no GPU here would use."""
    if finding.state == "info" and not has_gpu(host):
        return replace(finding, fix=None)
    return finding


def gpu(host: Host) -> list[Finding]:
    """Look at NVIDIA GPUs, their driver and CUDA."""
    rows = host.command("nvidia-smi", f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader")
    if rows:
        return [_gpu(row) for row in rows.splitlines()] + _cuda(host)
    if has_gpu(host):
        if host.is_jetson:
            return [Finding("gpu", "NVIDIA", "the Jetson's own"), *_cuda(host)]
        fix = "sudo apt-get install --reinstall the NVIDIA driver, then reboot; see `dmesg | tail`"
        text = "there is one, but its driver does not answer nvidia-smi"
        return [Finding("gpu", "NVIDIA", text, "warning", fix)]
    return [Finding("gpu", "NVIDIA", "none", "info")]


def has_gpu(host: Host) -> bool:
    """Whether there is an NVIDIA GPU, as far as the kernel knows."""
    places = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu")
    return any(host.path(place).exists() for place in places)


def _gpu(row: str) -> Finding:
    name, driver, memory, capability = ([*row.split(", "), "?", "?", "?"])[:4]
    facts = {"name": name, "driver": driver, "memory": memory, "compute_capability": capability}
    text = f"{name}, {memory}, driver {driver}, compute capability {capability}"
    return Finding("gpu", "NVIDIA", text, facts=facts)


def _cuda(host: Host) -> list[Finding]:
    said = host.command("nvidia-smi") or ""
    driver = re.search(r"CUDA Version: ([\d.]+)", said)
    toolkit = re.search(r'"cuda"[^}]*"version"\s*:\s*"([\d.]+)"', _toolkit(host))
    found = [
        *([f"driver up to {driver[1]}"] if driver else []),
        *([f"toolkit {toolkit[1]}"] if toolkit else []),
    ]
    return [Finding("gpu", "CUDA", ", ".join(found) or "unknown", "ok" if found else "info")]


def _toolkit(host: Host) -> str:
    return host.text("/usr/local/cuda/version.json") or ""
