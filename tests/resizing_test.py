"""Every resize of docs/resizing.md beside the library's function that the page names.

golden/resizing.npz has what PyTorch makes of a random map and a random picture.
"""

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.datasets import transforms
from diffdepth_jax.evaluation.scoring import resize_depth
from diffdepth_jax.media.preprocessing import nearest_indices, resize_image
from diffdepth_jax.models.layers import resize_align_corners, resize_bilinear
from diffdepth_jax.models.necks.fpn import shrink_by_pooling
from diffdepth_jax.prediction import stablehlo
from diffdepth_jax.prediction.placement import Placement, take_back
from tests.support.paths import GOLDEN

VECTORS = np.load(GOLDEN / "resizing.npz")
MAP = VECTORS["map"]


def cases(kind):
    """((height, width), what PyTorch computed) for each size of a kind."""
    keys = [key for key in VECTORS if key.startswith(f"{kind}/")]
    sizes = [tuple(map(int, key.split("/")[1].split("_"))) for key in keys]
    return [pytest.param(s, VECTORS[k], id=k) for s, k in zip(sizes, keys, strict=True)]


@pytest.mark.parametrize(("size", "expected"), cases("bilinear"))
def test_maps_of_a_network_and_scored_depth_are_bilinear_without_antialiasing(size, expected):
    np.testing.assert_allclose(resize_bilinear(MAP, *size), expected, atol=2e-6)
    np.testing.assert_allclose(resize_depth(MAP[0], size), expected[0], atol=2e-6)


@pytest.mark.parametrize(("size", "expected"), cases("corners"))
def test_the_released_condition_keeps_its_corners(size, expected):
    np.testing.assert_allclose(resize_align_corners(MAP, *size), expected, atol=2e-6)


@pytest.mark.parametrize(("size", "expected"), cases("pooled"))
def test_a_row_too_many_is_pooled_adaptively(size, expected):
    np.testing.assert_allclose(shrink_by_pooling(MAP, *size), expected, atol=1e-6)


@pytest.mark.parametrize(("size", "expected"), cases("antialias"))
def test_predicted_depth_is_bilinear_with_antialiasing(size, expected):
    """In the program and in an exported model."""
    placement = Placement(size=size, content=MAP.shape[1:3], target=MAP.shape[1:3])
    ours = take_back(MAP[0, ..., 0], placement)
    np.testing.assert_allclose(ours, expected[0, ..., 0], atol=2e-6)
    exported = stablehlo.restore_size(MAP[..., 0], MAP.shape[1:3], *size)
    np.testing.assert_allclose(exported, expected[..., 0], atol=2e-6)


@pytest.mark.parametrize(("size", "expected"), cases("levels"))
def test_photos_are_bilinear_with_antialiasing_in_whole_levels(size, expected):
    """In the program by Pillow; in an exported model a level or two may round otherwise."""
    picture = VECTORS["picture"]
    ours = resize_image(picture, size).astype(np.int32)
    assert np.abs(ours - expected).max() <= 1
    exported = np.asarray(stablehlo.letterbox(picture[None], size, size)[0])
    assert np.abs(exported - ours).max() <= 2 and np.abs(exported - ours).mean() < 0.1


@pytest.mark.parametrize(("lengths", "expected"), cases("nearest"))
def test_depth_and_mask_take_the_pixel_that_contains_the_centre(lengths, expected):
    old, new = lengths
    values = np.arange(old)[:, None, None]
    sample = {
        "image": np.zeros((old, 1, 3), np.uint8),
        "depth": values.astype(np.float32),
        "mask": values % 3 > 0,
    }
    resized = transforms.resize(sample, (new, 1))
    np.testing.assert_array_equal(resized["depth"][:, 0, 0], expected)
    np.testing.assert_array_equal(resized["mask"][:, 0, 0], expected % 3 > 0)


def test_pillow_loses_count_of_the_nearest_pixel_where_we_do_not():
    """It adds 4/3 again and again; where a centre lies on a border, rounding then decides."""
    picture = Image.fromarray(np.arange(640, dtype=np.int32)[None])
    pillow = np.asarray(picture.resize((480, 1), Image.Resampling.NEAREST))[0]
    ours = nearest_indices(640, 480)
    difference = ours - pillow
    assert set(difference) == {0, 1} and 0.1 < difference.mean() < 0.4
