"""Colours keep the order of depths and errors, and stand for the limits that were given."""

import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import color_maps, defaults


def is_black(picture):
    return (picture == 0).all(axis=-1)


@pytest.mark.parametrize("extra", [(), (1,)])
def test_depth_without_ground_truth_is_black(extra):
    depth = np.array([[1, 2, np.nan, np.inf], [0, -1, -np.inf, 3]]).reshape(2, 4, *extra)
    mask = np.array([[1, 0, 1, 1], [1, 1, 1, 1]], bool).reshape(2, 4, *extra)
    picture = color_maps.colorize_depth(depth, mask=mask)
    assert picture.shape == (2, 4, 3) and picture.dtype == np.uint8
    assert is_black(picture).tolist() == [[False, True, True, True], [True, True, True, False]]


@pytest.mark.parametrize("value", [np.nan, 0.0, 5.0])
def test_constant_and_empty_depth_are_drawn(value):
    picture = color_maps.colorize_depth(np.full((3, 4), value, np.float32))
    assert (picture == picture[0, 0]).all()
    assert is_black(picture).all() == (value != 5.0)


def _distance(colors):
    """Of neighbours as CIE 1976 L*a*b*, under daylight (D65), sees them."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(linear @ np.transpose(to_xyz) / [0.9505, 1, 1.089]).T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
    return np.linalg.norm(np.diff(lab, axis=0), axis=1)


def test_the_default_is_perceptually_uniform_and_every_depth_has_its_place():
    depth = np.geomspace(1, 10, 256)[None]
    colors = color_maps.colorize_depth(depth, 1, 10)[0]
    np.testing.assert_array_equal(colors, color_maps.color_table(color_maps.depth_map()))
    assert len(np.unique(colors, axis=0)) > 200
    uniform, rainbow = (
        _distance(color_maps.color_table(color_maps.depth_map(name))[::8] / 255)
        for name in (defaults.COLORMAP, "turbo")
    )
    assert uniform.std() / uniform.mean() < 0.35 < rainbow.std() / rainbow.mean()


NEAREST = {
    "viridis": [253, 231, 37],
    "inferno": [252, 255, 164],
    "magma": [252, 253, 191],
    "cividis": [254, 232, 56],
    "turbo": [133, 7, 2],
    "Spectral": [158, 1, 66],
    "grey": [255, 255, 255],
    "viridis_r": [71, 16, 99],
}


@pytest.mark.parametrize("name", NEAREST)
def test_near_is_the_warm_or_bright_end_of_each_map_unless_it_is_turned_around(name):
    colors = color_maps.colorize_depth(np.array([[1.0, 10.0]]), 1, 10, colormap=name)[0]
    np.testing.assert_array_equal(colors[0], NEAREST[name])
    assert not is_black(colors).any() and colors.max(axis=-1).min() > 30
    assert set(defaults.COLORMAPS) <= set(NEAREST)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("virids", "colormap 'virids' is unknown: did you mean viridis"),
        ("qqqq", "unknown: try viridis, inferno"),
        ("tab10", "colours have no order"),
        ("twilight", "colours have no order"),
    ],
)
def test_maps_that_are_none_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        color_maps.depth_map(name)


def test_equal_ratios_of_depth_are_equal_steps():
    colors = color_maps.colorize_depth(np.array([[1, 10, 100]]), 1, 100)[0]
    table = color_maps.color_table(color_maps.depth_map())
    np.testing.assert_array_equal(colors, table[[0, 128, 255]])


def test_depth_beyond_the_limits_has_the_colour_of_the_limit():
    colors = color_maps.colorize_depth(np.array([[0.1, 1, 10, 500]]), 1, 10)[0]
    np.testing.assert_array_equal(colors[0], colors[1])
    np.testing.assert_array_equal(colors[3], colors[2])


def test_default_limits_are_percentiles_of_the_valid_pixels():
    depth = np.geomspace(20, 80, 100)[None]
    mask = depth > 40
    low, high = np.percentile(depth[mask], (2, 98))
    default = color_maps.colorize_depth(depth, mask=mask).astype(int)
    explicit = color_maps.colorize_depth(depth, low, high, mask).astype(int)
    assert np.abs(default - explicit).max() < 30  # the default leaves a little room
    assert len(np.unique(default[mask], axis=0)) > 40


def test_default_limits_pass_over_outliers():
    depth = np.geomspace(1, 10, 1000)[None]
    outlier = depth.copy()
    outlier[0, -1] = 1e6
    plain, disturbed = color_maps.colorize_depth(depth), color_maps.colorize_depth(outlier)
    np.testing.assert_array_equal(plain, disturbed)


@pytest.mark.parametrize("limits", [(0, 1), (-1, 1), (2, 2), (3, 2), (float("nan"), 1)])
def test_limits_that_are_no_range_are_refused(limits):
    with pytest.raises(UserError, match="must be positive and increasing"):
        color_maps.colorize_depth(np.ones((2, 2)), *limits)


def test_error_grows_brighter_up_to_one_half():
    target = np.full((1, 6), 2.0)
    prediction = np.array([[2.0, 2.2, 1.5, 2.9, 3.0, 9.0]])
    colors = color_maps.colorize_error(prediction, target)[0].astype(int)
    assert (np.diff(colors.sum(axis=-1))[:4] > 0).all()
    np.testing.assert_array_equal(colors[4], colors[5])
    assert colors[0].sum() > 30  # a right pixel differs from one without ground truth


def test_error_is_black_without_ground_truth_and_worst_without_prediction():
    target = np.array([[2, 2, np.nan, 0, 2, 2]], np.float32)
    mask = np.array([[1, 0, 1, 1, 1, 1]], bool)
    prediction = np.array([[2, 2, 2, 2, np.nan, np.inf]], np.float32)
    picture = color_maps.colorize_error(prediction, target, mask)
    assert is_black(picture)[0].tolist() == [False, True, True, True, False, False]
    worst = color_maps.colorize_error(np.array([[99.0]]), np.array([[1.0]]))[0, 0]
    np.testing.assert_array_equal(picture[0, 4:], [worst, worst])


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_dilation_makes_a_lone_pixel_a_square(radius):
    depth = np.full((9, 11), np.nan)
    depth[4, 5] = 3
    picture = color_maps.colorize_depth(depth, 1, 10, dilate=radius)
    assert (~is_black(picture)).sum() == (2 * radius + 1) ** 2
    assert not is_black(picture)[4 - radius : 5 + radius, 5 - radius : 6 + radius].any()
    error = color_maps.colorize_error(np.full((9, 11), 4.0), depth, dilate=radius)
    np.testing.assert_array_equal(is_black(error), is_black(picture))


def test_dilation_changes_no_measured_pixel_and_prefers_the_near_and_the_wrong():
    depth = np.array([[2.0, np.nan, 8.0]])
    picture = color_maps.colorize_depth(depth, 1, 10, dilate=1)[0]
    plain = color_maps.colorize_depth(depth, 1, 10)[0]
    np.testing.assert_array_equal(picture, plain[[0, 0, 2]])
    prediction = np.array([[2.0, 5.0, 9.0]])
    error = color_maps.colorize_error(prediction, depth, dilate=1)[0]
    plain = color_maps.colorize_error(prediction, depth)[0]
    np.testing.assert_array_equal(error, plain[[0, 2, 2]])
