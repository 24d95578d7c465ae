from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from support.recycle import inverted, noise_parts, pool_in
from support.toolkit import refusal

from vision_edge.runtime.errors import DataError
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.pool.pool import PoolPart
from vision_edge.toolkit.pool.tasks import ImageStore, SyntheticTask, TaskShape, TaskSource

SHAPE = TaskShape(way=3, shot=1, query=2)


@pytest.fixture(scope="module")
def parts(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> list[PoolPart]:
    """Adapters of 3, 5, 2 and 4 classes, each with four images."""
    return noise_parts(tmp_path_factory.mktemp("pool") / "pool", backbone, (3, 5, 2, 4))


def _tasks(source: TaskSource, count: int = 200, seed: int = 0) -> list[SyntheticTask]:
    rng = np.random.default_rng(seed)
    return [source.draw(rng) for _ in range(count)]


def _classes(task: SyntheticTask, parts: list[PoolPart]) -> list[tuple[int, int]]:
    """The (part, class) of each row, having checked that its images are of one class."""
    found = []
    for index, rows in zip(task.parts, task.rows, strict=True):
        labels = set(parts[index].labels[rows].tolist())
        assert len(labels) == 1
        found.append((int(index), labels.pop()))
    return found


@pytest.mark.parametrize("interpolation", [0.0, 0.5, 1.0])
def test_a_task_is_way_classes_of_distinct_images(
    parts: list[PoolPart], interpolation: float
) -> None:
    for task in _tasks(TaskSource(parts, SHAPE, interpolation)):
        assert task.parts.shape == (3,)
        assert task.rows.shape == (3, 3)
        assert len(set(_classes(task, parts))) == 3
        images = [(int(i), int(row)) for i, rows in zip(task.parts, task.rows) for row in rows]  # noqa: B905
        assert len(set(images)) == len(images), "an image is support and query, or twice"


def test_the_teachers_rows_and_columns_are_the_queries_and_their_classes(
    parts: list[PoolPart],
) -> None:
    seen = set()
    for task in _tasks(TaskSource(parts, SHAPE, 0.0)):
        (index,) = set(task.parts.tolist())
        seen.add(index)
        assert task.teacher is not None
        assert task.teacher.shape == (6, 3)
        assert task.teacher.dtype == np.float32
        columns = [label for _, label in _classes(task, parts)]
        for c, rows in enumerate(task.rows):
            for q, row in enumerate(rows[SHAPE.shot :]):
                expected = [parts[index].logits[row, k] for k in columns]
                assert task.teacher[c * SHAPE.query + q].tolist() == expected
    assert seen == {0, 1, 3}, "an adapter of two classes cannot teach three"


def test_across_adapters_there_is_no_teacher(parts: list[PoolPart]) -> None:
    tasks = _tasks(TaskSource(parts, SHAPE, 1.0))
    assert all(task.teacher is None for task in tasks)
    assert sum(len(set(task.parts.tolist())) > 1 for task in tasks) > 150
    used = Counter(item for task in tasks for item in _classes(task, parts))
    assert len(used) == 14, "all classes get their turn, of small adapters too"


def test_interpolation_is_the_share_of_the_tasks(parts: list[PoolPart]) -> None:
    for share in (0.0, 0.25, 0.75, 1.0):
        tasks = _tasks(TaskSource(parts, SHAPE, share), 600)
        mixed = np.mean([task.teacher is None for task in tasks])
        assert mixed == pytest.approx(share, abs=0.06)
    assert all(task.teacher is not None for task in _tasks(TaskSource(parts[:1], SHAPE, 1.0)))


def test_adapters_of_few_classes_are_mixed_only(parts: list[PoolPart]) -> None:
    wide = TaskShape(way=6, shot=1, query=1)
    assert all(task.teacher is None for task in _tasks(TaskSource(parts, wide, 0.0), 20))


def test_all_images_get_their_turn_as_support_and_query(parts: list[PoolPart]) -> None:
    support, query = set(), set()
    for task in _tasks(TaskSource(parts[:1], SHAPE, 0.0), 100):
        support |= set(task.rows[:, 0].tolist())
        query |= set(task.rows[:, 1:].ravel().tolist())
    assert support == query == set(range(12))


def test_tasks_depend_on_the_generator_alone(parts: list[PoolPart]) -> None:
    source = TaskSource(parts, SHAPE, 0.5)
    for first, second in zip(_tasks(source, 20), _tasks(source, 20), strict=True):
        np.testing.assert_array_equal(first.rows, second.rows)
        np.testing.assert_array_equal(first.parts, second.parts)
    others = _tasks(source, 20, seed=1)
    assert any((a.rows != b.rows).any() for a, b in zip(_tasks(source, 20), others, strict=True))


def test_windows_of_the_same_images_do_not_overlap(backbone: Backbone, tmp_path: Path) -> None:
    parts = pool_in(tmp_path / "pool", backbone, [inverted(3, 10)]).parts()
    shape, seen = TaskShape(3, 1, 2), []
    for window in ((0.0, 0.7), (0.7, 1.0)):
        tasks = _tasks(TaskSource(parts, shape, 0.0, window), 200)
        seen.append({int(row) for task in tasks for row in task.rows.ravel()})
        counts = Counter(int(parts[0].labels[row]) for row in seen[-1])
        share = round(10 * (window[1] - window[0]))
        assert counts == {0: share, 1: share, 2: share}
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 30


# --- too little ------------------------------------------------------------------------------


def test_too_few_classes_are_refused(parts: list[PoolPart]) -> None:
    with refusal(DataError, "3 class", "need 4"):
        TaskSource(parts[:1], TaskShape(4, 1, 1), 0.5)
    with refusal(DataError, "14 class", "need 15"):
        TaskSource(parts, TaskShape(15, 1, 1), 0.5)


def test_too_few_images_are_refused(parts: list[PoolPart]) -> None:
    TaskSource(parts, TaskShape(2, 1, 3), 0.5)
    with refusal(DataError, "4 images", "need 5"):
        TaskSource(parts, TaskShape(2, 2, 3), 0.5)
    with refusal(DataError, "2 images", "need 3"):
        TaskSource(parts, SHAPE, 0.5, (0.0, 0.5))


def test_a_class_without_any_image_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 1], 4)
    parts = pool_in(tmp_path / "pool", backbone, [inverted(labels=labels)]).parts()
    with refusal(DataError, "0 images", "need 3"):
        TaskSource(parts, TaskShape(2, 1, 2), 0.5)


# --- images ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 12 * 32 * 32 * 3, 1 << 30])
def test_a_store_gives_the_tasks_images_cached_or_not(parts: list[PoolPart], limit: int) -> None:
    tasks = _tasks(TaskSource(parts, SHAPE, 0.5), 12)
    store = ImageStore(parts, torch.device("cpu"), limit)
    images, order = store.images(tasks), store.order(tasks)
    assert images.shape == (12 * 9, 32, 32, 3)
    assert images.dtype == torch.uint8
    assert order.shape == (12 * 9, 4)
    row_of = iter(range(len(images)))
    for task in tasks:
        for index, rows in zip(task.parts, task.rows, strict=True):
            whole = parts[index].images()
            for row in rows:
                at = next(row_of)
                np.testing.assert_array_equal(images[at].numpy(), whole[row])
                np.testing.assert_array_equal(order[at].numpy(), parts[index].order[row])


def test_only_what_fits_is_kept_in_memory(
    parts: list[PoolPart], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for the first part alone, the disk is read for the others and never for it."""
    store = ImageStore(parts, torch.device("cpu"), 12 * 32 * 32 * 3)
    read: list[str] = []
    plain = PoolPart.images

    def recorded(self: PoolPart, rows: object = None) -> object:
        read.append(self.name)
        return plain(self, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(PoolPart, "images", recorded)
    store.images(_tasks(TaskSource(parts, SHAPE, 1.0), 30))
    assert set(read) == {"a1", "a2", "a3"}
