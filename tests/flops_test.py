import jax
import jax.numpy as jnp
import pytest

from diffdepth_jax.flops import count_multiply_adds


def test_matrix_product():
    assert count_multiply_adds(jnp.dot, jnp.zeros((5, 7)), jnp.zeros((7, 3))) == 5 * 7 * 3


def test_convolution():
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    count = count_multiply_adds(convolve, jnp.zeros((2, 8, 10, 3)), jnp.zeros((3, 3, 3, 16)))
    assert count == (2 * 4 * 5 * 16) * (3 * 3 * 3)


def test_scan_counts_every_iteration_also_under_jit_and_remat():
    @jax.jit
    def loop(x, w):
        body = jax.checkpoint(lambda carry, _: (carry @ w, None))
        return jax.lax.scan(body, x, length=11)[0]

    assert count_multiply_adds(loop, jnp.zeros((2, 4)), jnp.zeros((4, 4))) == 11 * 2 * 4 * 4


def test_unknown_loop_length_is_refused():
    with pytest.raises(ValueError, match="length is not known"):
        count_multiply_adds(lambda x: jax.lax.while_loop(lambda y: y < 3, lambda y: y + 1, x), 0)
