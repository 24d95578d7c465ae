"""Adapters of others on the command line: what is refused, trusted and noted."""

import json
from pathlib import Path

import pytest
from support.cli import refused_command, run_command
from support.toolkit import DIM, edit_config, edit_tensors, hub_in, without_hash
from torch import ones

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.backbones.backbone import Backbone


@pytest.fixture
def foreign(tmp_path: Path, backbone: Backbone) -> Path:
    """A hub whose adapters name a DeiT of the same shape."""
    hub = hub_in(tmp_path / "foreign", backbone, count=2)
    for folder in hub.iterdir():
        edit_config(without_hash(folder), base_model_name_or_path="facebook/deit-tiny-patch16-224")
    return hub


def test_build_refuses_another_base_and_trusts_on_demand(
    tmp_path: Path, foreign: Path, weights_file: Path
) -> None:
    build = ("build", foreign, "--weights", weights_file, "--out", tmp_path / "meta")
    assert "DeiT" in str(refused_command(*build))
    output = run_command(*build, "--trust-base")
    assert "note: a0, a1: trusted to go with" in output
    report = json.loads((tmp_path / "meta" / "report.json").read_text())
    assert not any(fact["base_verified"] for fact in report["adapters"])


def test_evaluate_and_export_do_so_too(
    tmp_path: Path, foreign: Path, weights_file: Path, image_folder: Path
) -> None:
    given = ("--weights", weights_file, "--adapter", foreign / "a0")
    few = ("--way", 2, "--query", 2, "--episodes", 2)
    for command in (
        ("evaluate", image_folder, *given, *few),
        ("export", *given, "--out", tmp_path / "bundle"),
    ):
        error = refused_command(*command)
        assert isinstance(error, AdapterError)
        assert "--trust-base" in str(error)
        assert "note: a0: trusted to go with" in run_command(*command, "--trust-base")


def test_heads_and_checkpoints_that_are_left_out_are_named(
    tmp_path: Path, backbone: Backbone, weights_file: Path
) -> None:
    hub = hub_in(tmp_path / "hub", backbone, count=1)
    hub_in(tmp_path / "run", backbone, count=2)
    for index in (0, 1):
        (hub / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / f"a{index}").rename(hub / "run" / f"checkpoint-{index}00")
    edit_tensors(hub / "a0", {"base_model.model.head.weight": ones(2, 2 * DIM)})
    output = run_command("build", hub, "--weights", weights_file, "--out", tmp_path / "meta")
    assert "average of 2 adapters" in output
    assert "run/checkpoint-000" in output
    assert "note: a0: its head takes 128 values, twice the embedding's 64" in output
    (hub / "run" / "checkpoint-100").rename(tmp_path / "gone")
    (hub / "run" / "checkpoint-000").rename(tmp_path / "gone too")
    work = ("--method", "recycle", "--prior", "none", "--prune", "2:0.5", "--device", "cpu")
    error = refused_command(
        "build", hub, "--weights", weights_file, "--out", tmp_path / "recycled", *work
    )
    assert "twice the embedding's" in str(error)
