"""Fixtures of the toolkit's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.toolkit import class_folders, tiny_backbone, weights_in

from vision_edge.toolkit.backbones.backbone import Backbone, state_sha256


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny models are quicker on one thread, and several test processes share the machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def backbone() -> Iterator[Backbone]:
    """A tiny backbone that all tests share, so none may change it."""
    shared = tiny_backbone()
    before = shared.sha256
    yield shared
    assert state_sha256(shared.model.state_dict()) == before, "a test changed the shared backbone"


@pytest.fixture(scope="session")
def weights_file(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared backbone's weights, in a file that knows its architecture."""
    return weights_in(tmp_path_factory.mktemp("weights") / "tiny.safetensors", backbone)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train` with four classes of eight images, and `test` with three others; only to be read."""
    root = tmp_path_factory.mktemp("images")
    class_folders(root / "train", classes=4, count=8)
    class_folders(root / "test", classes=3, count=8, first=3)
    return root
