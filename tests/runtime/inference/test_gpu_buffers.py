"""Fixed buffers and CUDA graphs: another image must give another answer (onnxruntime#20050).

The graph part runs on a stand-in for ONNX Runtime's CUDA provider that does what a captured graph
does: it reads and writes the addresses that it was captured with, and nothing else.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from support.runtime import DIM, SIZE, noisy, picture, reference_embeddings, weights

from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.inference import onnx_runtime as ort_session
from vision_edge.runtime.inference.gpu_buffers import MAX_SIZES, BoundRunner
from vision_edge.runtime.inference.onnx_runtime import create, open_ort
from vision_edge.runtime.inference.options import SessionOptions

IMAGES = np.stack([noisy(picture(k, SIZE), k) for k in range(12)])


def expected(images: np.ndarray) -> np.ndarray:
    return reference_embeddings(images, weights())


@pytest.fixture(scope="module")
def real(bundle_path: Path) -> BoundRunner:
    """ONNX Runtime itself, its buffers in the computer's memory."""
    session = create(load_bundle(bundle_path), "cpu", {}, SessionOptions(threads=1))
    return BoundRunner(session, DIM, device="cpu", graphs=False)


def test_fixed_buffers_give_the_same_embeddings(real: BoundRunner) -> None:
    for count in (1, 3, 1, 12):
        assert np.allclose(real.run(IMAGES[:count]), expected(IMAGES[:count]), atol=1e-4)


def test_an_answer_outlives_the_buffer(real: BoundRunner) -> None:
    first = real.run(IMAGES[:1])
    kept = first.copy()
    real.run(IMAGES[1:2])
    assert np.array_equal(first, kept)


def test_the_callers_images_are_left_alone(real: BoundRunner) -> None:
    first, second = IMAGES[:11].copy(), IMAGES[1:12].copy()
    real.run(first)
    real.run(second)
    assert np.array_equal(first, IMAGES[:11])


def test_images_that_do_not_lie_in_one_piece(real: BoundRunner) -> None:
    mirrored = IMAGES[:2, :, ::-1]
    assert not mirrored.flags["C_CONTIGUOUS"]
    assert np.allclose(real.run(mirrored), expected(mirrored), atol=1e-4)


def test_more_sizes_than_are_kept(real: BoundRunner) -> None:
    for count in range(1, MAX_SIZES + 4):
        assert np.allclose(real.run(IMAGES[:count]), expected(IMAGES[:count]), atol=1e-4)


def test_threads_take_turns(real: BoundRunner) -> None:
    right: list[bool] = []

    def work(number: int) -> None:
        one = IMAGES[number][None]
        right.extend(np.allclose(real.run(one), expected(one), atol=1e-4) for _ in range(50))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 200


class Value:
    """A tensor on the pretended GPU: an array is its memory."""

    def __init__(self, array: np.ndarray) -> None:
        self.memory = array.copy()

    @staticmethod
    def ortvalue_from_shape_and_type(shape: Any, dtype: Any, device: str, index: int) -> Value:
        assert (device, index) == ("cuda", 0)
        return Value(np.zeros(shape, dtype))

    def update_inplace(self, array: np.ndarray) -> None:
        assert array.flags["C_CONTIGUOUS"]
        assert array.shape == self.memory.shape
        self.memory[...] = array

    def numpy(self) -> np.ndarray:
        return self.memory


class Options:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class Binding:
    def bind_ortvalue_input(self, name: str, value: Value) -> None:
        assert name == "images"
        self.images = value

    def bind_ortvalue_output(self, name: str, value: Value) -> None:
        assert name == "embeddings"
        self.embeddings = value

    def synchronize_outputs(self) -> None:
        pass


class GraphSession:
    """Captures addresses at a graph's first run and replays those, whatever is bound later."""

    def __init__(self) -> None:
        self.graphs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.plain = 0

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: Options | None) -> None:
        graph = int(options.entries["gpu_graph_id"]) if options else -1
        assert graph != 0, "reserved by ONNX Runtime"
        memory = (binding.images.memory, binding.embeddings.memory)
        if graph > 0:
            memory = self.graphs.setdefault(graph, memory)
        self.plain += graph < 0
        memory[1][...] = expected(memory[0])


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> GraphSession:
    monkeypatch.setattr(onnxruntime, "OrtValue", Value)
    monkeypatch.setattr(onnxruntime, "RunOptions", Options)
    return GraphSession()


def test_a_graph_sees_every_new_image(captured: GraphSession) -> None:
    runner = BoundRunner(captured, DIM, device="cuda", graphs=True)
    for batch in (IMAGES[:1], IMAGES[1:2], IMAGES[:4], IMAGES[4:8], IMAGES[2:3], IMAGES[:1]):
        assert np.allclose(runner.run(batch), expected(batch), atol=1e-4)
    assert sorted(captured.graphs) == [1, 4]
    assert captured.plain == 0


def test_the_stand_in_shows_the_fault_that_it_is_there_for(captured: GraphSession) -> None:
    answers = []
    for image in IMAGES[:2]:  # a new binding for each image, as without fixed addresses
        runner = BoundRunner(captured, DIM, device="cuda", graphs=True)
        answers.append(runner.run(image[None]))
    assert not np.allclose(answers[1], expected(IMAGES[1:2]), atol=1e-4)


def test_batch_sizes_beyond_those_captured_run_without_a_graph(captured: GraphSession) -> None:
    runner = BoundRunner(captured, DIM, device="cuda", graphs=True)
    for count in [*range(1, MAX_SIZES + 3), MAX_SIZES + 1]:
        assert np.allclose(runner.run(IMAGES[:count]), expected(IMAGES[:count]), atol=1e-4)
    assert sorted(captured.graphs) == list(range(1, MAX_SIZES + 1))
    assert captured.plain == 3


def test_without_graphs_none_is_captured(captured: GraphSession) -> None:
    runner = BoundRunner(captured, DIM, device="cuda", graphs=False)
    assert np.allclose(runner.run(IMAGES[:2]), expected(IMAGES[:2]), atol=1e-4)
    assert captured.graphs == {}


@pytest.mark.parametrize(
    ("options", "bound", "settings"),
    [
        (SessionOptions(), False, {"use_tf32": "0", "enable_cuda_graph": "0"}),
        (SessionOptions(io_binding=True), True, {"use_tf32": "0", "enable_cuda_graph": "0"}),
        (SessionOptions(cuda_graph=True), True, {"use_tf32": "0", "enable_cuda_graph": "1"}),
        (SessionOptions(precision="tf32"), False, {"use_tf32": "1", "enable_cuda_graph": "0"}),
    ],
    ids=["plain", "binding", "graph", "tf32"],
)
def test_options_reach_the_cuda_provider(
    bundle_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: SessionOptions,
    bound: bool,
    settings: dict[str, str],
) -> None:
    seen: list[dict[str, str]] = []

    def fake(bundle: Any, provider: str, given: dict[str, str], _: Any) -> GraphSession:
        seen.append(given)
        return GraphSession()

    monkeypatch.setattr(ort_session, "create", fake)
    runner = open_ort(load_bundle(bundle_path), "cuda", options)
    assert isinstance(runner, BoundRunner) == bound
    assert seen == [settings]
