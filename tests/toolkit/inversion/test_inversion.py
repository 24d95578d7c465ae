import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from support.recycle import headed
from support.toolkit import (
    DIM,
    SIZE,
    merged_copy,
    qv_updates,
    random_images,
    random_pixels,
    refusal,
    tiny_backbone,
)
from torch import Tensor

from vision_edge.export.model.embedder import normalise_pixels
from vision_edge.export.model.pruning import Pruning
from vision_edge.runtime.errors import AdapterError, VisionEdgeError
from vision_edge.toolkit.adapters.adapter import Adapter
from vision_edge.toolkit.adapters.heads import Head
from vision_edge.toolkit.backbones.backbone import Backbone
from vision_edge.toolkit.backbones.tokens import forward_tokens
from vision_edge.toolkit.inversion import inversion
from vision_edge.toolkit.inversion.inversion import (
    Inverter,
    Objective,
    Views,
    invert,
    permutations,
    permuted,
    to_images,
)
from vision_edge.toolkit.inversion.prior import BatchNormPrior
from vision_edge.toolkit.inversion.settings import InversionSettings
from vision_edge.toolkit.pool.inverted import Inverted

FEW = InversionSettings(per_class=2, iterations=6, tv_weight=0.1)
NOWHERE = (0, 0, False)


@pytest.fixture(scope="module")
def sixteen() -> Backbone:
    """A backbone of sixteen patches."""
    return tiny_backbone(patch_size=8)


@pytest.fixture(scope="module")
def prior() -> BatchNormPrior:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", num_classes=0)
    return BatchNormPrior(network, "random", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), SIZE)


def _logits(backbone: Backbone, adapter: Adapter, images: Any) -> Tensor:
    """What an adapter with its head says, by the merged model and plain arithmetic."""
    assert adapter.head is not None
    rgb = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (backbone.spec.mean, backbone.spec.std))
    pixels = ((rgb - mean) / std).float()
    with torch.no_grad():
        features = merged_copy(backbone, adapter.updates).model.forward_features(pixels)[:, 0]
    logits = features @ adapter.head.weight.T
    return logits if adapter.head.bias is None else logits + adapter.head.bias


def _cross_entropy(backbone: Backbone, adapter: Adapter, result: Inverted) -> float:
    logits = _logits(backbone, adapter, result.images)
    return float(F.cross_entropy(logits, torch.from_numpy(result.labels)))


# --- what it gives ---------------------------------------------------------------------------


def test_images_fit_their_labels(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rolls and flips: a random network is not invariant to them."""
    monkeypatch.setattr(Views, "at", lambda _self, _step: NOWHERE)
    adapters = [headed("one", 1), headed("two", 2)]
    settings = replace(FEW, iterations=30)
    starts = invert(backbone, adapters, None, replace(settings, iterations=1))
    for adapter, start, result in zip(
        adapters, starts, invert(backbone, adapters, None, settings), strict=True
    ):
        before = _cross_entropy(backbone, adapter, start)
        after = _cross_entropy(backbone, adapter, result)
        assert before > 1.0
        assert after < 0.1
        assert after == pytest.approx(result.cross_entropy, abs=0.05), "but for rounding"
        assert start.agreement < result.agreement == 1.0
        assert result.prior < start.prior


def test_shapes_and_labels(sixteen: Backbone) -> None:
    (result,) = invert(sixteen, [headed("one", way=4)], None, replace(FEW, per_class=3))
    assert (result.images.shape, result.images.dtype) == ((12, SIZE, SIZE, 3), np.uint8)
    assert (result.logits.shape, result.logits.dtype) == ((12, 4), np.float32)
    assert (result.order.shape, result.order.dtype) == ((12, 16), np.int16)
    assert result.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert result.labels.dtype == np.int64


def test_the_teacher_labels_the_rounded_images(sixteen: Backbone) -> None:
    """Rounding to 8 bits changes the logits, and it is the image's that are kept."""
    adapters = [headed("one", 1), headed("two", 2)]
    for adapter, result in zip(adapters, invert(sixteen, adapters, None, FEW), strict=True):
        expected = _logits(sixteen, adapter, result.images)
        np.testing.assert_allclose(result.logits, expected, atol=2e-4, rtol=1e-5)
        agreement = np.mean(
            [row.argmax() == k for row, k in zip(expected, result.labels, strict=True)]
        )
        assert result.agreement == pytest.approx(agreement)


def test_the_order_is_that_of_the_adapters_own_attention(sixteen: Backbone) -> None:
    adapters = [headed("one", 1), headed("two", 2)]
    for adapter, result in zip(adapters, invert(sixteen, adapters, None, FEW), strict=True):
        pixels = normalise_pixels(torch.from_numpy(result.images), sixteen.spec)
        merged = merged_copy(sixteen, adapter.updates).model
        expected = forward_tokens(merged, pixels, with_order=True).order
        assert expected is not None
        assert (result.order == expected.numpy()).mean() > 0.9, "but for ties to rounding"
        assert (np.sort(result.order, 1) == np.arange(16)).all()


def test_a_head_without_a_bias_is_inverted_too(backbone: Backbone) -> None:
    adapter = headed("one")
    assert adapter.head is not None
    plain = replace(adapter, head=Head(adapter.head.weight))
    (result,) = invert(backbone, [plain], None, FEW)
    expected = _logits(backbone, plain, result.images)
    np.testing.assert_allclose(result.logits, expected, atol=2e-4, rtol=1e-5)


# --- the same as a plain loop ----------------------------------------------------------------


def _naive(
    backbone: Backbone,
    adapter: Adapter,
    prior: BatchNormPrior | None,
    settings: InversionSettings,
) -> tuple[Tensor, list[float], int]:
    """One adapter by torch.roll, torch.flip and autograd: the best images, losses, best step."""
    assert adapter.head is not None
    assert adapter.head.bias is not None
    model, spec = merged_copy(backbone, adapter.updates).model, backbone.spec
    labels = torch.arange(len(adapter.head.weight)).repeat_interleave(settings.per_class)
    generator = inversion._randomness(adapter, settings)
    x = torch.randn(len(labels), 3, SIZE, SIZE, generator=generator)
    views = Views.draw(generator, settings.iterations, SIZE)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (spec.mean, spec.std))
    low, high = (0 - mean) / std, (1 - mean) / std
    x = x.clamp(low, high).requires_grad_()
    optimiser = torch.optim.Adam([x], settings.lr, (0.5, 0.99))
    losses, images = [], []
    for step in range(settings.iterations):
        optimiser.param_groups[0]["lr"] = (
            settings.lr * (1 + math.cos(math.pi * step / settings.iterations)) / 2
        )
        down, right, flip = views.at(step)
        view = torch.roll(x, (down, right), (2, 3))
        view = view.flip(3) if flip else view
        logits = model.forward_features(view)[:, 0] @ adapter.head.weight.T + adapter.head.bias
        loss = F.cross_entropy(logits, labels)
        if prior is None:
            down_by = (view[:, :, 1:] - view[:, :, :-1]).abs().mean()
            right_by = (view[:, :, :, 1:] - view[:, :, :, :-1]).abs().mean()
            loss = loss + settings.tv_weight * (down_by + right_by)
        else:
            loss = loss + settings.prior_weight * prior(view, 1, spec.mean, spec.std)[0]
        optimiser.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        images.append(x.detach().clone())
        optimiser.step()
        x.data.clamp_(low, high)
    late = range(math.ceil(0.5 * (settings.iterations - 1)), settings.iterations)
    best = min(late, key=lambda step: losses[step])
    return images[best], losses, best


def _levels_apart(left: Any, right: Any) -> Any:
    return np.abs(left.astype(int) - right.astype(int))


@pytest.mark.parametrize("with_prior", [False, True])
def test_it_is_a_plain_loop_with_roll_and_flip(
    backbone: Backbone, prior: BatchNormPrior, with_prior: bool
) -> None:
    adapter = headed("one", 3)
    settings = replace(FEW, iterations=8, lr=0.05, prior_weight=0.05)
    used = prior if with_prior else None
    best, losses, _ = _naive(backbone, adapter, used, settings)
    (result,) = invert(backbone, [adapter], used, settings)
    weight = settings.prior_weight if with_prior else settings.tv_weight
    total = result.cross_entropy + weight * result.prior
    assert total == pytest.approx(min(losses[4:]), rel=1e-3)
    apart = _levels_apart(result.images, to_images(best, backbone.spec).numpy())
    assert np.quantile(apart, 0.999) <= 1, "signs of gradients near zero are rounding's"


def test_the_weights_count(backbone: Backbone, prior: BatchNormPrior) -> None:
    adapter = headed("one", 3)
    settings = replace(FEW, iterations=16)
    for used, name, less, more in (
        (prior, "prior_weight", 0.0, 1.0),
        (None, "tv_weight", 0.0, 20.0),
    ):
        (free,) = invert(backbone, [adapter], used, replace(settings, **{name: less}))
        (bound,) = invert(backbone, [adapter], used, replace(settings, **{name: more}))
        assert bound.prior < free.prior
        assert bound.cross_entropy > free.cross_entropy


# --- in a group and alone --------------------------------------------------------------------


def test_images_do_not_depend_on_the_group(backbone: Backbone, prior: BatchNormPrior) -> None:
    adapters = [headed("one", 1), headed("two", 2), headed("three", 3)]
    settings = replace(FEW, lr=0.05)
    for used in (None, prior):
        together = invert(backbone, adapters, used, settings)
        shuffled = invert(backbone, adapters[::-1], used, settings)[::-1]
        for adapter, first, second in zip(adapters, together, shuffled, strict=True):
            (alone,) = invert(backbone, [adapter], used, settings)
            for other in (first, second):
                apart = _levels_apart(alone.images, other.images)
                assert np.quantile(apart, 0.999) <= 1, (adapter.name, apart.max())
                assert other.cross_entropy == pytest.approx(alone.cross_entropy, rel=1e-3)
                assert other.prior == pytest.approx(alone.prior, rel=1e-3)
        assert _levels_apart(together[0].images, together[1].images).mean() > 10


def test_the_group_starts_from_the_same_images_exactly(backbone: Backbone) -> None:
    adapters, settings = [headed("one", 1), headed("two", 2)], replace(FEW, iterations=1)
    for adapter, result in zip(adapters, invert(backbone, adapters, None, settings), strict=True):
        (alone,) = invert(backbone, [adapter], None, settings)
        assert (alone.images == result.images).all()


def test_an_inverter_is_loaded_anew_for_each_group(backbone: Backbone) -> None:
    """Of the same form, of another size, of other modules, and of the first form again."""
    other = replace(headed("other", 6), updates=dict(list(qv_updates(2, seed=8).items())[:1]))
    groups = [
        [headed("one", 1), headed("two", 2)],
        [headed("three", 3), headed("four", 4)],
        [headed("five", 5)],
        [other],
        [headed("two", 2), headed("one", 1)],
    ]
    inverter = Inverter(backbone, None, FEW)
    for group in groups:
        fresh = invert(backbone, group, None, FEW)
        for one, two in zip(inverter.invert(group), fresh, strict=True):
            assert (one.images == two.images).all()
            assert (one.logits == two.logits).all()


# --- randomness ------------------------------------------------------------------------------


def test_one_seed_gives_one_result_and_another_another(backbone: Backbone) -> None:
    adapter = headed("one")
    torch.manual_seed(1)
    (first,) = invert(backbone, [adapter], None, FEW)
    torch.manual_seed(2)
    (second,) = invert(backbone, [adapter], None, FEW)
    assert (first.images == second.images).all()
    assert (first.logits == second.logits).all()
    (other,) = invert(backbone, [adapter], None, replace(FEW, seed=1))
    (renamed,) = invert(backbone, [replace(adapter, sha256="0" * 64)], None, FEW)
    assert (other.images != first.images).any()
    assert (renamed.images != first.images).any()


def test_the_backbone_is_not_changed(backbone: Backbone) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    for count in (1, 2):
        invert(backbone, [headed(f"n{i}", i) for i in range(count)], None, FEW)
    after = backbone.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_rolls_are_up_to_an_eighth_and_flips_by_half() -> None:
    views = Views.draw(torch.Generator().manual_seed(0), 4000, 32)
    for rolls in (views.down, views.right):
        assert sorted(set(rolls.tolist())) == list(range(-4, 5))
    assert 0.45 < views.flip.float().mean() < 0.55
    assert views.at(3) == (int(views.down[3]), int(views.right[3]), bool(views.flip[3]))


def test_permutations_roll_and_flip() -> None:
    views = [(0, 0, False), (2, -1, False), (-3, 4, True), (0, 0, True)]
    x = random_pixels(8, size=9)
    there, back = permutations(views, 9, x.device)
    view = permuted(x, there)
    for group, (down, right, flip) in enumerate(views):
        expected = torch.roll(x[2 * group : 2 * group + 2], (down, right), (2, 3))
        expected = expected.flip(3) if flip else expected
        assert torch.equal(view[2 * group : 2 * group + 2], expected)
    assert torch.equal(permuted(view, back), x)
    assert torch.equal(permuted(permuted(x, back), there), x)


# --- the start -------------------------------------------------------------------------------


def test_it_starts_from_given_frames(backbone: Backbone) -> None:
    frames = [random_images(6, seed=1), random_images(6, seed=2)]
    adapters = [headed("one", 1), headed("two", 2)]
    once = replace(FEW, iterations=1)
    for given, result in zip(
        frames, invert(backbone, adapters, None, once, start=frames), strict=True
    ):
        assert (result.images == given).all(), "8 bits, colour order and shape go there and back"
    little = replace(FEW, lr=4e-3)  # half a level of 8 bits a step
    for given, result in zip(
        frames, invert(backbone, adapters, None, little, start=frames), strict=True
    ):
        assert 0 < _levels_apart(result.images, given).max() <= 3


def test_images_stay_within_8_bits_and_noise_is_cut_to_them(backbone: Backbone) -> None:
    spec = backbone.spec
    everything = torch.tensor([-9.0, 9.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    assert to_images(everything, spec).unique().tolist() == [0, 255]
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).repeat(1, 1, 1, 3)
    levels[..., 1] = levels[..., 1].flip(1)
    levels[..., 2] = levels[..., 2].flip(2)
    assert torch.equal(to_images(normalise_pixels(levels, spec), spec), levels)


# --- the best --------------------------------------------------------------------------------


def test_the_best_images_are_kept_not_the_last(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses as given by hand: a trap before the half, and a minimum of each in the middle."""
    heights = torch.tensor(
        [
            [9.0, 0.1, 9.0, 9.0, 9.0, 5.0, 4.0, 2.0, 3.0, 6.0],
            [9.0, 9.0, 0.1, 9.0, 9.0, 1.0, 4.0, 2.0, 1.5, 6.0],
            [9.0, 0.1, 9.0, 9.0, 9.0, 5.0, 4.0, 4.0, 3.0, 2.0],
        ]
    )
    best = [7, 5, 9]
    seen: list[Tensor] = []

    def by_hand(_self: Objective, pixels: Tensor, _pruning: Pruning) -> tuple[Tensor, ...]:
        height = heights[:, len(seen)]
        seen.append(pixels.detach().clone())
        slope = pixels.reshape(3, -1).sum(1) * 1e-9
        return height + slope, height + 100, height + 200

    monkeypatch.setattr(Objective, "__call__", by_hand)
    monkeypatch.setattr(Views, "at", lambda _self, _step: NOWHERE)
    adapters = [headed(f"n{i}", i) for i in range(3)]
    results = invert(backbone, adapters, None, replace(FEW, iterations=10, lr=0.3))
    for index, result in enumerate(results):
        steps = [to_images(x[6 * index : 6 * index + 6], backbone.spec).numpy() for x in seen]
        assert (result.images == steps[best[index]]).all()
        assert (steps[best[index]] != steps[9]).any() or best[index] == 9
        height = float(heights[index, best[index]])
        assert (result.cross_entropy, result.prior) == (height + 100, height + 200)


# --- pruning ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prune_after", "first"), [(0.25, 2), (0.0, 0), (0.5, 4), (0.3, 3), (1.0, 8)]
)
def test_pruning_begins_after_its_share_of_the_iterations(
    sixteen: Backbone, monkeypatch: pytest.MonkeyPatch, prune_after: float, first: int
) -> None:
    asked: list[Pruning] = []
    plain = Objective.__call__

    def recorded(self: Objective, pixels: Tensor, pruning: Pruning) -> Any:
        asked.append(pruning)
        return plain(self, pixels, pruning)

    monkeypatch.setattr(Objective, "__call__", recorded)
    pruning = Pruning(((1, 0.5),))
    settings = replace(FEW, iterations=8, pruning=pruning, prune_after=prune_after)
    (result,) = invert(sixteen, [headed("one")], None, settings)
    assert asked == [Pruning()] * first + [pruning] * (8 - first)
    assert (np.sort(result.order, 1) == np.arange(16)).all()


@torch.no_grad()
def test_the_objective_prunes_when_it_is_told_to(sixteen: Backbone) -> None:
    from vision_edge.toolkit.inversion.grouped_model import GroupedHead, merged_group

    adapter = headed("one")
    assert adapter.head is not None
    labels = torch.arange(3)
    objective = Objective(
        merged_group(sixteen.model, [adapter.updates]),
        GroupedHead([adapter.head]),
        None,
        sixteen.spec,
        FEW,
        labels,
    )
    pixels, pruning = random_pixels(3), Pruning(((1, 0.75),))
    for given in (Pruning(), pruning):
        model = merged_copy(sixteen, adapter.updates).model
        embedding = forward_tokens(model, pixels, pruning=given).embedding
        logits = embedding @ adapter.head.weight.T + adapter.head.bias
        _, loss, _ = objective(pixels, given)
        assert float(loss) == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-4)
    assert float(objective(pixels, pruning)[1]) != float(objective(pixels, Pruning())[1])


# --- refusals --------------------------------------------------------------------------------


def test_an_adapter_without_a_head_is_refused_by_name(backbone: Backbone) -> None:
    with refusal(AdapterError, "headless"):
        invert(backbone, [headed("one"), Adapter("headless", qv_updates())], None, FEW)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_the_adapters_name(
    backbone: Backbone, bad: float
) -> None:
    adapter = headed("broken", 2)
    assert adapter.head is not None
    adapter.head.weight[1, 3] = bad
    seen: list[int] = []
    with refusal(AdapterError, "broken", "nan") as _:
        invert(backbone, [headed("fine"), adapter], None, FEW, progress=seen.append)
    assert seen == []


def test_one_that_diverges_later_is_found_at_the_end(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []
    plain = Objective.__call__

    def later(self: Objective, pixels: Tensor, pruning: Pruning) -> Any:
        calls.append(None)
        total, loss, prior = plain(self, pixels, pruning)
        poison = torch.tensor([0.0, math.nan if len(calls) > 3 else 0.0])
        return total + poison, loss, prior

    monkeypatch.setattr(Objective, "__call__", later)
    with refusal(AdapterError, "second", "nan"):
        invert(backbone, [headed("first"), headed("second")], None, FEW)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"per_class": 0}, ("per_class", "0")),
        ({"iterations": 0}, ("iterations", "0")),
        ({"lr": -1.0}, ("lr", "-1.0")),
        ({"lr": math.nan}, ("lr", "nan")),
        ({"prior_weight": math.inf}, ("prior_weight", "inf")),
        ({"tv_weight": -0.5}, ("tv_weight", "-0.5")),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    change: dict[str, Any], words: tuple[str, ...]
) -> None:
    with refusal(VisionEdgeError, *words):
        InversionSettings(**change)


def test_settings_are_json() -> None:
    settings = InversionSettings(pruning=Pruning.parse("6:0.75"))
    document = json.loads(json.dumps(settings.document()))
    assert document["pruning"] == "6:0.75"
    rebuilt = InversionSettings(**{**document, "pruning": Pruning.parse(document["pruning"])})
    assert rebuilt == settings


def test_progress_counts_iterations(backbone: Backbone) -> None:
    seen: list[int] = []
    invert(backbone, [headed("one")], None, FEW, progress=seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert backbone.dim == DIM
