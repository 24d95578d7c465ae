"""Forged bundles and archives against a station's check, and what the check costs at the start.

python benchmarks/provenance.py --count 1000

Half are bundles, half are archives of galleries. Each forgery is consistent where that can be: its
manifest's hashes are those of its files, so that a hash alone would take it. After each twenty a
sound one must be taken, so that refusing all would be noticed. Then new processes load a bundle
with and without the check, in turns.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from measured import circumstances

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.bundles.manifest import Manifest
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import ProvenanceError, VisionEdgeError
from vision_edge.runtime.gallery.archive import open_archive, write_archive
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.reader import GalleryReader
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import encode_jpeg
from vision_edge.runtime.provenance.checking import Provenance
from vision_edge.runtime.provenance.envelope import Envelope
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.runtime.provenance.signing import sign_file, sign_folder, signature_of
from vision_edge.runtime.provenance.statement import utc_now
from vision_edge.runtime.provenance.taken import Taken
from vision_edge.runtime.provenance.trust import TrustStore

SOUND_EVERY = 20


class Place:
    """Keys, a store and a memory of what was taken, and something to forge: a bundle, an archive.

    Args:
        folder: An empty folder.
        bundle: A sound bundle.
        seed: Of what is forged.
    """

    def __init__(self, folder: Path, bundle: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.key, self.stranger = PrivateKey.new(), PrivateKey.new()
        self.expired, self.revoked = PrivateKey.new(), PrivateKey.new()
        store = TrustStore(folder / "trust", create=True)
        store.trust(self.key.public, "release")
        long_ago = utc_now() - timedelta(days=90)
        store.trust(
            self.expired.public, "old", not_before=long_ago, not_after=utc_now() - timedelta(days=1)
        )
        store.trust(self.revoked.public, "lost")
        store.revoke("lost", "laptop stolen")
        self.provenance = Provenance(store, Taken(folder / "taken.json"))
        self.bundle = Path(shutil.copytree(bundle, folder / "bundle"))
        self.archive = _archive(folder, bundle)
        self.originals = {"bundle": self._copy("bundle", 2), "gallery": self._copy("gallery", 2)}
        for kind, path in self.originals.items():
            self.provenance.take(self.check(kind, path))

    def _copy(self, kind: str, version: int) -> Path:
        path = self.folder / f"sound-{kind}"
        path = self.copied(kind, path)
        self.sign(kind, path, self.key, version)
        return path

    def copied(self, kind: str, path: Path) -> Path:
        """Copy the unsigned bundle or archive."""
        if kind == "bundle":
            return Path(shutil.copytree(self.bundle, path))
        return Path(shutil.copy(self.archive, path))

    def sign(self, kind: str, path: Path, key: PrivateKey, version: int | None = None) -> None:
        """Sign it as `line`."""
        if kind == "bundle":
            sign_folder(path, "bundle", key, "line", version)
        else:
            sign_file(path, "gallery", key, "line", version)

    def check(self, kind: str, path: Path) -> Any:
        """Take it as a station does; return who has signed it."""
        if kind == "bundle":
            return load_bundle(path, self.provenance).signed
        with open_archive(path, self.provenance) as archive:
            return archive.signed

    def opens(self, kind: str, path: Path) -> bool:
        """Whether it is taken where no signature is asked for."""
        try:
            if kind == "bundle":
                load_bundle(path)
            else:
                with open_archive(path):
                    pass
        except VisionEdgeError:
            return False
        return True


@dataclass(frozen=True)
class Outcome:
    """What came of the forgeries.

    Attributes:
        forged: By kind and way, how many.
        taken: Those that were taken: there must be none.
        parsed: Those that were refused, but by a parser: there must be none either.
        consistent: How many a hash alone would have taken.
        sound: How many sound ones were taken between them.
    """

    forged: dict[str, int]
    taken: list[str]
    parsed: list[str]
    consistent: int
    sound: int


def attack(folder: Path, bundle: Path, count: int, seed: int = 0) -> Outcome:
    """Forge and check so many bundles and archives."""
    place = Place(folder, bundle, seed)
    forged: Counter[str] = Counter()
    taken, parsed, consistent, sound = [], [], 0, 0
    for number in range(count):
        kind = ("bundle", "gallery")[number % 2]
        ways = WAYS[kind]
        way = list(ways)[(number // 2) % len(ways)]
        path = place.copied(kind, folder / f"forged-{number}")
        ways[way](place, path)
        forged[f"{kind}: {way}"] += 1
        consistent += place.opens(kind, path)
        try:
            place.check(kind, path)
            taken.append(f"{kind}: {way}")
        except ProvenanceError:
            pass
        except VisionEdgeError as error:
            parsed.append(f"{kind}: {way}: {error.what}")
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if number % SOUND_EVERY == 0:
            sound += place.check(kind, place.originals[kind]) is not None
    return Outcome(dict(forged), taken, parsed, consistent, sound)


# --- ways to forge --------------------------------------------------------------------------------


def rewritten_bundle(place: Place, path: Path) -> None:
    """Sign, then change a file and put its hash, and the manifest's own, right."""
    place.sign("bundle", path, place.key)
    name = place.random.choice(["model.onnx", "cohort.npy"])
    data = bytearray((path / name).read_bytes())
    data[-place.random.randint(1, len(data) // 2)] ^= 1 << place.random.randrange(8)
    (path / name).write_bytes(data)
    _rehash(path, name, bytes(data))


def renamed_bundle(place: Place, path: Path) -> None:
    """Sign, then change what the manifest says: its name, and how sure thresholds are."""
    place.sign("bundle", path, place.key)
    manifest = Manifest.from_bytes((path / "manifest.json").read_bytes(), "it")
    changed = manifest.model_copy(update={"name": f"trusted {place.random.random()}"})
    (path / "manifest.json").write_bytes(changed.to_bytes())


def rewritten_archive(place: Place, path: Path) -> None:
    """Sign, then change an embedding in the archive, and put its hash right."""
    place.sign("gallery", path, place.key)
    members = _members(path)
    data = bytearray(members["embeddings.npy"])
    data[-1 - 4 * place.random.randrange(8)] ^= 1  # a float's sign or exponent
    members["embeddings.npy"] = bytes(data)
    document = json.loads(members["manifest.json"])
    document["embeddings"]["sha256"] = hashlib.sha256(data).hexdigest()
    members["manifest.json"] = json.dumps(document).encode()
    _write(path, members)


def swapped(kind: str) -> Callable[[Place, Path], None]:
    """Return the way that lays another one's signature beside a changed one."""

    def forge(place: Place, path: Path) -> None:
        (rewritten_bundle if kind == "bundle" else rewritten_archive)(place, path)
        shutil.copy(signature_of(place.originals[kind]), signature_of(path))

    return forge


def older(kind: str) -> Callable[[Place, Path], None]:
    """Return the way that offers an old one, validly signed."""

    def forge(place: Place, path: Path) -> None:
        if place.random.random() < 0.5 and kind == "bundle":
            renamed_bundle(place, path)
        place.sign(kind, path, place.key, place.random.randint(0, 1))

    return forge


def by(kind: str, who: str) -> Callable[[Place, Path], None]:
    """Return the way that has a key sign that does not count."""

    def forge(place: Place, path: Path) -> None:
        place.sign(kind, path, getattr(place, who))

    return forge


def claimed(kind: str) -> Callable[[Place, Path], None]:
    """Return the way that signs with a stranger's key, and says it is the trusted one's."""

    def forge(place: Place, path: Path) -> None:
        place.sign(kind, path, place.stranger)
        document = _envelope(path)
        document["signatures"][0]["keyid"] = place.key.keyid
        signature_of(path).write_text(json.dumps(document))

    return forge


def edited(kind: str) -> Callable[[Place, Path], None]:
    """Return the way that changes what is signed, and keeps the signature."""

    def forge(place: Place, path: Path) -> None:
        place.sign(kind, path, place.key, 1)
        document = _envelope(path)
        statement = json.loads(base64.b64decode(document["payload"]))
        statement["predicate"]["version"] = 10**15
        payload = json.dumps(statement, sort_keys=True).encode()
        document["payload"] = base64.b64encode(payload).decode()
        signature_of(path).write_text(json.dumps(document))

    return forge


def truncated(kind: str) -> Callable[[Place, Path], None]:
    """Return the way that cuts the signature, or its file, short."""

    def forge(place: Place, path: Path) -> None:
        place.sign(kind, path, place.key)
        at = signature_of(path)
        if place.random.random() < 0.5:
            at.write_bytes(at.read_bytes()[: place.random.randrange(400)])
            return
        document = _envelope(path)
        sig = base64.b64decode(document["signatures"][0]["sig"])[: place.random.randrange(64)]
        document["signatures"][0]["sig"] = base64.b64encode(sig).decode()
        at.write_text(json.dumps(document))

    return forge


def other_kind(kind: str) -> Callable[[Place, Path], None]:
    """Return the way that signs it as what it is not."""

    def forge(place: Place, path: Path) -> None:
        if kind == "bundle":
            sign_folder(path, "gallery", place.key, "line")
        else:
            sign_file(path, "bundle", place.key, "line")

    return forge


def planted(place: Place, path: Path) -> None:
    """Sign, then put an engine beside the model."""
    place.sign("bundle", path, place.key)
    (path / "engines").mkdir(exist_ok=True)
    (path / "engines" / "planted.engine").write_bytes(place.random.randbytes(64))


def unsigned(_place: Place, _path: Path) -> None:
    """Leave the signature out."""


def _ways(kind: str) -> dict[str, Callable[[Place, Path], None]]:
    own: dict[str, Callable[[Place, Path], None]] = {
        "rewritten with all hashes": rewritten_bundle if kind == "bundle" else rewritten_archive
    }
    if kind == "bundle":
        own |= {"manifest rewritten": renamed_bundle, "engine planted": planted}
    return {
        **own,
        "another's signature": swapped(kind),
        "older, validly signed": older(kind),
        "a stranger's key": by(kind, "stranger"),
        "a stranger's key that claims to be trusted": claimed(kind),
        "an expired key": by(kind, "expired"),
        "a revoked key": by(kind, "revoked"),
        "statement edited": edited(kind),
        "signature truncated": truncated(kind),
        "signed as another kind": other_kind(kind),
        "not signed": unsigned,
    }


WAYS = {kind: _ways(kind) for kind in ("bundle", "gallery")}


def _envelope(path: Path) -> dict[str, Any]:
    return Envelope.from_bytes(signature_of(path).read_bytes(), "it").document()


def _rehash(path: Path, name: str, data: bytes) -> None:
    manifest = Manifest.from_bytes((path / "manifest.json").read_bytes(), "it")
    info = manifest.files[name].model_copy(
        update={"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    )
    changed = manifest.model_copy(update={"files": {**manifest.files, name: info}})
    (path / "manifest.json").write_bytes(changed.to_bytes())


def _archive(folder: Path, bundle: Path) -> Path:
    """Write an archive of a gallery of two products, and return its path."""
    identity = load_bundle(bundle).manifest.identity
    rng = np.random.default_rng(0)
    with Gallery(folder / "g.db", identity, create=True, author="it") as gallery:
        for label in ("bolt", "nut"):
            picture = encode_jpeg(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            vector = rng.standard_normal(identity.embedding_dim).astype(np.float32)
            gallery.add(label, [Snapshot(picture, vector, "it")])
    with GalleryReader(folder / "g.db") as reader:
        write_archive(reader, folder / "archive.zip")
    return folder / "archive.zip"


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def _write(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


# --- what it costs --------------------------------------------------------------------------------

START = """
import sys, time
from pathlib import Path
import vision_edge.runtime.bundles.bundle, vision_edge.runtime.inference.session, onnxruntime
from vision_edge.runtime import load_bundle
bundle, store, taken, checked = sys.argv[1:]
began, worked = time.perf_counter(), time.process_time()
policy = None
if checked == "1":
    from vision_edge.runtime import Provenance, Taken, TrustStore
    policy = Provenance(TrustStore(Path(store)), Taken(Path(taken)), held=1)
loaded = load_bundle(bundle, policy)
if policy is not None:
    policy.take(loaded.signed)
print(1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - worked))
"""


def start_cost(folder: Path, bundle: Path, repeats: int) -> dict[str, float]:
    """Return milliseconds of loading a bundle in new processes, with and without the check."""
    key = PrivateKey.new()
    store = TrustStore(folder / "trust", create=True)
    store.trust(key.public, "release")
    path = Path(shutil.copytree(bundle, folder / "signed"))
    sign_folder(path, "bundle", key, "line")
    times: dict[str, list[tuple[float, float]]] = {"0": [], "1": []}
    for number in range(2 * repeats + 2):
        checked = str(number % 2)
        words = [sys.executable, "-c", START, path, store.path, folder / "taken.json", checked]
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, check=True
        )
        if number >= 2:
            wall, worked = map(float, done.stdout.split())
            times[checked].append((wall, worked))
    plain, signed = (np.median(times[k], axis=0) for k in ("0", "1"))
    least = np.min(times["1"], axis=0) - np.min(times["0"], axis=0)
    return {
        "plain_ms": round(float(plain[0]), 1),
        "signed_ms": round(float(signed[0]), 1),
        "added_ms": round(float(signed[0] - plain[0]), 1),
        "added_least_ms": round(float(least[0]), 1),
        "added_processor_ms": round(float(signed[1] - plain[1]), 1),
        "bundle_mb": round(sum(f.stat().st_size for f in path.iterdir() if f.is_file()) / 1e6, 1),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Attack, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--bundle", type=Path, help="default: the embedded one")
    parser.add_argument("--out", type=Path, default=Path(".out/bench"))
    args = parser.parse_args()
    bundle = args.bundle or asset("bundle")
    with tempfile.TemporaryDirectory() as name:
        found = attack(Path(name), bundle, args.count)
    with tempfile.TemporaryDirectory() as name:
        cost = start_cost(Path(name), bundle, args.repeats)
    figures = {**vars(found), "forged": sum(found.forged.values()), "ways": found.forged}
    document = {**circumstances(), **figures, **cost}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "provenance.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))
    if found.taken or found.parsed:
        raise SystemExit("a forgery was taken, or parsed")


if __name__ == "__main__":
    main()
