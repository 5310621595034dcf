"""Sizes at which images are predicted: few, of one area, and the way there and back."""

import numpy as np
import pytest

from diffdepth_jax.prediction import placement
from diffdepth_jax.prediction.placement import bucket_size


def test_bucket_of_the_own_aspect_is_the_own_size():
    assert bucket_size(480, 640, (480, 640)) == (480, 640)
    assert bucket_size(960, 1290, (480, 640)) == (480, 640)
    assert bucket_size(352, 1216, (352, 1216)) == (352, 1216)


@pytest.mark.parametrize("own", [(480, 640), (352, 1216), (64, 96)])
def test_buckets_are_few_and_of_one_area(own):
    sizes = {bucket_size(1000, int(1000 * r), own) for r in np.geomspace(0.02, 50, 300)}
    assert 3 <= len(sizes) <= 4
    for height, width in sizes:
        assert height % 16 == width % 16 == 0
        assert height * width == pytest.approx(own[0] * own[1], rel=0.15)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 2), (2, 3), (16, 9), (9, 16), (1, 1)])
def test_a_usual_aspect_uses_most_of_its_bucket(shape):
    placed = placement.scaled((shape[0] * 100, shape[1] * 100), (480, 640))
    assert np.prod(placed.content) > 0.8 * np.prod(placed.target)


def test_native_takes_the_smallest_size_that_holds_the_image():
    padded = [(100, 200), (50, 60), (60, 50)]
    assert placement.native((40, 55), padded).target == (50, 60)
    assert placement.native((55, 40), padded).target == (60, 50)
    assert placement.native((55, 55), padded).target == (100, 200)
    assert placement.native((101, 1), padded).target == (101, 1)
    assert placement.native((40, 55)).target == (40, 55)


def test_shared_sizes_hold_all_and_keep_what_is_common():
    sizes = [(3000, 4000)] * 20 + [(4000, 3000)] * 5 + [(100, 120), (90, 110), (480, 640)]
    shared = placement.shared_sizes(sizes)
    assert len(shared) == 4 and {(3000, 4000), (4000, 3000), (480, 640)} < set(shared)
    assert (100, 120) in shared
    assert placement.shared_sizes(sizes[:20]) == [(3000, 4000)]
    assert placement.shared_sizes([(2, 9), (9, 2), (5, 5)], limit=1) == [(9, 9)]


def test_an_image_is_padded_with_its_edge_and_comes_back():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5, 7, 3), np.uint8)
    placed = placement.native((5, 7), [(8, 10)])
    padded = placement.place(image, placed)
    assert padded.shape == (8, 10, 3)
    np.testing.assert_array_equal(padded[:5, :7], image)
    np.testing.assert_array_equal(padded[5:, :7], np.broadcast_to(image[4], (3, 7, 3)))
    np.testing.assert_array_equal(placement.take_back(padded[..., 0], placed), image[..., 0])


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (90, 130), (1, 2000), (2000, 1)])
def test_a_ramp_comes_back_as_a_ramp(size):
    """Up or down in scale, metres stay where they were, to half a pixel at the edges."""
    placed = placement.scaled(size, (48, 64))
    rows, columns = (np.arange(n) + 0.5 for n in placed.content)
    metres = np.zeros(placed.target, np.float32)
    metres[: placed.content[0], : placed.content[1]] = (
        1 + rows[:, None] / placed.content[0] + columns / placed.content[1]
    )
    found = placement.take_back(metres, placed)
    assert found.shape == size and found.dtype == np.float32
    rows, columns = ((np.arange(n) + 0.5) / n for n in size)
    edge = 0.6 / placed.content[0] + 0.6 / placed.content[1]
    np.testing.assert_allclose(found, 1 + rows[:, None] + columns, atol=edge)


@pytest.mark.parametrize("size", [(400, 40), (8000, 600), (10000, 1080), (40, 400)])
def test_the_scale_of_very_tall_and_wide_images_is_exact(size):
    """One side of the scaled image is rounded, up to 4 % here; the other fills the target."""
    placed = placement.scaled(size, (64, 96))
    exact = min(placed.target[0] / size[0], placed.target[1] / size[1])
    assert placed.scale == exact
    across = placed.content[1] / size[1], placed.content[0] / size[0]
    assert exact in across and placement.native(size, [(10000, 2000)]).scale == 1
