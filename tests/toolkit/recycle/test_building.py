"""What a build says of itself: it never leaves open whether it was tested."""

import json
from pathlib import Path

import pytest
import torch
from support.toolkit import adapter_in, class_folders, hub_in, qv_updates

from vision_edge.export.model.merge import LowRank
from vision_edge.toolkit.averaging.average import AverageSettings
from vision_edge.toolkit.averaging.counsel import UNTESTED
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.data.dataset import open_dataset
from vision_edge.toolkit.recycle.building import build_average


def test_an_untested_build_says_so(backbone: Backbone, tmp_path: Path) -> None:
    report = build_average(hub_in(tmp_path / "hub", backbone, 6), tmp_path / "meta", backbone)
    assert UNTESTED in report["counsel"]
    assert json.loads((tmp_path / "meta" / "report.json").read_text())["counsel"][-1] == UNTESTED


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_a_tested_build_tells_the_plain_backbones_figure(
    backbone: Backbone, tmp_path: Path, scale: float
) -> None:
    hub = hub_in(tmp_path / "hub", backbone, 6)
    data = open_dataset(class_folders(tmp_path / "images", classes=6, count=16))
    settings = AverageSettings(scale=scale)
    report = build_average(hub, tmp_path / "meta", backbone, settings, test=data)
    assert UNTESTED not in report["counsel"]
    (table,) = report["evaluations"]
    plain, mine = table["results"]
    below = plain["accuracy"] - mine["accuracy"] > max(plain["ci95"], mine["ci95"])
    assert any("BELOW" in text for text in report["warnings"]) == below


def test_zeros_and_copies_change_nothing_but_the_report(backbone: Backbone, tmp_path: Path) -> None:
    own, padded = (hub_in(tmp_path / name, backbone, 5) for name in ("own", "padded"))
    adapter_in(padded / "again", backbone, qv_updates(2, seed=1))
    idle = {name: LowRank(u.A, torch.zeros_like(u.B)) for name, u in qv_updates().items()}
    adapter_in(padded / "idle", backbone, idle)
    one = build_average(own, tmp_path / "one", backbone)
    other = build_average(padded, tmp_path / "other", backbone)
    assert set(other["skipped"]) == {"again", "idle"}
    for key in ("size", "agreement", "modules", "warnings"):
        assert one[key] == other[key]
