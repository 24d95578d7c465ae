"""Fixtures of the export's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.toolkit import Exported, merged_copy, qv_updates, tiny_backbone

from vision_edge.export.bundle import export_bundle
from vision_edge.export.graph.to_onnx import to_onnx
from vision_edge.export.model.edge_model import EdgeModel
from vision_edge.runtime.bundles.manifest import AdapterInfo
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
def exported(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """One bundle of a merged model, with the default images; only to be read."""
    merged = merged_copy(backbone, qv_updates(rank=3))
    bundle = export_bundle(
        merged.model,
        merged.spec,
        tmp_path_factory.mktemp("exported") / "bundle",
        name="tiny",
        backbone=backbone.info(),
        adapter=AdapterInfo(name="meta", sha256="a" * 64, method="average"),
        evaluation={"results": []},
    )
    return Exported(bundle, merged)


@pytest.fixture(scope="session")
def untidied(exported: Exported) -> bytes:
    """The merged model's graph as PyTorch's exporter writes it, before any rewriting."""
    merged = exported.merged
    return to_onnx(EdgeModel(merged.model, merged.spec), merged.spec.size)
