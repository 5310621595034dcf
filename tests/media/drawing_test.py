"""Pictures have the sizes, captions, scales and colours that they should have."""

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import color_maps, drawing
from tests.media.color_maps_test import is_black


def frame(height=40, width=50, seed=0):
    """An image, dense ground truth in metres, its mask, and a prediction 20 % too far."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    target = rng.uniform(1, 10, (height, width, 1)).astype(np.float32)
    return image, target, np.ones((height, width, 1), bool), 1.2 * target


def test_stack_fills_with_white_on_the_right():
    wide, narrow = np.zeros((3, 8, 3), np.uint8), np.zeros((2, 5, 3), np.uint8)
    stacked = drawing.stack_panels([wide, narrow])
    assert stacked.shape == (5, 8, 3) and stacked.dtype == np.uint8
    assert not stacked[:, :5].any() and (stacked[3:, 5:] == 255).all()


def test_png_is_written_without_loss(tmp_path):
    image = frame()[0]
    path = str(tmp_path / "picture.png")
    drawing.write_png(path, image)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    with pytest.raises(FileNotFoundError):
        drawing.write_png(str(tmp_path / "nowhere" / "picture.png"), image)


def test_colours_are_exact_where_nothing_is_enlarged():
    depth = np.geomspace(0.8, 30, 400 * 410).reshape(400, 410)
    picture = drawing.depth_picture(depth, (0.8, 30), colormap="turbo")
    expected = color_maps.colorize_depth(depth, 0.8, 30, colormap="turbo")
    np.testing.assert_array_equal(picture[:, :410], expected)


def test_small_pictures_are_enlarged_smoothly():
    """A ramp of 64 x 96 pixels has no steps of 6 x 6 pixels, and holes stay where they are."""
    depth = np.broadcast_to(np.geomspace(1, 10, 96), (64, 96)).copy()
    depth[20:30, 40:50] = np.nan
    picture = drawing.depth_picture(depth, (1, 10))
    assert picture.shape[0] == 384
    row = picture[10, :576].astype(int)
    assert np.abs(np.diff(row, axis=0)).max() < 6
    assert len(np.unique(row, axis=0)) > 150
    hole = is_black(picture[:, :576])
    expected = np.isnan(depth).repeat(6, axis=0).repeat(6, axis=1)
    assert (hole == expected).mean() > 0.999 and hole[150, 270]


def test_a_picture_of_another_size_names_the_depths_that_were_given(texts):
    depth = np.full((400, 400), 2.0)
    depth[200, 200] = 1.0
    picture = drawing.depth_picture(depth, (1.5, 3), size=(100, 90))
    assert {"near 1.00 m", "far 2.00 m"} <= set(texts)
    np.testing.assert_allclose(picture[50, 10], color_maps.colorize_depth(depth, 1.5, 3)[0, 0])


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (20, 30)])
def test_any_size_gets_its_scale(size):
    picture = drawing.depth_picture(np.ones(size), (0.9, 1.1), np.zeros((*size, 3), np.uint8))
    assert picture.shape[0] >= 100 and picture.shape[1] > 2 * size[1]


def test_pictures_of_enormous_predictions_are_thinned_out():
    depth = np.ones((3, 9000), np.float32)
    picture = drawing.depth_picture(depth, (0.9, 1.1), np.zeros((3, 9000, 3), np.uint8))
    assert 6000 < picture.shape[1] < 6200
    assert drawing.depth_limits(depth) == pytest.approx((1 / 1.01, 1.01))
    assert drawing.spread_picture(depth, depth).shape[1] < 3200


def test_side_by_side_shows_the_image():
    image, depth, _, _ = frame(400, 410)
    picture = drawing.depth_picture(depth, drawing.depth_limits(depth), image)
    np.testing.assert_array_equal(picture[:, :410], image)
    np.testing.assert_array_equal(picture[:, 416:826], color_maps.colorize_depth(depth))
    with pytest.raises(UserError, match=r"image 200 x 410, depth 400 x 410"):
        drawing.depth_picture(depth, (1, 2), image[:200])


def test_spread_grows_brighter():
    depth = np.full((400, 410), 4.0)
    spread = np.broadcast_to(np.linspace(0, 0.4, 410), depth.shape)
    picture = drawing.spread_picture(spread, depth)[100, :400].astype(int).sum(axis=-1)
    assert (np.diff(picture) >= 0).all() and picture[-1] > picture[0] + 300
    assert drawing.spread_picture(np.zeros((1, 1)), np.ones((1, 1))).shape[0] == 384
