import math

import numpy as np
import pytest
import torch
from support.toolkit import BLOCK_LINEARS, merged_copy, qv_updates, random_low_rank, refusal

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.runtime.images.generated_scenes import generated_scenes
from vision_edge.toolkit.averaging.size import (
    MOST_SHARE,
    SCENES,
    TURN,
    sized,
    turn_between,
    weights_norm,
)
from vision_edge.toolkit.backbones.backbone import Backbone

EVERY_LINEAR = {
    f"blocks.{block}.{name}": random_low_rank(shape, 3, 10 * block + index)
    for block in range(2)
    for index, (name, shape) in enumerate(BLOCK_LINEARS.items())
}


def _turn(backbone: Backbone, updates: dict[str, LowRank]) -> float:
    scenes = np.stack(generated_scenes(SCENES, backbone.spec.size))
    plain = backbone.embedder().embed(scenes)
    return turn_between(plain, merged_copy(backbone, updates).embedder().embed(scenes))


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("updates", [qv_updates(8), qv_updates(32), EVERY_LINEAR])
def test_it_turns_embeddings_as_far_whatever_it_is_made_of(
    backbone: Backbone, updates: dict[str, LowRank], factor: float
) -> None:
    given = {name: LowRank(u.A, factor * u.B) for name, u in updates.items()}
    result, size = sized(given, backbone)
    assert _turn(backbone, result) == pytest.approx(TURN, rel=0.04)
    assert size.turn == pytest.approx(_turn(backbone, result), abs=1e-5)
    norm = math.sqrt(sum(u.squared_norm() for u in result.values()))
    assert size.share == pytest.approx(norm / weights_norm(updates, backbone), rel=1e-4)


def test_the_weights_are_those_of_the_adapted_projections_alone(backbone: Backbone) -> None:
    squares = 0.0
    for block in range(2):
        query, _, value = backbone.model.blocks[block].attn.qkv.weight.chunk(3)  # type: ignore
        squares += float(query.square().sum() + value.square().sum())
    assert weights_norm(qv_updates(2), backbone) == pytest.approx(math.sqrt(squares), rel=1e-5)


def test_scale_multiplies_the_norm(backbone: Backbone) -> None:
    one, double = (sized(qv_updates(2), backbone, scale)[0] for scale in (1.0, 2.0))
    for name, update in one.items():
        torch.testing.assert_close(double[name].product(), 2 * update.product())


def test_what_hardly_turns_anything_stops_at_a_share_of_the_weights(backbone: Backbone) -> None:
    update = qv_updates(2)["blocks.1.attn.qkv"]
    query_only = update.B.clone()
    query_only[64:] = 0.0
    idle = {"blocks.1.attn.qkv": LowRank(torch.ones_like(update.A) * 1e-4, query_only)}
    result, size = sized(idle, backbone)
    assert size.share <= MOST_SHARE * (1 + 1e-5)
    assert (size.share == pytest.approx(MOST_SHARE)) == bool(size.limit)
    assert _turn(backbone, result) < TURN * 1.04


def test_an_own_norm_is_not_exceeded(backbone: Backbone) -> None:
    result, size = sized(qv_updates(2), backbone, own=1e-3)
    assert math.sqrt(sum(u.squared_norm() for u in result.values())) == pytest.approx(1e-3)
    assert size.limit


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_that_makes_no_sense_is_refused(backbone: Backbone, scale: float) -> None:
    with refusal(VisionEdgeError, "scale"):
        sized(qv_updates(2), backbone, scale)


def test_zeros_have_no_size(backbone: Backbone) -> None:
    zero = {m: LowRank(u.A, torch.zeros_like(u.B)) for m, u in qv_updates().items()}
    with refusal(VisionEdgeError, "zeros"):
        sized(zero, backbone)
