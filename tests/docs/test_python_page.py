"""The page of Python runs as it stands: from the shipped hub to verdicts on pictures."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.paths import ROOT
from support.runtime import noisy, picture

pytest.importorskip("torch")
PAGE = ROOT / "docs/tutorial/python.md"
CODE = re.findall(
    r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.mark.slow
def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    products = {"bolt": picture(1, 240), "nut": picture(2, 240)}
    for label, image in products.items():
        cv2.imwrite(f"{label}.png", image)
        cv2.imwrite(f"frames/{label}.png", noisy(image, 7))
    cv2.imwrite("frames/stranger.png", np.asarray(picture(9, 240)))
    names: dict[str, object] = {}
    for block in CODE:
        exec(compile(block, str(PAGE), "exec"), names)
    told = capsys.readouterr().out
    assert "10 adapters" in told
    rows = [json.loads(row) for row in Path("verdicts.jsonl").read_text().splitlines()]
    assert [row["nearest"] for row in rows][:2] == ["bolt", "nut"]
    with Path("verdicts.csv").open(encoding="utf-8") as file:
        assert [row["nearest"] for row in csv.DictReader(file)][:2] == ["bolt", "nut"]
    assert (tmp_path / "meta" / "adapter_config.json").is_file()
    shutil.rmtree(tmp_path / "bundle")
