import numpy as np
from support.toolkit import image_of

from vision_edge.export.gate.fewshot_trial import VIEWED, VIEWS, labelled_by_views
from vision_edge.export.gate.picture_views import views_of


def _pictures(count: int) -> np.ndarray:
    return np.stack([image_of(index % 6, index, 32)[:32] for index in range(count)])


def test_views_are_the_same_again_and_differ_from_one_another() -> None:
    images = _pictures(3)
    views = views_of(images, 4)
    assert (views.shape, views.dtype) == ((3, 4, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(views, views_of(images, 4))
    assert len({view.tobytes() for view in views.reshape(-1, 32, 32, 3)}) == 12
    assert (views != views_of(images, 4, seed=1)).any()


def test_a_view_still_shows_its_picture() -> None:
    images = _pictures(6)
    colours = images.mean(axis=(1, 2))
    views = views_of(images, 8).mean(axis=(2, 3))  # (6, 8, 3)
    unit = colours / np.linalg.norm(colours, axis=1, keepdims=True)
    nearest = (views @ unit.T).argmax(axis=2)
    assert (nearest == np.arange(6)[:, None]).mean() > 0.9


def test_each_picture_is_a_class_of_itself_and_its_views() -> None:
    data = labelled_by_views(_pictures(5), "frames")
    assert data.source == "views of frames"
    assert data.own_views
    assert [len(rows) for rows in data.members()] == [1 + VIEWS] * 5
    np.testing.assert_array_equal(data.images[data.members()[2][0]], _pictures(5)[2])


def test_of_many_pictures_some_are_viewed() -> None:
    data = labelled_by_views(_pictures(2 * VIEWED), "frames")
    assert len(data.members()) == VIEWED
