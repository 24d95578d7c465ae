import copy

import numpy as np
import pytest
import timm
import torch
from support.toolkit import (
    DIM,
    SIZE,
    embedding_of,
    random_images,
    refusal,
    tiny_backbone,
)
from torch import nn

from vision_edge.export.model.edge_model import EdgeModel
from vision_edge.export.model.embedder import TorchEmbedder, normalise_pixels
from vision_edge.runtime.errors import ExportError
from vision_edge.runtime.images.preprocess import PreprocessSpec
from vision_edge.toolkit.backbones.backbone import Backbone, state_sha256

SPECS = [
    PreprocessSpec(size=SIZE),
    PreprocessSpec(size=SIZE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    PreprocessSpec(size=SIZE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    PreprocessSpec(size=SIZE, mean=(-0.7, 3.0, 0.2), std=(0.02, 5.0, 1.3)),
]


def _by_hand(images: np.ndarray, spec: PreprocessSpec) -> torch.Tensor:
    """float64 normalisation of BGR images, channel by channel."""
    pixels = np.empty((len(images), 3, SIZE, SIZE))
    for channel in range(3):  # of RGB
        blue_green_red = images[:, :, :, 2 - channel].astype(np.float64)
        pixels[:, channel] = (blue_green_red / 255 - spec.mean[channel]) / spec.std[channel]
    return torch.from_numpy(pixels)


@pytest.mark.parametrize("spec", SPECS)
def test_normalising_is_what_the_words_say(spec: PreprocessSpec) -> None:
    images = random_images()
    got = normalise_pixels(torch.from_numpy(images), spec)
    torch.testing.assert_close(got, _by_hand(images, spec).float(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_the_folded_model_equals_explicit_normalisation(
    backbone: Backbone, spec: PreprocessSpec
) -> None:
    images = random_images(4)
    expected = embedding_of(copy.deepcopy(backbone.model).double(), _by_hand(images, spec))
    with torch.no_grad():
        got = EdgeModel(backbone.model, spec)(torch.from_numpy(images))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, atol=1e-4, rtol=1e-4)


def test_a_patch_convolution_without_bias_gets_one() -> None:
    clip = tiny_backbone(name="vit_base_patch32_clip_224", patch_size=16)
    assert clip.model.patch_embed.proj.bias is None
    spec, images = SPECS[1], random_images()
    with torch.no_grad():
        got = EdgeModel(clip.model, spec)(torch.from_numpy(images))
    expected = TorchEmbedder(clip.model, spec).embed(images)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


def test_the_model_given_is_not_changed(backbone: Backbone) -> None:
    before = state_sha256(backbone.model.state_dict())
    edge = EdgeModel(backbone.model, SPECS[1])
    with torch.no_grad():
        for parameter in edge.parameters():
            parameter.zero_()
    assert state_sha256(backbone.model.state_dict()) == before


def test_a_model_left_in_training_mode_is_exported_in_evaluation_mode() -> None:
    backbone = tiny_backbone(pos_drop_rate=0.5, drop_path_rate=0.5)
    model = backbone.model.train()
    images = torch.from_numpy(random_images())
    edge = EdgeModel(model, backbone.spec)
    with torch.no_grad():
        assert torch.equal(edge(images), edge(images))
    assert model.training


class _Without(nn.Module):
    """A model with this in place of its patch convolution."""

    def __init__(self, projection: nn.Module | None) -> None:
        super().__init__()
        if projection is not None:
            self.patch_embed = nn.Module()
            self.patch_embed.proj = projection


@pytest.mark.parametrize(
    "model",
    [
        _Without(None),
        _Without(nn.Linear(768, DIM)),
        _Without(nn.Conv2d(1, DIM, 16, 16)),
        _Without(nn.Conv2d(4, DIM, 16, 16)),
        _Without(nn.Conv2d(3, DIM, 16, 16, padding=1)),
        timm.create_model("test_resnet", pretrained=False),
    ],
    ids=["none", "linear", "one channel", "four channels", "padded", "resnet"],
)
def test_a_model_without_a_plain_patch_convolution_is_refused(model: nn.Module) -> None:
    with refusal(ExportError, type(model).__name__, "patch embedding"):
        EdgeModel(model, SPECS[0])


def test_an_embedder_gives_the_same_whatever_its_batch(backbone: Backbone) -> None:
    images = random_images(7)
    one, three, all_ = (
        TorchEmbedder(backbone.model, backbone.spec, batch=batch).embed(images)
        for batch in (1, 3, 64)
    )
    np.testing.assert_allclose(one, three, atol=1e-6)
    np.testing.assert_allclose(one, all_, atol=1e-6)
    assert one.shape == (7, DIM)
    assert one.dtype == np.float32
