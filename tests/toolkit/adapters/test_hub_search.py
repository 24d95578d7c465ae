import os
from pathlib import Path

import pytest
from support.toolkit import adapter_in, qv_updates, refusal

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.hub import adapter_paths, hub_notes, read_hub
from vision_edge.toolkit.adapters.hub_search import MAX_DEPTH, search_hub
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE
from vision_edge.toolkit.averaging.average import average_hub
from vision_edge.toolkit.backbones.backbone import Backbone


def _hub(folder: Path, backbone: Backbone, *names: str) -> Path:
    for seed, name in enumerate(names):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        adapter_in(place, backbone, qv_updates(seed=seed)) if not place.exists() else None
    return folder


def _found(hub: Path) -> list[str]:
    return [path.relative_to(hub).as_posix() for path in adapter_paths(hub)]


@pytest.mark.parametrize(
    ("names", "expected", "noted"),
    [
        (["a", "b"], ["a", "b"], []),
        (["a/checkpoint-100", "b", "c/task1"], ["a/checkpoint-100", "b", "c/task1"], []),
        (["r/default", "r/second"], ["r/default", "r/second"], []),
        (["r/checkpoint-9", "r/checkpoint-100"], ["r/checkpoint-100"], ["r/checkpoint-9"]),
        (["r/epoch_2", "r/epoch_10", "s"], ["r/epoch_10", "s"], ["r/epoch_2"]),
        (["checkpoint-1", "checkpoint-2"], ["checkpoint-2"], ["checkpoint-1"]),
        (
            ["r/checkpoint-1/default", "r/checkpoint-2/default"],
            ["r/checkpoint-2/default"],
            ["r/checkpoint-1"],
        ),
        (["a/b/c/d/e"], ["a/b/c/d/e"], []),
        (["r/checkpoint-best"], ["r/checkpoint-best"], []),
    ],
)
def test_adapters_are_found_however_deep(
    tmp_path: Path, backbone: Backbone, names: list[str], expected: list[str], noted: list[str]
) -> None:
    hub = _hub(tmp_path / "hub", backbone, *names)
    assert _found(hub) == expected
    assert [adapter.name for adapter in read_hub(hub, backbone)] == expected
    assert all(any(name in note for note in hub_notes(hub)) for name in noted)
    every = " ".join([*expected, *hub_notes(hub)])
    assert all(name in every or name.rpartition("/")[0] in every for name in names)


def test_a_run_s_own_adapter_counts_before_its_checkpoints(
    tmp_path: Path, backbone: Backbone
) -> None:
    adapter_in(tmp_path / "hub" / "run", backbone)
    for step in (100, 200):
        adapter_in(tmp_path / "hub" / "run" / f"checkpoint-{step}", backbone, qv_updates(seed=step))
    assert _found(tmp_path / "hub") == ["run"]
    (note,) = hub_notes(tmp_path / "hub")
    assert "checkpoint-100" in note
    assert "checkpoint-200" in note


def test_a_hub_that_is_an_adapter_itself_counts_beside_those_below(
    tmp_path: Path, backbone: Backbone
) -> None:
    hub = adapter_in(tmp_path / "hub", backbone)
    assert adapter_paths(hub) == [hub]
    adapter_in(hub / "second", backbone, qv_updates(seed=2))
    assert [adapter.name for adapter in read_hub(hub, backbone)] == ["hub", "second"]
    assert "the hub's folder holds an adapter itself" in hub_notes(hub)[0]


def test_which_checkpoint_is_meant_must_be_plain(tmp_path: Path, backbone: Backbone) -> None:
    hub = _hub(tmp_path / "hub", backbone, "r/checkpoint-1", "r/checkpoint-best", "s")
    with refusal(AdapterError, hub / "r", "r/checkpoint-1", "r/checkpoint-best"):
        adapter_paths(hub)


@pytest.mark.parametrize(
    "names", [("checkpoint-500", "epoch-3"), ("step_9", "epoch_1"), ("ckpt-1", "global_step2")]
)
def test_numbers_of_several_things_are_not_compared(
    tmp_path: Path, backbone: Backbone, names: tuple[str, ...]
) -> None:
    hub = _hub(tmp_path / "hub", backbone, *(f"r/{name}" for name in names))
    with refusal(AdapterError, hub / "r", *names):
        adapter_paths(hub)
    adapter_in(tmp_path / "hub2" / "r", backbone)
    for name in names:
        adapter_in(tmp_path / "hub2" / "r" / name, backbone, qv_updates(seed=7))
    assert _found(tmp_path / "hub2") == ["r"]


def test_numbers_of_one_thing_spelt_in_two_ways_are_compared(
    tmp_path: Path, backbone: Backbone
) -> None:
    _hub(tmp_path / "hub", backbone, "r/global_step2", "r/global-step10", "r/GlobalStep9")
    assert _found(tmp_path / "hub") == ["r/global-step10"]


@pytest.mark.parametrize("name", [CONFIG_FILE, MODEL_FILE, "deeper/layout.safetensors"])
def test_a_pipe_in_a_hub_is_not_waited_for(tmp_path: Path, backbone: Backbone, name: str) -> None:
    hub = _hub(tmp_path / "hub", backbone, "good", "piped")
    pipe = hub / "piped" / name
    pipe.parent.mkdir(exist_ok=True)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    left_out: list[str] = []
    read = read_hub(hub, backbone, on_bad=lambda bad, _: left_out.append(bad))
    kept = [adapter.name for adapter in read]
    assert kept == (["good", "piped"] if "deeper" in name else ["good"])
    assert left_out == ([] if "deeper" in name else ["piped"])
    if "deeper" not in name:
        with refusal(AdapterError, pipe):
            list(read_hub(hub, backbone))


def test_a_configuration_that_is_vast_is_refused_unread(tmp_path: Path, backbone: Backbone) -> None:
    hub = _hub(tmp_path / "hub", backbone, "a")
    with (hub / "a" / CONFIG_FILE).open("ab") as stream:
        stream.truncate(5 << 20)
    with refusal(AdapterError, CONFIG_FILE, "4 MiB"):
        list(read_hub(hub, backbone))


def test_a_link_to_the_last_checkpoint_is_no_other_result(
    tmp_path: Path, backbone: Backbone
) -> None:
    run = _hub(tmp_path / "run", backbone, "checkpoint-100", "checkpoint-200")
    (run / "checkpoint-latest").symlink_to("checkpoint-200")
    search = search_hub(run)
    assert [path.resolve().name for path in search.found] == ["checkpoint-200"]
    assert any("checkpoint-latest" in n or "the same folder" in n for n in search.notes)
    (run / "checkpoint-best").symlink_to("checkpoint-100")
    with refusal(AdapterError, run, "none is plainly its result", "checkpoint-best"):
        search_hub(run)


def test_links_are_followed_once(tmp_path: Path, backbone: Backbone) -> None:
    elsewhere = adapter_in(tmp_path / "elsewhere", backbone)
    hub = _hub(tmp_path / "hub", backbone, "a")
    (hub / "link").symlink_to(elsewhere, target_is_directory=True)
    (hub / "twice").symlink_to(elsewhere, target_is_directory=True)
    (hub / "round").symlink_to(hub, target_is_directory=True)
    (hub / "nowhere").symlink_to(tmp_path / "gone")
    assert _found(hub) == ["a", "link"]
    notes = " ".join(hub_notes(hub))
    assert "twice: the same folder as link" in notes
    assert "round: the same folder as the hub's own folder" in notes
    assert "nowhere: a link that leads nowhere" in notes


def test_what_holds_no_adapter_is_named(tmp_path: Path, backbone: Backbone) -> None:
    hub = _hub(tmp_path / "hub", backbone, "a")
    (hub / "notes").mkdir()
    (hub / "lora.pt").write_bytes(b"\x80\x02")
    (hub / "more.zip").write_bytes(b"PK")
    deep = hub.joinpath(*["d"] * (MAX_DEPTH + 1))
    deep.mkdir(parents=True)
    adapter_in(deep / "x", backbone)
    assert _found(hub) == ["a"]
    notes = " ".join(hub_notes(hub))
    assert all(f"{name}:" in notes for name in ("notes", "lora.pt", "more.zip"))
    assert "deeper than" in notes


def test_a_pickle_alone_is_found_and_refused_as_one(tmp_path: Path, backbone: Backbone) -> None:
    hub = _hub(tmp_path / "hub", backbone, "a")
    (hub / "b").mkdir()
    (hub / "b" / "adapter_model.bin").write_bytes(b"PK\x03\x04")
    assert _found(hub) == ["a", "b"]
    with refusal(AdapterError, hub / "b", "pickle", "weights_only=True"):
        list(read_hub(hub, backbone))


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, backbone: Backbone) -> None:
    hub = _hub(tmp_path / "hub", backbone, "a")
    (hub / "locked").mkdir(mode=0)
    if os.access(hub / "locked", os.R_OK):
        pytest.skip("this user may read everything")
    with refusal(AdapterError, hub / "locked", "Permission"):
        search_hub(hub)


def test_a_run_given_as_an_adapter_names_what_is_below(tmp_path: Path, backbone: Backbone) -> None:
    run = _hub(tmp_path / "run", backbone, "checkpoint-1", "checkpoint-2")
    with refusal(AdapterError, run, "checkpoint-1", "checkpoint-2"):
        read_adapter(run, backbone)


def test_the_average_counts_all_and_reports_what_was_passed_over(
    tmp_path: Path, backbone: Backbone
) -> None:
    hub = _hub(tmp_path / "hub", backbone, "a/checkpoint-1", "a/checkpoint-2", "b/default", "b/x")
    report = average_hub(hub, backbone).report
    assert [fact["name"] for fact in report["adapters"]] == ["a/checkpoint-2", "b/default", "b/x"]
    assert "a/checkpoint-1" in report["hub_notes"][0]
