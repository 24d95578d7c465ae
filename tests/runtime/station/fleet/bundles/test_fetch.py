"""New bundles are fetched whole and verified, from where they may come from, or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.provenance import make_maker, signed_bundle
from support.runtime import make_bundle

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import BundleError, ProvenanceError, VisionEdgeError
from vision_edge.runtime.provenance.keys import PrivateKey
from vision_edge.runtime.provenance.signing import sign_file, signature_of
from vision_edge.station.fleet.bundles.examination import Examination
from vision_edge.station.fleet.bundles.fetch import fetch_bundle as fetched
from vision_edge.station.fleet.bundles.unpack import unpack
from vision_edge.station.settings.fleet import FleetSettings


@pytest.fixture(scope="module")
def examining() -> Iterator[Examination]:
    """One process for the tests of this module: what it refuses does not end it."""
    with Examination(FleetSettings()) as made:
        yield made


def fetch_bundle(
    reference: str,
    settings: FleetSettings,
    store: Path,
    examination: Examination,
    sha256: str | None = None,
) -> Path:
    """Fetch with the sizes that these settings allow."""
    examination.max_bytes = round(settings.max_bundle_mb * 1e6)
    return fetched(reference, settings, store, examination, sha256)


def zipped(bundle: Path, path: Path, top: str = "") -> Path:
    """Zip a bundle's files, and write the hash beside."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in sorted(bundle.iterdir()):
            file.write(entry, top + entry.name)
    return sealed(path)


def sealed(path: Path) -> Path:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that bundles come from, with one bundle, and two zips of it."""
    folder = tmp_path / "incoming"
    bundle = make_bundle(folder / "new")
    zipped(bundle, folder / "new.zip")
    zipped(bundle, folder / "nested.zip", "bundle/")
    return folder


@pytest.fixture
def settings(place: Path) -> FleetSettings:
    return FleetSettings(bundle_from=str(place))


@pytest.mark.parametrize("name", ["new", "new.zip", "nested.zip"])
def test_a_bundle_comes_from_a_folder_or_an_archive(
    name: str, place: Path, settings: FleetSettings, tmp_path: Path, examining: Examination
) -> None:
    store = tmp_path / "store"
    path = fetch_bundle(name, settings, store, examining)
    assert load_bundle(path).manifest == load_bundle(place / "new").manifest
    assert fetch_bundle(name, settings, store, examining) == path
    assert [entry.name for entry in store.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["..", "../incoming/../secret", "/etc", ".", "", "link", "a\0b"])
def test_bundles_come_from_the_folder_alone(
    name: str, place: Path, settings: FleetSettings, tmp_path: Path, examining: Examination
) -> None:
    make_bundle(tmp_path / "secret")
    (place / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(BundleError):
        fetch_bundle(name, settings, tmp_path / "store", examining)
    with pytest.raises(BundleError, match="takes no bundles"):
        fetch_bundle("new", FleetSettings(), tmp_path / "store", examining)


def test_an_altered_archive_or_bundle_is_refused(
    place: Path, settings: FleetSettings, tmp_path: Path, examining: Examination
) -> None:
    store = tmp_path / "store"
    data = bytearray((place / "new.zip").read_bytes())
    data[200] ^= 1
    (place / "new.zip").write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256"):
        fetch_bundle("new.zip", settings, store, examining)
    sealed(place / "new.zip")
    with pytest.raises(BundleError):
        fetch_bundle("new.zip", settings, store, examining)
    with pytest.raises(BundleError, match="SHA-256"):
        fetch_bundle("nested.zip", settings, store, examining, sha256="0" * 64)
    model = place / "new" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="altered"):
        fetch_bundle("new", settings, store, examining)
    (place / "new" / "manifest.json").unlink()
    with pytest.raises(BundleError, match="not a bundle"):
        fetch_bundle("new", settings, store, examining)
    (place / "nested.zip.sha256").unlink()
    with pytest.raises(BundleError):
        fetch_bundle("nested.zip", settings, store, examining)
    assert list(store.iterdir()) == []


def test_what_is_hashed_is_what_is_unpacked(
    place: Path, settings: FleetSettings, tmp_path: Path, examining: Examination
) -> None:
    """An archive that is none, or is exchanged while it is brought, comes to nothing."""
    (place / "new.zip").unlink()
    os.mkfifo(place / "new.zip")
    with pytest.raises(BundleError, match="not a regular file"):
        fetch_bundle("new.zip", settings, tmp_path / "store", examining)
    watched = place / "nested.zip"
    other = zipped(make_bundle(tmp_path / "other", name="other"), tmp_path / "other.zip")
    wanted = hashlib.sha256(watched.read_bytes()).hexdigest()

    class Exchanging(Examination):
        """Examines, after someone has put another archive in the place."""

        def bring(self, *arguments: Any) -> None:
            other.replace(watched)
            super().bring(*arguments)

    with Exchanging(settings) as exchanging:
        path = fetched("nested.zip", settings, tmp_path / "store", exchanging, wanted)
    assert load_bundle(path).manifest.name != "other"
    assert not other.exists()


def test_what_is_too_large_is_refused(place: Path, tmp_path: Path, examining: Examination) -> None:
    small = FleetSettings(bundle_from=str(place), max_bundle_mb=0.001)
    for name in ("new", "new.zip"):
        with pytest.raises(BundleError, match="larger"):
            fetch_bundle(name, small, tmp_path / "store", examining)


def hostile_zip(path: Path, name: str, data: bytes = b"x", mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        info = zipfile.ZipInfo(name)
        info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
        file.writestr(info, data)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "a/b/c",
        "a/../../evil",
        "..",
        ".hidden",
        "a\\b",
        "c:evil",
        "é",
        "a b",
    ],
)
def test_a_member_outside_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(BundleError):
        unpack(hostile_zip(tmp_path / "evil.zip", name), target, 10**6)
    assert not list(target.iterdir())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["evil.zip", "target"]


def test_bombs_links_and_doubles_are_refused(tmp_path: Path) -> None:
    bomb = hostile_zip(tmp_path / "bomb.zip", "model.onnx", b"\0" * 5_000_000)
    assert bomb.stat().st_size < 10_000
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(BundleError, match="larger"):
        unpack(bomb, target, 1_000_000)
    link = hostile_zip(tmp_path / "link.zip", "link", b"/etc/passwd", mode=0o120777)
    with pytest.raises(BundleError, match="plain"):
        unpack(link, target, 10**6)
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as file:
        file.writestr("model.onnx", b"1")
        file.writestr("MODEL.onnx", b"2")
    with pytest.raises(BundleError, match="twice"):
        unpack(tmp_path / "twice.zip", target, 10**6)
    (tmp_path / "none.zip").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(BundleError, match="zip"):
        unpack(tmp_path / "none.zip", target, 10**6)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(BundleError, match="0 files"):
        unpack(tmp_path / "empty.zip", target, 10**6)


class Server(ThreadingHTTPServer):
    """Serves a folder, and breaks off each answer after `cut` bytes as often as asked."""

    folder: Path
    cuts = 0
    cut = 2000
    tag = '"one"'
    requests: list[tuple[str, str | None]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        if self.path == "/bundles/elsewhere.zip":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/new.zip")
            self.end_headers()
            return
        path = self.server.folder / self.path.rpartition("/")[2]
        if not path.is_file():
            self.send_error(404)
            return
        data, start = path.read_bytes(), 0
        if wanted and self.headers.get("If-Range") == self.server.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", self.server.tag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        rest = data[start:]
        if self.server.cuts > 0 and path.suffix == ".zip":
            self.server.cuts -= 1
            rest = rest[: self.server.cut]
        self.wfile.write(rest)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that vouches for itself, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    line = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    line += " -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out c.pem"
    subprocess.run(line.split(), check=True, capture_output=True, cwd=folder)
    return folder


@pytest.fixture
def server(certificate: Path, place: Path) -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.folder, made.requests = place, []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "c.pem", certificate / "key.pem")
    made.socket = context.wrap_socket(made.socket, server_side=True)
    thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join(5)


@pytest.fixture
def remote(server: Server, certificate: Path) -> FleetSettings:
    address = f"https://127.0.0.1:{server.server_port}/bundles"
    return FleetSettings(bundle_from=address, bundle_ca=certificate / "c.pem")


def test_a_download_that_breaks_off_is_gone_on_with(
    server: Server, remote: FleetSettings, tmp_path: Path, examining: Examination
) -> None:
    server.cuts = 2
    path = fetch_bundle("new.zip", remote, tmp_path / "store", examining)
    load_bundle(path)
    ranges = [wanted for name, wanted in server.requests if name == "/bundles/new.zip"]
    assert ranges == [None, "bytes=2000-", "bytes=4000-"]
    assert [entry.name for entry in (tmp_path / "store").iterdir()] == [path.name]


def test_a_download_is_begun_for_what_is_signed_alone(
    server: Server, remote: FleetSettings, place: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    maker, store = make_maker(tmp_path / "maker"), tmp_path / "store"
    signed_bundle(place / "signed", maker.key, version=2)
    archive = zipped(place / "signed", place / "signed.zip")
    with Examination(remote, maker.provenance(tmp_path / "taken.json")) as examination:
        for problem, key in (("signed.zip.dsse.json", None), ("not trusted", PrivateKey.new())):
            if key is not None:
                sign_file(archive, "bundle", key, "line", 2)
            with pytest.raises(VisionEdgeError, match=problem):
                fetched("signed.zip", remote, store, examination)
        sign_file(archive, "bundle", maker.key, "line", 2)
        shutil.copy(signature_of(archive), place / "new.zip.dsse.json")
        with pytest.raises(ProvenanceError, match="SHA-256"):
            fetched("new.zip", remote, store, examination)
        assert not [name for name, _ in server.requests if name.endswith(".zip")]
        path = fetched("signed.zip", remote, store, examination)
        assert load_bundle(path, maker.provenance()).signed
        sign_file(place / "new.zip", "bundle", maker.key, "line", 3)
        with pytest.raises(ProvenanceError, match="is not signed"):  # the bundle within is not
            fetched("new.zip", remote, store, examination)
    assert [entry.name for entry in store.iterdir()] == [path.name]


def test_a_part_of_another_version_is_not_gone_on_with(
    server: Server, remote: FleetSettings, place: Path, tmp_path: Path, examining: Examination
) -> None:
    server.cuts = 100
    server.cut = 100
    with pytest.raises(BundleError, match="cannot be had"):
        fetch_bundle("new.zip", remote, tmp_path / "store", examining)
    server.cuts, server.tag = 0, '"two"'
    load_bundle(fetch_bundle("new.zip", remote, tmp_path / "store", examining))
    assert server.requests[-1][1] == "bytes=500-"


def test_wrong_hash_size_address_and_authority_are_refused(
    server: Server, remote: FleetSettings, tmp_path: Path, examining: Examination
) -> None:
    store = tmp_path / "store"
    with pytest.raises(BundleError, match="SHA-256"):
        fetch_bundle("new.zip", remote, store, examining, sha256="0" * 64)
    small = remote.model_copy(update={"max_bundle_mb": 0.001})
    with pytest.raises(BundleError, match="larger"):
        fetch_bundle("new.zip", small, store, examining)
    with pytest.raises(BundleError, match="404"):
        fetch_bundle("absent.zip", remote, store, examining)
    with pytest.raises(BundleError, match="not https"):
        fetch_bundle("elsewhere.zip", remote, store, examining, sha256="0" * 64)
    for bad in ("https://other/new.zip", "../new.zip", "%2e%2e/new.zip", "http://127.0.0.1/x"):
        with pytest.raises(BundleError, match="not under"):
            fetch_bundle(bad, remote, store, examining)
    with pytest.raises(BundleError, match="certificate"):
        fetch_bundle("new.zip", remote.model_copy(update={"bundle_ca": None}), store, examining)
    assert not [entry for entry in store.iterdir() if entry.is_dir()]


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="https"):
        FleetSettings(bundle_from="http://example.org/bundles")
    with pytest.raises(ValueError, match="line"):
        FleetSettings(share_gallery=True)
    with pytest.raises(ValueError, match="pattern"):
        FleetSettings(line="a/b")
    with pytest.raises(ValueError, match="Extra"):
        FleetSettings.model_validate({"lines": "x"})
