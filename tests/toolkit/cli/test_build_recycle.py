"""`vision-edge build --method recycle` from end to end, on a tiny backbone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from support.cli import refused_command, run_command, run_process
from support.toolkit import class_folders, edit_tensors, first_factor, hub_in, leftovers

from vision_edge.cli.declarations import OptionError
from vision_edge.export.model.pruning import Pruning
from vision_edge.runtime.errors import AdapterError, BackboneError, DataError, VisionEdgeError
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.recycle.presets import PRESETS

FEW = ("--method", "recycle", "--per-class", 6, "--iterations", 4, "--meta-steps", 4)
FEW = (*FEW, "--prune", "1:0.5", "--rank", 8, "--device", "cpu")


@pytest.fixture(scope="module")
def hub(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hub_in(tmp_path_factory.mktemp("cli-recycle") / "hub", backbone, 4)


@pytest.fixture(scope="module")
def test_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("cli-recycle") / "images", classes=6, count=16)


@pytest.fixture(scope="module")
def built(
    hub: Path, weights_file: Path, test_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A recycled meta-LoRA; only to be read."""
    out = tmp_path_factory.mktemp("cli-recycle") / "meta"
    output = run_command(
        "build", hub, "--weights", weights_file, "--out", out, "--test", test_data, *FEW
    )
    assert "recycled 4 adapters" in output
    assert str(out / "report.html") in output
    return out


def test_it_writes_an_adapter_with_its_report(built: Path, backbone: Backbone) -> None:
    adapter = read_adapter(built, backbone)
    assert adapter.method == "recycle"
    assert adapter.info["settings"]["start"] == "subspace"
    assert set(adapter.updates) == {"blocks.0.attn.qkv", "blocks.1.attn.qkv"}
    names = {path.name for path in built.iterdir()}
    assert names == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "report.json",
        "report.html",
        "pool.png",
    }
    assert not leftovers(built.parent)


def test_the_report_compares_with_the_baselines(built: Path) -> None:
    report = json.loads((built / "report.json").read_text())
    synthetic, real = report["evaluations"]
    assert synthetic["data"] == "synthetic tasks held out"
    assert (real["data"], real["way"]) == ("images", 5)
    for table in (synthetic, real):
        assert [row["name"] for row in table["results"]] == [
            "test_vit",
            "LoRAs Avg (factors)",
            "average of products",
            "subspace average",
            "recycled",
        ]
        assert all(0 <= row["accuracy"] <= 100 for row in table["results"])
    assert {fact["name"] for fact in report["adapters"]} == {"a0", "a1", "a2", "a3"}
    assert [row["step"] for row in report["curves"]][-1] == 4
    assert set(report["stages"]) == {"average", "invert", "meta-learn"}


def test_the_contact_sheet_and_the_page_show_the_pool(built: Path) -> None:
    sheet = cv2.imread(str(built / "pool.png"))
    assert sheet is not None
    assert sheet.std() > 10
    page = (built / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 1
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_others_read_it(built: Path, weights_file: Path, tmp_path: Path, test_data: Path) -> None:
    run_command("export", "--weights", weights_file, "--adapter", built, "--out", tmp_path / "b")
    output = run_command(
        "evaluate", test_data, "--weights", weights_file, "--adapter", built,
        "--way", 3, "--query", 5, "--episodes", 5, "--device", "cpu",
    )  # fmt: skip
    assert "meta" in output


def test_it_is_the_same_again(
    built: Path, hub: Path, weights_file: Path, backbone: Backbone, tmp_path: Path
) -> None:
    run_command("build", hub, "--weights", weights_file, "--out", tmp_path / "meta", *FEW)
    assert read_adapter(tmp_path / "meta", backbone).sha256 == read_adapter(built, backbone).sha256


def test_killed_it_is_resumed(
    built: Path, hub: Path, weights_file: Path, backbone: Backbone, tmp_path: Path
) -> None:
    arguments = ["build", hub, "--weights", weights_file, "--out", tmp_path / "meta", *FEW]
    arguments += ["--batch", 12]  # one adapter after another
    entry = Path(sys.executable).with_name("vision-edge")
    process = subprocess.Popen(
        [entry, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    pool = tmp_path / "meta.work" / "pool"
    deadline = time.monotonic() + 60
    while not list(pool.glob("a*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(pool.glob("a*.safetensors"))
    run_command(*arguments)
    assert read_adapter(tmp_path / "meta", backbone).sha256 == read_adapter(built, backbone).sha256


def test_without_a_prior_it_warns(hub: Path, weights_file: Path, tmp_path: Path) -> None:
    output = run_command(
        "build", hub, "--weights", weights_file, "--out", tmp_path / "m", *FEW, "--prior", "none"
    )
    assert "total variation" in output


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            ("--prior", "vit_tiny_patch16_224", "--prior-weights", "{weights}"),
            BackboneError,
            "BatchNorm",
        ),
        (("--prior", "resnet5"), BackboneError, "'resnet5'"),
        (("--prune", "6:0.5"), VisionEdgeError, "2 blocks"),
        (("--prune", "x"), VisionEdgeError, "'x'"),
        (("--sparsity", "1.5"), VisionEdgeError, "--sparsity 1.5"),
        (("--start", "middle"), VisionEdgeError, "--start middle"),
        (("--scale", "-1"), VisionEdgeError, "--scale -1"),
        (("--per-class", "1"), VisionEdgeError, "--per-class 1"),
        (("--test", "{out}"), DataError, "no such folder"),
        (("--init", "{out}"), DataError, "no such folder"),
    ],
)
def test_mistakes_are_explained(
    hub: Path,
    weights_file: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    error: type[VisionEdgeError],
    words: str,
) -> None:
    chosen = [o.format(weights=weights_file, out=tmp_path / "nowhere") for o in options]
    got = refused_command(
        "build", hub, "--weights", weights_file, "--out", tmp_path / "m", *FEW, *chosen
    )
    assert isinstance(got, error)
    assert words in str(got)
    assert not (tmp_path / "m").exists()


def test_a_pool_that_is_none_is_refused(hub: Path, weights_file: Path, tmp_path: Path) -> None:
    words = ("--method", "recycle", "--pool", tmp_path / "nowhere")
    out = ("--out", tmp_path / "m")
    got = refused_command("build", hub, "--weights", weights_file, *out, *words)
    assert isinstance(got, DataError)
    assert "no pool" in str(got)


def test_a_value_out_of_range_fails_before_any_work(
    hub: Path, weights_file: Path, tmp_path: Path
) -> None:
    given = ("build", hub, "--weights", weights_file, "--out", tmp_path / "m", *FEW)
    refused_command(*given, "--per-class", "1")
    assert not (tmp_path / "m.work").exists()


def test_the_preset_s_pruning_is_fitted_to_a_small_backbone(
    hub: Path, weights_file: Path, tmp_path: Path
) -> None:
    few = [word for word in FEW if word not in ("--prune", "1:0.5")]
    given = ("build", hub, "--weights", weights_file, "--out", tmp_path / "m")
    said = " ".join(run_command(*given, *few).split())
    assert "the preset's --prune is 3:0.5,6:0.5, the backbone has 2 blocks" in said
    assert "patches are not pruned" in said


def test_options_of_recycle_do_not_pass_an_average(
    hub: Path, weights_file: Path, tmp_path: Path
) -> None:
    recycling = ("--meta-steps", 100, "--preset", "cpu", "--prior", "none", "--sparsity", 7)
    given = ("build", hub, "--weights", weights_file, "--out", tmp_path / "m")
    got = refused_command(*given, "--method", "average", *recycling)
    assert isinstance(got, OptionError)
    assert "belongs to --method recycle" in str(got)
    assert not (tmp_path / "m").exists()


def test_an_adapter_that_diverges_is_named(
    weights_file: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_in(tmp_path / "hub", backbone, 2)
    name, values = first_factor(hub / "a1")
    edit_tensors(hub / "a1", {name: values * float("nan")})
    got = refused_command("build", hub, "--weights", weights_file, "--out", tmp_path / "m", *FEW)
    assert isinstance(got, AdapterError)
    assert "a1" in str(got)


def test_a_mistake_shows_no_traceback(hub: Path, weights_file: Path, tmp_path: Path) -> None:
    arguments = ("--weights", weights_file, "--out", tmp_path / "m", *FEW, "--prior", "resnet5")
    done = run_process("build", hub, *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "fix:" in done.stderr


def test_two_processes_share_the_work(
    built: Path, hub: Path, weights_file: Path, backbone: Backbone, tmp_path: Path
) -> None:
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    entry = Path(sys.executable).with_name("vision-edge")
    arguments = ["build", hub, "--weights", weights_file, "--out", tmp_path / "meta", *FEW]
    done = subprocess.run(
        [*line, "--no-python", entry, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("recycled 4 adapters") == 1
    alone, shared = (read_adapter(path, backbone) for path in (built, tmp_path / "meta"))
    for name, update in alone.updates.items():
        difference = (update.product() - shared.updates[name].product()).norm()
        assert difference < 1e-4 * update.product().norm()


def test_presets_are_complete() -> None:
    assert set(PRESETS) == {"gpu", "cpu"}
    for amount in PRESETS.values():
        Pruning.parse(amount.prune).check(12)
        assert amount.query < amount.per_class


def test_pictures_that_are_passed_over_are_named_before_any_work(
    hub: Path, weights_file: Path, tmp_path: Path
) -> None:
    """`--init` and `--test` alike: what is there by another kind, and what cannot be read."""
    images = class_folders(tmp_path / "images", classes=5, count=18)
    (images / "k00" / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (images / "k01" / "17.png").write_bytes(b"")
    given = ("build", hub, "--weights", weights_file, "--out")
    few = (*FEW[:2], "--prior", "none", "--per-class", 2, "--iterations", 1, "--meta-steps", 1)
    few = (*few, "--prune", "1:0.5", "--rank", 2, "--device", "cpu")
    for name, extra in {"init": (*few, "--init", images), "test": ("--test", images)}.items():
        said = run_command(*given, tmp_path / name, *extra)
        assert "1 HEIC (k00/a.HEIC), 1 empty file (k01/17.png)" in said, name
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_bytes(b"")
    error = refused_command(*given, tmp_path / "x", *few, "--init", tmp_path / "none")
    assert isinstance(error, DataError)
    assert "no image can be read" in str(error)
