"""What images should look like: the prior of LoRA Inversion.

The statistics that a convolutional network's BatchNorm layers keep of its training images describe
photographs. Inverted images are pulled towards them (LoRA Recycle, equation 3; DeepInversion, Yin
et al., CVPR 2020):

    R_BN(X) = sum_l ||mean_l(X) - mean_l||_2 + ||var_l(X) - var_l||_2

Without such a network only the total variation is kept low, which is a far weaker prior.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from vision_edge.runtime.bundles.shipped import asset
from vision_edge.runtime.errors import BackboneError
from vision_edge.runtime.images.preprocess import Triple
from vision_edge.toolkit.backbones.weights import read_metadata, read_safetensors

EMBEDDED = "prior.safetensors"


class StatisticsNorm(nn.Module):
    """A frozen BatchNorm that also measures how far its input is from its statistics.

    Args:
        norm: The layer it takes the place of.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        self.register_buffer("mean", norm.running_mean.clone())
        self.register_buffer("variance", norm.running_var.clone())
        self.register_buffer("weight", None if norm.weight is None else norm.weight.detach())
        self.register_buffer("bias", None if norm.bias is None else norm.bias.detach())
        self.eps = norm.eps
        self.groups = 1
        self.distances: list[Tensor] = []
        # timm's BatchNormAct2d holds the activation that follows
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W), and append the distance of each group, float32 (G,)."""
        values = x.float().reshape(self.groups, -1, *x.shape[1:])  # (G, n, C, H, W)
        variance, mean = torch.var_mean(values, (1, 3, 4), correction=0)
        self.distances.append(
            (mean - self.mean).norm(dim=1) + (variance - self.variance).norm(dim=1)
        )
        normal = F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, eps=self.eps)
        result: Tensor = self.act(self.drop(normal))
        return result


class BatchNormPrior(nn.Module):
    """R_BN of a network, on images normalised for another model.

    Args:
        network: A timm convolutional network without a head, pretrained.
        name: What to call it.
        mean: Mean per RGB channel of pixels in [0, 1] that the network takes.
        std: Standard deviation of the same.
        size: Side of the network's input in pixels; images are resized to it.

    Raises:
        BackboneError: If the network has no BatchNorm layers with statistics.
    """

    def __init__(self, network: nn.Module, name: str, mean: Triple, std: Triple, size: int) -> None:
        super().__init__()
        self.name = name
        self.mean, self.std, self.size = mean, std, size
        self.network = network.requires_grad_(False)
        self.norms = _replace_norms(self.network)
        if not self.norms:
            raise BackboneError(
                f"prior {name}: a {type(network).__name__} has no BatchNorm layers with "
                "statistics, so it says nothing about images",
                fix="give a convolutional network with BatchNorm, such as resnet50",
            )
        self.network.eval()
        self.network.to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor, groups: int, mean: Triple, std: Triple) -> Tensor:
        """Return R_BN of each group of images: float32 (G,).

        Args:
            pixels: (G * n, 3, S, S), RGB, normalised by `mean` and `std`.
            groups: G, over each of which statistics are taken apart.
            mean: Mean per channel that was subtracted from pixels in [0, 1].
            std: Deviation that they were divided by.
        """
        for norm in self.norms:
            norm.groups, norm.distances = groups, []
        scale = pixels.new_tensor(std) / pixels.new_tensor(self.std)
        shift = (pixels.new_tensor(mean) - pixels.new_tensor(self.mean)) / pixels.new_tensor(
            self.std
        )
        own = resized(pixels, self.size) * scale.view(1, 3, 1, 1) + shift.view(1, 3, 1, 1)
        self.network.forward_features(own.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
        distances = [norm.distances[0] for norm in self.norms]
        for norm in self.norms:
            norm.distances = []
        return torch.stack(distances).sum(0)


@cache
def compiled_prior() -> Callable[[BatchNormPrior, Tensor, int, Triple, Triple], Tensor]:
    """Return the forward pass of a prior, compiled when it is first run."""
    return torch.compile(BatchNormPrior.forward, dynamic=False)


def _replace_norms(network: nn.Module) -> list[StatisticsNorm]:
    """Put a `StatisticsNorm` in place of every BatchNorm, in place."""
    found = []
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            parent, _, child = name.rpartition(".")
            norm = StatisticsNorm(module)
            setattr(network.get_submodule(parent), child, norm)
            found.append(norm)
    return found


def resized(pixels: Tensor, size: int) -> Tensor:
    """Resize (N, C, S, S) bilinearly with antialiasing, as two matrix products."""
    side = pixels.shape[-1]
    if side == size:
        return pixels
    eye = torch.eye(side, device=pixels.device)[None, None]
    matrix = F.interpolate(eye, (size, side), mode="bilinear", antialias=True)[0, 0].to(pixels)
    return matrix @ (pixels @ matrix.T)


def total_variation(pixels: Tensor, groups: int) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels of each group: float32 (G,)."""
    values = pixels.float()
    down = (values[:, :, 1:] - values[:, :, :-1]).abs().mean((1, 2, 3))
    right = (values[:, :, :, 1:] - values[:, :, :, :-1]).abs().mean((1, 2, 3))
    return (down + right).reshape(groups, -1).mean(1)


def load_prior(name: str | None = None, weights: Path | None = None) -> BatchNormPrior:
    """Load a prior.

    Args:
        name: A timm network's name, whose pretrained weights timm fetches, or a safetensors file
            that says its own architecture, or None for the embedded prior.
        weights: A safetensors file with the weights of `name`, under timm's names.

    Raises:
        BackboneError: If it cannot be made, its weights do not fit, or it has no BatchNorm.
    """
    if name is None:
        return _from_file(asset(EMBEDDED), None)
    if name.endswith(".safetensors"):
        return _from_file(Path(name), None)
    if weights is not None:
        return _from_file(weights, name)
    network = _create(name, pretrained=True)
    config = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    size = int(config["input_size"][-1])
    return BatchNormPrior(network, name, tuple(config["mean"]), tuple(config["std"]), size)


def _from_file(path: Path, name: str | None) -> BatchNormPrior:
    own = read_metadata(path)
    architecture = name or own.architecture
    if architecture is None:
        raise BackboneError(
            f"prior {path}: the file does not say which network it belongs to",
            fix="give --prior a timm name, and the file as --prior-weights",
        )
    network = _create(architecture, pretrained=False, **own.timm_arguments())
    tensors, _ = read_safetensors(path)
    state = {key: value.float() for key, value in tensors.items() if not _is_head(network, key)}
    wanted = network.state_dict()
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [k for k in sorted(wanted.keys() & state.keys()) if wanted[k].shape != state[k].shape]
    if missing or unknown or shapes:
        raise BackboneError(
            f"prior {path}: the weights do not fit {architecture}: {len(missing)} missing, "
            f"{len(unknown)} unknown, {len(shapes)} of another shape, such as "
            f"{(missing + unknown + shapes)[0]}",
            fix="name the network that these weights belong to",
        )
    network.load_state_dict(state)
    config = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    mean, std = own.mean or tuple(config["mean"]), own.std or tuple(config["std"])
    size = own.input_size or int(config["input_size"][-1])
    return BatchNormPrior(network, own.name or architecture, mean, std, size)


def _is_head(network: nn.Module, key: str) -> bool:
    classifier: Sequence[str] | str = getattr(network, "default_cfg", {}).get("classifier", "fc")
    names = (classifier,) if isinstance(classifier, str) else classifier
    return key.rpartition(".")[0] in names


def _create(name: str, *, pretrained: bool, **arguments: Any) -> nn.Module:
    if name.split(".")[0] not in timm.list_models():
        raise BackboneError(f"prior: timm has no model {name!r}", fix="for instance resnet50")
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=0, **arguments
        )
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BackboneError(
            f"prior: timm could not make {name!r}: {reason}",
            fix="without access to timm's hub give --prior-weights FILE, or leave --prior out",
        ) from error
    return network
