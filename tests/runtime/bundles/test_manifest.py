"""The manifest: one canonical form, sealed by its own hash, refused when anything is off."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.runtime import DIM, manifest_fields

from vision_edge.runtime.bundles.manifest import FileInfo, Manifest
from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.images.preprocess import PreprocessSpec

FILES = {
    "model.onnx": {"sha256": hashlib.sha256(b"model").hexdigest(), "bytes": 5},
    "cohort.npy": {"sha256": hashlib.sha256(b"cohort").hexdigest(), "bytes": 6},
}


def manifest(**changes: Any) -> Manifest:
    cohort = np.linspace(-1, 1, 3 * DIM, dtype=np.float32).reshape(3, DIM)
    return Manifest.model_validate({**manifest_fields(cohort), "files": FILES, **changes})


def canonical(document: dict[str, Any]) -> bytes:
    """The format, written down a second time: sorted keys, two spaces, UTF-8, a last line end."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return text.encode()


def sealed(document: dict[str, Any]) -> bytes:
    """Return a manifest file whose hash is right, whatever it says."""
    digest = hashlib.sha256(canonical(document)).hexdigest()
    return canonical({**document, "manifest_sha256": digest})


def document(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = manifest().model_dump(mode="json")
    return {**plain, **changes}


def read(data: bytes) -> Manifest:
    return Manifest.from_bytes(data, "here/manifest.json")


def test_what_is_written_is_what_is_read() -> None:
    written = manifest(evaluation={"accuracy": 91.5, "way": 5})
    assert read(written.to_bytes()) == written
    assert read(written.to_bytes()).to_bytes() == written.to_bytes()


def test_the_file_has_the_canonical_form_and_its_own_hash() -> None:
    data = manifest().to_bytes()
    assert data == sealed(document())
    assert "tiny – ⚙".encode() in data


def test_any_byte_changed_is_refused() -> None:
    data = manifest().to_bytes()
    for position in range(len(data)):
        for mask in (0x01, 0x20, 0x80):
            altered = bytearray(data)
            altered[position] ^= mask
            with pytest.raises(BundleError, match=r"here/manifest\.json"):
                read(bytes(altered))


@settings(max_examples=200)
@given(st.data())
def test_any_byte_put_in_or_left_out_is_refused(draw: st.DataObject) -> None:
    data = manifest().to_bytes()
    start = draw.draw(st.integers(0, len(data)))
    end = draw.draw(st.integers(start, min(len(data), start + 3)))
    put_in = draw.draw(st.sampled_from([b"", b" ", b"\n", b"\r", b"\t", b"\0", b"\xff", b"0"]))
    altered = data[:start] + put_in + data[end:]
    if altered != data:
        with pytest.raises(BundleError):
            read(altered)


@pytest.mark.parametrize(
    "alter",
    [
        lambda data: data + b"\n",
        lambda data: data[:-1],
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b'": ', b'":'),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.decode().encode("utf-16"),
        lambda data: json.dumps(json.loads(data)).encode(),
        lambda data: data.replace("–".encode(), b"\\u2013"),
    ],
    ids=["line", "no end", "crlf", "space", "bom", "utf-16", "compact", "escape"],
)
def test_another_spelling_of_the_same_document_is_refused(alter: Any) -> None:
    data = manifest().to_bytes()
    assert alter(data) != data
    with pytest.raises(BundleError, match=r"altered|not valid JSON"):
        read(alter(data))


def test_a_duplicate_key_is_refused() -> None:
    data = manifest().to_bytes()
    twice = data.replace(b'  "name": ', b'  "name": "other",\n  "name": ', 1)
    assert twice != data
    with pytest.raises(BundleError, match="altered"):
        read(twice)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[]", "expected a JSON object, got list"),
        (b"null", "expected a JSON object, got NoneType"),
        (b'"text"', "expected a JSON object, got str"),
        (b"[" * 100_000, "not valid JSON"),
        (b"{}", "version None"),
        (b'{"schema_version": "1.0"}', "altered"),
        (b'{"schema_version": "1.0", "name": "\\ud800"}', "altered"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=rf"^here/manifest\.json: .*{message}"):
        read(data)


@pytest.mark.parametrize("depth", [300, 900, 980, 1000, 3000])
def test_absurd_nesting_is_refused(depth: int) -> None:
    nested = b'{"schema_version": "1.0", "name": ' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(BundleError):
        read(nested)


@pytest.mark.parametrize("version", ["2.0", "10.0", "0.9", "11", "", "x", 2, None, ["1.0"]])
def test_an_unknown_major_version_is_refused_by_name(version: Any) -> None:
    with pytest.raises(BundleError) as caught:
        read(sealed(document(schema_version=version)))
    assert f"manifest version {version!r} is not one this program reads (1.x)" in str(caught.value)
    assert "update vision-edge" in str(caught.value)


@pytest.mark.parametrize("version", [1, 1.0, "1", "1.", "1.x", "1.0.0", " 1.0"])
def test_a_version_that_is_none_is_refused(version: Any) -> None:
    with pytest.raises(BundleError, match="version"):
        read(sealed(document(schema_version=version)))


def test_a_newer_minor_version_is_read_if_its_fields_fit() -> None:
    assert read(sealed(document(schema_version="1.7"))).schema_version == "1.7"
    with pytest.raises(BundleError, match="field 'threshold': Extra inputs"):
        read(sealed(document(schema_version="1.7", threshold=0.5)))


def put(target: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of `target` with the value at a dotted path changed."""
    head, _, rest = path.partition("/")
    return {**target, head: put(target[head], rest, value) if rest else value}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("embedding_dim", 0),
        ("embedding_dim", "many"),
        ("precision", "fp8"),
        ("name", None),
        ("adapter", {"name": "a"}),
        ("backbone/sha256", "abc"),
        ("backbone/licence", "MIT"),
        ("preprocessing/size", 3),
        ("preprocessing/std", [1, 1, 0]),
        ("scoring/centre", ["x"]),
        ("scoring/centre", [float("nan")]),
        ("parity/min_cosine", float("inf")),
        ("files/model.onnx", {"sha256": "A" * 64, "bytes": 5}),
        ("files/model.onnx", "hash"),
        ("unknown", 1),
    ],
)
def test_a_sealed_manifest_with_a_wrong_field_is_refused_by_name(path: str, value: Any) -> None:
    with pytest.raises(BundleError) as caught:
        read(sealed(put(document(), path, value)))
    assert f"field '{path.replace('/', '.')}" in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize("field", sorted(set(manifest_fields(np.zeros((1, 1), np.float32)))))
def test_a_missing_field_is_refused_by_name(field: str) -> None:
    rest = {key: value for key, value in document().items() if key != field}
    with pytest.raises(BundleError, match=f"field '{field}': Field required"):
        read(sealed(rest))


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "a/b", "..", ".", "", ".hidden", "a\\b", "a b", "é", "a\n", "a\0"],
)
def test_a_file_name_that_leaves_the_folder_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="field 'files"):
        read(sealed(put(document(), "files", {**FILES, name: FILES["model.onnx"]})))


def test_the_fingerprint_is_of_the_model_and_its_preprocessing_alone() -> None:
    first = manifest()
    same = manifest(
        name="other", created="later", versions={}, evaluation={"a": 1}, precision="int8"
    )
    other_model = manifest(files={**FILES, "model.onnx": FILES["cohort.npy"]})
    other_size = manifest(preprocessing=PreprocessSpec(size=64))
    assert first.fingerprint == same.fingerprint
    assert len({first.fingerprint, other_model.fingerprint, other_size.fingerprint}) == 3
    assert first.identity.fingerprint == first.fingerprint
    assert first.identity.embedding_dim == DIM


def test_the_fingerprint_is_what_it_always_was() -> None:
    """Another value would orphan every gallery in the field.

    Made with: sha256 of json.dumps({"model": sha256(b"model"), "preprocessing": the default
    PreprocessSpec as JSON}, sort_keys=True).
    """
    text = (
        '{"model": "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4", '
        '"preprocessing": {"crop_pct": 1.0, "interpolation": "bicubic", '
        '"mean": [0.5, 0.5, 0.5], "size": 224, "std": [0.5, 0.5, 0.5]}}'
    )
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert manifest(preprocessing=PreprocessSpec()).fingerprint == expected
    assert FILES["model.onnx"]["sha256"] == text[11:75]


def test_a_manifest_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        manifest().name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        FileInfo(sha256="0" * 64, bytes=1).bytes = 2  # type: ignore[misc]


# --- version 1.1 -----------------------------------------------------------------------------

ACCURACY = {
    "data": "parts/test", "way": 5, "shot": 1, "query": 15, "episodes": 600,
    "float32": 90.5, "exported": 90.25,
}  # fmt: skip
GROWN = {
    "images": 8,
    "image_source": "held-out images of frames",
    "min_cosine": 0.985,
    "mean_cosine": 0.995,
    "asked_min_cosine": 0.98,
    "accuracy": ACCURACY,
    "verdicts": {"products": 4, "pictures": 30, "known": 20, "agreement": 0.9},
    "pruning": {"steps": "4:0.25,7:0.25", "min_cosine": 0.9, "mean_cosine": 0.97},
    "calibration_images": 24,
    "calibration_source": "images of frames",
    "float_layers": ["blocks.3.mlp.fc2"],
    "notes": ["int8 calibrated on 24 images"],
}


def test_all_figures_of_the_gate_are_kept() -> None:
    written = manifest(parity=GROWN, precision="int8")
    again = read(written.to_bytes())
    assert again == written
    assert again.parity.float_layers == ("blocks.3.mlp.fc2",)
    assert again.parity.accuracy is not None
    assert again.parity.accuracy.model_dump() == ACCURACY
    assert json.loads(written.to_bytes())["parity"] == GROWN


def test_a_manifest_of_version_1_0_keeps_its_bytes() -> None:
    """What such a program wrote: none of the newer fields."""
    older = document(schema_version="1.0")
    assert set(older["parity"]) == {"images", "image_source", "min_cosine", "mean_cosine"}
    data = sealed(older)
    assert read(data).to_bytes() == data
    assert read(data).parity.accuracy is None


def test_the_shipped_bundle_keeps_its_bytes() -> None:
    folder = asset("bundle")
    data = (folder / "manifest.json").read_bytes()
    assert read(data).to_bytes() == data


@pytest.mark.parametrize(("version", "fix"), [("1.0", "export again"), ("1.9", "update")])
def test_an_unknown_field_of_a_newer_program_asks_for_an_update(version: str, fix: str) -> None:
    data = sealed(document(schema_version=version, hologram=1))
    with pytest.raises(BundleError, match="hologram") as caught:
        read(data)
    assert fix in str(caught.value)
