"""Archives of galleries: back as they were, and nothing let in that was altered."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runtime import noisy, npy, picture

from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.errors import GalleryError, VisionEdgeError
from vision_edge.runtime.gallery import archive as archive_module
from vision_edge.runtime.gallery.archive import open_archive, write_archive
from vision_edge.runtime.gallery.archive_import import OnConflict, Reembedding, import_archive
from vision_edge.runtime.gallery.archive_manifest import sha256_of
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import decode_image, encode_jpeg

MODEL, OTHER = ModelIdentity("a" * 64, 4), ModelIdentity("b" * 64, 2)
Members = dict[str, bytes]


def snapshot(number: int) -> Snapshot:
    vector = np.random.default_rng(number).standard_normal(4).astype(np.float32)
    return Snapshot(encode_jpeg(noisy(picture(number), number)), vector, f"shot ⚙ {number}")


def held(path: Path) -> Any:
    """Return all that a gallery answers with: products, negatives, pictures, embeddings."""
    with Gallery(path, MODEL) as opened:
        contents, store = opened.contents(), opened.snapshots

        def whole(i: int) -> tuple[bytes, str, bytes]:
            return store.jpeg(i), store.origin(i), store.vectors([i], MODEL).tobytes()

        products = [(label, [whole(i) for i in ids]) for label, ids in contents.products.items()]
        negatives = [(label, whole(i)) for i, label in contents.negatives.items()]
        return products, negatives, opened.prototypes()[1].tobytes()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Products of one to three snapshots, odd labels, negatives, and a history that left traces."""
    path = tmp_path / "source.gallery"
    with Gallery(path, MODEL, create=True, author="tester") as opened:
        opened.add("gone", [snapshot(90)])
        opened.add("a/../b ⚙", [snapshot(1), snapshot(2)])
        opened.add("nut", [snapshot(3)])
        opened.add("a/../b ⚙", [snapshot(4)])
        opened.add_negatives("nut", [snapshot(5)])
        opened.add_negatives(None, [snapshot(6)])
        opened.remove("gone")
    return path


@pytest.fixture
def archived(source: Path, tmp_path: Path) -> Path:
    with Gallery(source) as opened:
        write_archive(opened, tmp_path / "a.zip")
    return tmp_path / "a.zip"


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def rewritten(path: Path, contents: Members, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in contents.items():
            file.writestr(name, data)
    return path


def refused(path: Path, tmp_path: Path) -> str:
    """Import into a gallery that is not there yet; return why not, having seen that none is."""
    target = tmp_path / "target.gallery"
    with pytest.raises(VisionEdgeError) as caught:
        import_archive(path, target)
    assert not target.exists()
    return str(caught.value)


def test_a_gallery_comes_back_as_it_was(source: Path, archived: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "target.gallery"
    done = import_archive(archived, target, author="Zoë")
    assert held(target) == held(source)
    assert done.snapshots == 6
    with Gallery(target, MODEL) as opened:
        first = opened.events()[0]
        assert (first.kind, first.author) == ("import", "Zoë")
        assert first.argument == sha256_of(archived.read_bytes())
        write_archive(opened, tmp_path / "again.zip")
    assert {k: v for k, v in members(tmp_path / "again.zip").items() if k != "manifest.json"} == {
        k: v for k, v in members(archived).items() if k != "manifest.json"
    }


def test_an_empty_gallery_comes_back_too(tmp_path: Path) -> None:
    with Gallery(tmp_path / "g", MODEL, create=True) as opened:
        write_archive(opened, tmp_path / "a.zip")
    import_archive(tmp_path / "a.zip", tmp_path / "target")
    assert held(tmp_path / "target") == ([], [], b"")


def test_the_archive_is_plain_and_the_same_each_time(source: Path, archived: Path) -> None:
    contents = members(archived)
    assert list(contents)[:2] == ["manifest.json", "embeddings.npy"]
    for name, data in contents.items():
        if name.startswith("snapshots/"):
            assert name == f"snapshots/{sha256_of(data)}.jpg"
    vectors = np.load(io.BytesIO(contents["embeddings.npy"]), allow_pickle=False)
    assert (vectors.dtype, vectors.shape) == (np.float32, (6, 4))
    assert json.loads(contents["manifest.json"])["fingerprint"] == MODEL.fingerprint
    with Gallery(source) as opened:
        write_archive(opened, archived.with_name("b.zip"))
    assert archived.with_name("b.zip").read_bytes() == archived.read_bytes()


def test_no_file_is_overwritten(source: Path) -> None:
    before = source.read_bytes()
    with Gallery(source) as opened, pytest.raises(GalleryError, match="exists already"):
        write_archive(opened, source)
    assert source.read_bytes() == before


@pytest.mark.parametrize("name", ["a" * 300, "g/below-a-file", "folder"])
def test_where_nothing_can_be_written_is_said(
    source: Path, archived: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "g").write_text("x")
    (tmp_path / "folder").mkdir()
    with Gallery(source) as opened, pytest.raises(GalleryError, match=name):
        write_archive(opened, tmp_path / name)
    with pytest.raises(GalleryError, match=name):
        import_archive(archived, tmp_path / name)
    with pytest.raises(GalleryError, match=name):
        import_archive(tmp_path / name, tmp_path / "target")


def test_every_byte_counts(archived: Path, tmp_path: Path) -> None:
    """One bit flipped anywhere: refused, or (in a zip header's unused field) without effect."""
    data = archived.read_bytes()
    import_archive(archived, tmp_path / "untouched")
    rng = np.random.default_rng(0)
    for number, at in enumerate(rng.choice(len(data), 60, replace=False)):
        altered = bytearray(data)
        altered[at] ^= 1 << int(rng.integers(8))
        path = tmp_path / "altered.zip"
        path.write_bytes(altered)
        target = tmp_path / f"target-{number}"
        try:
            import_archive(path, target)
        except VisionEdgeError:
            assert not target.exists()
        else:
            assert held(target) == held(tmp_path / "untouched")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_an_archive_cut_short_is_refused(archived: Path, tmp_path: Path, share: float) -> None:
    data = archived.read_bytes()
    archived.write_bytes(data[: int(share * len(data))])
    assert "not a gallery's archive" in refused(archived, tmp_path)


@pytest.mark.parametrize("kind", ["snapshot", "embeddings", "missing", "stranger", "path"])
def test_what_was_altered_is_named(archived: Path, tmp_path: Path, kind: str) -> None:
    contents = members(archived)
    third = list(contents)[2]
    name = {"embeddings": "embeddings.npy", "stranger": "x.txt", "path": "../../evil"}.get(
        kind, third
    )
    if kind == "missing":
        del contents[third]
    elif kind in ("stranger", "path"):
        contents[name] = b"x"
    else:
        data = bytearray(contents[name])
        data[-1] ^= 1
        contents[name] = bytes(data)
    said = refused(rewritten(archived, contents), tmp_path)
    assert name in said
    assert "fix:" in said
    assert not (tmp_path.parent / "evil").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "source.gallery"]


def with_manifest(contents: Members, change: Callable[[Any], None]) -> Members:
    fields = json.loads(contents["manifest.json"])
    change(fields)
    return {**contents, "manifest.json": json.dumps(fields).encode()}


def _set(**changes: Any) -> Callable[[Any], None]:
    return lambda fields: fields.update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set(schema_version="2.0"), "archive version 2.0 is not one this program reads (1.0)"),
        (_set(schema_version=None), "schema_version"),
        (_set(format="other"), "format"),
        (_set(extra=1), "extra"),
        (_set(embedding_dim=10**9), "embedding_dim"),
        (_set(embedding_dim=8), "expected float32 (6, 8)"),
        (_set(products=[]), "contradict each other"),
        (lambda f: f["products"].append(f["products"][0]), "a product is listed twice"),
        (lambda f: f["products"][0].update(label="a\nb"), "cannot be a product's name"),
        (lambda f: f["products"][0].update(label=" a"), "cannot be a product's name"),
        (lambda f: f["negatives"][0].update(label=""), "cannot be a product's name"),
        (lambda f: f["snapshots"].append(f["snapshots"][0]), "contradict each other"),
        (lambda f: f["snapshots"][0].update(sha256="../x"), "sha256"),
        (lambda f: f["snapshots"][0].update(bytes=10**12), "bytes"),
        (lambda f: f["snapshots"][0].update(bytes=1), "over the limit of 1"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(
    archived: Path, tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    path = rewritten(archived, with_manifest(members(archived), change))
    assert message in refused(path, tmp_path)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'"x"'])
def test_what_is_no_manifest_is_refused(archived: Path, tmp_path: Path, data: bytes) -> None:
    path = rewritten(archived, {**members(archived), "manifest.json": data})
    assert "not the manifest of a gallery's archive" in refused(path, tmp_path)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((6, 4)),
        np.zeros((4, 6), np.float32),
        np.full((6, 4), np.nan, np.float32),
        np.array([[None] * 4] * 6),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(archived: Path, tmp_path: Path, array: Any) -> None:
    data = npy(array)
    info = {"sha256": sha256_of(data), "bytes": len(data)}
    contents = with_manifest(members(archived), _set(embeddings=info))
    path = rewritten(archived, {**contents, "embeddings.npy": data})
    assert "embeddings.npy" in refused(path, tmp_path)


def _claiming(side: int) -> bytes:
    """Return a small JPEG whose header claims `side` x `side` pixels."""
    jpeg = bytearray(encode_jpeg(picture(1)))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = side.to_bytes(2, "big") * 2
    return bytes(jpeg)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xd8\xffno", "not a JPEG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a JPEG"),
        (_claiming(30_000), "30000x30000 pixels is over the limit"),
        (encode_jpeg(picture(1))[:-40], "cut short"),
    ],
)
def test_a_snapshot_that_is_no_sound_picture_is_refused(
    tmp_path: Path, data: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery(tmp_path / "g", MODEL, create=True) as opened:
        opened.add("x", [Snapshot(data, np.zeros(4, np.float32), "x")])
        with pytest.raises(VisionEdgeError, match="snapshot 1: .*" + message):
            write_archive(opened, tmp_path / "a.zip")
        assert not (tmp_path / "a.zip").exists()
        with monkeypatch.context() as patch:
            patch.setattr(archive_module, "_check_picture", lambda *_: None)
            write_archive(opened, tmp_path / "a.zip")
    said = refused(tmp_path / "a.zip", tmp_path)
    assert f"snapshots/{sha256_of(data)}.jpg" in said
    assert message in said


def test_compressed_members_are_refused(archived: Path, tmp_path: Path) -> None:
    bomb = {**members(archived), "embeddings.npy": bytes(50_000_000)}
    said = refused(rewritten(archived, bomb, zipfile.ZIP_DEFLATED), tmp_path)
    assert "is compressed" in said


def test_overlapping_members_are_refused(archived: Path, tmp_path: Path) -> None:
    """Many entries of one member's bytes: more comes out than is there."""
    with zipfile.ZipFile(archived, "a") as file:
        biggest = max(file.infolist(), key=lambda info: info.file_size)
        for number in range(200):
            file.filelist.append(_copy_of(biggest, f"{number}"))
        file._didModify = True  # type: ignore[attr-defined]
    assert "larger than the archive" in refused(archived, tmp_path)


def _copy_of(info: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    copy = zipfile.ZipInfo(name)
    for field in ("header_offset", "file_size", "compress_size", "CRC"):
        setattr(copy, field, getattr(info, field))
    return copy


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(archived: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archived, "a") as file:
        file.writestr("manifest.json", b"{}")
    assert "a member is there twice" in refused(archived, tmp_path)


def test_an_archive_altered_after_it_was_verified_changes_nothing(
    archived: Path, tmp_path: Path
) -> None:
    from vision_edge.runtime.gallery.archive_import import _take_in

    with (
        open_archive(archived) as opened,
        Gallery(tmp_path / "target", MODEL, create=True) as target,
    ):
        with zipfile.ZipFile(archived) as file:
            info = file.infolist()[-1]
        with archived.open("r+b") as stream:
            stream.seek(info.header_offset + 30 + len(info.filename) + 100)
            stream.write(b"\x00\x01\x02\x03")
            stream.flush()
            os.fsync(stream.fileno())
        with pytest.raises(GalleryError, match="altered or damaged"):
            _take_in(target, opened, "refuse", None)
        assert (target.version, target.state()) == (0, {})


def test_another_models_archive_is_refused_with_the_way_out(archived: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    Gallery(target, OTHER, create=True).close()
    with pytest.raises(GalleryError, match="made by another model") as caught:
        import_archive(archived, target)
    assert "--bundle" in str(caught.value)
    assert "gallery reembed" in str(caught.value)
    anew = Reembedding(
        OTHER,
        lambda jpeg, origin: Snapshot(
            jpeg, np.full(2, decode_image(jpeg, origin).mean(), np.float32), origin
        ),
    )
    import_archive(archived, target, reembedding=anew)
    with Gallery(target, OTHER) as opened:
        assert list(opened.state()) == ["a/../b ⚙", "nut"]
        assert opened.prototypes()[1].shape == (2, 2)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Version 4: nut with another snapshot and a negative, and a product the archive lacks."""
    path = tmp_path / "target.gallery"
    with Gallery(path, MODEL, create=True) as opened:
        opened.add("nut", [snapshot(3), snapshot(30)])
        opened.add("washer", [snapshot(31)])
        opened.add_negatives("nut", [snapshot(32)])
    return path


def numbers(path: Path) -> dict[str | None, list[str]]:
    """Return the origins of each product's snapshots, and of all negatives."""
    with Gallery(path) as opened:
        contents, origin = opened.contents(), opened.snapshots.origin
        found: dict[str | None, list[str]] = {
            label: [origin(i).split()[-1] for i in ids] for label, ids in contents.products.items()
        }
        return {**found, None: [origin(i).split()[-1] for i in contents.negatives]}


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("merge", {"nut": ["3", "30"], "washer": ["31"], None: ["32", "5", "6"]}),
        ("replace", {"washer": ["31"], "nut": ["3"], None: ["5", "6"]}),
    ],
)
def test_products_that_exist(
    archived: Path, target: Path, way: OnConflict, expected: dict[str | None, list[str]]
) -> None:
    before = held(target)
    done = import_archive(archived, target, on_conflict=way)
    assert numbers(target) == {**expected, "a/../b ⚙": ["1", "2", "4"]}
    with Gallery(target) as opened:
        assert opened.version == done.version
        opened.rollback(done.before)
    assert held(target) == before


def test_products_that_exist_are_named_and_refused(archived: Path, target: Path) -> None:
    before = held(target)
    with pytest.raises(GalleryError, match="1 of these products already: 'nut'"):
        import_archive(archived, target)
    with pytest.raises(GalleryError, match="unknown way 'x'"):
        import_archive(archived, target, on_conflict="x")  # type: ignore[arg-type]
    assert held(target) == before


def test_merging_twice_adds_nothing(archived: Path, target: Path) -> None:
    import_archive(archived, target, on_conflict="merge")
    before = held(target)
    assert import_archive(archived, target, on_conflict="merge").snapshots == 0
    assert held(target) == before


@pytest.mark.parametrize("way", ["refuse", "merge", "replace"])
def test_a_picture_that_is_another_product_here_is_refused(
    archived: Path, tmp_path: Path, way: OnConflict
) -> None:
    path = tmp_path / "target"
    with Gallery(path, MODEL, create=True) as opened:
        opened.add("other", [snapshot(4)])
    before = held(path)
    with pytest.raises(GalleryError, match="and a picture of 'other' in the gallery"):
        import_archive(archived, path, on_conflict=way)
    assert held(path) == before


def test_an_import_after_a_removal_or_a_rollback(archived: Path, source: Path) -> None:
    before = held(source)
    with Gallery(source) as opened:
        opened.rollback(0)
    import_archive(archived, source)
    assert held(source) == before


def test_a_disk_that_is_full_leaves_no_archive(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive_module, "_put", full)
    with Gallery(source) as opened, pytest.raises(GalleryError, match="No space left"):
        write_archive(opened, tmp_path / "a.zip")
    assert [p.name for p in tmp_path.iterdir() if "gallery" not in p.name] == []


@pytest.mark.parametrize("name", ["products", "negatives", "snapshots", "more", "in products"])
@pytest.mark.parametrize("item", ["0", "{}", '{"sha256":0}'])
def test_a_vast_manifest_is_refused_quickly(
    archived: Path, tmp_path: Path, name: str, item: str
) -> None:
    contents = members(archived)
    many = f"[{','.join([item] * (8_000_000 // (len(item) + 1)))}]"
    fields = json.loads(contents["manifest.json"])
    fields["products"] = [{"label": "a", "snapshots": "MANY"}] if name == "in products" else []
    text = json.dumps(fields if name == "in products" else {**fields, name: "MANY"})
    contents["manifest.json"] = text.replace('"MANY"', many).encode()
    began = time.monotonic()
    refused(rewritten(archived, contents), tmp_path)
    assert time.monotonic() - began < 10


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.zip")
    (tmp_path / "zero.zip").symlink_to("/dev/zero")
    for name in ("fifo.zip", "zero.zip", "absent.zip"):
        with (
            pytest.raises(GalleryError, match="not a gallery's archive"),
            open_archive(tmp_path / name),
        ):
            pass
