"""Pools that tests of meta-learning learn from."""

import pytest
from support.recycle import easy_parts, noise_parts

from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.pool.pool import PoolPart


@pytest.fixture(scope="module")
def noise(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> list[PoolPart]:
    return noise_parts(tmp_path_factory.mktemp("noise") / "pool", backbone, (3, 4, 3, 3))


@pytest.fixture(scope="module")
def easy(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> list[PoolPart]:
    return easy_parts(tmp_path_factory.mktemp("easy") / "pool", backbone)
