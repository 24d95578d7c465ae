"""Cold start: a fresh process, from nothing to its first verdict.

Import, verify and load the bundle, register one snapshot, judge one picture. The child tells when
each step was done on the clock that all processes of a machine share.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vision_edge.bench.process import OPEN_SECONDS

_CHILD = """
import json, os, sys, time
at = {}
def tell(document):
    print("\\ncold:" + json.dumps(document), flush=True)
    os._exit(0)
try:
    from pathlib import Path
    from vision_edge.runtime import (
        Gallery, classifier_for, load_bundle, open_session, open_source, register, verdicts,
    )
    at["start"] = time.monotonic()
    bundle, provider, threads, picture, gallery = sys.argv[1:]
    session = open_session(load_bundle(bundle), provider, int(threads) or None)
    at["load"] = time.monotonic()
    with Gallery(gallery, session.bundle.manifest.identity, create=True) as opened:
        register(opened, session, "product", [Path(picture)])
        classifier = classifier_for(opened, session)
    at["register"] = time.monotonic()
    _, verdict = next(iter(verdicts(open_source(picture), session, classifier)))
    at["verdict"] = time.monotonic()
    at["cpu"] = time.process_time()
    assert verdict.decision.nearest == "product"
except Exception as error:
    tell({"error": getattr(error, "what", None) or repr(error)})
tell(at)
"""
STEPS = ("start", "load", "register", "verdict")


def cold_start(bundle: Path, provider: str, threads: int | None) -> dict[str, float] | str:
    """Start one process and wait for its verdict.

    Returns:
        The seconds of each step (`"start"`: interpreter and imports), `"total"`, and `"cpu"`, the
        time that all its threads spent on the processor; or why there are none.
    """
    from vision_edge.bench.worker import pictures
    from vision_edge.runtime.images.coding import encode_jpeg

    with tempfile.TemporaryDirectory() as folder:
        picture, gallery = Path(folder) / "snapshot.jpg", Path(folder) / "gallery.db"
        picture.write_bytes(encode_jpeg(pictures(1, 640, 480)[0]))
        line = [str(bundle), provider, str(threads or 0), str(picture), str(gallery)]
        started = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, *line],
                capture_output=True,
                text=True,
                check=False,
                timeout=OPEN_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return f"no verdict within {OPEN_SECONDS:g} s"
    told = [row for row in done.stdout.splitlines() if row.startswith("cold:")]
    if not told:
        return (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    at = json.loads(told[-1].removeprefix("cold:"))
    if "error" in at:
        return str(at["error"])
    ends = [started, *(at[step] for step in STEPS)]
    steps = {name: ends[k + 1] - ends[k] for k, name in enumerate(STEPS)}
    return {**steps, "total": at["verdict"] - started, "cpu": at["cpu"]}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each step over runs, with the best and worst total."""
    middle = {
        name: statistics.median(run[name] for run in runs) for name in (*STEPS, "total", "cpu")
    }
    totals = [run["total"] for run in runs]
    return {**middle, "best": min(totals), "worst": max(totals)}
