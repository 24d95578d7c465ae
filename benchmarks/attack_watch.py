"""What a station's users see while it is attacked: a process of its own, a JSON line a sample.

    python benchmarks/attack_watch.py URL TOKEN PID

Its own process, so that the attackers' threads do not slow its clock. It asks as a signed-in user,
one request after the other, listens to the verdicts, and reads the station's memory.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ASKED = ("/api/v1/status", "/api/v1/products", "/api/v1/verdicts?limit=10", "/livez", "/readyz")
PAUSE_S = 0.02
_tell = threading.Lock()


def tell(**sample: Any) -> None:
    """Write a sample, with the time that all processes share."""
    with _tell:
        print(json.dumps({"t": time.monotonic(), **sample}), flush=True)


def ask(host: str, token: str) -> None:
    """Ask for ever, over one connection as long as it holds."""
    headers = {"Authorization": f"Bearer {token}"}
    connection = http.client.HTTPConnection(host, timeout=10)
    while True:
        for path in ASKED:
            began = time.monotonic()
            try:
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
                connection.close()
            tell(asked=path, ms=1000 * (time.monotonic() - began), status=status)
            time.sleep(PAUSE_S)


def listen(host: str, token: str) -> None:
    """Read verdicts for ever."""
    while True:
        with suppress(OSError, http.client.HTTPException, ValueError):
            connection = http.client.HTTPConnection(host, timeout=30)
            connection.request(
                "GET", "/api/v1/verdicts/stream", headers={"Authorization": f"Bearer {token}"}
            )
            for record in _records(connection.getresponse()):
                tell(source=record["source_name"], age=record["age_ms"])
        time.sleep(0.1)


def _records(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    kind = ""
    for raw in response:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: ") and kind == "verdict":
            yield json.loads(line[6:])


def main() -> None:
    """Watch until killed."""
    url, token, pid = sys.argv[1:4]
    host = urlsplit(url).netloc
    for work in (ask, listen):
        threading.Thread(target=work, args=(host, token), daemon=True).start()
    status = Path(f"/proc/{pid}/status")
    while status.exists():
        lines = status.read_text().splitlines()
        held = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
        tell(rss_mb=held * 1024 / 1e6)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
