"""How folders are read as classes: wrapped, split, named in one form, or refused."""

from __future__ import annotations

import json
import unicodedata
import zipfile
from pathlib import Path

import cv2
import pytest
from support.runtime import invoke
from support.toolkit import image_of, refusal

from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import DataError
from vision_edge.toolkit.data.dataset import open_dataset


def tree(root: Path, *folders: str, count: int = 2) -> Path:
    for label, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            cv2.imwrite(str(root / folder / f"{index}.png"), image_of(label % 6, index))
    return root


def zipped(root: Path, path: Path, extra: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in root.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(root).as_posix())
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("around", ["", "my data/", "my data/inner/", "export (1)/"])
@pytest.mark.parametrize("splits", [("",), ("train/", "test/"), ("Train/", "Test/")])
@pytest.mark.parametrize("in_zip", [False, True])
def test_folders_around_everything_are_looked_through(
    tmp_path: Path, around: str, splits: tuple[str, ...], in_zip: bool
) -> None:
    root = tree(tmp_path / "d", *(f"{around}{s}{c}" for s in splits for c in ("bolt", "nut")))
    if in_zip:
        noise = {"__MACOSX/my data/._x": b"x", ".DS_Store": b"x", "my data/.DS_Store": b"x"}
        root = zipped(root, tmp_path / "d.zip", noise)
    data = open_dataset(root, default="test")
    assert data.classes == ("bolt", "nut")
    assert len(data) == 4
    said = " ".join(data.found.lines())
    assert all(folder in said for folder in around.rstrip("/").split("/"))
    split = splits[-1].rstrip("/")
    assert data.name == (f"d/{split}" if split else "d")


def test_one_class_alone_is_a_class_and_no_wrapping(tmp_path: Path) -> None:
    data = open_dataset(tree(tmp_path / "d", "bolt"))
    assert data.classes == ("bolt",)


def test_a_picture_outside_the_classes_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "bolt", "nut")
    cv2.imwrite(str(root / "loose.png"), image_of(0, 0))
    assert open_dataset(root).found.passed_over.counts == {"picture in no class's folder": 1}


@pytest.mark.parametrize(
    ("asked", "there"), [("val", "validation"), ("test", "Testing"), ("train", "TRAIN")]
)
def test_a_split_is_known_by_its_other_names(tmp_path: Path, asked: str, there: str) -> None:
    root = tree(tmp_path / "d", f"{there}/bolt", f"{there}/nut")
    assert open_dataset(root, asked).name == f"d/{there}"


@pytest.mark.parametrize(
    "folders",
    [
        ("good", "defect"),
        ("OK", "NG"),
        ("normal", "anomaly"),
        ("good", "scratch", "dent"),
        ("train/good", "test/good", "test/broken_large"),
        ("train/good", "test/good", "test/weird", "ground_truth/weird"),
        ("cable/train/good", "cable/test/bent", "cable/ground_truth/bent", "pill/train/good"),
        ("wrapped/good", "wrapped/bad"),
        ("train/ok", "train/defective", "test/ok", "test/defective"),
        ("ok_front", "def_front"),
        ("ok-parts", "ng-parts"),
        ("gut", "schlecht"),
        ("i.O.", "n.i.O."),
        ("non_defective", "defective"),
        ("non-defective", "defective"),
        ("nondefective", "defective"),
        ("not defective", "defective"),
        ("no_scratch", "scratch"),
        ("ok", "not_ok"),
        ("undamaged", "damaged"),
        ("unbroken", "broken"),
        ("flawless", "flawed"),
        ("conforming", "nonconforming"),
        ("conforme", "non conforme"),
        ("bon", "mauvais"),
        ("Bonne", "Mauvaise"),
        ("with_defect", "without_defect"),
        ("sin defecto", "defecto"),
        ("accepted", "rejected"),
        ("train/ok", "test/ok", "test/ko"),
        ("bueno", "malo"),
        ("Buoni", "Difettosi"),
        ("Gutteile", "Schlechtteile"),
        ("良品", "不良品"),
        ("合格", "不合格"),
        ("正常", "异常"),
        ("양품", "불량"),
        ("годные", "брак"),
    ],
)
def test_data_for_anomaly_detection_are_refused_with_a_word(
    tmp_path: Path, folders: tuple[str, ...]
) -> None:
    with refusal(DataError, "anomalies", "products"):
        open_dataset(tree(tmp_path / "d", *folders), default="test")


@pytest.mark.parametrize(
    "folders",
    [
        ("goods", "badge"),
        ("okra", "ngong"),
        ("good morning mug", "cup"),
        ("hole saw", "drill"),
        ("hole-saw", "good-morning-mug"),
        ("ok-cola", "defender"),
        ("non-stick pan", "union jack", "defective detective mug"),
        ("bonbon", "uncola"),
        ("良茶", "不老酒"),
        ("kokos", "bonsai"),
        ("without", "sinus"),
    ],
)
def test_products_that_only_sound_so_are_products(tmp_path: Path, folders: tuple[str, ...]) -> None:
    data = open_dataset(tree(tmp_path / "d", *folders))
    assert data.classes == tuple(sorted(folders))


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "val"),
        ("images/train", "images/val"),
        ("train2017", "val2017"),
        ("Training", "testing"),
        ("images", "masks"),
        ("JPEGImages", "Annotations"),
    ],
)
def test_splits_of_data_for_detection_are_no_classes(
    tmp_path: Path, folders: tuple[str, ...]
) -> None:
    with refusal(DataError, "detection", "cut the objects out"):
        open_dataset(tree(tmp_path / "d", *folders))


@pytest.mark.parametrize("folders", [("train", "tram"), ("mask", "glove"), ("train set", "valve")])
def test_toys_that_are_called_as_splits_are_classes(
    tmp_path: Path, folders: tuple[str, ...]
) -> None:
    root = tree(tmp_path / "d", *(f"test/{folder}" for folder in folders))
    data = open_dataset(root, default="test")
    assert data.classes == tuple(sorted(folders))


@pytest.mark.parametrize("in_zip", [False, True])
@pytest.mark.parametrize("around", ["", "test/"])
def test_folders_below_the_classes_are_folded_into_them_and_counted(
    tmp_path: Path, in_zip: bool, around: str
) -> None:
    names = [f"{around}{brand}/{product}" for brand in ("p1", "p2") for product in ("a", "b")]
    root = tree(tmp_path / "d", *names)
    data = open_dataset(zipped(root, tmp_path / "d.zip") if in_zip else root, default="test")
    assert data.classes == ("p1", "p2")
    said = " ".join(data.found.lines())
    assert "4 folder below a class, folded into it, since classes are the first level" in said
    assert f"{around}p1/a" in said


def test_a_name_is_one_class_in_either_form(tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "Müller Gerät") for form in ("NFC", "NFD")]
    data = open_dataset(tree(tmp_path / "d", *forms, "nut"))
    assert data.classes == (forms[0], "nut")
    assert [len(rows) for rows in data.by_class()] == [4, 2]


def test_evaluate_says_and_writes_what_was_passed_over(tmp_path: Path) -> None:
    root = tree(tmp_path / "d", "bolt", "nut", "cap", count=4)
    (root / "bolt" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (root / "gone").mkdir()
    out = tmp_path / "r.json"
    done = invoke(
        "evaluate", root, "--bundle", asset("bundle"), "--way", 2, "--query", 2, "--episodes", 2,
        "--json", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "1 HEIC (bolt/x.heic)" in done.output.replace("\n", "")
    document = json.loads(out.read_text())
    assert document["passed_over"]["HEIC"] == {"count": 1, "names": ["bolt/x.heic"]}
    assert document["passed_over"]["folder without pictures"]["names"] == ["gone"]
    assert document["background"] == "#ffffff"
