import torch

from vision_edge.toolkit.tuning.image_augmentation import random_crop_flip


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _ramp(count: int, size: int = 24) -> torch.Tensor:
    """Images whose first channel is the column and the second the row, from 0 to 1."""
    line = torch.linspace(0, 1, size)
    column, row = line.expand(size, size), line[:, None].expand(size, size)
    return torch.stack([column, row, torch.zeros_like(row)]).expand(count, -1, -1, -1).clone()


def test_the_whole_image_without_a_flip_is_the_image() -> None:
    images = torch.rand(8, 3, 16, 16, generator=_generator())
    whole = random_crop_flip(images, _generator(), scale=(4.0, 4.0), flip=False)
    torch.testing.assert_close(whole, images, atol=1e-5, rtol=0)


def test_a_flip_is_left_to_right_for_about_half() -> None:
    images = _ramp(200)
    flipped = random_crop_flip(images, _generator(), scale=(4.0, 4.0))
    turned = [torch.allclose(image, images[0].flip(-1), atol=1e-5) for image in flipped]
    kept = [torch.allclose(image, images[0], atol=1e-5) for image in flipped]
    assert sum(turned) + sum(kept) == 200
    assert 70 < sum(turned) < 130


def test_a_crop_is_of_the_area_asked_for_and_inside_the_image() -> None:
    crops = random_crop_flip(_ramp(300), _generator(), scale=(0.3, 0.6), flip=False)
    width = crops[:, 0].amax((1, 2)) - crops[:, 0].amin((1, 2))
    height = crops[:, 1].amax((1, 2)) - crops[:, 1].amin((1, 2))
    area = width * height
    assert area.min() > 0.25
    assert area.max() < 0.65
    assert area.max() - area.min() > 0.2
    left = crops[:, 0].amin((1, 2))
    assert left.min() < 0.05
    assert left.max() > 0.25


def test_images_are_cropped_apart_and_by_the_generator_alone() -> None:
    images = _ramp(2)
    first = random_crop_flip(images, _generator(1))
    torch.manual_seed(9)
    again = random_crop_flip(images, _generator(1))
    assert torch.equal(first, again)
    assert not torch.allclose(first[0], first[1])
    assert not torch.equal(first, random_crop_flip(images, _generator(2)))


def test_dtype_stays() -> None:
    images = torch.rand(2, 3, 16, 16).bfloat16()
    assert random_crop_flip(images, _generator()).dtype == torch.bfloat16
