import numpy as np

from vision_edge.runtime.images.generated_scenes import generated_scenes


def test_scenes_are_images_all_different_and_always_the_same() -> None:
    scenes = generated_scenes(6, 48)
    assert all(scene.shape == (48, 48, 3) and scene.dtype == np.uint8 for scene in scenes)
    assert len({scene.tobytes() for scene in scenes}) == 6
    for first, again in zip(scenes, generated_scenes(6, 48), strict=True):
        np.testing.assert_array_equal(first, again)
    assert not np.array_equal(scenes[0], generated_scenes(1, 48, seed=1)[0])


def test_scenes_cover_the_range_of_pixel_values_and_colours() -> None:
    scenes = np.stack(generated_scenes(40, 32))
    assert scenes.min() < 10
    assert scenes.max() > 245
    assert (scenes.std(axis=(1, 2, 3)) > 8).all(), "none is a plain area"
    spread = scenes.astype(float).mean(axis=(1, 2))
    assert np.abs(spread[:, 0] - spread[:, 2]).max() > 20, "some are blue, some are red"
