from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.toolkit import leftovers, refusal

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.toolkit.meta import checkpoint as training_state
from vision_edge.toolkit.meta.checkpoint import KEY, TrainingState, read_state, write_state


def _state(step: int = 3, count: int = 12) -> TrainingState:
    def some(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed + step)
        return [torch.randn(2, i + 1, generator=generator) for i in range(count)]

    return TrainingState(
        step=step,
        best_step=1,
        curves=[{"step": 0, "loss": None, "held_out_loss": 0.1}, {"step": 3, "loss": 1 / 3}],
        factors=some(0),
        best=some(10),
        first_moments=some(20) if step else [],
        second_moments=some(30) if step else [],
        settings={"lr": 3e-4, "shape": {"way": 5}},
    )


def _assert_equal(left: TrainingState, right: TrainingState) -> None:
    for name in ("step", "best_step", "curves", "settings"):
        assert getattr(left, name) == getattr(right, name)
    for name in ("factors", "best", "first_moments", "second_moments"):
        ours, theirs = getattr(left, name), getattr(right, name)
        assert len(ours) == len(theirs)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("step", [0, 3])
def test_a_state_is_read_as_it_was_written(tmp_path: Path, step: int) -> None:
    state = _state(step)
    write_state(tmp_path / "m.safetensors", state)
    _assert_equal(read_state(tmp_path / "m.safetensors"), state)


def test_factors_keep_their_order_beyond_ten(tmp_path: Path) -> None:
    state = _state(count=120)
    write_state(tmp_path / "m.safetensors", state)
    _assert_equal(read_state(tmp_path / "m.safetensors"), state)


def test_a_newer_state_takes_the_place_of_an_older(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_state(path, _state(3))
    write_state(path, _state(5))
    assert read_state(path).step == 5
    assert leftovers(tmp_path) == []


def test_tensors_that_share_memory_or_are_transposed_are_written(tmp_path: Path) -> None:
    base = torch.randn(3, 4, requires_grad=True)
    state = TrainingState(1, 0, [], [base, base.T], [base, base.detach()], [], [], {})
    write_state(tmp_path / "m.safetensors", state)
    back = read_state(tmp_path / "m.safetensors")
    assert torch.equal(back.factors[1], base.detach().T)
    assert torch.equal(back.best[0], base.detach())


def test_an_interrupted_write_leaves_the_older_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    write_state(path, _state(3))

    def interrupted(temporary: Path, *_: object) -> None:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(training_state, "write_safetensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_state(path, _state(5))
    assert read_state(path).step == 3
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_state_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "m.safetensors"
    write_state(path, _state())
    path.write_bytes(path.read_bytes()[:kept])
    with refusal(VisionEdgeError, path):
        read_state(path)


def test_an_absent_state_is_named(tmp_path: Path) -> None:
    with refusal(VisionEdgeError, tmp_path / "no.safetensors"):
        read_state(tmp_path / "no.safetensors")


def _other_tensor(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    tensors["weight"] = torch.zeros(1)


def _no_facts(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    del metadata[KEY]


def _broken_facts(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    metadata[KEY] = "{"


def _few_facts(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    metadata[KEY] = '{"step": 1}'


def _list(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    metadata[KEY] = "[1]"


@pytest.mark.parametrize("spoil", [_other_tensor, _no_facts, _broken_facts, _few_facts, _list])
def test_what_is_no_state_is_named(
    tmp_path: Path, spoil: Callable[[dict[str, torch.Tensor], dict[str, str]], None]
) -> None:
    path = tmp_path / "m.safetensors"
    write_state(path, _state())
    tensors = load_file(path)
    metadata = {KEY: '{"step": 3, "best_step": 1, "curves": [], "settings": {}}'}
    spoil(tensors, metadata)
    save_file(tensors, path, metadata=metadata)
    with refusal(VisionEdgeError, path, "checkpoint"):
        read_state(path)
