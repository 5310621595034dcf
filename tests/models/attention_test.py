"""Attention head by head: values and gradients of one call, at any number of images and tokens."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models.attention import QUERIES, dot_product_attention


def heads(tokens, dtype=jnp.float32, images=2):
    arrays = np.random.default_rng(0).normal(size=(3, images, tokens, 3, 4))
    return [(1.5 * array).astype(dtype) for array in arrays]


def by_hand(query, key, value):
    """In float64, with numpy."""
    query, key, value = (x.astype(np.float64) for x in (query, key, value))
    logits = np.einsum("btnc,bsnc->bnts", query, key) / 2
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("bnts,bsnc->btnc", weights / weights.sum(-1, keepdims=True), value)


# Less than a block, whole blocks, and a rest.
@pytest.mark.parametrize(
    ("tokens", "images"), [(1, 2), (5, 1), (2 * QUERIES, 2), (2 * QUERIES + 7, 1)]
)
def test_values_are_those_by_hand(tokens, images):
    x = heads(tokens, images=images)
    np.testing.assert_allclose(jax.jit(dot_product_attention)(*x), by_hand(*x), atol=2e-5)


@pytest.mark.parametrize("tokens", [5, 2 * QUERIES + 7])
def test_gradients_are_those_of_one_call(tokens):
    x = heads(tokens)
    cotangent = np.cos(x[0])
    ours, one_call = (
        jax.jit(lambda *x, attend=attend: jax.vjp(attend, *x)[1](cotangent))(*x)
        for attend in (dot_product_attention, jax.nn.dot_product_attention)
    )
    for gradient, expected in zip(ours, one_call, strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())


def test_large_logits_neither_overflow_nor_vanish():
    """exp(4000) is infinite in float32, and exp(-4000) zero."""
    query, key, value = heads(7)
    x = 1000 * query, key, value
    attended = jax.jit(dot_product_attention)(*x)
    np.testing.assert_allclose(attended, by_hand(*x), atol=2e-3)
    x = -1000 * np.abs(query), np.abs(key), value
    np.testing.assert_allclose(jax.jit(dot_product_attention)(*x), by_hand(*x), atol=2e-3)


def test_equal_images_of_a_batch_have_equal_results():
    x = [jnp.concatenate([array[:1]] * 3) for array in heads(2 * QUERIES + 7)]
    first, *others = jax.jit(dot_product_attention)(*x)
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_bfloat16_stays_and_its_softmax_is_in_float32():
    """Weights rounded to 8 bits would be wrong by more."""
    x = heads(QUERIES + 3, jnp.bfloat16)
    attended = jax.jit(dot_product_attention)(*x)
    assert attended.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(attended, np.float32), by_hand(*x), atol=0.05)


@pytest.mark.parametrize("images", [1, 2])
def test_fewer_weights_are_held_than_by_one_call(images):
    """The temporary memory on CPU with gradients, where one call holds all weights twice."""
    shape = jax.ShapeDtypeStruct((images, 2 * QUERIES, 4, 8), jnp.float32)
    ours, one_call = (
        jax.jit(jax.grad(lambda *x, attend=attend: attend(*x).sum(), (0, 1, 2)))
        .lower(*[shape] * 3)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for attend in (dot_product_attention, jax.nn.dot_product_attention)
    )
    assert ours < 0.8 * one_call


def test_other_backends_have_one_call():
    """Two products in the program of a GPU; two for each block of a head in that of the CPU."""
    shape = jax.ShapeDtypeStruct((1, 2 * QUERIES, 3, 4), jnp.float32)
    products = []
    for platform in ("cpu", "cuda", "tpu"):
        exported = jax.export.export(jax.jit(dot_product_attention), platforms=[platform])
        products.append(exported(*[shape] * 3).mlir_module().count("stablehlo.dot_general"))
    assert products == [3 * 2 * 2, 2, 2]


def test_a_symbolic_number_of_tokens_is_one_call():
    (tokens,) = jax.export.symbolic_shape("tokens")
    shape = jax.ShapeDtypeStruct((1, tokens, 3, 4), jnp.float32)
    exported = jax.export.export(jax.jit(dot_product_attention))(*[shape] * 3)
    x = [array[:1] for array in heads(QUERIES + 3)]
    np.testing.assert_allclose(exported.call(*x), by_hand(*x), atol=2e-5)
