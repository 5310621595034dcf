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


def tiles_of(picture, height, width, columns):
    """The four pictures of a panel without their captions, found from the sizes alone."""
    rows = 4 // columns
    gap = 6
    row_height = (picture.shape[0] - gap) // rows
    bottoms = [(row + 1) * row_height for row in range(rows)]
    lefts = [gap + column * (width + gap) for column in range(columns)]
    return [picture[b - height : b, left : left + width] for b in bottoms for left in lefts]


@pytest.mark.parametrize(
    ("height", "width", "factor", "columns"),
    [
        (200, 260, 1, 4),
        (96, 128, 2, 4),
        (37, 53, 6, 4),
        (1, 1, 192, 4),
        (300, 3, 1, 4),
        (100, 301, 2, 2),
        (20, 2000, 1, 2),
    ],
)
def test_panel_enlarges_small_images_and_folds_wide_ones(height, width, factor, columns):
    image, target, mask, prediction = frame(height, width)
    picture = drawing.panel(image, target, mask, prediction)
    height, width = factor * height, factor * width
    assert picture.dtype == np.uint8
    assert picture.shape[1] == columns * width + 6 * (columns + 1)
    tiles = tiles_of(picture, height, width, columns)
    enlarged = image.repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(tiles[0], enlarged)


def test_panel_draws_both_depths_on_the_scale_of_the_ground_truth():
    image, target, mask, _ = frame(200, 210)
    _, truth, prediction, error = tiles_of(drawing.panel(image, target, mask, target), 200, 210, 4)
    np.testing.assert_array_equal(truth, prediction)
    _, truth, prediction, worse = tiles_of(
        drawing.panel(image, target, mask, 1.4 * target), 200, 210, 4
    )
    assert (truth != prediction).any(axis=-1).mean() > 0.5
    assert worse.mean() > error.mean()


def test_panel_thickens_sparse_ground_truth_only():
    image, target, mask, prediction = frame(200, 210)
    sparse = np.zeros_like(mask)
    sparse[::10, ::10] = True
    _, truth, whole, error = tiles_of(drawing.panel(image, target, sparse, prediction), 200, 210, 4)
    assert 0.2 < (~is_black(truth)).mean() < 0.3
    np.testing.assert_array_equal(is_black(truth), is_black(error))
    assert not is_black(whole).any()
    mask[5, 5] = False
    _, truth, _, _ = tiles_of(drawing.panel(image, target, mask, prediction), 200, 210, 4)
    assert is_black(truth).sum() == 1


def test_panel_of_no_ground_truth_still_shows_the_prediction():
    image, target, mask, prediction = frame(200, 210)
    _, truth, drawn, error = tiles_of(
        drawing.panel(image, np.full_like(target, np.nan), ~mask, prediction), 200, 210, 4
    )
    assert is_black(truth).all() and is_black(error).all()
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100


def test_panel_captions_the_error_with_the_numbers_or_the_text_given(monkeypatch):
    image, target, mask, _ = frame()
    titles = []
    draw_tile = drawing._tile
    monkeypatch.setattr(drawing, "_tile", lambda *args: titles.append(args[1]) or draw_tile(*args))
    constant = np.full_like(target, 2)
    drawing.panel(image, constant, mask, constant + 0.5)
    drawing.panel(image, constant, mask, constant, error_text="d1 1.000")
    drawing.panel(image, constant, ~mask, constant)
    assert titles[:3] == ["image", "ground truth", "prediction"]
    assert titles[3::4] == [
        "error: abs_rel 0.250, rmse 0.50 m",
        "error: d1 1.000",
        "error: no ground truth",
    ]


def test_panel_has_a_caption_that_can_be_read():
    picture = drawing.panel(*frame(192, 192))
    assert (picture[6:39].min(axis=-1) < 100).any()
    assert (picture[:6] == 255).all() and (picture[:, :6] == 255).all()


def test_panel_survives_a_prediction_of_nan():
    image, target, mask, prediction = frame(200, 210)
    prediction[:10] = np.nan
    _, _, drawn, error = tiles_of(drawing.panel(image, target, mask, prediction), 200, 210, 4)
    assert is_black(drawn)[:10].all() and not is_black(drawn)[10:].any()
    assert not is_black(error).any()


def test_panel_of_different_sizes_names_them():
    image, target, mask, prediction = frame()
    with pytest.raises(UserError, match=r"image 40 x 50, .* prediction 20 x 50"):
        drawing.panel(image, target, mask, prediction[:20])


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
    with pytest.raises(UserError, match="cannot be written"):
        drawing.write_png(str(tmp_path / "nowhere" / "picture.png"), image)


def test_a_scale_stands_beside_the_depth_and_names_round_metres():
    depth = np.geomspace(0.8, 30, 200 * 210).reshape(200, 210)
    picture = drawing.depth_picture(depth, (0.8, 30))
    np.testing.assert_array_equal(picture[:, :210], color_maps.colorize_depth(depth, 0.8, 30))
    assert drawing._nice_depths(0.8, 30) == [1, 2, 5, 10, 20]
    bar = picture[:, 210 + 10]
    near = color_maps.color_table(color_maps.DEPTH_MAP)[0]
    assert np.abs(bar[-12].astype(int) - near).max() < 40  # upwards is away
    assert (picture[:, 240:].min(axis=-1) < 100).any()  # text


@pytest.mark.parametrize(
    ("limits", "marks"),
    [
        ((2, 9), [2, 3, 4, 5, 6, 8]),
        ((1.01, 1.05), [1.01, 1.05]),
        ((0.02, 0.3), [0.02, 0.05, 0.1, 0.2]),
    ],
)
def test_marks_are_round_unless_the_range_is_too_small(limits, marks):
    assert drawing._nice_depths(*limits) == pytest.approx(marks)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (20, 30)])
def test_any_size_gets_its_scale(size):
    picture = drawing.depth_picture(np.ones(size), (0.9, 1.1), np.zeros((*size, 3), np.uint8))
    assert picture.shape[0] >= 66 and picture.shape[1] > 2 * size[1]


def test_pictures_of_enormous_predictions_are_thinned_out():
    depth = np.ones((3, 9000), np.float32)
    picture = drawing.depth_picture(depth, (0.9, 1.1), np.zeros((3, 9000, 3), np.uint8))
    assert 6000 < picture.shape[1] < 6200
    assert drawing.depth_limits(depth) == pytest.approx((1 / 1.01, 1.01))
    assert drawing.spread_picture(depth, depth).shape[1] < 3200


def test_marks_of_a_low_picture_do_not_touch():
    """Of twenty marks on a picture of 66 rows only some are drawn, so some white is left."""
    marks = [(k / 20, f"{k} m") for k in range(20)]
    strip = drawing._with_scale(np.zeros((66, 5, 3), np.uint8), color_maps.DEPTH_MAP, marks)
    text = (strip[:, 30:].min(axis=-1) < 128).any(axis=1)
    assert 2 < np.count_nonzero(np.diff(text.astype(int)) == 1) < 8


def test_side_by_side_shows_the_image():
    image, depth, _, _ = frame(200, 210)
    picture = drawing.depth_picture(depth, drawing.depth_limits(depth), image)
    np.testing.assert_array_equal(picture[:, :210], image)
    np.testing.assert_array_equal(picture[:, 216:426], color_maps.colorize_depth(depth))


def test_spread_grows_brighter():
    depth = np.full((200, 210), 4.0)
    spread = np.broadcast_to(np.linspace(0, 0.4, 210), depth.shape)
    picture = drawing.spread_picture(spread, depth)[100, :205].astype(int).sum(axis=-1)
    assert (np.diff(picture) >= 0).all() and picture[-1] > picture[0] + 300
    assert drawing.spread_picture(np.zeros((1, 1)), np.ones((1, 1))).shape[0] == 192


def test_denoising_has_a_picture_for_each_step_in_one_scale():
    rng = np.random.default_rng(0)
    last = rng.uniform(2, 8, (200, 210))
    pictures = drawing.denoising_pictures(np.stack([rng.uniform(1, 50, (200, 210)), last, last]))
    assert len(pictures) == 3 and len({picture.shape for picture in pictures}) == 1
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture[-200:], color_maps.colorize_depth(last))
