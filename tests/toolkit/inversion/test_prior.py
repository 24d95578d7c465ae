import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from support.toolkit import random_pixels, refusal
from torch import Tensor, nn

from vision_edge.runtime.errors import BackboneError
from vision_edge.runtime.images.preprocess import Triple
from vision_edge.toolkit.inversion.prior import (
    BatchNormPrior,
    StatisticsNorm,
    load_prior,
    resized,
    total_variation,
)

MEAN: Triple = (0.485, 0.456, 0.406)
STD: Triple = (0.229, 0.224, 0.225)
OWN_MEAN: Triple = (0.5, 0.4, 0.3)
OWN_STD: Triple = (0.5, 0.25, 0.2)


def _network(name: str = "test_resnet", seed: int = 0) -> nn.Module:
    """A network whose BatchNorm layers have statistics, scales and biases of all kinds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = timm.create_model(name, num_classes=0)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
    return network.eval().requires_grad_(False)


def _prior(size: int = 32, name: str = "test_resnet") -> BatchNormPrior:
    return BatchNormPrior(_network(name), "mine", OWN_MEAN, OWN_STD, size)


def _renormalised(pixels: Tensor) -> Tensor:
    """From MEAN and STD to OWN_MEAN and OWN_STD, by way of [0, 1]."""
    plain = pixels * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    return (plain - torch.tensor(OWN_MEAN).view(3, 1, 1)) / torch.tensor(OWN_STD).view(3, 1, 1)


def _expected(network: nn.Module, pixels: Tensor) -> float:
    """R_BN by hooks on the original network, equation 3, with plain loops over channels."""
    inputs: list[tuple[nn.BatchNorm2d, Tensor]] = []
    hooks = [
        module.register_forward_hook(
            lambda layer, given, _out: inputs.append((layer, given[0].detach().double().clone()))
        )
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        network.forward_features(pixels)  # type: ignore[operator]
    for hook in hooks:
        hook.remove()
    total = 0.0
    for layer, x in inputs:
        channels = x.transpose(0, 1).flatten(1)  # (C, everything else)
        mean = channels.mean(1)
        variance = (channels - mean[:, None]).square().mean(1)
        total += float((mean - layer.running_mean).square().sum().sqrt())
        total += float((variance - layer.running_var).square().sum().sqrt())
    return total


# --- R_BN ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_it_is_the_equation_for_each_group_apart(name: str) -> None:
    pixels = random_pixels(6)
    got = _prior(name=name)(pixels, 3, MEAN, STD)
    assert got.shape == (3,)
    assert got.dtype == torch.float32
    own = _renormalised(pixels)
    expected = [_expected(_network(name), own[2 * g : 2 * g + 2]) for g in range(3)]
    assert got.tolist() == pytest.approx(expected, rel=1e-4)
    assert got.std() > 1e-2, "the groups are alike: it proves nothing"


def test_images_are_resized_to_the_networks_size() -> None:
    pixels = random_pixels(2, size=48)
    small = F.interpolate(pixels, (32, 32), mode="bilinear", antialias=True)
    got = _prior(32)(pixels, 1, MEAN, STD)
    assert float(got) == pytest.approx(_expected(_network(), _renormalised(small)), rel=1e-4)


def test_a_second_call_starts_anew() -> None:
    prior, pixels = _prior(), random_pixels(4)
    first = prior(pixels, 2, MEAN, STD)
    prior(random_pixels(3, seed=7), 3, MEAN, STD)
    assert torch.equal(prior(pixels, 2, MEAN, STD), first)


def test_another_group_does_not_matter() -> None:
    prior, pixels = _prior(), random_pixels(4)
    first = prior(pixels, 2, MEAN, STD)
    pixels[2:] = random_pixels(2, seed=8) * 3
    second = prior(pixels, 2, MEAN, STD)
    assert float(second[0]) == pytest.approx(float(first[0]), rel=1e-5)
    assert float(second[1]) != pytest.approx(float(first[1]), rel=1e-2)


@torch.no_grad()
def test_it_is_zero_where_the_statistics_are_the_images_own() -> None:
    """In training mode with momentum 1 a BatchNorm takes over its input's statistics."""
    network, own = _network(), _renormalised(random_pixels(3))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:  # from the first on, for each changes what the next one sees
        seen: list[Tensor] = []
        hook = norm.register_forward_hook(lambda _m, given, _o: seen.append(given[0].clone()))  # noqa: B023
        network.forward_features(own)  # type: ignore[operator]
        hook.remove()
        norm.running_mean = seen[0].mean((0, 2, 3))
        norm.running_var = seen[0].var((0, 2, 3), correction=0)
    prior = BatchNormPrior(network, "mine", OWN_MEAN, OWN_STD, 32)
    assert float(prior(random_pixels(3), 1, MEAN, STD)) < 1e-2
    assert float(prior(random_pixels(3, seed=1), 1, MEAN, STD)) > 1.0


def test_the_gradient_is_that_of_finite_differences() -> None:
    prior = _prior().double()
    pixels = random_pixels(2).double().requires_grad_()
    prior(pixels, 2, MEAN, STD).sum().backward()
    assert pixels.grad is not None
    assert (pixels.grad.abs() > 0).float().mean() > 0.99
    direction = pixels.grad / pixels.grad.norm()
    with torch.no_grad():  # statistics are taken in float32
        step = 0.02
        more = prior(pixels + step * direction, 2, MEAN, STD).sum()
        less = prior(pixels - step * direction, 2, MEAN, STD).sum()
    assert float((more - less) / (2 * step)) == pytest.approx(float(pixels.grad.norm()), rel=0.02)


def test_descending_it_brings_statistics_nearer() -> None:
    prior, pixels = _prior(), random_pixels(4).requires_grad_()
    optimiser = torch.optim.Adam([pixels], 0.25)
    values = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = prior(pixels, 1, MEAN, STD).sum()
        loss.backward()
        optimiser.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.9 * values[0], values


def test_pixels_may_be_of_half_precision() -> None:
    pixels = random_pixels(4)
    full = _prior()(pixels, 2, MEAN, STD)
    half = _prior().to(torch.bfloat16)(pixels.bfloat16(), 2, MEAN, STD)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.0)


# --- the network stays what it was -----------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
@torch.no_grad()
def test_the_networks_output_is_the_originals(name: str) -> None:
    """test_efficientnet's layers are `BatchNormAct2d`, which hold the activation."""
    network, prior = _network(name), _prior(name=name)
    pixels = random_pixels(3)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert norms == len(prior.norms) > 5
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prior.network.modules())
    for norm in prior.norms:
        norm.groups, norm.distances = 3, []
    torch.testing.assert_close(
        prior.network.forward_features(pixels),  # type: ignore[operator]
        network.forward_features(pixels),  # type: ignore[operator]
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_without_scales_is_taken_too(affine: bool) -> None:
    norm = nn.BatchNorm2d(5, affine=affine, eps=1e-2)
    x = torch.randn(4, 5, 3, 3)
    norm(x)
    torch.testing.assert_close(StatisticsNorm(norm)(x), norm.eval()(x), atol=1e-5, rtol=1e-5)


def test_nothing_of_it_is_trained() -> None:
    assert not any(parameter.requires_grad for parameter in _prior().parameters())
    assert not any(module.training for module in _prior().network.modules())


# --- loading ---------------------------------------------------------------------------------


def _weights(path: Path, network: nn.Module, **own: Any) -> Path:
    save_file(network.state_dict(), path, metadata={"vision_edge": json.dumps(own)} if own else {})
    return path


def test_a_prior_from_a_file_is_that_network(tmp_path: Path) -> None:
    path = _weights(tmp_path / "p.safetensors", _network())
    prior = load_prior("test_resnet", path)
    assert (prior.name, prior.size) == ("test_resnet", 160)
    assert (prior.mean, prior.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    plain = BatchNormPrior(_network(), "mine", prior.mean, prior.std, 160)
    pixels = random_pixels(2)
    torch.testing.assert_close(prior(pixels, 1, MEAN, STD), plain(pixels, 1, MEAN, STD))


def test_a_file_may_say_what_it_is(tmp_path: Path) -> None:
    own = {
        "name": "photos",
        "architecture": "test_resnet",
        "mean": OWN_MEAN,
        "std": OWN_STD,
        "input_size": 32,
    }
    path = _weights(tmp_path / "p.safetensors", _network(), **own)
    prior = load_prior(str(path))
    assert (prior.name, prior.size, prior.mean, prior.std) == ("photos", 32, OWN_MEAN, OWN_STD)
    pixels = random_pixels(2)
    torch.testing.assert_close(prior(pixels, 1, MEAN, STD), _prior()(pixels, 1, MEAN, STD))


def test_half_precision_weights_with_a_head_are_taken(tmp_path: Path) -> None:
    state = {name: t.half() for name, t in _network().state_dict().items() if t.ndim}
    state |= {name: t for name, t in _network().state_dict().items() if not t.ndim}
    state |= {"fc.weight": torch.zeros(10, 96), "fc.bias": torch.zeros(10)}
    save_file(state, tmp_path / "p.safetensors")
    prior = load_prior("test_resnet", tmp_path / "p.safetensors")
    full = BatchNormPrior(_network(), "mine", prior.mean, prior.std, prior.size)
    pixels = random_pixels(2)
    torch.testing.assert_close(
        prior(pixels, 1, MEAN, STD), full(pixels, 1, MEAN, STD), rtol=1e-2, atol=0.0
    )


def test_the_embedded_prior_tells_noise_from_a_smooth_image() -> None:
    prior = load_prior()
    assert prior.name == "vision-edge-prior"
    assert len(prior.norms) == 21, "a ResNet-18 of other widths"
    ramp = torch.linspace(-1, 1, 128)
    smooth = (ramp[:, None] + ramp[None]).expand(1, 3, 128, 128) / 2
    noise = random_pixels(1, size=128)
    distances = prior(torch.cat([smooth, noise]), 2, OWN_MEAN, OWN_STD)
    assert torch.isfinite(distances).all()
    assert distances[0] < distances[1]


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "test_efficientnet_ln"])
def test_a_network_without_batchnorm_is_refused(name: str, tmp_path: Path) -> None:
    network = timm.create_model(name, num_classes=0)
    with refusal(BackboneError, "mine", type(network).__name__, "BatchNorm"):
        BatchNormPrior(network, "mine", MEAN, STD, 32)
    path = _weights(tmp_path / "p.safetensors", network)
    with refusal(BackboneError, name, "BatchNorm"):
        load_prior(name, path)


def test_batchnorm_without_statistics_says_nothing() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))
    with refusal(BackboneError, "mine", "BatchNorm"):
        BatchNormPrior(network, "mine", MEAN, STD, 32)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = _weights(tmp_path / "p.safetensors", _network())
    with refusal(BackboneError, path, "test_efficientnet", "missing", "unknown"):
        load_prior("test_efficientnet", path)


def _one_is_missing(state: dict[str, Tensor]) -> str:
    del state["layer1.0.bn1.running_mean"]
    return "1 missing, 0 unknown"


def _one_is_unknown(state: dict[str, Tensor]) -> str:
    state["extra.weight"] = torch.zeros(1)
    return "0 missing, 1 unknown"


def _one_is_of_another_shape(state: dict[str, Tensor]) -> str:
    state["bn1.weight"] = torch.zeros(7)
    return "bn1.weight"


@pytest.mark.parametrize("spoil", [_one_is_missing, _one_is_unknown, _one_is_of_another_shape])
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, spoil: Callable[[dict[str, Tensor]], str]
) -> None:
    state = dict(_network().state_dict())
    word = spoil(state)
    save_file(state, tmp_path / "p.safetensors")
    with refusal(BackboneError, tmp_path / "p.safetensors", word):
        load_prior("test_resnet", tmp_path / "p.safetensors")


def test_an_unknown_network_is_refused(tmp_path: Path) -> None:
    with refusal(BackboneError, "resnet5000"):
        load_prior("resnet5000")
    path = _weights(tmp_path / "p.safetensors", _network())
    with refusal(BackboneError, "resnet5000"):
        load_prior("resnet5000", path)


def test_files_that_do_not_say_what_they_are_or_are_damaged_are_refused(tmp_path: Path) -> None:
    path = _weights(tmp_path / "p.safetensors", _network())
    with refusal(BackboneError, path, "does not say"):
        load_prior(str(path))
    with refusal(BackboneError, tmp_path / "no.safetensors"):
        load_prior(str(tmp_path / "no.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])
    with refusal(BackboneError, path, "truncated"):
        load_prior("test_resnet", path)


# --- resizing and total variation ------------------------------------------------------------


@pytest.mark.parametrize(("side", "size"), [(32, 20), (32, 32), (24, 40), (33, 7), (16, 15)])
def test_resizing_is_that_of_interpolate(side: int, size: int) -> None:
    pixels = random_pixels(2, size=side)
    expected = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    torch.testing.assert_close(resized(pixels, size), expected, atol=1e-5, rtol=1e-5)


def test_total_variation_is_the_mean_of_the_differences() -> None:
    pixels = random_pixels(4, size=6)
    expected = []
    for group in range(2):
        down, right = [], []
        for image in pixels[2 * group : 2 * group + 2].tolist():
            for channel in image:
                for y in range(6):
                    for x in range(6):
                        if y:
                            down.append(abs(channel[y][x] - channel[y - 1][x]))
                        if x:
                            right.append(abs(channel[y][x] - channel[y][x - 1]))
        expected.append(sum(down) / len(down) + sum(right) / len(right))
    assert total_variation(pixels, 2).tolist() == pytest.approx(expected, rel=1e-5)
    assert total_variation(torch.ones(2, 3, 5, 5), 1).tolist() == [0.0]
