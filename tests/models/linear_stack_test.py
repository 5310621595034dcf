"""Convolutions in turn and as one: the same map, border included."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models import linear_stack
from diffdepth_jax.models.released import ReleasedDenoiser
from tests.models.layers_test import assert_close, normal


def create_layers(*channels):
    return [
        (normal(i, 3, 3, before, after), normal(10 + i, after))
        for i, (before, after) in enumerate(itertools.pairwise(channels))
    ]


def convolve_by_hand(x, layers):
    for kernel, bias in layers:
        height, width = x.shape[1:3]
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = bias + sum(
            x[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)
        )
    return x


@pytest.mark.parametrize("channels", [(3, 4), (3, 5, 2), (2, 4, 5, 3)])
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (6, 9), (7, 7), (12, 9)])
def test_both_forms_equal_the_convolutions_in_turn(channels, size):
    layers, x = create_layers(*channels), normal(20, 2, *size, channels[0])
    merged, expected = linear_stack._merge(layers), convolve_by_hand(x, layers)
    side = 2 * len(layers) + 1
    assert merged[0].shape == (side, side, channels[0], channels[-1])
    assert_close(linear_stack.convolve_in_turn(x, layers), expected)
    assert_close(linear_stack.convolve_merged(x, layers, merged), expected)
    if min(size) >= side:  # on any machine
        assert_close(linear_stack._convolve_within_frame(x, layers, merged), expected)


def _within_frame(x, layers):
    return linear_stack._convolve_within_frame(x, layers, linear_stack._merge(layers))


def _as_here(x, layers):
    return linear_stack.convolve_merged(x, layers, linear_stack.merge(layers))


@pytest.mark.parametrize("merged", [_within_frame, _as_here])
@pytest.mark.parametrize(
    ("size", "dtype", "tolerance"),
    [((9, 8), jnp.float32, 1e-5), ((70, 64), jnp.float32, 1e-5), ((9, 8), jnp.bfloat16, 0.03)],
)
def test_gradients_of_both_forms_agree(merged, size, dtype, tolerance):
    exact = normal(20, 2, *size, 2), create_layers(2, 4, 3)
    ours, vjp = jax.vjp(merged, *jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), exact))
    cotangent = jnp.asarray(normal(30, *ours.shape), dtype)
    _, plain_vjp = jax.vjp(linear_stack.convolve_in_turn, *exact)
    plain = plain_vjp(cotangent.astype(jnp.float32))
    for gradient, expected in zip(*map(jax.tree.leaves, (vjp(cotangent), plain)), strict=True):
        assert gradient.dtype == dtype
        assert_close(gradient, expected, tolerance)


def test_where_one_convolution_is_not_used_its_kernel_is_not_computed():
    merge = jax.jit(linear_stack.merge).trace(create_layers(2, 4, 3))
    cuda, cpu = (merge.lower(lowering_platforms=(name,)).as_text() for name in ("cuda", "cpu"))
    assert "dot_general" in cpu and "dot_general" not in cuda


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("fuse", [True, False])
def test_a_prepared_denoiser_predicts_the_same(dtype, fuse):
    module = ReleasedDenoiser(4, 8, fuse, dtype)
    inputs = normal(0, 2, 10, 9, 4), np.int32([5, 700]), normal(1, 2, 10, 9, 8)
    variables = module.init(jax.random.key(0), *inputs)
    prepared = module.apply(variables, method="prepare")
    assert len(prepared) == fuse
    plain, ours = (module.apply(variables, *inputs, *extra) for extra in ((), prepared))
    assert ours.dtype == jnp.float32
    assert_close(ours, plain, 1e-5 if dtype == jnp.float32 else 0.05)
