"""Depthwise convolutions and their gradients equal XLA's, for every stride, padding and size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models import depthwise
from diffdepth_jax.models.depthwise import DepthwiseConv, depthwise_convolve, same_padding


def arrays(kernel_size, size=(7, 9), channels=3):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, channels)).astype(np.float32)
    kernel = rng.normal(size=(kernel_size, kernel_size, 1, channels)).astype(np.float32)
    return x, kernel


CASES = [
    (3, 1, ((1, 1), (1, 1)), (7, 9)),
    (3, 2, ((0, 1), (1, 1)), (8, 9)),
    (5, 2, ((1, 2), (2, 2)), (8, 9)),
    (5, 1, ((2, 2), (2, 2)), (1, 3)),
    (3, 2, ((0, 0), (0, 0)), (8, 8)),
]


@pytest.mark.parametrize(("kernel_size", "stride", "padding", "size"), CASES)
def test_values_and_gradients_equal_xlas(kernel_size, stride, padding, size):
    """Here, on CPU, they are sums of shifted maps."""
    x, kernel = arrays(kernel_size, size)
    ours, pullback = jax.vjp(lambda *a: depthwise_convolve(*a, stride, padding), x, kernel)
    plain = functools.partial(depthwise._by_convolution, stride=stride, padding=padding)
    theirs, expected = jax.vjp(plain, x, kernel)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    cotangent = np.random.default_rng(1).normal(size=ours.shape).astype(np.float32)
    for a, b in zip(pullback(cotangent), expected(cotangent), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (3, 2), (5, 2), (5, 1)])
def test_same_padding_is_that_of_lax(size, kernel_size, stride):
    expected = jax.lax.padtype_to_pads((size,), (kernel_size,), (stride,), "SAME")
    assert [same_padding(size, kernel_size, stride)] == list(expected)


def test_the_module_keeps_the_compute_dtype_and_sums_in_float32():
    x = jnp.full((1, 9, 9, 2), 1 / 3, jnp.bfloat16)
    module = DepthwiseConv(2, 5, jnp.bfloat16, "a")
    variables = {"params": {"kernel": jnp.full((5, 5, 1, 2), 1 / 3)}}
    y = module.apply(variables, x)
    exact = 25 * float(jnp.bfloat16(1 / 3)) ** 2
    assert y.dtype == jnp.bfloat16
    assert float(y[0, 4, 4, 0]) == float(jnp.bfloat16(exact))
