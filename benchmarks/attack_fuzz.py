"""Hostile archives, bundles and line messages, from a seed: refused, quickly, in little room.

    python benchmarks/attack_fuzz.py --count 1000 --seed 1

Sound ones are altered: bits, lengths, names, and any value of any JSON, by what breaks parsers;
half of the bundles are sealed anew, so that their hashes are right: what is still taken has another
value that is as good (a name, a date, a figure), or other weights. Time and memory are taken for
each by itself. Time is the processor's, which a busy machine does not lengthen. Models run in the
process of an examination, whose own time and memory count, after its start and a sound model's
embedding, which are told apart; what it holds beyond them is a model's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.gallery.archive import open_archive, write_archive
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.station.fleet.bundles.examination import Examination
from vision_edge.station.fleet.bundles.unpack import unpack
from vision_edge.station.fleet.shared_gallery.entries import product_key
from vision_edge.station.fleet.shared_gallery.local_gallery import Limits, LineGallery
from vision_edge.station.fleet.shared_gallery.sync import Access, LineSync
from vision_edge.station.settings.fleet import FleetSettings

EMBEDDED = Path(__file__).parents[1] / "runtime/vision_edge/runtime/assets/bundle"
MODEL = ModelIdentity("a" * 64, 4)
MAX_S, MAX_MB = 1.0, 100.0
_DEEP: Any = []
for _ in range(900):
    _DEEP = [_DEEP]
NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**64, 10**300, 1e308, "", "x" * 100_000, "\udcff", "../../secret",
    "/etc/passwd", "\0", [], {}, [0] * 300_000, ["x"] * 100_000, {"a": {}}, _DEEP,
    {str(k): k for k in range(20_000)},
)  # fmt: skip
Try = Callable[[], Any]


class Ledger:
    """What became of the tries, and what they cost.

    Args:
        clock: Of their time.
        most_s: Of each.
    """

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.worst_s = self.worst_mb = 0.0
        self.over: list[str] = []

    def note(self, what: str, work: Try) -> None:
        """Try something, and note its end, its time, and the memory that it took at most."""
        began, held = time.process_time(), _reset_peak()
        try:
            end = "taken" if work() is not False else "refused"
        except VisionEdgeError:
            end = "refused"
        except Exception as error:  # what nobody foresaw is what is looked for
            end = f"unforeseen {type(error).__name__}"
            self.over.append(f"{what}: {error!r}"[:200])
        took, grown = time.process_time() - began, _peak_mb() - held
        self.ends[end] += 1
        self.cost(what, took, grown)

    def cost(self, what: str, took: float, grown: float) -> None:
        """Note what something took, in seconds and MB."""
        self.worst_s, self.worst_mb = max(self.worst_s, took), max(self.worst_mb, grown)
        if took > MAX_S or grown > MAX_MB:
            self.over.append(f"{what}: {took:.2f} s, {grown:.0f} MB")

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            **self.ends,
            "worst_s": round(self.worst_s, 3),
            "worst_mb": round(self.worst_mb, 1),
            "over": self.over[:10],
        }


def altered_json(document: Any, rng: random.Random) -> Any:
    """Return a copy in which one value, wherever, is another, missing, or under an unknown name."""
    copy = json.loads(json.dumps(document))
    places = list(_places(copy))
    holder, key = rng.choice(places)
    how = rng.random()
    if how < 0.1 and isinstance(holder, dict):
        del holder[key]
    elif how < 0.2 and isinstance(holder, dict):
        holder[rng.choice(("__proto__", "extra", "\0"))] = rng.choice(NASTY)
    else:
        holder[key] = rng.choice(NASTY)
    return copy


def altered_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return other bytes: some flipped, some cut off, some put in, or some twice."""
    changed = bytearray(data)
    at = rng.randrange(len(changed))
    how = rng.randrange(5)
    if how == 0:
        changed[at] ^= 1 << rng.randrange(8)
    elif how == 1:
        for _ in range(rng.randrange(1, 64)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    elif how == 2:
        del changed[at:]
    elif how == 3:
        changed[at:at] = bytes(rng.randrange(1, 100_000))
    else:
        changed[at:at] = changed[max(0, at - 1000) : at]
    return bytes(changed)


def json_bytes(document: Any) -> bytes:
    """Return a document as it would be sent, lone surrogates and all."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


def archives(folder: Path, count: int, rng: random.Random, ledger: Ledger) -> None:
    """Try altered archives of a gallery."""
    pictures = np.random.default_rng(0).integers(0, 256, (6, 96, 96, 3), dtype=np.uint8)
    with Gallery(folder / "fuzz.gallery", MODEL, create=True, author="fuzz") as gallery:
        for number, picture in enumerate(pictures):
            vector = np.full(4, number, np.float32)
            gallery.add(f"part {number}", [Snapshot(encode_jpeg(picture), vector, "fuzz")])
        write_archive(gallery, folder / "sound.zip")
    members = _members(folder / "sound.zip")
    target = folder / "archive.zip"
    zeros = json.loads(members["manifest.json"])
    zeros["snapshots"] = [0] * 4_000_000  # 8 MB
    _pack(target, {**members, "manifest.json": json.dumps(zeros, separators=(",", ":")).encode()})
    ledger.note("archive of zeros", lambda: _opened(target))
    for number in range(1, count):
        kind = _write_altered(target, folder / "sound.zip", members, "manifest.json", rng)
        ledger.note(f"archive {number} ({kind})", lambda: _opened(target))


def _opened(path: Path) -> Any:
    with open_archive(path) as archive:
        return archive.manifest.products


def bundles(folder: Path, count: int, rng: random.Random, ledger: Ledger) -> None:
    """Try altered bundles: packed ones, and folders of which half are sealed anew."""
    with zipfile.ZipFile(folder / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for entry in sorted(EMBEDDED.iterdir()):
            if entry.is_file():
                file.write(entry, entry.name)
    members = _members(folder / "bundle.zip")
    document = json.loads(members["manifest.json"])
    target = folder / "altered.zip"
    for number in range(count):
        if number % 2:
            kind = _write_altered(target, folder / "bundle.zip", members, "manifest.json", rng)
        else:
            kind = "sealed anew"
            _pack(target, {**members, "manifest.json": sealed(altered_json(document, rng))})
        ledger.note(f"bundle {number} ({kind})", lambda: _unpacked(target, folder / "unpacked"))


def _unpacked(archive: Path, folder: Path) -> Any:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    unpack(archive, folder, 100 << 20)
    return load_bundle(folder)


def models(folder: Path, count: int, rng: random.Random, ledger: Ledger) -> None:
    """Try bundles whose model is altered and whose hashes are right, in an examination."""
    members = {entry.name: entry.read_bytes() for entry in EMBEDDED.iterdir() if entry.is_file()}
    document = json.loads(members["manifest.json"])
    limits = {"open_seconds": 5.0, "embed_seconds": 2.0, "memory_mb": 1000.0, "seconds": 80_000.0}
    settings = FleetSettings.model_validate({"trial": limits})
    bundle = folder / "model"
    with ExitStack() as open_ones:
        examined = open_ones.enter_context(_Examined(settings))
        for number in range(count):
            model = altered_bytes(members["model.onnx"], rng)
            digest = {"sha256": hashlib.sha256(model).hexdigest(), "bytes": len(model)}
            files = {**document["files"], "model.onnx": digest}
            shutil.rmtree(bundle, ignore_errors=True)
            bundle.mkdir()
            for name, data in {**members, "model.onnx": model}.items():
                (bundle / name).write_bytes(data)
            (bundle / "manifest.json").write_bytes(sealed({**document, "files": files}))
            examined.begin()
            ledger.note(f"model {number}", lambda examined=examined: examined.run(bundle))
            if examined.alive:
                ledger.cost(f"model {number}, in its process", *examined.spent())
            else:  # it was killed; the next has a process of its own
                ledger.ends["killed at a limit"] += 1
                open_ones.close()
                examined = open_ones.enter_context(_Examined(settings))


class _Examined:
    """An examination whose process has started and run a sound model, and what it spends."""

    def __init__(self, settings: FleetSettings) -> None:
        self._examination = Examination(settings)
        self.run(EMBEDDED)

    def __enter__(self) -> _Examined:
        return self

    def __exit__(self, *_: object) -> None:
        self._examination.close()

    @property
    def alive(self) -> bool:
        return self._examination.alive

    def run(self, bundle: Path) -> Any:
        opened = self._examination.opened(bundle, "cpu", 1)
        side = opened.spec.size
        return opened.embed(np.full((1, side, side, 3), 200, np.uint8))

    def begin(self) -> None:
        """Begin to count what it spends."""
        self._seconds, self._mb = self._time(), _reset_peak(self._examination.pid)

    def spent(self) -> tuple[float, float]:
        """Return the processor's seconds, and the most MB beyond those at the beginning."""
        return self._time() - self._seconds, _peak_mb(self._examination.pid) - self._mb

    def _time(self) -> float:
        fields = Path(f"/proc/{self._examination.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def line_messages(folder: Path, count: int, rng: random.Random, ledger: Ledger) -> None:
    """Send messages to a station of a line; nothing of them may come into its gallery."""
    path = folder / "line.gallery"
    with Gallery(path, MODEL, create=True, author="fuzz"):
        pass
    line = LineGallery("hall", "here", Limits(), lambda: round(time.time() * 1000))
    access = Access(lambda: Gallery(path, MODEL), _never, lambda: None, time.time)
    sync = LineSync("here", line, access, _Nobody(), Limits(), seed=0)
    sync.connected()
    label, sha = "bolt", "b" * 64
    entry = {
        "schema_version": "1.0", "key": product_key(label), "label": label, "station": "there",
        "clock": {"ms": round(time.time() * 1000), "n": 0},
        "snapshots": [{"sha256": sha, "bytes": 1000, "origin": "x"}], "negatives": [],
    }  # fmt: skip
    topics = [product_key(label), f"picture/{sha}/0", f"want/{sha}", f"negative/{sha}", "a/b", ""]
    # Thirty of a mebibyte first, as a broker would deliver what it retained.
    zeros = json_bytes({**entry, "snapshots": [0] * 250_000, "negatives": []})[: 1 << 20]
    for number in range(count):
        topic = topics[0] if number < 30 else rng.choice(topics)
        payload = zeros if number < 30 else json_bytes(altered_json(entry, rng))
        if number >= 30 and rng.random() < 0.3:
            payload = altered_bytes(payload, rng)
        if number >= 30 and rng.random() < 0.05:
            payload = rng.choice((b"[" * (1 << 20), b"\0" * (2 << 20), b'{"a":' * 200_000))

        def take(topic: str = topic, payload: bytes = payload) -> bool:
            sync.receive(topic, payload)
            sync.tick()
            return False

        ledger.note(f"message {number} on {topic}", take)
    with Gallery(path, MODEL) as gallery:
        if gallery.version:
            ledger.over.append(f"the gallery has changed {gallery.version} times")


class _Nobody:
    """A broker that delivers nothing."""

    room = True

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> None: ...
    def subscribe(self, topic: str) -> None: ...
    def unsubscribe(self, topic: str) -> None: ...


def _never(jpeg: bytes, origin: str) -> Snapshot:
    raise AssertionError("no picture of these messages is ever whole")


def sealed(document: dict[str, Any]) -> bytes:
    """Return a manifest with the hash that it should have."""
    rest = {name: value for name, value in document.items() if name != "manifest_sha256"}

    def text(value: Any) -> bytes:
        dumped = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
        return (dumped + "\n").encode("utf-8", "surrogatepass")

    return text({**rest, "manifest_sha256": hashlib.sha256(text(rest)).hexdigest()})


def _write_altered(
    target: Path, sound: Path, members: dict[str, bytes], manifest: str, rng: random.Random
) -> str:
    """Write an altered zip; return how it was altered."""
    kind = rng.choice(("bytes", "manifest", "member", "name", "packed", "twice", "absent"))
    if kind == "bytes":
        target.write_bytes(altered_bytes(sound.read_bytes(), rng))
        return kind
    changed = dict(members)
    name = rng.choice(sorted(changed))
    if kind == "manifest":
        changed[manifest] = json_bytes(altered_json(json.loads(changed[manifest]), rng))
    elif kind == "member":
        changed[name] = altered_bytes(changed[name], rng)
    elif kind == "name":
        changed[rng.choice(("../secret", "/tmp/x", "a/../../b", "x\0y", "é" * 300))] = b"x"
    elif kind == "absent":
        del changed[name]
    elif kind == "packed":
        changed["zeros"] = bytes(20 << 20)
    _pack(target, changed, twice=name if kind == "twice" else None, packed=kind == "packed")
    return kind


def _pack(
    target: Path, members: dict[str, bytes], twice: str | None = None, packed: bool = False
) -> None:
    how = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    names = [*members, *([twice] if twice in members else [])]
    with zipfile.ZipFile(target, "w", how) as file:
        for name in names:
            info = zipfile.ZipInfo(name.replace("\0", "_"), (1980, 1, 1, 0, 0, 0))
            info.compress_type = how
            file.fp.flush()
            file.NameToInfo.pop(info.filename, None)
            file.writestr(info, members[name])


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a document: what holds it, and its key there."""
    keys: Any = value if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _reset_peak(process: int | str | None = "self") -> float:
    Path(f"/proc/{process}/clear_refs").write_text("5")
    return _peak_mb(process)


def _peak_mb(process: int | str | None = "self") -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def fuzz(count: int, seed: int) -> dict[str, Any]:
    """Try `count` hostile things, shared out among the kinds; return what became of them."""
    shares = {archives: 0.3, bundles: 0.3, line_messages: 0.35, models: 0.05}
    found: dict[str, Any] = {"seed": seed}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, share in shares.items():
            ledger = Ledger()
            kind(folder, max(1, round(count * share)), random.Random(seed), ledger)
            found[kind.__name__] = ledger.document()
    return found


def main() -> None:
    """Run the fuzz; the last line is its outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = fuzz(options.count, options.seed)
    print(json.dumps(found))
    held = not any(part["over"] for part in found.values() if isinstance(part, dict))
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
