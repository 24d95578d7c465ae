from typing import Any

import pytest

from vision_edge.toolkit.averaging.counsel import below_plain, counsel, warnings


def _report(ways: list[int | None], **changes: Any) -> dict[str, Any]:
    facts = [
        {"name": f"a{i}", "way": way, "rank": 4, "outlier": False} for i, way in enumerate(ways)
    ]
    size = {"turn": 0.05, "share": 0.06, "scale": 1.0, "limit": ""}
    groups = [{"adapters": [fact["name"] for fact in facts], "classes": []}]
    return {"adapters": facts, "size": size, "agreement": 0.1, "groups": groups, **changes}


def test_an_ordinary_hub_is_not_warned_of() -> None:
    assert warnings(_report([20] * 3)) == []
    (said,) = counsel(_report([20] * 3))
    assert "0.050" in said
    assert "6.0 %" in said


def test_too_large_too_few_and_untried_are_warned_of() -> None:
    large = {"turn": 0.2, "share": 0.12, "scale": 2.0, "limit": ""}
    assert any("--scale" in text for text in warnings(_report([20] * 3, size=large)))
    noise = {"turn": 0.05, "share": 0.29, "scale": 1.0, "limit": ""}
    assert any("29 %" in text for text in warnings(_report([20] * 3, size=noise)))
    assert any("2 classes" in text for text in warnings(_report([2])))
    assert any("as few as 4 classes" in text for text in warnings(_report([2, None])))
    assert warnings(_report([None] * 5)) == [], "five of unknown width know ten classes or more"
    report = _report([20])
    report["adapters"][0]["rank"] = 128
    assert any("128" in text for text in warnings(report))


def test_narrow_adapters_disagreement_and_outliers_are_told() -> None:
    assert any("--way 20" in text for text in counsel(_report([5] * 24)))
    assert any("hardly agree" in text for text in counsel(_report([20] * 3, agreement=0.001)))
    report = _report([20] * 5)
    report["adapters"][3]["outlier"] = True
    assert any("a3" in text for text in counsel(report))


def test_domains_are_named_with_what_they_know() -> None:
    groups = [
        {"adapters": ["g0", "g1"], "classes": ["apple", "leek"]},
        {"adapters": ["m0", "m1"], "classes": []},
        {"adapters": ["lonely"], "classes": []},
    ]
    (said,) = [t for t in counsel(_report([20] * 5, groups=groups)) if "domains" in t]
    assert "2 domains" in said
    assert "apple" in said
    assert "lonely" not in said
    assert any("too large" in text for text in counsel(_report([20], groups=None)))


@pytest.mark.parametrize(("accuracy", "loud"), [(85.0, True), (86.4, False), (90.0, False)])
def test_below_plain_is_said_beyond_the_interval(accuracy: float, loud: bool) -> None:
    results = [
        {"name": "plain", "accuracy": 87.0, "ci95": 0.6},
        {"name": "average", "accuracy": accuracy, "ci95": 0.7},
    ]
    said = below_plain({"data": "steel/test", "results": results}, "average")
    assert (said is not None) == loud
    if said:
        assert "2.0 points BELOW" in said
