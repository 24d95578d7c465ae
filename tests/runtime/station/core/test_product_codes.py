from __future__ import annotations

from pathlib import Path

import pytest

from vision_edge.station.core.product_codes import LARGEST, ProductCodes, Rename


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "product-codes.json"


def test_codes_go_up_from_the_first_and_are_kept(path: Path) -> None:
    codes = ProductCodes(path, {"valve": 7}, first=3)
    codes.follow(["bolt", "valve", "nut"])
    assert [codes.code(label) for label in ("bolt", "valve", "nut")] == [8, 7, 9]
    assert codes.code("stranger") is None
    again = ProductCodes(path, {"valve": 7}, first=3)
    again.follow(["nut", "washer"])  # the bolt was removed
    assert (again.code("nut"), again.code("washer")) == (9, 10)
    again.follow(["nut", "washer", "bolt"])  # and is back
    assert again.code("bolt") == 8


def test_a_renamed_product_keeps_its_code(path: Path) -> None:
    codes = ProductCodes(path, {})
    codes.follow(["a"])
    codes.follow(["b"], [Rename("a", "b")])
    assert codes.code("b") == 1
    codes.follow(["b", "a"], [Rename("a", "b")])  # another product is called so now
    assert (codes.code("b"), codes.code("a")) == (1, 2)


def test_settings_count_first_and_nobody_shares_a_code(path: Path) -> None:
    ProductCodes(path, {}).follow(["a", "b"])
    codes = ProductCodes(path, {"c": 1})
    codes.follow(["a", "b", "c"])
    assert len({codes.code(label) for label in "abc"}) == 3
    assert (codes.code("b"), codes.code("c")) == (2, 1)


def test_when_all_are_given_the_rest_has_none(path: Path) -> None:
    codes = ProductCodes(path, {}, first=LARGEST)
    codes.follow(["a", "b"])
    assert (codes.code("a"), codes.code("b")) == (LARGEST, None)


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 70000}', '{"a": true}', '{"a": "1"}'])
def test_a_damaged_file_is_put_aside(path: Path, text: str) -> None:
    path.write_text(text)
    codes = ProductCodes(path, {})
    codes.follow(["a"])
    assert codes.code("a") == 1
    assert path.with_name(path.name + ".damaged").read_text() == text
