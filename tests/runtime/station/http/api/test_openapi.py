"""The OpenAPI document is true: schemathesis sends what it allows, and checks what comes back."""

from __future__ import annotations

from typing import Any

import pytest
from support.station import API, Served

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 3


def test_every_route_has_examples_and_documented_errors(shared: Served) -> None:
    document = shared.get("/openapi.json").json()
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) >= 30
    for path, method, operation in operations:
        assert operation["summary"] and operation["description"], path
        errors = [status for status in operation["responses"] if status >= "400"]
        assert {"421", "429"} <= set(errors), path
        if path.startswith(API):
            assert {"401", "403"} <= set(errors), path
        if method == "post":
            assert "409" in errors or "422" in errors, path
    schemas = document["components"]["schemas"]
    for name in ("Status", "Verdict", "RegisterAsked", "LoginAsked", "ReviewItem"):
        shown = [p for p in schemas[name]["properties"].values() if "examples" in p]
        assert shown, name


def test_schemathesis_finds_nothing(shared: Served) -> None:
    from hypothesis import HealthCheck, Phase, given, settings

    schema = schemathesis.openapi.from_url(f"{shared.url}{API}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    headers = {"X-CSRF-Token": shared.client.headers["X-CSRF-Token"]}
    excluded = _not_of_this_station()
    few = settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    for operation in operations:
        if operation.path.endswith(("/stream", "/preview.mjpeg")):
            continue  # they never end

        def check(case: Any) -> None:
            case.call_and_validate(headers=headers, excluded_checks=excluded)

        few(given(case=operation.as_strategy())(check))()
    assert len(operations) >= 30


def _not_of_this_station() -> list[object]:
    """Return checks that do not hold by design.

    Without users nobody must log in; and no schema says which bytes are a picture, or which letters
    no label may hold.
    """
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    return [CHECKS.get_one(name) for name in ("ignored_auth", "positive_data_acceptance")]
