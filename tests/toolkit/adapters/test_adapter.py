import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from support.toolkit import (
    BLOCK_LINEARS,
    DIM,
    adapter_in,
    edit_config,
    edit_tensors,
    embedding_of,
    first_factor,
    merged_copy,
    qv_updates,
    random_head,
    random_low_rank,
    random_pixels,
    refusal,
    tiny_backbone,
    without_hash,
)

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import Adapter, check_fit, read_adapter
from vision_edge.toolkit.adapters.heads import Head
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE
from vision_edge.toolkit.backbones.backbone import Backbone

Damage = Callable[[Path], None]


def _all_kinds_of_updates() -> dict[str, LowRank]:
    return {
        f"blocks.{block}.{module}": random_low_rank(shape, rank, seed=10 * block + rank)
        for block in range(2)
        for rank, (module, shape) in enumerate(BLOCK_LINEARS.items(), start=1)
    }


def test_what_is_written_is_read_back(tmp_path: Path, backbone: Backbone) -> None:
    updates, head = _all_kinds_of_updates(), random_head(3)
    info = {"method": "tune", "classes": ["a", "b", "ç"], "settings": {"rank": 1}}
    folder = adapter_in(tmp_path / "mine", backbone, updates, head=head, info=info)
    adapter = read_adapter(folder, backbone)
    assert adapter.updates.keys() == updates.keys()
    for module, update in updates.items():
        torch.testing.assert_close(adapter.updates[module].product(), update.product())
    assert torch.equal(adapter.head.weight, head.weight)
    assert torch.equal(adapter.head.bias, head.bias)
    assert (adapter.name, adapter.base, adapter.method) == ("mine", "test_vit", "tune")
    assert adapter.classes == ("a", "b", "ç")
    assert adapter.backbone_sha256 == backbone.sha256
    assert adapter.sha256 == hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()
    assert adapter.info["settings"] == {"rank": 1}
    assert adapter.notes == ()


def test_a_head_without_bias_gets_a_zero_one_and_no_head_stays_none(
    tmp_path: Path, backbone: Backbone
) -> None:
    weight = random_head().weight
    with_head = adapter_in(tmp_path / "a", backbone, head=Head(weight))
    head = read_adapter(with_head, backbone).head
    assert torch.equal(head.weight, weight)
    assert torch.equal(head.bias, torch.zeros(5))
    assert read_adapter(adapter_in(tmp_path / "b", backbone), backbone).head is None


def test_half_precision_halves_the_file_and_reads_as_float32(
    tmp_path: Path, backbone: Backbone
) -> None:
    full = adapter_in(tmp_path / "full", backbone)
    half = adapter_in(tmp_path / "half", backbone, dtype=torch.float16)
    updates = read_adapter(half, backbone).updates
    for module, update in qv_updates().items():
        assert updates[module].A.dtype == updates[module].B.dtype == torch.float32
        assert torch.equal(updates[module].A, update.A.half().float())
        assert torch.equal(updates[module].B, update.B.half().float())
    tensors = [load_file(folder / MODEL_FILE) for folder in (full, half)]
    sizes = [sum(t.numel() * t.element_size() for t in file.values()) for file in tensors]
    assert sizes[1] * 2 == sizes[0]


def test_nothing_outside_the_folder_is_in_the_files(tmp_path: Path, backbone: Backbone) -> None:
    folder = adapter_in(tmp_path / "a", backbone, head=random_head())
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG_FILE, MODEL_FILE]
    contents = b"".join(path.read_bytes() for path in folder.iterdir())
    assert str(tmp_path).encode() not in contents


# --- fusing ----------------------------------------------------------------------------------


def _separate(
    folder: Path, parts: dict[str, LowRank], names: dict[str, str], **config: Any
) -> Path:
    """Write LoRAs on single projections, named as `names` says, as PEFT would."""
    folder.mkdir(parents=True)
    tensors = {}
    for part, update in parts.items():
        tensors[f"base_model.model.{names[part]}.lora_A.weight"] = update.A.clone()
        tensors[f"base_model.model.{names[part]}.lora_B.weight"] = update.B.clone()
    save_file(tensors, folder / MODEL_FILE)
    rank = next(iter(parts.values())).rank
    full = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, **config}
    (folder / CONFIG_FILE).write_text(json.dumps(full))
    return folder


HF = {"q": "query", "k": "key", "v": "value"}
OLD_NAMES = {part: f"vit.encoder.layer.1.attention.attention.{HF[part]}" for part in "qkv"}
NEW_NAMES = {part: f"layers.1.attention.{part}_proj" for part in "qkv"}
ROWS = {part: slice(index * DIM, (index + 1) * DIM) for index, part in enumerate("qkv")}


@settings(max_examples=25, deadline=None)
@given(
    parts=st.sets(st.sampled_from("qkv"), min_size=1),
    rank=st.integers(1, 6),
    seed=st.integers(0, 10**6),
)
def test_separate_loras_are_one_of_the_summed_rank_on_the_fused_layer(
    tmp_path_factory: pytest.TempPathFactory, parts: set[str], rank: int, seed: int
) -> None:
    loras = {p: random_low_rank((DIM, DIM), rank, seed + i) for i, p in enumerate(sorted(parts))}
    folder = _separate(tmp_path_factory.mktemp("qkv") / "a", loras, OLD_NAMES)
    (module, fused), *others = read_adapter(folder).updates.items()
    expected = torch.zeros(3 * DIM, DIM)
    for part, lora in loras.items():
        expected[ROWS[part]] = lora.product()
    assert (module, others) == ("blocks.1.attn.qkv", [])
    assert fused.rank == rank * len(parts)
    torch.testing.assert_close(fused.product(), expected, atol=1e-6, rtol=1e-5)


def test_projections_may_differ_in_rank_and_alpha(tmp_path: Path) -> None:
    loras = {"q": random_low_rank((DIM, DIM), 2, 1), "v": random_low_rank((DIM, DIM), 5, 2)}
    folder = _separate(
        tmp_path / "a", loras, NEW_NAMES,
        r=2, lora_alpha=6, rank_pattern={"v_proj": 5}, alpha_pattern={r"layers\.1\..*v_proj": 1},
    )  # fmt: skip
    fused = read_adapter(folder).updates["blocks.1.attn.qkv"].product()
    torch.testing.assert_close(fused[ROWS["q"]], 3.0 * loras["q"].product())
    torch.testing.assert_close(fused[ROWS["v"]], 0.2 * loras["v"].product())
    assert not fused[ROWS["k"]].any()


def test_rank_stabilised_scaling_divides_by_the_root_of_the_rank(tmp_path: Path) -> None:
    loras = {"q": random_low_rank((DIM, DIM), 4, 1)}
    folder = _separate(tmp_path / "a", loras, NEW_NAMES, lora_alpha=6, use_rslora=True)
    fused = read_adapter(folder).updates["blocks.1.attn.qkv"].product()
    torch.testing.assert_close(fused[ROWS["q"]], 3.0 * loras["q"].product())


def test_a_lora_on_a_head_is_left_out_with_a_note(tmp_path: Path) -> None:
    loras = {"q": random_low_rank((DIM, DIM), 2, 1), "head": random_low_rank((5, DIM), 2, 2)}
    names = {**NEW_NAMES, "head": "classifier"}
    adapter = read_adapter(_separate(tmp_path / "a", loras, names))
    assert set(adapter.updates) == {"blocks.1.attn.qkv"}
    assert adapter.head is None
    assert "classifier" in adapter.notes[0]


def test_two_loras_on_the_same_rows_are_refused(tmp_path: Path) -> None:
    update = random_low_rank((DIM, DIM), 2, 1)
    names = {"a": "vision.layers.1.attention.q_proj", "b": "other.layers.1.attention.q_proj"}
    folder = _separate(tmp_path / "a", {"a": update, "b": update}, names)
    with refusal(AdapterError, folder, "blocks.1.attn.qkv", "same rows"):
        read_adapter(folder)
    whole = random_low_rank((3 * DIM, DIM), 2, 1)
    names = {"a": "blocks.1.attn.qkv", "b": "layers.1.attention.q_proj"}
    folder = _separate(tmp_path / "b", {"a": whole, "b": update}, names)
    with refusal(AdapterError, folder, "blocks.1.attn.qkv", "same rows"):
        read_adapter(folder)


def test_a_lora_of_clip_s_text_model_is_never_put_on_the_vision_model(tmp_path: Path) -> None:
    update = random_low_rank((DIM, DIM), 2, 1)
    names = {
        "a": "vision_model.encoder.layers.1.self_attn.q_proj",
        "b": "text_model.encoder.layers.1.self_attn.q_proj",
    }
    folder = _separate(tmp_path / "a", {"a": update, "b": update}, names)
    with refusal(AdapterError, folder, "text_model.encoder.layers.1.self_attn.q_proj"):
        read_adapter(folder)


@pytest.mark.parametrize("shape", [(DIM - 1, DIM), (DIM, DIM - 1), (2 * DIM, DIM)])
def test_projections_of_different_shapes_are_refused(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    loras = {"q": random_low_rank((DIM, DIM), 2, 1), "v": random_low_rank(shape, 2, 2)}
    folder = _separate(tmp_path / "a", loras, NEW_NAMES)
    with refusal(AdapterError, folder, "blocks.1.attn.qkv", "do not go together"):
        read_adapter(folder)


# --- damage ----------------------------------------------------------------------------------


def _bytes(change: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / MODEL_FILE
        path.write_bytes(change(path.read_bytes()))

    return damage


def _config(**changes: Any) -> Damage:
    return lambda folder: edit_config(folder, **changes)


def _config_text(text: str) -> Damage:
    return lambda folder: (folder / CONFIG_FILE).write_text(text) and None


def _add(name: str, tensor: torch.Tensor) -> Damage:
    return lambda folder: edit_tensors(folder, {name: tensor})


def _first(factor: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Damage:
    def damage(folder: Path) -> None:
        name, tensor = first_factor(folder, factor)
        edit_tensors(folder, {name: change(tensor)})

    return damage


def _with_value(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        result = tensor.clone()
        result[1, 1] = value
        return result

    return change


def _metadata(text: str) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / MODEL_FILE
        save_file(load_file(path), path, metadata={"vision_edge": text})

    return damage


def _huge(folder: Path) -> None:
    """Finite factors whose product is not."""
    path = folder / MODEL_FILE
    save_file({name: tensor * 1e25 for name, tensor in load_file(path).items()}, path)


HEAD_BIAS = "base_model.model.head.bias"
QKV = "base_model.model.blocks.0.attn.qkv"
DAMAGES: dict[str, tuple[Damage, list[str]]] = {
    "truncated": (_bytes(lambda data: data[:-100]), [MODEL_FILE, "truncated"]),
    "header cut": (_bytes(lambda data: data[:64]), [MODEL_FILE, "truncated"]),
    "empty file": (_bytes(lambda _: b""), [MODEL_FILE, "corrupt"]),
    "corrupt header": (_bytes(lambda data: data[:8] + b"\xff" * 64 + data[72:]), [MODEL_FILE]),
    "no weights": (lambda folder: (folder / MODEL_FILE).unlink(), [MODEL_FILE, "no such file"]),
    "no config": (lambda folder: (folder / CONFIG_FILE).unlink(), [CONFIG_FILE, "No such file"]),
    "config not JSON": (_config_text('{"r": 4,'), [CONFIG_FILE, "JSON"]),
    "config not UTF-8": (
        lambda folder: (folder / CONFIG_FILE).write_bytes(b"\xff\xfe{}") and None,
        [CONFIG_FILE, "JSON"],
    ),
    "config too deep": (_config_text("[" * 100_000), [CONFIG_FILE, "JSON"]),
    "config a list": (_config_text("[1]"), [CONFIG_FILE]),
    "config empty": (_config_text("{}"), [CONFIG_FILE, "peft_type"]),
    "not LoRA": (_config(peft_type="IA3"), [CONFIG_FILE, "IA3"]),
    "DoRA": (_config(use_dora=True), [CONFIG_FILE, "DoRA"]),
    "QALoRA": (_config(use_qalora=True), [CONFIG_FILE, "QALoRA"]),
    "KaSA": (_config(kasa_config={"beta": 1e-4}), [CONFIG_FILE, "KaSA"]),
    "lora_bias": (_config(lora_bias=True), [CONFIG_FILE, "lora_bias"]),
    "layer replication": (_config(layer_replication=[[0, 2]]), [CONFIG_FILE, "replication"]),
    "trained biases": (_config(bias="all"), [CONFIG_FILE, "bias='all'"]),
    "PiSSA": (_config(init_lora_weights="pissa_niter_16"), [CONFIG_FILE, "pissa_niter_16"]),
    "OLoRA": (_config(init_lora_weights="olora"), [CONFIG_FILE, "olora"]),
    "LoftQ": (_config(init_lora_weights="loftq"), [CONFIG_FILE, "loftq"]),
    "rank not a number": (_config(r="four"), [CONFIG_FILE, "r: "]),
    "rank zero": (_config(r=0), [CONFIG_FILE, "r: "]),
    "pattern rank zero": (_config(rank_pattern={"qkv": 0}), [CONFIG_FILE, "rank_pattern"]),
    "pattern no regex": (_config(alpha_pattern={"(": 4}), [CONFIG_FILE, "alpha_pattern", "'('"]),
    "alpha NaN": (_config(lora_alpha=float("nan")), ["not finite"]),
    "rank by config": (_config(r=3), ["blocks.0.attn.qkv", "rank is 3"]),
    "rank by pattern": (_config(rank_pattern={"qkv": 2}), ["rank is 2", "(4, 64)"]),
    "no A": (_first("A", lambda _: None), ["blocks.0.attn.qkv", "lora_B"]),
    "no B": (_first("B", lambda _: None), ["blocks.0.attn.qkv", "lora_A"]),
    "A not a matrix": (_first("A", torch.flatten), ["blocks.0.attn.qkv", "matrices"]),
    "A and B disagree": (_first("B", lambda t: t[:, :-1].clone()), ["blocks.0.attn.qkv", "rank"]),
    "A too wide": (_first("A", lambda t: torch.zeros(len(t), DIM + 1)), ["(192, 65)", "(192, 64)"]),
    "B too short": (_first("B", lambda t: t[:-1].clone()), ["(191, 64)", "(192, 64)"]),
    "A NaN": (_first("A", _with_value(float("nan"))), ["NaN"]),
    "B infinite": (_first("B", _with_value(float("inf"))), ["infinity"]),
    "A integer": (_first("A", lambda t: t.to(torch.int8)), [MODEL_FILE, "int8"]),
    "A complex": (_first("A", lambda t: t.to(torch.complex64)), [MODEL_FILE, "complex64"]),
    "product infinite": (_huge, ["not finite"]),
    "head NaN": (
        _add("base_model.model.head.weight", torch.full((5, DIM), torch.nan)), ["NaN"],
    ),
    "head bias NaN": (_add(HEAD_BIAS, torch.full((5,), torch.nan)), ["NaN"]),
    "DoRA magnitude": (_add(f"{QKV}.lora_magnitude_vector.weight", torch.ones(192)), ["magnitude"]),
    "B bias": (_add(f"{QKV}.lora_B.bias", torch.ones(192)), ["lora_B.bias"]),
    "unknown tensor": (_add("base_model.model.norm.weight", torch.ones(DIM)), ["norm.weight"]),
    "convolution": (
        lambda folder: edit_tensors(
            folder,
            {
                "base_model.model.patch_embed.proj.lora_A.weight": torch.ones(4, 3, 16, 16),
                "base_model.model.patch_embed.proj.lora_B.weight": torch.ones(64, 4, 1, 1),
            },
        ),
        ["patch_embed.proj", "not a linear layer"],
    ),
    "deeper": (
        lambda folder: edit_tensors(
            folder,
            {
                "base_model.model.blocks.11.attn.qkv.lora_A.weight": torch.ones(4, DIM),
                "base_model.model.blocks.11.attn.qkv.lora_B.weight": torch.ones(192, 4),
            },
        ),
        ["block 11", "has 2"],
    ),
    "own metadata not JSON": (_metadata("{"), [MODEL_FILE, "JSON"]),
    "own metadata a list": (_metadata("[]"), [MODEL_FILE, "vision_edge"]),
    "own hash a number": (_metadata('{"backbone_sha256": 5}'), [MODEL_FILE, "vision_edge"]),
    "own classes a number": (_metadata('{"classes": 5}'), [MODEL_FILE, "vision_edge"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_or_unsupported_adapter_is_refused(
    tmp_path: Path, backbone: Backbone, kind: str
) -> None:
    folder = adapter_in(tmp_path / "broken", backbone, head=random_head())
    read_adapter(folder, backbone)
    damage, words = DAMAGES[kind]
    damage(folder)
    with refusal(AdapterError, folder, *words):
        read_adapter(folder, backbone)


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with refusal(AdapterError, tmp_path / "empty", CONFIG_FILE):
        read_adapter(tmp_path / "empty")
    with refusal(AdapterError, tmp_path / "absent"):
        read_adapter(tmp_path / "absent")


def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    folder = adapter_in(tmp_path / "a", backbone, head=random_head())
    names = [name for name in load_file(folder / MODEL_FILE) if ".lora_" in name]
    edit_tensors(folder, dict.fromkeys(names))
    with refusal(AdapterError, folder, "changes no layer"):
        read_adapter(folder, backbone)


# --- belonging to a backbone -----------------------------------------------------------------


def test_an_adapter_of_another_backbone_is_refused_by_its_hash(
    tmp_path: Path, backbone: Backbone
) -> None:
    other = tiny_backbone(seed=1)
    folder = adapter_in(tmp_path / "a", other)
    with refusal(AdapterError, folder, other.sha256[:12], backbone.sha256[:12]):
        read_adapter(folder, backbone)


@pytest.mark.parametrize(
    "base",
    [
        "google/vit-base-patch16-224-in21k",
        "vit_tiny_patch32_224",
        "openai/clip-vit-tiny-patch16",
    ],
)
def test_an_adapter_of_another_backbone_is_refused_by_its_name(tmp_path: Path, base: str) -> None:
    ours = tiny_backbone(name="vit_tiny_patch16_224")
    folder = without_hash(adapter_in(tmp_path / "a", ours))
    read_adapter(folder, ours)
    edit_config(folder, base_model_name_or_path=base)
    with refusal(AdapterError, folder, base, "vit_tiny_patch16_224"):
        read_adapter(folder, ours)


@pytest.mark.parametrize(
    "base", ["WinKawaks/vit-tiny-patch16-224", "vit_tiny_patch16_384", None, ""]
)
def test_a_name_that_says_the_same_or_none_is_accepted_with_a_note(
    tmp_path: Path, base: str | None
) -> None:
    ours = tiny_backbone(name="vit_tiny_patch16_224")
    folder = without_hash(adapter_in(tmp_path / "a", ours))
    edit_config(folder, base_model_name_or_path=base)
    adapter = read_adapter(folder, ours)
    assert adapter.backbone_sha256 is None
    assert "no backbone hash" in adapter.notes[0]


def test_the_hash_decides_over_the_name(tmp_path: Path) -> None:
    ours = tiny_backbone(name="vit_tiny_patch16_224")
    folder = adapter_in(tmp_path / "a", ours)
    edit_config(folder, base_model_name_or_path="google/vit-base-patch16-224")
    assert read_adapter(folder, ours).backbone_sha256 == ours.sha256


def test_an_adapter_of_another_backbone_is_refused_by_its_shapes(tmp_path: Path) -> None:
    folder = without_hash(adapter_in(tmp_path / "a", tiny_backbone()))
    wider = tiny_backbone(embed_dim=96)
    with refusal(AdapterError, folder, "(192, 64)", "(288, 96)"):
        read_adapter(folder, wider)


def test_an_update_of_a_layer_that_is_not_there_is_refused(backbone: Backbone) -> None:
    adapter = Adapter("a", {"blocks.0.attn.gate": random_low_rank((DIM, DIM), 1)})
    with refusal(AdapterError, "here", "blocks.0.attn.gate", "no such layer"):
        check_fit(adapter, backbone, "here")


def test_without_a_backbone_shapes_are_not_checked_and_with_one_it_embeds_differently(
    tmp_path: Path, backbone: Backbone
) -> None:
    updates = qv_updates()
    folder = adapter_in(tmp_path / "a", tiny_backbone(seed=3), updates)
    adapter = read_adapter(folder)
    pixels = random_pixels()
    plain = embedding_of(backbone.model, pixels)
    adapted = embedding_of(merged_copy(backbone, adapter.updates).model, pixels)
    assert (plain - adapted).abs().max() > 1e-2
    expected = embedding_of(merged_copy(backbone, updates).model, pixels)
    torch.testing.assert_close(adapted, expected)
