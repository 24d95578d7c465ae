import math

import pytest
from support.toolkit import refusal

from vision_edge.runtime.errors import VisionEdgeError
from vision_edge.toolkit.averaging.usable import check_weights, parse_weights, weight_for


def test_the_last_pattern_that_matches_decides() -> None:
    weights = parse_weights(["*=0", "grocery-*=2", "grocery-03=0.5"])
    found = [weight_for(name, weights) for name in ("mini-01", "grocery-01", "grocery-03")]
    assert found == [0.0, 2.0, 0.5]
    assert weight_for("anything", ()) == 1.0


def test_a_name_may_hold_an_equals_sign() -> None:
    assert parse_weights(["run=3/task-1=0.5"]) == (("run=3/task-1", 0.5),)


@pytest.mark.parametrize("text", ["grocery", "=2", "a=two", "a=-1", "a=nan", "a="])
def test_what_is_no_weight_is_refused(text: str) -> None:
    with refusal(VisionEdgeError, "weight"):
        parse_weights([text])


def test_weights_of_the_api_are_checked_too() -> None:
    with refusal(VisionEdgeError, "inf"):
        check_weights((("a", math.inf),))
