import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from support import ranks as ranks_program
from support.paths import TESTS
from support.toolkit import hub_in
from torch import Tensor

from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.processes import Ranks, joined_ranks

ADAPTERS = 5


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 12])
def test_shares_are_a_partition_as_even_as_can_be(world: int, count: int) -> None:
    shares = [Ranks(rank, world).share(range(count)) for rank in range(world)]
    assert Counter(item for share in shares for item in share) == Counter(range(count))
    assert all(share == sorted(share) for share in shares)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_one_process_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_ranks("cpu") as ranks:
        assert ranks == Ranks(0, 1, 0)
        assert ranks.first
        tensors = [torch.arange(3.0), torch.ones(2, 2)]
        ranks.add(tensors)
        ranks.wait()
        assert tensors[0].tolist() == [0.0, 1.0, 2.0]
    assert not torch.distributed.is_initialized()
    assert not Ranks(1, 2).first


def test_a_sum_over_processes_keeps_each_tensors_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process has the tenfold of everything."""
    messages: list[Tensor] = []

    def all_reduce(flat: Tensor) -> None:
        messages.append(flat)
        flat.mul_(11)

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    tensors = [torch.tensor(2.0), torch.arange(6.0).view(2, 3), torch.ones(3, 2).T]
    expected = [11 * tensor for tensor in tensors]
    Ranks(0, 2).add(tensors)
    assert len(messages) == 1, "in one message"
    assert all(torch.equal(a, b) for a, b in zip(tensors, expected, strict=True))
    Ranks(0, 2).add([])
    assert len(messages) == 1


# --- two real processes ----------------------------------------------------------------------


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as stream:
        facts = json.loads(stream.metadata()["facts"])
        return facts, {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118


def _two_processes(hub: Path, work: Path, out: Path) -> None:
    """Run the worker twice, as `torchrun --nproc-per-node 2` would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared["OMP_NUM_THREADS"] = "1"
    shared["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "support.ranks", hub, work, out / f"{rank}.safetensors"],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_two_processes_do_what_one_does(backbone: Backbone, tmp_path: Path) -> None:
    hub = hub_in(tmp_path / "hub", backbone, ADAPTERS)
    ranks_program.recycle(hub, tmp_path / "alone", tmp_path / "one.safetensors", Ranks())
    _two_processes(hub, tmp_path / "together", tmp_path)
    alone, expected = _read(tmp_path / "one.safetensors")
    both = [_read(tmp_path / f"{rank}.safetensors") for rank in range(2)]

    files = {path.name: path.read_bytes() for path in (tmp_path / "alone" / "pool").iterdir()}
    pool = {path.name: path.read_bytes() for path in (tmp_path / "together" / "pool").iterdir()}
    assert len(files) == ADAPTERS + 1
    assert pool == files, "the same pool, byte for byte"
    shares = [facts["inverted"] for facts, _ in both]
    assert sorted(shares[0] + shares[1]) == alone["inverted"]
    assert [len(share) for share in shares] == [3, 2], "each inverted its share"

    for facts, products in both:
        assert facts["step"] == alone["step"]
        for row, wanted in zip(facts["curves"], alone["curves"], strict=True):
            assert row == {key: pytest.approx(value, abs=1e-5) for key, value in wanted.items()}
        for name, product in expected.items():
            torch.testing.assert_close(products[name], product, atol=1e-5, rtol=0.0)
    (facts, products), (other_facts, other_products) = both
    assert facts["curves"] == other_facts["curves"], "both know the same"
    assert all(torch.equal(products[name], other_products[name]) for name in products)
    distances = [row["distance"] for row in alone["curves"]]
    assert distances[-1] > 1e-3, "it hardly moved: it proves nothing"
    names = sorted(path.name for path in (tmp_path / "together").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "alone").iterdir())
