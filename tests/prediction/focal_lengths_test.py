"""Focal lengths of Python, NumPy and JAX, and what is none."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.focal_lengths import of_images, one_each


@pytest.mark.parametrize(
    "focal_length",
    [100, 100.0, np.float32(100), np.int64(100), np.array(100.0), jnp.array(100.0), [100, 100.0]],
)
def test_one_number_or_one_for_each_image(focal_length):
    found = one_each(focal_length, 2)
    assert found == [100, 100] and all(type(each) is float for each in found)


@pytest.mark.parametrize("array", [np.array, jnp.array, tuple, list])
def test_arrays_and_sequences(array):
    assert one_each(array([100.0, 90.0]), 2) == [100, 90]


def test_none_stays_none():
    assert one_each(None, 2) == [None, None]
    assert one_each([None, np.array(90)], 2) == [None, 90]


@pytest.mark.parametrize(
    "focal_length",
    ["100", True, np.True_, b"100", [True, 100.0], ["100", "90"], np.ones((2, 2)), [[1], [2]], 1j],
)
def test_other_things_are_refused(focal_length):
    with pytest.raises(UserError, match="must be a number of pixels"):
        one_each(focal_length, 2)


@pytest.mark.parametrize("focal_length", [0, -1.0, np.nan, np.array([100, np.inf])])
def test_numbers_out_of_range_are_refused(focal_length):
    with pytest.raises(UserError, match="must be positive, in pixels"):
        one_each(focal_length, 2)


def test_their_number_is_that_of_the_images():
    with pytest.raises(UserError, match="3 focal lengths for 2 images"):
        one_each(np.ones(3), 2)


def test_a_field_of_view_stands_for_the_focal_length_at_each_width():
    """At 90 degrees the focal length is half the width."""
    images = [np.zeros((4, width, 3), np.uint8) for width in (20, 60)]
    assert of_images(images, None, 90.0) == pytest.approx([10, 30])
    assert of_images(images, [5, None], None) == [5, None]
    with pytest.raises(UserError, match="focal_length and fov both name the camera"):
        of_images(images, 5.0, 90.0)
    with pytest.raises(UserError, match="fov 171: must be more than 0 and at most 170 degrees"):
        of_images(images, None, 171)
