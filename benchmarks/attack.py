"""A real station under attack, over loopback: what its users see, and what it costs.

    python benchmarks/attack.py --out .out/attack            # about 6 minutes
    python benchmarks/attack.py --quick --out .out/attack    # under a minute

A `vision-edge serve` with users, tokens, a fleet section, Modbus and OPC UA judges two videos.
While it is attacked in one way after the other, another process asks as a signed-in user, listens
to the verdicts, and reads the station's memory. Everything is bounded in time, number and size, and
touches nothing but loopback and a temporary folder. It fails (status 1) where a promise of
docs/explanation/security.md does not hold. Attackers and station share the machine's cores: what
the attackers take of them, the station lacks. Quiet stretches lie between the attacks, and each
attack is held against the one before it, so that a noisy machine disturbs both.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attack_kinds as kinds
import numpy as np
from attack_bundles import write_hostile_bundles
from attack_kinds import Answers, Target
from canaries import Canaries
from measured import circumstances
from station_process import EMBEDDED, Plan, StationProcess

from vision_edge.station.http.users import Account, User, hashed, write_accounts

HERE = Path(__file__).parent
QUIET_S, BETWEEN_S = 8.0, 4.0
MEMORY_TIMES, MEMORY_MB = 1.3, 620.0
"""Most memory: times that of the idle station, plus 60 MB of bodies, 128 MB of captures, 32 MB for
400 connections, and 400 MB for pictures: 100 megapixels decoded, and what checks make of them."""
LEAST_S = 4.0
"""A shorter attack is repeated for so long, so that what is seen meanwhile is more than chance."""
P95_MS, AGE_TIMES, AGE_PLUS_MS = 200.0, 2.0, 20.0


@dataclass
class Watch:
    """Collects what the watching process tells.

    Attributes:
        samples: All of it.
    """

    url: str
    token: str
    pid: int
    samples: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Watch:
        command = [sys.executable, str(HERE / "attack_watch.py"), self.url, self.token]
        self._process = subprocess.Popen([*command, str(self.pid)], stdout=subprocess.PIPE)
        kinds.in_thread(self._collect)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _collect(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.samples.append(json.loads(line))

    def figures(self, start: float, end: float) -> dict[str, Any]:
        """Return what was seen from `start` to `end`."""
        seen = [sample for sample in list(self.samples) if start <= sample["t"] < end]
        asked = [s for s in seen if "asked" in s]
        ages = [s["age"] for s in seen if "age" in s]
        arrivals = [s["t"] for s in seen if "age" in s]
        gaps = np.diff(arrivals) if len(arrivals) > 1 else np.array([end - start])
        return {
            "asked": len(asked),
            "failed": sum(s["status"] != 200 for s in asked),
            "p50_ms": _share([s["ms"] for s in asked], 50),
            "p95_ms": _share([s["ms"] for s in asked], 95),
            "verdicts_a_s": round(len(ages) / (end - start), 2),
            "age_p50_ms": _share(ages, 50),
            "age_p95_ms": _share(ages, 95),
            "longest_gap_s": round(float(gaps.max()), 2),
            "peak_mb": max((s["rss_mb"] for s in seen if "rss_mb" in s), default=float("nan")),
        }


@dataclass(frozen=True)
class Attack:
    """One attack: its name, what it does, what must be true of its answers; if only once."""

    name: str
    work: Callable[[], Answers]
    holds: Callable[[Answers], bool]
    once: bool = False


def attacks(target: Target, quick: bool) -> list[Attack]:
    """Return all attacks, at full size or small."""

    def size(full: int, small: int) -> int:
        return small if quick else full

    return [
        Attack(
            "bodies of nobody",
            lambda: kinds.bodies_of_nobody(target, size(130, 20), 20.0),
            lambda a: not {"200", "503"} & set(a["answers"]) and a["sent_mb"] < 1000,
        ),
        Attack(
            "pictures of 49 megapixels",
            lambda: kinds.vast_pictures(target, size(16, 4), 7000),
            lambda a: a["twenty_in_one"] == 422 and set(a["answers"]) <= {201, 409, 503},
        ),
        Attack(
            "silent and half-sent connections",
            lambda: kinds.silence(target, size(510, 120), size(90, 20), 12.0),
            lambda a: a["ended_by_the_station"] == a["opened"],
        ),
        Attack(
            "streams that are never read",
            lambda: kinds.unread_streams(target, 64, size(10, 3)),
            lambda a: a["another_user_s_picture"] == 200,
        ),
        Attack(
            "dismissals and refusals",
            lambda: kinds.noise(target, size(4000, 200), size(5449, 200)),
            lambda a: a["deeds_kept"] >= 1 and set(a["answers"]) <= {200, 401},
        ),
        Attack(
            "guesses",
            lambda: kinds.guesses(target, 60),
            lambda a: a["tried"] <= 5 and a["login"] == 200 and a["after_s"] <= 61,
            once=True,
        ),
        Attack(
            "a held gallery",
            lambda: kinds.held_gallery(target, 45),
            lambda a: set(a["answers"]) == {503} and a["longest_s"] < 20,
        ),
        *(
            Attack(
                f"a bundle: {name}",
                lambda name=name: kinds.hostile_bundle(target, name),
                lambda a: a["state"] == "failed" and a["after_s"] < 20,
            )
            for name in write_hostile_bundles(target.incoming)
        ),
        Attack(
            "silent clients of the wires",
            lambda: kinds.silent_wires(target, size(300, 120)),
            lambda a: all(one["a_newcomer_is_served"] for one in a.values()),
        ),
    ]


def run(folder: Path, quick: bool, fuzz_count: int) -> dict[str, Any]:
    """Start a station, attack it, and return the report."""
    tokens = {"operator": secrets.token_urlsafe(24), "engineer": secrets.token_urlsafe(24)}
    plan, more, ports = prepared(folder, tokens)
    with Canaries(folder, folder.parent) as canaries, StationProcess(folder, plan, more) as station:
        target = target_of(station.url, folder, tokens, ports)
        with Watch(station.url, tokens["engineer"], station.pid) as watch:
            found = _attacked(target, watch, quick)
        kept = _kept(target)
        found["nothing_lost"] = kept
        found["resources"] = station.resources()
    found["files_read_outside"] = canaries.opened
    command = [sys.executable, str(HERE / "attack_fuzz.py"), "--count", str(fuzz_count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    found["fuzz"] = json.loads(done.stdout.splitlines()[-1])
    verdict = [part["held"] for part in found["attacks"].values()]
    found["held"] = all(verdict) and kept and not canaries.opened and done.returncode == 0
    return {**circumstances(), "quick": quick, **found}


def target_of(url: str, folder: Path, tokens: dict[str, str], ports: dict[str, int]) -> Target:
    """Return the station at an address, as its attackers know it."""
    parts = urlsplit(url)
    return Target(
        parts.hostname or "", parts.port or 0, **tokens, user="eve", password=plan_password(),
        gallery=folder / "gallery.db", incoming=folder / "incoming", **ports,
    )  # fmt: skip


def _attacked(target: Target, watch: Watch, quick: bool) -> dict[str, Any]:
    form, kind = kinds.multipart([kinds.vast_png(64)], label="kept", accept_warnings="1")
    status, text = target.request(
        "POST", "/products/upload", form, target.operator, Content_Type=kind
    )
    assert status == 201, text
    time.sleep(2.0)
    quiet = _quiet(watch, QUIET_S)
    print(f"quiet: {quiet}", flush=True)
    found: dict[str, Any] = {}
    for number in range(20):
        kinds.vast_png(7000, number)  # before anything is timed
    for attack in attacks(target, quick):
        calm = _quiet(watch, BETWEEN_S)
        began = time.monotonic()
        answers = attack.work()
        took = time.monotonic() - began
        while not attack.once and time.monotonic() < began + LEAST_S:
            answers = attack.work()
        seen = watch.figures(began, time.monotonic())
        promises = _promises(quiet["peak_mb"], calm, seen)
        promises["answers"] = attack.holds(answers)
        found[attack.name] = {
            "held": all(promises.values()), "took_s": round(took, 1), "answers": answers,
            "quiet": calm, "seen": seen, "promises": promises,
        }  # fmt: skip
        print(f"{attack.name}: {json.dumps(found[attack.name])}", flush=True)
        time.sleep(1.0)
    return {"quiet": quiet, "attacks": found, "after": _quiet(watch, BETWEEN_S)}


def _quiet(watch: Watch, seconds: float) -> dict[str, Any]:
    began = time.monotonic()
    time.sleep(seconds)
    return watch.figures(began, time.monotonic())


def _promises(idle_mb: float, quiet: dict[str, Any], seen: dict[str, Any]) -> dict[str, bool]:
    """Return which promises held."""
    return {
        "memory": seen["peak_mb"] <= MEMORY_TIMES * idle_mb + MEMORY_MB,
        "users": seen["failed"] == 0 and seen["p95_ms"] < P95_MS,
        "verdicts": seen["age_p95_ms"] <= AGE_TIMES * quiet["age_p95_ms"] + AGE_PLUS_MS,
    }


def _kept(target: Target) -> bool:
    """Whether what was acknowledged is there, and the verdicts go on."""
    status, text = target.request("GET", "/products", token=target.engineer)
    return status == 200 and "kept" in {p["label"] for p in json.loads(text)["products"]}


def plan_password() -> str:
    """Return the password of the user that is guessed at."""
    return "correct horse battery staple"


def prepared(
    folder: Path, tokens: dict[str, str], bundle: Path = EMBEDDED
) -> tuple[Plan, str, dict[str, int]]:
    """Write users and tokens; return what is served, and the ports of the wires."""
    (folder / "tokens").write_text(
        "".join(f"{token} {role} {role}\n" for role, token in tokens.items())
    )
    account = Account(User("eve", "operator"), hashed(plan_password()))
    write_accounts(folder / "users.toml", {"eve": account})
    (folder / "incoming").mkdir()
    server = (f'users_file = "{folder}/users.toml"', f'token_file = "{folder}/tokens"')
    plan = Plan(30.0, 5.0, frames=60, bundle=bundle, server=server, token=tokens["engineer"])
    trial = "memory_mb = 800.0\nopen_seconds = 6.0\nembed_seconds = 2.0"
    sections = [f'[fleet]\nbundle_from = "{folder}/incoming"', f"[fleet.trial]\n{trial}"]
    ports = {"modbus": 0, "opcua": 0}
    for name, module in (("modbus", "pymodbus"), ("opcua", "asyncua")):
        if _has(module):
            ports[name] = _free_port()
            sections.append(f"[{name}]\nport = {ports[name]}")
    return plan, "\n".join(sections) + "\n", ports


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _share(values: list[float], share: float) -> float:
    return round(float(np.percentile(values, share)), 1) if values else float("nan")


def main() -> None:
    """Attack; print the table, write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(".out/attack"))
    parser.add_argument("--quick", action="store_true", help="small, for every change")
    parser.add_argument("--fuzz", type=int, help="hostile files and messages; default: 1000, or 60")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    count = options.fuzz or (60 if options.quick else 1000)
    folder = Path(tempfile.mkdtemp(prefix="vision-edge-attack-")) / "station"
    folder.mkdir()
    try:
        report = run(folder, options.quick, count)
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)
    (options.out / "attack.json").write_text(json.dumps(report, indent=1) + "\n")
    for name, part in report["attacks"].items():
        seen, fell = part["seen"], [p for p, held in part["promises"].items() if not held]
        print(
            f"{name:32} {seen['peak_mb']:5.0f} MB  p95 {part['quiet']['p95_ms']:5.0f} -> "
            f"{seen['p95_ms']:5.0f} ms  age p95 {part['quiet']['age_p95_ms']:5.0f} -> "
            f"{seen['age_p95_ms']:5.0f} ms  {'held' if part['held'] else 'FELL: ' + str(fell)}"
        )
    print(f"fuzz: {report['fuzz']}")
    print(f"read outside: {report['files_read_outside']}; nothing lost: {report['nothing_lost']}")
    print("held" if report["held"] else "NOT held")
    raise SystemExit(0 if report["held"] else 1)


if __name__ == "__main__":
    main()
