"""The parent's side of a case's process."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
from dataclasses import asdict
from typing import Any

from vision_edge.bench.cases import Case, Settings
from vision_edge.runtime.errors import VisionEdgeError

_MAIN = "from vision_edge.bench.worker import main; main()"
OPEN_SECONDS = 900.0
"""Seconds that opening may take: TensorRT builds its engine the first time."""
_TURN_SECONDS = 300.0


class CaseError(VisionEdgeError):
    """A case cannot be timed."""


class CaseProcess:
    """A running case. Use it as a context manager, or call `close`.

    Attributes:
        case: What it times.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )

    def open(self, settings: Settings) -> dict[str, Any]:
        """Open the model; return what `worker.open_case` tells.

        Raises:
            CaseError: If it cannot be opened.
        """
        case = self.case
        return self._ask(
            {
                "do": "open",
                "bundle": str(case.bundle),
                "provider": case.provider,
                "batch": case.batch,
                "torch": None if case.torch is None else asdict(case.torch),
                "threads": settings.threads,
                "frame": settings.frame,
                "products": settings.products,
            },
            OPEN_SECONDS,
        )

    def embeddings(self) -> list[list[float]]:
        """Return the embeddings of the pictures that all processes have in common."""
        embeddings: list[list[float]] = self._ask({"do": "check"}, _TURN_SECONDS)["embeddings"]
        return embeddings

    def turn(self, seconds: float) -> dict[str, list[float]]:
        """Let it run for some seconds; return milliseconds of each part of each call."""
        request = {"do": "turn", "seconds": seconds}
        times: dict[str, list[float]] = self._ask(request, seconds + _TURN_SECONDS)["times"]
        return times

    def peak_mb(self) -> float:
        """Return the most memory that it ever held, in MB."""
        return float(self._ask({"do": "peak"}, _TURN_SECONDS)["peak_mb"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                stream.close()

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._crashed() from None
        if not select.select([stdout], [], [], seconds)[0]:
            raise CaseError(f"no answer within {seconds:g} s", fix="try another provider")
        line = stdout.readline()
        if not line:
            raise self._crashed()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise CaseError(answer["error"], fix=answer["fix"])
        return answer

    def _crashed(self) -> CaseError:
        status = self._process.wait()
        self._stderr.seek(0)
        said = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        told = f": {said[-1]}" if said else ""
        return CaseError(f"its process died ({how}){told}", fix="see `vision-edge doctor`")
