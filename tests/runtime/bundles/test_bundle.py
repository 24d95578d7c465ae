"""Bundles: every byte is verified before it is used; writing is all or nothing."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runtime import (
    DIM,
    SIZE,
    cohort_of,
    make_bundle,
    manifest_fields,
    npy,
    picture,
    reference_embeddings,
    tiny_model,
    weights,
)

from vision_edge.runtime.bundles.bundle import load_bundle, write_bundle
from vision_edge.runtime.bundles.manifest import Manifest
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.inference.session import open_session

FILES = ["manifest.json", "model.onnx", "cohort.npy"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_bundle_is_read_as_it_was_written(bundle_path: Path) -> None:
    bundle = load_bundle(str(bundle_path))
    cohort = cohort_of(weights())
    assert bundle.path == bundle_path
    assert bundle.model == tiny_model()
    assert np.array_equal(bundle.cohort, cohort)
    assert bundle.cohort.dtype == bundle.centre.dtype == np.float32
    assert np.allclose(bundle.centre, cohort.mean(axis=0), atol=1e-6)
    assert bundle.manifest.preprocessing.size == SIZE
    assert bundle.manifest.embedding_dim == DIM
    info = bundle.manifest.files["model.onnx"]
    assert (info.bytes, info.sha256) == (
        len(bundle.model),
        hashlib.sha256(bundle.model).hexdigest(),
    )
    assert sorted(contents(bundle_path)) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_any_byte_changed_put_in_or_left_out_is_refused(bundle_copy: Path, name: str) -> None:
    path = bundle_copy / name
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in [0, len(data) - 1, *rng.integers(0, len(data), 25)]:
        mask = int(rng.integers(1, 256))
        changed = data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]
        for altered in (changed, data[:position] + data[position + 1 :], data + b"\0"):
            path.write_bytes(altered)
            with pytest.raises(BundleError, match=name) as caught:
                load_bundle(bundle_copy)
            assert caught.value.fix
    path.write_bytes(data)
    load_bundle(bundle_copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{name} cannot be read \(No such file"):
        load_bundle(bundle_copy)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_a_files_place_is_refused(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    (bundle_copy / name).mkdir()
    with pytest.raises(BundleError, match=f"{name} cannot be read"):
        load_bundle(bundle_copy)


def test_an_unlisted_file_is_refused_by_name(bundle_copy: Path) -> None:
    (bundle_copy / "weights.bin").write_bytes(b"1")
    with pytest.raises(BundleError, match=r"does not list: weights\.bin"):
        load_bundle(bundle_copy)


def test_an_engine_cache_in_a_subfolder_is_no_part_of_it(bundle_copy: Path) -> None:
    (bundle_copy / "cache").mkdir()
    (bundle_copy / "cache" / "engine").write_bytes(b"1")
    assert "cache" not in load_bundle(bundle_copy).manifest.files


@pytest.mark.parametrize("kind", ["absent", "file", "empty"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "file":
        path.write_bytes(b"x")
    if kind == "empty":
        path.mkdir()
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read") as caught:
        load_bundle(path)
    assert "vision-edge export" in str(caught.value)


@pytest.mark.parametrize("name", ["model.onnx", "cohort.npy"])
def test_a_manifest_that_lists_too_little_is_refused(tmp_path: Path, name: str) -> None:
    cohort = cohort_of(weights())
    files = {"model.onnx": b"m", "cohort.npy": npy(cohort)}
    del files[name]
    write_bundle(tmp_path / "b", manifest_fields(cohort), files)
    with pytest.raises(BundleError, match=f"lists no {name}"):
        load_bundle(tmp_path / "b")


class Exploding:
    """Unpickling one of these makes the test fail."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (pytest.fail, ("a pickle was opened",))


def huge_npy() -> bytes:
    """Return a `.npy` file of a few bytes whose header announces 4 exabytes."""
    data = npy(np.zeros((10, DIM), np.float32))
    return data.replace(b"(10, 16), }" + b" " * 20, b"(1000000000000000000,)}" + b" " * 8)


@pytest.mark.parametrize(
    "data",
    [
        npy(cohort_of(weights())[:-1]),
        npy(cohort_of(weights())[:, :-1]),
        npy(cohort_of(weights()).ravel()),
        npy(cohort_of(weights()).astype(np.float64)),
        npy(cohort_of(weights()).astype(">f4")),
        npy(np.zeros((40, DIM), np.int32)),
        npy(np.full((40, DIM), np.nan, np.float32)),
        npy(np.full((40, DIM), np.inf, np.float32)),
        npy(np.array([Exploding()], dtype=object)),
        npy(cohort_of(weights()))[:-4],
        huge_npy(),
        b"",
        b"\x93NUMPY",
        b"not numpy at all",
        b"PK\x03\x04 looks like a zip",
    ],
    ids=[
        "short", "narrow", "flat", "float64", "big-endian", "int", "nan", "inf", "pickle", "cut",
        "huge", "empty", "magic", "text", "zip",
    ],
)  # fmt: skip
def test_a_cohort_that_does_not_fit_is_refused(tmp_path: Path, data: bytes) -> None:
    make_bundle(tmp_path / "b", cohort_bytes=data)
    with pytest.raises(BundleError, match=r"cohort\.npy: ") as caught:
        load_bundle(tmp_path / "b")
    assert caught.value.fix == "export again"


def test_an_archive_of_arrays_is_no_cohort(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", cohort=cohort_of(weights()))
    make_bundle(tmp_path / "b", cohort_bytes=(tmp_path / "a.npz").read_bytes())
    with pytest.raises(BundleError, match=r"cohort\.npy"):
        load_bundle(tmp_path / "b")


def test_a_centre_of_another_length_is_refused(tmp_path: Path) -> None:
    scoring = manifest_fields(cohort_of(weights()))["scoring"]
    scoring["centre"].append(0.0)
    make_bundle(tmp_path / "b", scoring=scoring)
    with pytest.raises(BundleError, match=f"a centre of {DIM}, got float32.* and {DIM + 1}"):
        load_bundle(tmp_path / "b")


def test_the_bytes_that_were_verified_are_the_bytes_that_run(bundle_copy: Path) -> None:
    bundle = load_bundle(bundle_copy)
    other = tiny_model(weights(seed=9))
    (bundle_copy / "model.onnx").write_bytes(other)
    (bundle_copy / "cohort.npy").unlink()
    session = open_session(bundle, "cpu", threads=1)
    shutil.rmtree(bundle_copy)
    images = np.stack([picture(k, SIZE) for k in range(3)])
    assert np.allclose(session.embed(images), reference_embeddings(images, weights()), atol=1e-4)


def test_a_folder_that_is_no_bundle_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_bytes(b"all of it")
    (tmp_path / "notes").write_bytes(b"text")
    for path in (tmp_path / "home", tmp_path / "notes"):
        with pytest.raises(BundleError, match="is not a bundle, so it is not overwritten"):
            make_bundle(path)
    assert contents(tmp_path / "home") == {"thesis.txt": b"all of it"}
    assert contents(tmp_path) == {"notes": b"text"}


def test_an_older_bundle_is_replaced_as_a_whole(bundle_copy: Path) -> None:
    (bundle_copy / "cache").mkdir()
    make_bundle(bundle_copy, matrix=weights(seed=5))
    assert load_bundle(bundle_copy).model == tiny_model(weights(seed=5))
    assert sorted(path.name for path in bundle_copy.iterdir()) == sorted(FILES)
    assert [path.name for path in bundle_copy.parent.iterdir()] == [bundle_copy.name]


def test_a_failed_write_leaves_the_older_bundle(
    bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(bundle_copy)
    monkeypatch.setattr(Manifest, "to_bytes", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_bundle(bundle_copy, matrix=weights(seed=5))
    assert contents(bundle_copy) == before
    assert [path.name for path in bundle_copy.parent.iterdir()] == [bundle_copy.name]


def test_a_file_name_that_leaves_the_folder_is_not_written(tmp_path: Path) -> None:
    cohort = cohort_of(weights())
    with pytest.raises(ValueError, match="files"):
        write_bundle(tmp_path / "b", manifest_fields(cohort), {"../evil": b"1"})
    assert list(tmp_path.iterdir()) == []
