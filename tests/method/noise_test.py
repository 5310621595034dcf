"""Noise of which a share is common to all cells."""

import jax
import numpy as np
import pytest

from diffdepth_jax.method.noise import antithetic, normal_per_image, with_global_part

KEYS = jax.random.split(jax.random.key(0), 4000)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_each_cell_is_unit_gaussian_and_cells_correlate_by_the_share(share):
    noise = with_global_part(normal_per_image(KEYS, (2, 3, 2)), share)
    covariance = np.cov(noise.reshape(-1, 12).T).reshape(2, 3, 2, 2, 3, 2)
    np.testing.assert_allclose(np.var(noise, axis=0), 1, atol=0.1)
    assert covariance[0, 0, 0, 1, 2, 0] == pytest.approx(share, abs=0.06)
    assert covariance[0, 0, 0, 1, 2, 1] == pytest.approx(0, abs=0.06)


def test_a_share_of_one_is_equal_in_all_cells():
    noise = with_global_part(normal_per_image(KEYS[:2], (3, 5, 4)), 1.0)
    np.testing.assert_allclose(noise, np.broadcast_to(noise[:, :1, :1], noise.shape), atol=1e-6)


def test_without_a_share_the_noise_is_as_it_was():
    noise = normal_per_image(KEYS[:2], (3, 5, 4))
    assert with_global_part(noise, 0.0) is noise


@pytest.mark.parametrize("members", [4, 5])
def test_every_second_member_of_an_image_is_minus_the_one_before(members):
    noise = normal_per_image(KEYS[: 3 * members], (2, 3, 4)).reshape(3, members, 2, 3, 4)
    found = antithetic(noise.reshape(-1, 2, 3, 4), members).reshape(noise.shape)
    np.testing.assert_array_equal(found[:, ::2], noise[:, ::2])
    np.testing.assert_array_equal(found[:, 1:4:2], -noise[:, 0:3:2])


@pytest.mark.parametrize("members", [1, 2, 3])
def test_fewer_than_four_members_are_independent(members):
    noise = normal_per_image(KEYS[: 2 * members], (2, 3, 4))
    np.testing.assert_array_equal(antithetic(noise, members), noise)
