import math
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.toolkit import (
    BLOCK_LINEARS,
    DIM,
    adapter_in,
    edit_tensors,
    embedding_of,
    first_factor,
    hub_in,
    merged_copy,
    qv_updates,
    random_low_rank,
    random_pixels,
    refusal,
    tiny_backbone,
)

from vision_edge.export.model.merge import LowRank
from vision_edge.runtime.errors import AdapterError, VisionEdgeError
from vision_edge.toolkit.adapters import hub
from vision_edge.toolkit.adapters.adapter import Adapter, read_adapter
from vision_edge.toolkit.adapters.projections import projections
from vision_edge.toolkit.averaging.average import AverageSettings, average_hub
from vision_edge.toolkit.backbones.backbone import Backbone

EXACT = AverageSettings(rank=64, ridge=None)


def test_projections_cut_query_key_and_value_apart() -> None:
    updates = {
        **qv_updates(rank=3),
        "blocks.0.mlp.fc1": random_low_rank(BLOCK_LINEARS["mlp.fc1"], 2, 7),
    }
    parts = dict(projections(updates))
    assert {name: part.rank for name, part in parts.items()} == {
        "blocks.0.attn.qkv:q": 3,
        "blocks.0.attn.qkv:v": 3,
        "blocks.1.attn.qkv:q": 3,
        "blocks.1.attn.qkv:v": 3,
        "blocks.0.mlp.fc1": 2,
    }
    for module in ("blocks.0.attn.qkv", "blocks.1.attn.qkv"):
        q, k, v = updates[module].product().chunk(3)
        torch.testing.assert_close(parts[f"{module}:q"].product(), q)
        torch.testing.assert_close(parts[f"{module}:v"].product(), v)
        assert not k.any()


# --- the average against a naive one ---------------------------------------------------------


def _mixed_hub(folder: Path, backbone: Backbone) -> Path:
    """Adapters of different ranks on different layers, separate and fused."""
    fused = random_low_rank(BLOCK_LINEARS["attn.qkv"], 3, 100)
    adapters = [
        qv_updates(rank=2, seed=1),
        {**qv_updates(rank=5, seed=2), "blocks.0.mlp.fc2": random_low_rank((DIM, 3 * DIM), 4, 8)},
        {"blocks.1.attn.qkv": fused, "blocks.1.attn.proj": random_low_rank((DIM, DIM), 1, 9)},
        {"blocks.0.mlp.fc2": random_low_rank((DIM, 3 * DIM), 2, 10)},
    ]
    for index, updates in enumerate(adapters):
        adapter_in(folder / f"a{index}", backbone, updates)
    return folder


def _thirds(module: str, product: np.ndarray) -> dict[str, np.ndarray]:
    parts = zip("qkv", np.split(product, 3), strict=True)
    return {f"{module}:{part}": matrix for part, matrix in parts}


def _naive(paths: list[Path]) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    """Return the mean matrix of each projection in float64, and each adapter's own matrices."""
    each: list[dict[str, np.ndarray]] = []
    for path in paths:
        matrices = {}
        for module, update in read_adapter(path).updates.items():
            product = update.B.double().numpy() @ update.A.double().numpy()
            if module.endswith("qkv"):
                matrices |= _thirds(module, product)
            else:
                matrices[module] = product
        each.append({name: matrix for name, matrix in matrices.items() if matrix.any()})
    names = sorted({name for matrices in each for name in matrices})
    mean = {name: sum(m[name] for m in each if name in m) / len(each) for name in names}
    return mean, each


def _cosine(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> float:
    inner = sum((left[name] * right[name]).sum() for name in left.keys() & right.keys())
    lengths = [math.sqrt(sum((m**2).sum() for m in side.values())) for side in (left, right)]
    return inner / math.prod(lengths)


def _by_projection(updates: dict[str, LowRank]) -> dict[str, np.ndarray]:
    result = {}
    for module, update in updates.items():
        product = update.product().double().numpy()
        if module.endswith("qkv"):
            result |= _thirds(module, product)
        else:
            result[module] = product
    return result


def _factor(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    """Return the one number by which everything wanted is multiplied."""
    inner = sum((got[name] * wanted[name]).sum() for name in wanted)
    return float(inner / sum(float((m**2).sum()) for m in wanted.values()))


@pytest.mark.parametrize("rank", [64, 7, 2, 1])
def test_the_plain_mean_is_that_of_products_cut_by_svd(
    tmp_path: Path, backbone: Backbone, rank: int
) -> None:
    folder = _mixed_hub(tmp_path / "hub", backbone)
    result = average_hub(folder, backbone, AverageSettings(rank, ridge=None))
    mean, _ = _naive(sorted(folder.iterdir()))
    wanted = {}
    for name, matrix in mean.items():
        U, S, Vh = np.linalg.svd(matrix, full_matrices=False)
        cut = (U[:, :rank] * S[:rank]) @ Vh[:rank]
        wanted[name] = cut * np.linalg.norm(matrix) / np.linalg.norm(cut)  # keeps its share
        energy = (S[:rank] ** 2).sum() / (S**2).sum()
        facts = result.report["modules"][name]
        assert facts["energy_kept"] == pytest.approx(energy, abs=1e-5)
        assert facts["rank"] <= rank
    got = _by_projection(result.updates)
    factor = _factor(got, wanted)
    for name, matrix in wanted.items():
        np.testing.assert_allclose(got[name], factor * matrix, atol=2e-5)
    assert result.report["modules"].keys() == mean.keys()
    assert all(not matrix.any() for name, matrix in got.items() if name not in mean)


def test_scale_multiplies_whatever_the_direction(tmp_path: Path, backbone: Backbone) -> None:
    folder = _mixed_hub(tmp_path / "hub", backbone)
    for ridge in (None, 0.5):
        one, half = (
            average_hub(folder, backbone, AverageSettings(scale=s, ridge=ridge)).updates
            for s in (1.0, 0.5)
        )
        for name, whole in one.items():
            torch.testing.assert_close(half[name].product(), 0.5 * whole.product())


def test_the_size_does_not_follow_the_adapters_sizes(tmp_path: Path, backbone: Backbone) -> None:
    updates = [qv_updates(2, seed) for seed in (1, 2, 3)]
    for index, update in enumerate(updates):
        adapter_in(tmp_path / "one" / f"a{index}", backbone, update)
        larger = {m: LowRank(u.A, 5 * u.B) for m, u in update.items()}
        adapter_in(tmp_path / "five" / f"a{index}", backbone, larger)
    one, five = (average_hub(tmp_path / name, backbone) for name in ("one", "five"))
    for name, update in one.updates.items():
        difference = (five.updates[name].product() - update.product()).norm()
        assert difference < 0.04 * update.product().norm()


def test_the_total_energy_kept_is_that_of_all_projections(
    tmp_path: Path, backbone: Backbone
) -> None:
    folder = _mixed_hub(tmp_path / "hub", backbone)
    report = average_hub(folder, backbone, AverageSettings(rank=2, ridge=None)).report
    mean, _ = _naive(sorted(folder.iterdir()))
    spectra = [np.linalg.svd(matrix, compute_uv=False) ** 2 for matrix in mean.values()]
    expected = sum(s[:2].sum() for s in spectra) / sum(s.sum() for s in spectra)
    assert report["energy_kept"] == pytest.approx(expected, abs=1e-5)
    assert 0.1 < expected < 0.99


def test_cosines_and_norms_are_those_of_the_dense_updates(
    tmp_path: Path, backbone: Backbone
) -> None:
    folder = _mixed_hub(tmp_path / "hub", backbone)
    report = average_hub(folder, backbone).report
    mean, each = _naive(sorted(folder.iterdir()))
    count = len(each)
    for fact, own in zip(report["adapters"], each, strict=True):
        total = {name: matrix * count for name, matrix in mean.items()}
        rest = {name: m - own.get(name, 0.0) for name, m in total.items()}
        norm = math.sqrt(sum((m**2).sum() for m in own.values()))
        assert fact["norm"] == pytest.approx(norm, rel=1e-5)
        assert fact["cosine_to_mean"] == pytest.approx(_cosine(own, mean), abs=1e-5)
        assert fact["cosine_to_rest"] == pytest.approx(_cosine(own, rest), abs=1e-5)
    norm = math.sqrt(sum((m**2).sum() for m in mean.values()))
    assert report["mean_norm"] == pytest.approx(norm, rel=1e-5)


def test_the_order_and_the_basis_of_the_adapters_do_not_matter(
    tmp_path: Path, backbone: Backbone
) -> None:
    updates = [qv_updates(3, seed) for seed in (1, 2, 3)]
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
    for index, update in enumerate(updates):
        adapter_in(tmp_path / "one" / f"a{index}", backbone, update)
        turned = {m: LowRank(turn @ u.A, u.B @ turn.T) for m, u in update.items()}
        adapter_in(tmp_path / "two" / f"a{9 - index}", backbone, turned)
    one, two = (
        _by_projection(average_hub(tmp_path / name, backbone, EXACT).updates)
        for name in ("one", "two")
    )
    for name, matrix in one.items():
        np.testing.assert_allclose(two[name], matrix, atol=1e-5)


def test_one_adapter_alone_keeps_its_direction_and_is_not_made_larger(
    tmp_path: Path, backbone: Backbone
) -> None:
    small = {m: LowRank(u.A, 1e-3 * u.B) for m, u in qv_updates(2).items()}
    adapter_in(tmp_path / "hub" / "only", backbone, small)
    result = average_hub(tmp_path / "hub", backbone)
    for module, update in small.items():
        torch.testing.assert_close(result.updates[module].product(), update.product())
        assert result.updates[module].rank == 4
    (fact,) = result.report["adapters"]
    assert fact["cosine_to_mean"] == pytest.approx(1.0, abs=1e-6)
    assert fact["cosine_to_rest"] is None
    assert "not made larger" in result.report["size"]["limit"]
    assert result.report["energy_kept"] == pytest.approx(1.0, abs=1e-6)


def test_opposite_adapters_cancel_and_are_refused(tmp_path: Path, backbone: Backbone) -> None:
    updates = qv_updates(2)
    adapter_in(tmp_path / "hub" / "plus", backbone, updates)
    minus = {module: LowRank(update.A, -update.B) for module, update in updates.items()}
    adapter_in(tmp_path / "hub" / "minus", backbone, minus)
    with refusal(AdapterError, tmp_path / "hub", "cancel"):
        average_hub(tmp_path / "hub", backbone)
    weighted = AverageSettings(weights_of=(("minus", 0.5),))
    report = average_hub(tmp_path / "hub", backbone, weighted).report
    rest = {fact["name"]: fact["cosine_to_rest"] for fact in report["adapters"]}
    assert rest == pytest.approx({"minus": -1.0, "plus": -1.0}, abs=1e-5)


def test_the_meta_lora_moves_the_embeddings_as_the_dense_mean_does(
    tmp_path: Path, backbone: Backbone
) -> None:
    folder = hub_in(tmp_path / "hub", backbone, count=5)
    result = average_hub(folder, backbone, EXACT)
    dense = tiny_backbone()
    each = [read_adapter(path).updates for path in sorted(folder.iterdir())]
    with torch.no_grad():
        for module in each[0]:
            mean = sum(updates[module].product() for updates in each) / len(each)
            made = result.updates[module].product()
            dense.model.get_submodule(module).weight += mean * (made.norm() / mean.norm())
    pixels = random_pixels()
    got = embedding_of(merged_copy(backbone, result.updates).model, pixels)
    torch.testing.assert_close(got, embedding_of(dense.model, pixels), atol=2e-5, rtol=1e-4)
    assert (got - embedding_of(backbone.model, pixels)).abs().max() > 1e-2


def test_averaging_twice_gives_the_same_bits(tmp_path: Path, backbone: Backbone) -> None:
    folder = _mixed_hub(tmp_path / "hub", backbone)
    first, second = (average_hub(folder, backbone) for _ in range(2))
    assert first.report == second.report
    for module, update in first.updates.items():
        assert torch.equal(update.A, second.updates[module].A)
        assert torch.equal(update.B, second.updates[module].B)


# --- what the report says --------------------------------------------------------------------


def test_the_report_names_adapters_settings_and_backbone(
    tmp_path: Path, backbone: Backbone
) -> None:
    seen: list[str] = []
    folder = hub_in(tmp_path / "hub", backbone, count=2)
    report = average_hub(folder, backbone, AverageSettings(3, 0.5), progress=seen.append).report
    assert seen == ["a0", "a1"]
    assert report["method"] == "average"
    assert report["settings"] == {"rank": 3, "scale": 0.5, "ridge": 0.5, "weights_of": []}
    assert report["backbone"]["sha256"] == backbone.sha256
    assert report["skipped"] == {}
    first = report["adapters"][0]
    assert (first["name"], first["classes"], first["has_head"]) == ("a0", ["c0", "other"], True)
    assert (first["base_verified"], first["method"]) == (True, "tune")
    assert first["sha256"] == read_adapter(folder / "a0").sha256


def test_an_adapter_that_disagrees_with_the_rest_is_called_an_outlier(
    tmp_path: Path, backbone: Backbone
) -> None:
    common = qv_updates(2, seed=50)
    for index in range(6):
        noise = qv_updates(1, seed=index)
        mixed = {
            m: LowRank(torch.cat([u.A, noise[m].A]), torch.cat([u.B, 0.4 * noise[m].B], 1))
            for m, u in common.items()
        }
        adapter_in(tmp_path / "hub" / f"good{index}", backbone, mixed)
    adapter_in(tmp_path / "hub" / "strange", backbone, qv_updates(2, seed=99))
    facts = average_hub(tmp_path / "hub", backbone).report["adapters"]
    assert [fact["name"] for fact in facts if fact["outlier"]] == ["strange"]


def test_three_adapters_are_too_few_to_call_one_an_outlier(
    tmp_path: Path, backbone: Backbone
) -> None:
    adapter_in(tmp_path / "hub" / "a", backbone, qv_updates(2, seed=1))
    longer = {m: LowRank(u.A, 1.5 * u.B) for m, u in qv_updates(2, seed=1).items()}
    adapter_in(tmp_path / "hub" / "b", backbone, longer)
    adapter_in(tmp_path / "hub" / "c", backbone, qv_updates(2, seed=2))
    facts = average_hub(tmp_path / "hub", backbone).report["adapters"]
    assert [fact["outlier"] for fact in facts] == [False, False, False]


# --- bad hubs and settings -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "scale", "word"),
    [(0, 4.0, "rank"), (4, 0.0, "scale"), (4, -1.0, "-1.0"), (4, math.nan, "nan")],
)
def test_settings_that_make_no_sense_are_refused(rank: int, scale: float, word: str) -> None:
    with refusal(VisionEdgeError, word):
        AverageSettings(rank, scale)


def _break(folder: Path) -> None:
    name, tensor = first_factor(folder)
    edit_tensors(folder, {name: torch.full_like(tensor, torch.nan)})


def test_one_bad_adapter_is_named_or_left_out(tmp_path: Path, backbone: Backbone) -> None:
    folder = hub_in(tmp_path / "hub", backbone, count=4)
    _break(folder / "a2")
    with refusal(AdapterError, folder / "a2", "NaN"):
        average_hub(folder, backbone)
    result = average_hub(folder, backbone, EXACT, skip_bad=True)
    assert list(result.report["skipped"]) == ["a2"]
    assert "NaN" in result.report["skipped"]["a2"]
    assert [fact["name"] for fact in result.report["adapters"]] == ["a0", "a1", "a3"]
    mean, _ = _naive([folder / name for name in ("a0", "a1", "a3")])
    got = _by_projection(result.updates)
    factor = _factor(got, mean)
    for name, matrix in got.items():
        np.testing.assert_allclose(matrix, factor * mean.get(name, 0 * matrix), atol=1e-5)


def test_a_hub_of_bad_adapters_only_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    folder = hub_in(tmp_path / "hub", backbone, count=2)
    _break(folder / "a0")
    _break(folder / "a1")
    with refusal(AdapterError, folder, "none of its 2", "NaN"):
        average_hub(folder, backbone, skip_bad=True)


def test_a_hub_of_mixed_backbones_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    folder = hub_in(tmp_path / "hub", backbone, count=2)
    adapter_in(folder / "b0", tiny_backbone(seed=7))
    with refusal(AdapterError, folder / "b0", backbone.sha256[:12]):
        average_hub(folder, backbone)


def test_adapters_that_were_never_tuned_are_refused(tmp_path: Path, backbone: Backbone) -> None:
    zero = {m: LowRank(u.A, torch.zeros_like(u.B)) for m, u in qv_updates().items()}
    adapter_in(tmp_path / "hub" / "a", backbone, zero)
    adapter_in(tmp_path / "hub" / "b", backbone, zero)
    with refusal(AdapterError, tmp_path / "hub", "zero"):
        average_hub(tmp_path / "hub", backbone)


@pytest.mark.parametrize("ridge", [None, 0.5])
def test_an_untuned_adapter_is_named_and_changes_nothing(
    tmp_path: Path, backbone: Backbone, ridge: float | None
) -> None:
    settings = AverageSettings(ridge=ridge)
    folder = hub_in(tmp_path / "hub", backbone, count=3)
    before = average_hub(folder, backbone, settings)
    zero = {m: LowRank(u.A, torch.zeros_like(u.B)) for m, u in qv_updates().items()}
    adapter_in(folder / "a1-untuned", backbone, zero)
    after = average_hub(folder, backbone, settings)
    assert "changes nothing" in after.report["skipped"]["a1-untuned"]
    assert after.report["mean_norm"] == before.report["mean_norm"]
    for name, update in before.updates.items():
        torch.testing.assert_close(after.updates[name].product(), update.product())


@pytest.mark.parametrize("ridge", [None, 0.5])
def test_an_adapter_that_is_there_twice_counts_once(
    tmp_path: Path, backbone: Backbone, ridge: float | None
) -> None:
    settings = AverageSettings(ridge=ridge)
    folder = hub_in(tmp_path / "hub", backbone, count=3)
    before = average_hub(folder, backbone, settings)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))[0]
    again = {
        m: LowRank((turn @ u.A).half().float(), (u.B @ turn.T).half().float())
        for m, u in read_adapter(folder / "a1").updates.items()
    }
    adapter_in(folder / "b-another-basis-and-float16", backbone, again)
    after = average_hub(folder, backbone, settings)
    assert "same as a1" in after.report["skipped"]["b-another-basis-and-float16"]
    for name, update in before.updates.items():
        torch.testing.assert_close(after.updates[name].product(), update.product())


def test_weights_are_as_if_an_adapter_were_there_so_often(
    tmp_path: Path, backbone: Backbone
) -> None:
    folder = hub_in(tmp_path / "hub", backbone, count=3)
    weighted = AverageSettings(64, ridge=None, weights_of=(("a*", 2.0), ("a1", 0.0)))
    result = average_hub(folder, backbone, weighted)
    assert result.report["skipped"] == {"a1": "its weight is 0"}
    assert [fact["weight"] for fact in result.report["adapters"]] == [2.0, 2.0]
    mean, _ = _naive([folder / "a0", folder / "a2"])
    got = _by_projection(result.updates)
    factor = _factor(got, mean)
    for name, matrix in mean.items():
        np.testing.assert_allclose(got[name], factor * matrix, atol=1e-5)


def test_weights_for_adapters_that_are_not_there_are_refused(
    tmp_path: Path, backbone: Backbone
) -> None:
    folder = hub_in(tmp_path / "hub", backbone, count=2)
    with refusal(VisionEdgeError, "grocery-*", "a0, a1"):
        average_hub(folder, backbone, AverageSettings(weights_of=(("grocery-*", 2.0),)))


def test_adapters_are_read_one_at_a_time(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hub_in(tmp_path / "hub", backbone, count=8)
    alive: list[weakref.ref[Adapter]] = []
    most = 0

    def counting(*arguments: Any, **options: Any) -> Adapter:
        nonlocal most
        most = max(most, sum(reference() is not None for reference in alive))
        adapter = read_adapter(*arguments, **options)
        alive.append(weakref.ref(adapter))
        return adapter

    monkeypatch.setattr(hub, "read_adapter", counting)
    average_hub(folder, backbone)
    assert len(alive) == 16, "two passes over eight adapters"
    assert most <= 2, "the one before it, and the last one of the first pass"
