"""Sessions on a server that speaks Triton's protocol: the same embeddings, or a clear refusal."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.runtime import DIM, SIZE, invoke, invoked, make_bundle, noisy, picture, weights

from vision_edge.runtime.bundles.bundle import Bundle, load_bundle
from vision_edge.runtime.errors import BundleError, MissingExtraError, VisionEdgeError
from vision_edge.runtime.inference.session import Session, open_session

pytest.importorskip("tritonclient.grpc")
pytest.importorskip("onnxruntime")
triton_repository = pytest.importorskip("vision_edge.export.triton_repository")

import grpc  # noqa: E402
from support.triton import FakeTriton, serve  # noqa: E402

IMAGES = np.stack([noisy(picture(k, SIZE), k) for k in range(5)])
Served = tuple[FakeTriton, str]


def repository(bundle: Bundle, folder: Path, **settings: object) -> Path:
    """Write a bundle's model repository and return its folder."""
    chosen = triton_repository.TritonSettings(name="tiny", max_batch=4, **settings)
    triton_repository.write_triton_repository(bundle, folder, chosen)
    return folder


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(bundle_path)


@pytest.fixture
def served(bundle: Bundle, tmp_path: Path) -> Iterator[Served]:
    """A server of the tiny bundle, and the address of its model."""
    fake = FakeTriton(repository(bundle, tmp_path / "models"))
    server, port = serve(fake)
    yield fake, f"triton://localhost:{port}/tiny?patience=0.2"
    server.stop(None).wait()


def refusal(bundle: Bundle, address: str) -> VisionEdgeError:
    """Return what a session that must not open is refused with."""
    with pytest.raises(VisionEdgeError) as caught:
        open_session(bundle, address)
    assert caught.value.fix
    return caught.value


def test_embeddings_are_those_of_the_local_session(served: Served, session: Session) -> None:
    fake, address = served
    remote = open_session(session.bundle, address)
    assert np.allclose(remote.embed(IMAGES), session.embed(IMAGES), atol=1e-5)
    assert fake.batches == [4, 1]  # no batch is larger than the server takes
    assert remote.provider == address.split("?")[0]
    assert remote.notes == []


def test_an_answer_costs_one_small_request_more(served: Served, bundle: Bundle) -> None:
    fake, address = served
    remote = open_session(bundle, address)
    opening = len(fake.calls)
    for image in IMAGES[:2]:
        remote.embed(image[None])
    assert fake.calls[opening:] == ["ModelInfer", "ModelConfig"] * 2


def test_an_answer_is_writable_and_not_overwritten_by_the_next(
    served: Served, bundle: Bundle
) -> None:
    remote = open_session(bundle, served[1])
    first = remote.embed(IMAGES[:1])
    kept = first.copy()
    second = remote.embed(IMAGES[1:2])
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)
    first += 1.0


def test_run_gives_the_verdicts_of_the_local_session(
    served: Served, bundle_path: Path, registered: Path, shots: Path, tmp_path: Path
) -> None:
    rows = []
    for provider in ("cpu", served[1]):
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
        assert theirs["score"] == pytest.approx(ours["score"], abs=1e-4)
    assert served[0].batches == [1, 1, 1]


def test_another_model_is_refused(served: Served, tmp_path: Path) -> None:
    other = load_bundle(make_bundle(tmp_path / "other", matrix=weights(seed=9)))
    error = refusal(other, served[1])
    assert isinstance(error, BundleError)
    assert "is another one: its fingerprint is" in error.what
    assert other.manifest.fingerprint[:12] in error.what


def test_a_model_without_a_fingerprint_is_refused(served: Served, bundle: Bundle) -> None:
    del served[0].models["tiny"][0].parameters["vision_edge_fingerprint"]
    assert "carries no fingerprint" in refusal(bundle, served[1]).what


def test_a_model_of_another_shape_is_refused(served: Served, tmp_path: Path) -> None:
    other = load_bundle(make_bundle(tmp_path / "other", matrix=weights(dim=DIM * 2)))
    assert f"('embeddings', 'FP32', [-1, {DIM}])" in refusal(other, served[1]).what


def test_another_manifest_of_the_same_model_is_only_noted(
    served: Served, tmp_path: Path, bundle: Bundle
) -> None:
    renamed = load_bundle(make_bundle(tmp_path / "other", name="renamed"))
    assert renamed.manifest.fingerprint == bundle.manifest.fingerprint
    (note,) = open_session(renamed, served[1]).notes
    assert "exported with another manifest" in note


def test_an_unknown_model_is_refused_with_those_that_are_there(
    served: Served, bundle: Bundle
) -> None:
    error = refusal(bundle, served[1].replace("/tiny", "/typo"))
    assert "no model 'typo' that is ready (it has: tiny ready)" in error.what


def test_a_server_that_starts_late_is_waited_for(served: Served, bundle: Bundle) -> None:
    fake, address = served
    fake.ready = False
    threading.Timer(0.3, lambda: setattr(fake, "ready", True)).start()
    assert open_session(bundle, address.replace("0.2", "20")).embed(IMAGES[:1]).shape == (1, DIM)
    fake.live = False
    assert "not live" in refusal(bundle, address).what


def test_no_server_is_one_clear_error(bundle: Bundle) -> None:
    error = refusal(bundle, "triton://localhost:1/tiny?patience=0.2")
    assert "triton://localhost:1/tiny: no server answers" in error.what
    assert "gRPC: 8001" in str(error.fix)


def test_a_server_that_is_too_slow_is_told_with_the_limit(served: Served, bundle: Bundle) -> None:
    fake, address = served
    remote = open_session(bundle, f"{address}&timeout=0.2")
    fake.delay = 1.0
    with pytest.raises(VisionEdgeError, match=r"no answer within 0\.2 s"):
        remote.embed(IMAGES[:1])
    fake.delay = 0.0
    time.sleep(1.0)  # the slow one still holds its thread
    assert remote.embed(IMAGES[:1]).shape == (1, DIM)


def test_a_wrong_answer_is_refused(served: Served, bundle: Bundle) -> None:
    remote = open_session(bundle, served[1])
    served[0].wrong_answer = np.full((1, DIM), np.nan, np.float32).tobytes()
    with pytest.raises(VisionEdgeError, match="not finite"):
        remote.embed(IMAGES[:1])
    served[0].models["tiny"][0].output[0].name = "other"
    with pytest.raises(VisionEdgeError, match=r"answered None|other"):
        remote.embed(IMAGES[:1])


def test_a_server_that_comes_back_goes_on_and_with_another_model_is_refused(
    bundle: Bundle, tmp_path: Path
) -> None:
    fake = FakeTriton(repository(bundle, tmp_path / "models"))
    server, port = serve(fake)
    remote = open_session(bundle, f"triton://localhost:{port}/tiny?patience=30")
    before = remote.embed(IMAGES)
    server.stop(None).wait()
    threading.Timer(0.5, lambda: started.append(serve(fake, port)[0])).start()
    started: list[grpc.Server] = []
    assert np.array_equal(remote.embed(IMAGES), before)
    started.pop().stop(None).wait()
    other = load_bundle(make_bundle(tmp_path / "other", matrix=weights(seed=9)))
    fake.load(repository(other, tmp_path / "others"))
    again, _ = serve(fake, port)
    with pytest.raises(BundleError, match="is another one"):
        remote.embed(IMAGES)
    again.stop(None).wait()


def test_a_model_that_is_replaced_in_place_is_refused(
    served: Served, bundle: Bundle, tmp_path: Path
) -> None:
    fake, address = served
    remote = open_session(bundle, address)
    remote.embed(IMAGES)
    other = load_bundle(make_bundle(tmp_path / "other", matrix=weights(seed=9)))
    fake.load(repository(other, tmp_path / "others"))
    with pytest.raises(BundleError, match="is another one"):
        remote.embed(IMAGES)


def test_threads_may_share_a_session(served: Served, session: Session) -> None:
    remote = open_session(session.bundle, served[1])
    expected = session.embed(IMAGES)
    wrong: list[int] = []

    def check(k: int) -> None:
        got = [remote.embed(IMAGES[k : k + 1])[0] for _ in range(5)]
        wrong.extend(k for vector in got if not np.allclose(vector, expected[k], atol=1e-5))

    threads = [threading.Thread(target=check, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_token_is_sent_and_its_lack_explained(
    served: Served, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, address = served
    fake.token = "s3cret"
    error = refusal(bundle, address)
    assert "access is refused (who are you?)" in error.what
    assert "VISION_EDGE_TRITON_TOKEN" in str(error.fix)
    monkeypatch.setenv("VISION_EDGE_TRITON_TOKEN", "s3cret")
    assert open_session(bundle, address).embed(IMAGES[:1]).shape == (1, DIM)


def test_tls_trusts_the_authority_that_was_named(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", key, "-out", certificate, "-days", "2"],
            check=True, capture_output=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    fake = FakeTriton(repository(bundle, tmp_path / "models"))
    server, port = serve(fake, credentials=credentials)
    address = f"triton://localhost:{port}/tiny?tls=1&patience=0.3"
    assert "no server answers" in refusal(bundle, address).what
    monkeypatch.setenv("VISION_EDGE_TRITON_CA", str(tmp_path / "absent.pem"))
    assert "cannot be read" in refusal(bundle, address).what
    monkeypatch.setenv("VISION_EDGE_TRITON_CA", str(certificate))
    patient = address.replace("0.3", "10")
    assert open_session(bundle, patient).embed(IMAGES[:1]).shape == (1, DIM)
    server.stop(None).wait()


def test_without_the_client_the_extra_is_named(
    bundle_path: Path, registered: Path, shots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tritonclient.grpc", None)
    result = invoke(
        "run", bundle_path, shots, "--gallery", registered, "--provider", "triton://h:8001/m"
    )
    assert isinstance(result.exception, MissingExtraError)
    assert result.exception.fix == 'pip install "vision-edge[triton]"'
