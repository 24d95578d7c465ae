"""NVIDIA's own Triton server, on a CPU: the binary of `nvidia-pytriton`, with a backend of ours.

`make` puts the wheel into `.venv/triton`, beside the packages and not among them: it asks for an
older numpy than the tests run with. It has the server and its Python backend, but no ONNX Runtime
backend; `triton_backend/onnxruntime` stands in for that one part.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import tritonclient.grpc as triton

FOLDER = Path(os.environ.get("VISION_EDGE_TRITON", f"{sys.prefix}/triton"))
BINARY = FOLDER / "pytriton/tritonserver/bin/tritonserver"
STUB = "triton_python_backend_stub"
_BACKEND = Path(__file__).parent / "triton_backend"
_SECONDS = 60.0


def missing() -> str | None:
    """Say what a real server lacks on this machine; None where it can run."""
    if not BINARY.exists():
        return f"no Triton server in {FOLDER}: run `make triton`"
    stub = FOLDER / "pytriton/tritonserver/python_backend_stubs" / _python() / STUB
    return None if stub.exists() else f"the Triton server has no backend for Python {_python()}"


def _python() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


@dataclass
class TritonServer:
    """A server of one model repository, in a process of its own.

    Attributes:
        repository: The models' folder, polled for changes.
        scratch: A folder for its backends and its log.
        port: Of its gRPC, on this machine; the same after a restart.
        tls: A key and a certificate, PEM files.
    """

    repository: Path
    scratch: Path
    port: int = 0
    tls: tuple[Path, Path] | None = None
    process: subprocess.Popen[bytes] | None = None
    stubs: list[psutil.Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = self.port or _free_port()
        self._backends = _backends(self.scratch / "backends")
        self._prefix = f"vision_edge_{os.getpid()}_{self.port}_"
        self.log = self.scratch / "triton.log"

    def start(self) -> None:
        """Start the server, and wait until its models are ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command(), stdout=log, stderr=subprocess.STDOUT, env=_environment(),
                start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + _SECONDS
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise AssertionError(self.log.read_text(errors="replace")[-4000:])
            time.sleep(0.05)
        self.stubs = _stubs(self.process.pid)

    def kill(self) -> None:
        """Kill the server at once, as a crash would; its stubs are left to themselves."""
        if self.process is not None:
            self.stubs = _stubs(self.process.pid) or self.stubs
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self._forget_memory()

    def stop(self) -> None:
        """Ask the server to end; whatever of it is still there after that is killed."""
        if self.process is None:
            return
        self.stubs = _stubs(self.process.pid) or self.stubs
        self.process.terminate()
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stub in self.alive():
            stub.kill()
            stub.wait()
        self._forget_memory()
        assert self.processes() == []

    def alive(self, seconds: float = 5.0) -> list[psutil.Process]:
        """Return the stubs that are still there after some seconds at most."""
        _, left = psutil.wait_procs(self.stubs, timeout=seconds)
        return [stub for stub in left if stub.status() != psutil.STATUS_ZOMBIE]

    def processes(self) -> list[psutil.Process]:
        """Return every process that serves its models: the server and its stubs."""
        return [p for p in psutil.process_iter() if self._prefix in " ".join(_command_of(p))]

    def statistics(self, model: str) -> Any:
        """Return what the server says it did with a model."""
        with triton.InferenceServerClient(f"localhost:{self.port}") as client:
            return client.get_inference_statistics(model).model_stats[0]

    def _command(self) -> list[str]:
        keys = {} if self.tls is None else {"key": self.tls[0], "cert": self.tls[1]}
        tls = [f"--grpc-server-{name}={path}" for name, path in keys.items()]
        return [
            str(BINARY),
            f"--model-repository={self.repository}",
            f"--backend-directory={self._backends}",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            "--model-control-mode=poll", "--repository-poll-secs=1",
            "--allow-http=0", "--allow-metrics=0", "--exit-timeout-secs=5",
            "--grpc-address=127.0.0.1", f"--grpc-port={self.port}",
            *([] if self.tls is None else ["--grpc-use-ssl=1", *tls]),
        ]  # fmt: skip

    def _ready(self) -> bool:
        ssl: dict[str, Any] = {}
        if self.tls is not None:
            ssl = {"ssl": True, "root_certificates": str(self.tls[1])}
        with (
            contextlib.suppress(triton.InferenceServerException),
            triton.InferenceServerClient(f"localhost:{self.port}", **ssl) as client,
        ):
            return bool(client.is_server_ready(client_timeout=2.0))
        return False

    def _forget_memory(self) -> None:
        """Remove the shared memory that a killed server could not."""
        for left in Path("/dev/shm").glob(f"{self._prefix}*"):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def serving(repository: Path, scratch: Path, **options: Any) -> Iterator[TritonServer]:
    """Serve a model repository for a block, and leave no process behind."""
    server = TritonServer(repository, scratch, **options)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _backends(folder: Path) -> Path:
    """Lay out the backends: the wheel's for Python with the stub of this Python, and ours."""
    if folder.exists():
        return folder
    server = FOLDER / "pytriton/tritonserver"
    shutil.copytree(server / "backends/python", folder / "python")
    shutil.copy(server / "python_backend_stubs" / _python() / STUB, folder / "python")
    shutil.copytree(_BACKEND / "onnxruntime", folder / "onnxruntime")
    return folder


def _environment() -> dict[str, str]:
    """Return an environment in which the stubs find this Python and its packages."""
    libraries = [str(sysconfig.get_config_var("LIBDIR")), str(FOLDER / "nvidia_pytriton.libs")]
    return {
        **os.environ,
        "PATH": f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}",
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "OMP_NUM_THREADS": "1",
    }


def _stubs(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        found = psutil.Process(pid).children(recursive=True)
        return [child for child in found if STUB.startswith(child.name())]
    return []


def _command_of(process: psutil.Process) -> list[str]:
    """Return a process's command line; none of one that has gone, or is being reaped."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])
