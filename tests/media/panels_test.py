"""A panel shows four pictures with their titles, and all panels fit below each other."""

import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.panels import panel
from tests.media.color_maps_test import is_black
from tests.media.drawing_test import frame

GAP, LINE = 6, 32  # pixels: white between tiles, and a title or the line below a picture


def tiles_of(picture, height, width, columns=4, titled=True):
    """The four pictures of a panel, which fill their tiles, from the sizes alone."""
    tile = (picture.shape[1] - GAP) // columns - GAP
    shown = round(height * tile / width)
    top = GAP + LINE * titled
    tops = [top + row * (shown + GAP + LINE * (1 + titled)) for row in range(4 // columns)]
    lefts = [GAP + column * (tile + GAP) for column in range(columns)]
    return [picture[t : t + shown, left : left + tile] for t in tops for left in lefts]


@pytest.mark.parametrize("size", [(480, 640), (64, 96), (1, 1), (300, 3), (375, 1242), (20, 2000)])
def test_panels_of_all_sizes_have_one_width(size):
    picture = panel(*frame(*size))
    assert picture.dtype == np.uint8 and abs(picture.shape[1] - 1640) < 8
    assert picture.shape[0] < 800 and (picture[:GAP] == 255).all()


def test_the_image_is_shown_smoothly():
    image, target, mask, prediction = frame(8, 10)
    image[:] = np.linspace(0, 250, 10).astype(np.uint8)[:, None]
    shown = tiles_of(panel(image, target, mask, prediction), 8, 10)[0]
    assert np.abs(np.diff(shown[50].astype(int), axis=0)).max() <= 2
    np.testing.assert_allclose(shown.mean(), image.mean(), atol=2)


def test_both_depths_are_drawn_on_the_scale_of_the_ground_truth():
    image, target, mask, _ = frame(400, 402)
    _, truth, prediction, error = tiles_of(panel(image, target, mask, target), 400, 402)
    np.testing.assert_array_equal(truth, prediction)
    _, truth, prediction, worse = tiles_of(panel(image, target, mask, 1.4 * target), 400, 402)
    assert (truth != prediction).any(axis=-1).mean() > 0.5
    assert worse.mean() > error.mean()


def test_sparse_ground_truth_only_is_thickened():
    image, target, mask, prediction = frame(402, 402)
    sparse = np.zeros_like(mask)
    sparse[::10, ::10] = True
    _, truth, whole, error = tiles_of(panel(image, target, sparse, prediction), 402, 402)
    assert 0.2 < (~is_black(truth)).mean() < 0.3
    np.testing.assert_array_equal(is_black(truth), is_black(error))
    assert not is_black(whole).any()
    mask[50:60, 50:60] = False
    _, truth, _, _ = tiles_of(panel(image, target, mask, prediction), 402, 402)
    assert 80 < is_black(truth).sum() < 120


def test_without_ground_truth_the_prediction_is_still_shown(texts):
    image, target, mask, prediction = frame(200, 210)
    picture = panel(image, np.full_like(target, np.nan), ~mask, prediction)
    _, truth, drawn, error = tiles_of(picture, 200, 210)
    assert is_black(truth).all() and is_black(error).all()
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100
    assert "no ground truth" in texts


def test_names_and_numbers_are_written_once(texts):
    image, target, mask, _ = frame()
    constant = np.full_like(target, 2)
    panel(image, constant, mask, constant + 0.5, name="a.jpg")
    assert texts == [
        *["image", "a.jpg", "ground truth", "1.98 m", " 2.02 m"],
        *["prediction", "abs_rel 0.250, rmse 0.50 m"],
        *["error / ground truth", "0", " 50% and more"],
    ]
    texts.clear()
    panel(image, constant, mask, constant, name="x/" * 50 + "b.jpg", scores="d1 1", titled=False)
    assert "d1 1" in texts and "prediction" not in texts
    assert any(t.startswith("\N{HORIZONTAL ELLIPSIS}") and t.endswith("x/b.jpg") for t in texts)


def test_titles_can_be_read():
    picture = panel(*frame(192, 192))
    assert (picture[GAP : GAP + LINE].min(axis=-1) < 100).any()
    untitled = panel(*frame(192, 192), titled=False)
    assert len(untitled) == len(picture) - LINE


def test_a_prediction_of_nan_is_the_worst_error():
    image, target, mask, prediction = frame(400, 402)
    prediction[:20] = np.nan
    _, _, drawn, error = tiles_of(panel(image, target, mask, prediction), 400, 402)
    assert is_black(drawn)[:18].all() and not is_black(drawn)[22:].any()
    assert not is_black(error).any()
    assert error[:18].min() > 150


def test_different_sizes_are_named():
    image, target, mask, prediction = frame()
    with pytest.raises(UserError, match=r"image 40 x 50, .* prediction 20 x 50"):
        panel(image, target, mask, prediction[:20])
