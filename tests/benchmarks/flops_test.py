import jax
import jax.numpy as jnp
import pytest

from benchmarks.flops import count_multiply_adds
from diffdepth_jax.models import convolutions


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


def _convolution(stride, groups):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    return convolve


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (4, 1), (1, 6), (2, 6)])
def test_each_gradient_of_a_convolution_costs_as_much_as_the_convolution(stride, groups):
    convolve = _convolution(stride, groups)
    x, kernel = jnp.zeros((2, 8, 12, 6)), jnp.zeros((3, 3, 6 // groups, 18))
    forward = (2 * (8 // stride) * (12 // stride) * 18) * (3 * 3 * 6 // groups)
    assert count_multiply_adds(convolve, x, kernel) == forward
    gradients = jax.grad(lambda x, kernel: jnp.sin(convolve(x, kernel)).sum(), (0, 1))
    assert count_multiply_adds(gradients, x, kernel) == 3 * forward


@pytest.mark.parametrize(("remat", "times"), [(False, 3), (True, 4)])
def test_the_backward_pass_of_a_loop_counts_what_it_recomputes(remat, times):
    """5 steps of a dense product and a convolution: once forward, twice backward."""
    step_cost = (2 * 4 * 6 * 3) * 3 + (2 * 4 * 6 * 3) * (3 * 3 * 3)

    def loss(x, dense, kernel):
        def body(carry, _):
            return jnp.tanh(convolutions.convolve(jnp.tanh(carry @ dense), kernel)), None

        body = jax.checkpoint(body, prevent_cse=False) if remat else body
        return jax.lax.scan(body, x, length=5)[0].sum()

    gradients = jax.grad(loss, (0, 1, 2))
    arguments = jnp.zeros((2, 4, 6, 3)), jnp.zeros((3, 3)), jnp.zeros((3, 3, 3, 3))
    assert count_multiply_adds(jax.jit(gradients), *arguments) == 5 * times * step_cost


def test_what_no_result_needs_is_not_counted():
    def first(x, w):
        return x @ w, x @ w @ w

    assert count_multiply_adds(lambda *a: first(*a)[0], jnp.zeros((2, 4)), jnp.zeros((4, 4))) == 32


def test_unknown_loop_length_is_refused():
    with pytest.raises(ValueError, match="length is not known"):
        count_multiply_adds(lambda x: jax.lax.while_loop(lambda y: y < 3, lambda y: y + 1, x), 0)


def test_a_platforms_own_way_is_counted_for_it_alone():
    def product_on_cpu(x):
        return jax.lax.platform_dependent(x, cpu=lambda x: x @ x, default=lambda x: x * x)

    x = jax.ShapeDtypeStruct((4, 4), "float32")
    assert count_multiply_adds(product_on_cpu, x) == 0
    assert count_multiply_adds(product_on_cpu, x, platform="gpu") == 0
    assert count_multiply_adds(jax.jit(product_on_cpu), x, platform="cpu") == 4**3


def test_of_branches_the_dearest_is_counted():
    def choose(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert count_multiply_adds(choose, jax.ShapeDtypeStruct((4, 4), "float32")) == 2 * 4**3
