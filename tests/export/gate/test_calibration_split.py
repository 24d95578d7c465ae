import numpy as np
import pytest
from support.toolkit import random_images

from vision_edge.export.gate.calibration_split import split, without


def _keys(images: list[np.ndarray]) -> set[bytes]:
    return {image.tobytes() for image in images}


@pytest.mark.parametrize(("count", "held_out"), [(0, 0), (3, 0), (4, 1), (16, 4), (21, 5)])
def test_a_quarter_judges_and_none_does_both(count: int, held_out: int) -> None:
    images = list(random_images(count, 8))
    chosen, judging = split(images)
    assert (len(chosen), len(judging)) == (count - held_out, held_out)
    assert _keys(chosen) | _keys(judging) == _keys(images)
    assert not _keys(chosen) & _keys(judging)


def test_neither_order_nor_copies_matter() -> None:
    images = list(random_images(12, 8))
    first, second = split(images), split([*images[::-1], *images])
    assert [_keys(part) for part in first] == [_keys(part) for part in second]


def test_images_that_are_among_the_others_go() -> None:
    images = list(random_images(6, 8))
    left = without(images, [images[1].copy(), images[4]])
    assert _keys(left) == _keys([images[i] for i in (0, 2, 3, 5)])
    wide = images[0].reshape(4, 16, 3)
    assert without([wide], [images[0]]), "the same bytes in another shape are another image"
