"""Soft edges become steps where the image has them, and planes stay as they are."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.method.sharpening import RADIUS, sharpened

NEAR, FAR = np.log(2.0), np.log(4.0)
HEIGHT, WIDTH, EDGE = 24, 32, 15  # pixels from EDGE on are far


def texture(seed=0):
    return np.random.default_rng(seed).normal(size=(1, HEIGHT, WIDTH, 3)).astype(np.float32)


def plane(a=0.3, b=0.004, c=0.006):
    """log of the depth of a plane: its inverse is linear in the image."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return -np.log(a + b * rows + c * columns).astype(np.float32)[None, :, :, None]


def ramp(length, middle=EDGE - 0.5):
    """From NEAR to FAR within so many pixels of a row."""
    along = np.clip((np.arange(WIDTH) - middle) / length + 0.5, 0, 1)
    row = (NEAR + (FAR - NEAR) * along).astype(np.float32)
    return np.broadcast_to(row[:, None], (1, HEIGHT, WIDTH, 1))


def two_colours(edge=EDGE):
    image = np.zeros((1, HEIGHT, WIDTH, 3), np.float32)
    image[:, :, edge:] = 2
    return image


def step(edge=EDGE):
    return np.where(np.arange(WIDTH)[:, None] < edge, NEAR, FAR) * np.ones((1, HEIGHT, 1, 1))


@pytest.mark.parametrize("length", [2, 4, 5])
def test_a_ramp_becomes_a_step_at_the_edge_of_the_image(length):
    np.testing.assert_allclose(sharpened(ramp(length), two_colours(), 1), step(), atol=1e-6)


@pytest.mark.parametrize("shift", [-1, 1])
def test_the_edge_of_the_image_decides_where_the_step_is(shift):
    found = np.asarray(sharpened(ramp(4, EDGE - 0.5 + shift), two_colours(), 1))
    steps = np.diff(found, axis=2)
    assert (steps.argmax(2) == EDGE - 1).all()
    assert steps.max() > 0.8 * (FAR - NEAR)


def test_wide_ramps_take_several_scales():
    found = np.asarray(sharpened(ramp(11), two_colours(), 3))
    steps = np.diff(found, axis=2)
    assert (steps.argmax(2) == EDGE - 1).all()
    assert steps.max() > 0.8 * (FAR - NEAR)
    at_one = np.diff(np.asarray(sharpened(ramp(11), two_colours(), 1)), axis=2)
    assert at_one.max() < 0.5 * (FAR - NEAR)


def test_no_scales_change_nothing():
    np.testing.assert_array_equal(sharpened(ramp(4), two_colours(), 0), ramp(4))


def test_columns_are_as_rows():
    turned = lambda x: np.swapaxes(x, 1, 2)  # noqa: E731
    found = sharpened(turned(ramp(4)), turned(two_colours()), 1)
    np.testing.assert_allclose(found, turned(step()), atol=1e-6)


@pytest.mark.parametrize("scales", [1, 3])
def test_texture_on_a_plane_does_not_become_depth(scales):
    np.testing.assert_array_equal(sharpened(plane(), 3 * texture(), scales), plane())


def test_every_value_is_one_of_the_pixels_near_by():
    rough = np.cumsum(texture(1)[..., :1], axis=2)
    found = np.asarray(sharpened(rough, texture(2), 1))
    assert np.isin(found, rough).all()
    reach = 2 * 2 * RADIUS  # two passes along each axis, and the step
    for row, column in np.ndindex(HEIGHT, WIDTH):
        rows = slice(max(row - reach, 0), row + reach + 1)
        columns = slice(max(column - reach, 0), column + reach + 1)
        assert found[0, row, column] in rough[0, rows, columns]


def test_a_mirrored_image_has_mirrored_depth():
    depth = ramp(4) + 0.3 * texture(1)[..., :1]
    mirrored = sharpened(depth[:, :, ::-1], texture()[:, :, ::-1], 1)
    np.testing.assert_allclose(mirrored[:, :, ::-1], sharpened(depth, texture(), 1), atol=1e-6)


def test_maps_of_one_image_follow_each_other():
    images, depth = np.concatenate([texture(), two_colours()]), np.concatenate([ramp(4)] * 4)
    found = sharpened(depth, images, 1)
    for index, image in enumerate(np.repeat(images, 2, axis=0)):
        alone = sharpened(depth[index : index + 1], image[None], 1)
        np.testing.assert_array_equal(found[index], alone[0])


def test_sizes_may_be_symbols():
    batch, height, width = jax.export.symbolic_shape("b, h, w")
    shapes = [jax.ShapeDtypeStruct((batch, height, width, count), jnp.float32) for count in (1, 3)]
    exported = jax.export.export(jax.jit(lambda *maps: sharpened(*maps, 1)))(*shapes)
    found = exported.call(jnp.asarray(ramp(4)), jnp.asarray(two_colours()))
    np.testing.assert_allclose(found, step(), atol=1e-6)
