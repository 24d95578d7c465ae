"""The benchmark: honest processes, fair turns, figures that add up, and failures that are named."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from support.cli import refused_command
from support.runtime import invoke, make_bundle, python, weights

from vision_edge.bench import measure as measuring
from vision_edge.bench import process as processes
from vision_edge.bench.cases import (
    Case,
    Settings,
    TorchModel,
    cases_of,
    parse_batches,
    parse_frame,
    parse_providers,
)
from vision_edge.bench.chart import chart
from vision_edge.bench.cold_start import cold_start, medians
from vision_edge.bench.measure import Measured, Outcome, measure
from vision_edge.bench.process import CaseError, CaseProcess
from vision_edge.bench.report import row
from vision_edge.bench.worker import resident_mb
from vision_edge.runtime.errors import BundleError
from vision_edge.runtime.reports.numbers import brief

QUICK = ["--rounds", 2, "--seconds", 0.02, "--frame", "64x48", "--products", 3, "--threads", 1]
FAST = Settings(rounds=2, seconds=0.02, threads=1, frame=(64, 48), products=3)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command writes about two bundles, one provider that is there and one that is not."""
    folder = tmp_path_factory.mktemp("bench")
    first = make_bundle(folder / "first", name="first")
    other = make_bundle(folder / "other", name="other", matrix=weights(seed=5))
    result = invoke(
        "bench", first, other, "--provider", "cpu,nothing", "--batch", "4,1", *QUICK,
        "--cold-starts", 1, "--json", folder / "bench.json", "--plot", folder / "bench.svg",
    )  # fmt: skip
    assert result.exit_code == 1
    document: dict[str, Any] = json.loads((folder / "bench.json").read_text())
    return {**document, "output": result.output, "svg": (folder / "bench.svg").read_text()}


def test_every_case_that_can_run_is_timed(report: dict[str, Any]) -> None:
    cases = [(r["model"], r["provider"], r["batch"]) for r in report["results"]]
    assert cases == [
        (f"{name} fp32", "cpu", batch) for batch in (1, 4) for name in ("first", "other")
    ]
    for result in report["results"]:
        assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"]
        assert result["calls"] >= 2 * 3
        assert result["images_per_second"] > 0
        assert sum(result["share"].values()) == pytest.approx(1.0, abs=0.001)
        assert 0 < result["added_mb"] < result["peak_mb"]
        assert result["model_mb"] == pytest.approx(0.004, abs=0.003)


def test_ratios_are_to_the_first_case_of_the_same_batch(report: dict[str, Any]) -> None:
    ratios = [result["ratio"] for result in report["results"]]
    assert ratios[0] == ratios[2] == 1.0
    assert ratios[1] > 0


def test_models_that_differ_show_it(report: dict[str, Any]) -> None:
    cosines = [result["least_cosine"] for result in report["results"]]
    assert cosines[0] == pytest.approx(1.0)
    assert cosines[1] < 0.9


def test_what_cannot_run_is_named_with_its_reason(report: dict[str, Any]) -> None:
    failed = report["failed"]
    assert {(f["model"], f["provider"]) for f in failed} == {
        ("first fp32", "nothing"),
        ("other fp32", "nothing"),
    }
    assert all("unknown provider 'nothing'" in f["error"] for f in failed)
    assert "not timed: first fp32 on nothing" in report["output"]
    assert len(report["cold_start"]) == 2


def test_the_tables_hold_the_figures(report: dict[str, Any]) -> None:
    for title in ("The model alone", "Opening and memory", "From frame to verdict", "Cold start"):
        assert title in report["output"]
    assert f"{report['results'][0]['images_per_second']:.1f}" in report["output"]


def test_the_plot_is_whole(report: dict[str, Any]) -> None:
    root = ElementTree.fromstring(report["svg"])  # our own
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "first fp32, cpu" in words
    assert {"batch 1", "batch 4"} <= set(words)
    assert brief(report["results"][0]["p50_ms"]) in words
    places = [float(v) for v in re.findall(r' [xy][12]?="([\d.-]+)"', report["svg"])]
    assert min(places) >= 0
    assert max(places) <= 900


def test_a_cold_start_tells_each_step_and_they_add_up(bundle_path: Path) -> None:
    run = cold_start(bundle_path, "cpu", 1)
    assert not isinstance(run, str), run
    steps = [run[name] for name in ("start", "load", "register", "verdict")]
    assert min(steps) > 0
    assert sum(steps) == pytest.approx(run["total"])
    assert 0 < run["cpu"] < 60
    assert medians([run, {**run, "total": 9.0}])["worst"] == 9.0


def test_a_cold_start_that_fails_says_why(bundle_path: Path) -> None:
    told = cold_start(bundle_path, "nothing", None)
    assert isinstance(told, str)
    assert "unknown provider 'nothing'" in told


class Frozen:
    """A case's process that answers from a list; remembers who had his turn when."""

    turns: list[str] = []  # noqa: RUF012

    def __init__(self, case: Case) -> None:
        self.case = case

    def open(self, settings: Settings) -> dict[str, Any]:
        if self.case.provider == "broken":
            raise CaseError("no driver", fix="install it")
        return {"provider": self.case.provider, "open_s": 1.0, "first_ms": 5.0, "before_mb": 10.0}

    def embeddings(self) -> list[list[float]]:
        return [[1.0, 0.0]] if self.case.provider != "other" else [[1.0, 1.0]]

    def turn(self, seconds: float) -> dict[str, list[float]]:
        Frozen.turns.append(self.case.provider)
        if self.case.provider == "dies" and Frozen.turns.count("dies") == 2:
            raise CaseError("its process died", fix=None)
        embed = {"slow": [20.0, 20.0, 400.0]}.get(self.case.provider, [10.0, 10.0, 10.0])
        return {"prepare": [2.0] * 3, "embed": embed, "classify": [1.0] * 3, "cpu": [8.0] * 3}

    def peak_mb(self) -> float:
        return 35.0

    def close(self) -> None:
        pass


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> type[Frozen]:
    """Replace the processes of `measure`."""
    Frozen.turns = []
    monkeypatch.setattr(measuring, "CaseProcess", Frozen)
    return Frozen


def frozen_cases(*providers: str, batch: int = 2) -> list[Case]:
    return [Case("m", Path("b"), provider, batch) for provider in providers]


def run(cases: list[Case], rounds: int = 3) -> Outcome:
    return measure(cases, Settings(rounds=rounds), {"m": "fp32"}, lambda _: None)


def test_cases_take_turns_and_none_is_always_first(frozen: type[Frozen]) -> None:
    run(frozen_cases("a", "b", "c"))
    assert "".join(frozen.turns) == "abcbcacab"


def test_figures_are_those_of_the_calls(frozen: type[Frozen]) -> None:
    outcome = run(frozen_cases("a", "slow"))
    first, slow = outcome.measured
    figures = row(slow, first)
    assert (figures["p50_ms"], figures["ratio"]) == (20.0, 2.0)  # the outlier moves neither
    assert (figures["p99_ms"], figures["cpu_ms"]) == (400.0, 8.0)
    assert figures["images_per_second"] == pytest.approx(1000 * 2 * 3 / 440, abs=0.01)
    assert figures["per_image_ms"] == {"prepare": 1.0, "embed": 10.0, "classify": 0.5}
    assert figures["share"]["embed"] == pytest.approx(10 / 11.5, abs=1e-4)
    assert (figures["peak_mb"], figures["added_mb"]) == (35.0, 25.0)


def test_who_fails_leaves_and_the_others_go_on(frozen: type[Frozen]) -> None:
    outcome = run(frozen_cases("broken", "a", "dies"))
    assert [m.case.provider for m in outcome.measured] == ["a"]
    assert [(f.case.provider, f.what) for f in outcome.failed] == [
        ("broken", "no driver"),
        ("dies", "its process died"),
    ]
    assert len(outcome.measured[0].turns) == 3


def test_a_pytorch_model_that_is_another_one_is_refused_before_any_turn(
    frozen: type[Frozen],
) -> None:
    cases = [*frozen_cases("other"), Case("PyTorch fp32", Path("b"), "torch", 2, TorchModel())]
    with pytest.raises(BundleError, match="PyTorch's model is another one"):
        run(cases)
    assert frozen.turns == []


def test_a_process_that_dies_is_told_with_its_last_words(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os, sys; sys.stdin.readline(); print('no CUDA', file=sys.stderr, flush=True); "
    monkeypatch.setattr(processes, "_MAIN", code + "os.kill(os.getpid(), 11)")
    process = CaseProcess(Case("m", bundle_path, "cpu", 1))
    try:
        with pytest.raises(CaseError, match=r"its process died \(signal 11\): no CUDA"):
            process.open(FAST)
    finally:
        process.close()


def test_a_process_that_hangs_is_given_up(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_MAIN", "import time; time.sleep(60)")
    monkeypatch.setattr(processes, "OPEN_SECONDS", 0.3)
    process = CaseProcess(Case("m", bundle_path, "cpu", 1))
    started = time.monotonic()
    with pytest.raises(CaseError, match=r"no answer within 0\.3 s"):
        process.open(FAST)
    process.close()
    assert time.monotonic() - started < 20


def test_what_a_library_prints_is_no_answer(bundle_path: Path) -> None:
    code = (
        "import json, os, sys; from vision_edge.bench import worker; "
        "worker.open_case = lambda r: (print('banner'), os.write(1, b'x') and (None, {'a': 1}))[1];"
        " worker.main()"
    )
    done = python(code, input='{"do": "open"}\n')
    assert done.stdout == '{"a": 1}\n'


def test_the_peak_is_of_this_process_alone() -> None:
    hog = np.ones(40_000_000 // 8)
    code = (
        "from vision_edge.bench.worker import resident_mb as r; import numpy as np; "
        "a = r('VmHWM'); b = np.ones(80_000_000 // 8); print(a, r('VmHWM') - a)"
    )
    before, grown = map(float, python(code).stdout.split())
    assert resident_mb("VmRSS") > 40 or hog.size == 0
    assert 10 < before < 200
    assert 70 < grown < 95


def test_a_missing_toolkit_names_its_extra(bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None\n")
    done = python(
        "from vision_edge.cli.app import main; main()",
        "bench", bundle_path, "--against", "torch",
        env={"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip
    assert done.returncode == 1
    assert 'pip install "vision-edge[server]"' in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "1,x"], "--batch '1,x'"),
        (["--batch", "0"], "whole numbers"),
        (["--batch", "1,1"], "different"),
        (["--provider", "cpu,,"], "different names"),
        (["--frame", "1280"], "WIDTHxHEIGHT"),
        (["--frame", "1280x1"], "16 to 16384"),
        (["--plot", "x.png"], "a chart is an .svg"),
        (["--against", "jax"], "known is torch"),
        (["--adapter", "meta"], "belongs to --against torch"),
        (["nowhere"], "manifest.json cannot be read"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(arguments: list[str], message: str) -> None:
    assert message in str(refused_command("bench", *arguments))


def test_lists_are_parsed() -> None:
    assert parse_batches("8, 1,64") == [1, 8, 64]
    assert parse_providers("cpu, openvino") == ["cpu", "openvino"]
    assert parse_frame("1920X1080") == (1920, 1080)
    torch = TorchModel()
    cases = cases_of([("a", Path("a")), ("b", Path("b"))], ["cpu"], [1, 8], torch)
    assert [(c.label, c.batch) for c in cases] == [
        ("a", 1), ("b", 1), ("PyTorch fp32", 1), ("a", 8), ("b", 8), ("PyTorch fp32", 8),
    ]  # fmt: skip


def test_many_series_stay_on_the_page() -> None:
    opened = {"provider": "cpu", "open_s": 0.1, "first_ms": 1.0, "before_mb": 1.0}
    turns = [{"prepare": [1.0], "embed": [5.0], "classify": [0.1], "cpu": [4.0]}]
    measured = [
        Measured(Case(f"m{k}", Path(f"b{k}"), "cpu", batch), opened, turns)
        for batch in (1, 8, 64)
        for k in range(9)
    ]
    drawing = chart([row(m, None) for m in measured], "many")
    shapes = list(ElementTree.fromstring(drawing.__html__()))
    dots = [s for s in shapes if s.tag == "circle"]
    assert len(dots) == 3 * 9
    assert all(0 <= float(s.get("cx", -1)) <= 900 for s in dots)
    assert all(0 <= float(s.get("cy", -1)) <= drawing.height for s in dots)
