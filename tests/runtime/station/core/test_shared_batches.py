"""Batches over cameras: everybody's own answer, no waiting for company, no spoiling of others."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from support.runtime import SIZE, noisy, picture

from vision_edge.runtime.arrays import Image
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.inference.session import Session
from vision_edge.station.core.live_model import Model
from vision_edge.station.core.shared_batches import MOST, Both, SharedBatches


class Slow:
    """Answers each picture with its own number; holds the session until it is let go."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.free, self.entered = threading.Event(), threading.Event()
        self.refuses = -1

    def __call__(self, images: Image) -> Both:
        self.entered.set()
        self.free.wait(10)
        self.sizes.append(len(images))
        numbers = images[:, 0, 0, 0].astype(np.float32)
        if (numbers == self.refuses).any():
            raise VisionEdgeError("this picture is bad")
        return np.stack([numbers, -numbers], axis=1), numbers[:, None, None]


def pictures(*numbers: int) -> Image:
    return np.stack([np.full((SIZE, SIZE, 3), number, np.uint8) for number in numbers])


def asked(batches: SharedBatches, wanted: list[tuple[int, ...]], slow: Slow) -> list[object]:
    """Ask in this order, one thread each, while the first holds the session; return the answers."""
    answers: list[object] = [None] * len(wanted)

    def ask(k: int) -> None:
        try:
            answers[k] = batches.run(pictures(*wanted[k]))
        except VisionEdgeError as error:
            answers[k] = error

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(len(wanted))]
    for k, thread in enumerate(threads):
        thread.start()
        assert slow.entered.wait(10)
        until = time.monotonic() + 10
        while len(batches._waiting) < k and time.monotonic() < until:
            time.sleep(0.001)
    slow.free.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return answers


def test_what_waits_is_one_batch_and_each_gets_its_own_answer() -> None:
    slow = Slow()
    wanted = [(1,), (2,), (3, 4, 5), (6,)]
    answers = asked(SharedBatches(slow), wanted, slow)
    assert slow.sizes == [1, 5]
    for numbers, answer in zip(wanted, answers, strict=True):
        embeddings, patches = answer  # type: ignore[misc]
        assert embeddings[:, 0].tolist() == list(numbers)
        assert patches[:, 0, 0].tolist() == list(numbers)


def test_a_lone_caller_does_not_wait() -> None:
    slow = Slow()
    slow.free.set()
    batches = SharedBatches(slow)
    assert [batches.run(pictures(k))[0][0, 0] for k in (7, 8)] == [7, 8]
    assert slow.sizes == [1, 1]


def test_a_batch_has_a_largest_size_and_the_order_is_kept() -> None:
    slow = Slow()
    wanted = [(1,), *[(k,) * 10 for k in range(2, 8)]]
    asked(SharedBatches(slow), wanted, slow)
    assert slow.sizes == [1, 30, 30]
    assert max(slow.sizes) <= MOST


def test_more_than_the_largest_batch_from_one_caller_passes_whole() -> None:
    slow = Slow()
    slow.free.set()
    numbers = tuple(range(MOST + 5))
    assert SharedBatches(slow, rounded=True).run(pictures(*numbers))[0][:, 0].tolist() == [*numbers]
    assert slow.sizes == [MOST + 5]


def test_rounded_batches_have_few_sizes() -> None:
    slow = Slow()
    answers = asked(SharedBatches(slow, rounded=True), [(1,), (2, 3), (4, 5, 6)], slow)
    assert slow.sizes == [1, 8]
    assert answers[2][0][:, 0].tolist() == [4, 5, 6]  # type: ignore[index]


def test_a_failure_of_one_is_no_failure_of_the_others() -> None:
    slow = Slow()
    slow.refuses = 3
    answers = asked(SharedBatches(slow), [(1,), (2,), (3,), (4,)], slow)
    assert isinstance(answers[2], VisionEdgeError)
    assert [answers[k][0][0, 0] for k in (0, 1, 3)] == [1, 2, 4]  # type: ignore[index]


@pytest.mark.parametrize("provider", ["cuda", "cpu", "triton://localhost:1/tiny"])
def test_a_model_gives_each_camera_what_its_session_gives(session: Session, provider: str) -> None:
    images = np.stack([noisy(picture(k, SIZE), k) for k in range(8)])
    expected = session.embed(images)
    model = Model(replace(session, provider=provider))
    wrong: list[int] = []

    def camera(k: int) -> None:
        got = [model.embed(images[k : k + 1])[0] for _ in range(20)]
        wrong.extend(k for vector in got if not np.allclose(vector, expected[k], atol=1e-5))

    threads = [threading.Thread(target=camera, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
