"""Forged bundles and archives, consistent in themselves, are refused before they are parsed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

pytest.importorskip("cryptography")


def test_no_forgery_is_taken_and_sound_ones_are(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark = importlib.import_module("provenance")
    try:
        found = benchmark.attack(tmp_path, bundle_path, 2 * 26)
    finally:
        for name in ("provenance", "measured"):
            sys.modules.pop(name, None)
    assert set(found.forged) == {
        f"{kind}: {way}" for kind, ways in benchmark.WAYS.items() for way in ways
    }
    assert found.taken == []
    assert found.parsed == []
    assert found.consistent > 0.9 * 52, "a hash alone would have taken nearly all of them"
    assert found.sound == 3
