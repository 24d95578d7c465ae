"""The exported repository and the client, on NVIDIA's own Triton server (on a CPU)."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from support.runtime import DIM, SIZE, invoked, make_bundle, noisy, picture, weights

from vision_edge.runtime.arrays import Embeddings
from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.errors import BundleError, VisionEdgeError
from vision_edge.runtime.inference.session import Session, open_session

triton = pytest.importorskip("tritonclient.grpc")
triton_repository = pytest.importorskip("vision_edge.export.triton_repository")

from support.triton_server import TritonServer, missing, serving  # noqa: E402

needs_server = pytest.mark.skipif(missing() is not None, reason=str(missing()))
IMAGES = np.stack([noisy(picture(k, SIZE), k) for k in range(10)])


@pytest.mark.skipif(not os.environ.get("CI"), reason="CI alone must not do without the server")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the wheel is for x86-64")
def test_ci_has_the_server() -> None:
    assert missing() is None


def repository(bundle: Bundle, folder: Path, **settings: object) -> Path:
    """Write a bundle's model repository as `export --target triton` does; return its folder."""
    chosen = triton_repository.TritonSettings(
        **{"name": "tiny", "max_batch": 4, "max_queue_delay_us": 20_000, **settings}
    )
    triton_repository.write_triton_repository(bundle, folder, chosen)
    return folder


@pytest.fixture(scope="module")
def server(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server of the tiny bundle, and of one as if another tool had exported it: `bare`."""
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("triton")
    models = repository(load_bundle(bundle_path), folder / "models")
    config = (models / "tiny" / "config.pbtxt").read_text().replace('name: "tiny"', 'name: "bare"')
    shutil.copytree(models / "tiny", models / "bare")
    lines = [line for line in config.splitlines() if "vision_edge_" not in line]
    (models / "bare" / "config.pbtxt").write_text("\n".join(lines))
    with serving(models, folder) as running:
        yield running


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(bundle_path)


@pytest.fixture
def own_server(bundle: Bundle, tmp_path: Path) -> Iterator[TritonServer]:
    """A server of the tiny bundle, to be killed or changed."""
    with serving(repository(bundle, tmp_path / "models"), tmp_path) as running:
        yield running


def address_of(server: TritonServer, patience: float = 0.3, model: str = "tiny") -> str:
    return f"triton://localhost:{server.port}/{model}?patience={patience}"


def test_the_server_describes_the_model_as_it_was_exported(
    server: TritonServer, bundle: Bundle
) -> None:
    with triton.InferenceServerClient(f"localhost:{server.port}") as client:
        metadata = client.get_model_metadata("tiny")
        config = client.get_model_config("tiny").config
    (images,), (embeddings,) = metadata.inputs, metadata.outputs
    assert (images.name, images.datatype, list(images.shape)) == (
        "images", "UINT8", [-1, SIZE, SIZE, 3],
    )  # fmt: skip
    assert (embeddings.name, embeddings.datatype) == ("embeddings", "FP32")
    assert list(embeddings.shape) == [-1, DIM]
    assert list(metadata.versions) == ["1"]
    assert config.parameters["vision_edge_fingerprint"].string_value == bundle.manifest.fingerprint
    assert list(config.dynamic_batching.preferred_batch_size) == [4]
    assert [(g.count, g.Kind.Name(g.kind)) for g in config.instance_group] == [(1, "KIND_CPU")]


def test_embeddings_are_those_of_the_local_session(server: TritonServer, session: Session) -> None:
    remote = open_session(session.bundle, address_of(server))
    assert np.allclose(remote.embed(IMAGES), session.embed(IMAGES), atol=1e-6)
    assert remote.notes == []


def test_several_clients_share_batches_and_each_gets_its_own_answers(
    server: TritonServer, session: Session
) -> None:
    expected = session.embed(IMAGES)
    before = server.statistics("tiny")
    answers: dict[int, list[Embeddings]] = {}

    def ask(k: int) -> None:
        remote = open_session(session.bundle, address_of(server, patience=20))
        answers[k] = [remote.embed(IMAGES[k : k + 1])[0] for _ in range(6)]

    clients = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    after = server.statistics("tiny")
    assert sorted(answers) == list(range(8))
    for k, vectors in answers.items():
        assert np.allclose(vectors, expected[k], atol=1e-6)
    images = after.inference_count - before.inference_count
    runs = after.execution_count - before.execution_count
    assert images == 48
    assert runs <= images // 2  # of at most 4 images each, 12 would be the fewest
    assert max(stats.batch_size for stats in after.batch_stats) == 4


def test_run_gives_the_verdicts_of_the_local_session(
    server: TritonServer, bundle_path: Path, registered: Path, shots: Path, tmp_path: Path
) -> None:
    rows = []
    for provider in ("cpu", address_of(server)):
        out = tmp_path / "verdicts.jsonl"
        invoked(
            "run", bundle_path, shots, "--gallery", registered, "--jsonl", out,
            "--provider", provider,
        )  # fmt: skip
        rows.append([json.loads(line) for line in out.read_text().splitlines()])
    local, remote = rows
    assert [row["label"] for row in remote] == ["bolt", "nut", "washer"]
    for ours, theirs in zip(local, remote, strict=True):
        assert theirs["label"] == ours["label"]
        assert theirs["score"] == pytest.approx(ours["score"], abs=1e-5)


def test_another_bundle_and_another_name_are_refused(
    server: TritonServer, bundle: Bundle, tmp_path: Path
) -> None:
    other = load_bundle(make_bundle(tmp_path / "other", matrix=weights(seed=9)))
    with pytest.raises(BundleError, match="is another one: its fingerprint is"):
        open_session(other, address_of(server))
    larger = load_bundle(make_bundle(tmp_path / "larger", matrix=weights(dim=DIM * 2)))
    with pytest.raises(BundleError, match=rf"\('embeddings', 'FP32', \[-1, {DIM}\]\)"):
        open_session(larger, address_of(server))
    with pytest.raises(
        VisionEdgeError, match=r"no model 'typo' that is ready \(it has: bare ready, tiny"
    ):
        open_session(bundle, address_of(server, model="typo"))


def test_a_model_without_a_fingerprint_is_refused(server: TritonServer, bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="carries no fingerprint"):
        open_session(bundle, address_of(server, model="bare"))


@needs_server
def test_a_model_that_is_replaced_under_the_client_never_answers_for_the_old_one(
    own_server: TritonServer, session: Session, tmp_path: Path
) -> None:
    bundle, expected = session.bundle, session.embed(IMAGES[:2])
    remote = open_session(bundle, address_of(own_server, patience=5))
    other = load_bundle(make_bundle(tmp_path / "other", matrix=weights(seed=9)))
    fresh = repository(other, tmp_path / "fresh")
    shutil.rmtree(own_server.repository / "tiny")
    (fresh / "tiny").rename(own_server.repository / "tiny")
    answers, end = 0, time.monotonic() + 30
    with pytest.raises(VisionEdgeError) as refused:
        while time.monotonic() < end:
            assert np.allclose(remote.embed(IMAGES[:2]), expected, atol=1e-6)
            answers += 1
    assert answers > 0
    assert isinstance(refused.value, BundleError), refused.value
    assert "is another one" in refused.value.what


@needs_server
def test_a_killed_server_leaves_no_stub_and_is_awaited(
    own_server: TritonServer, session: Session
) -> None:
    remote = open_session(session.bundle, address_of(own_server, patience=30))
    expected = session.embed(IMAGES)
    assert np.allclose(remote.embed(IMAGES), expected, atol=1e-6)
    assert len(own_server.processes()) == 2  # itself, and one stub for its one instance
    own_server.kill()
    assert own_server.alive(seconds=10) == []
    assert own_server.processes() == []
    again = threading.Timer(0.3, own_server.start)
    again.start()
    assert np.allclose(remote.embed(IMAGES), expected, atol=1e-6)
    again.join()
    own_server.kill()
    impatient = address_of(own_server, patience=0.2)
    with pytest.raises(VisionEdgeError, match="no server answers"):
        open_session(session.bundle, impatient)
    own_server.stop()
    assert own_server.processes() == []


def test_tls(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := missing() or (None if shutil.which("openssl") else "openssl is not installed"):
        pytest.skip(reason)
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", key, "-out", certificate, "-days", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    models = repository(bundle, tmp_path / "models")
    with serving(models, tmp_path, tls=(key, certificate)) as running:
        plain = address_of(running)
        with pytest.raises(VisionEdgeError, match="no server answers"):
            open_session(bundle, plain)
        with pytest.raises(VisionEdgeError, match="no server answers"):
            open_session(bundle, f"{plain}&tls=1")
        monkeypatch.setenv("VISION_EDGE_TRITON_CA", str(certificate))
        remote = open_session(bundle, f"{plain}0&tls=1")
        assert remote.embed(IMAGES[:1]).shape == (1, DIM)


@needs_server
@pytest.mark.skipif(find_spec("fastapi") is None, reason="needs the extra `station`")
def test_a_station_goes_on_when_its_server_is_back(
    own_server: TritonServer, bundle_path: Path, registered: Path, shots: Path
) -> None:
    from support.station import eventually, served, settings_for

    address = address_of(own_server)
    settings = settings_for(bundle_path, registered, shots)
    settings = settings.model_copy(update={"provider": address})
    with served(settings) as running:
        eventually(lambda: len(running.station.records()) >= 3)
        assert {r["label"] for r in running.station.records()} <= {"bolt", "nut", "washer"}
        status = running.ok(running.get("/status"))
        assert status["provider"] == address.partition("?")[0]
        own_server.kill()
        lost = eventually(lambda: _source(running, "lost"), seconds=20)
        assert "no server answers" in lost["message"]
        own_server.start()
        back = eventually(lambda: _source(running, "live"), seconds=20)
        eventually(
            lambda: (_source(running, "live") or back)["frames"] > back["frames"] + 3, seconds=20
        )


def _source(running, state: str):
    (source,) = running.station.status()["sources"]
    return source if source["state"] == state else None
