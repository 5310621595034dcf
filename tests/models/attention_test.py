"""Attention by blocks of queries: values and gradients of one call, at any number of tokens."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models import attention
from diffdepth_jax.models.attention import QUERIES, dot_product_attention


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of QUERIES, as large images have them."""
    monkeypatch.setattr(attention, "_WEIGHTS", 1)


def heads(tokens, dtype=jnp.float32):
    arrays = np.random.default_rng(0).normal(size=(3, 2, tokens, 3, 4))
    return [(1.5 * array).astype(dtype) for array in arrays]


def by_hand(query, key, value):
    """In float64, with numpy."""
    query, key, value = (x.astype(np.float64) for x in (query, key, value))
    logits = np.einsum("btnc,bsnc->bnts", query, key) / 2
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("bnts,bsnc->btnc", weights / weights.sum(-1, keepdims=True), value)


# Less than a block, whole blocks, and a rest.
@pytest.mark.parametrize("tokens", [1, 5, 2 * QUERIES, 2 * QUERIES + 7])
def test_values_are_those_by_hand(tokens):
    x = heads(tokens)
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
        np.testing.assert_array_equal(gradient, expected)


def test_bfloat16_stays_and_its_softmax_is_in_float32():
    """Weights rounded to 8 bits would be wrong by more."""
    x = heads(QUERIES + 3, jnp.bfloat16)
    attended = jax.jit(dot_product_attention)(*x)
    assert attended.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(attended, np.float32), by_hand(*x), atol=0.05)


def test_fewer_weights_are_held_than_by_one_call():
    """The temporary memory on CPU, where one call holds all weights twice."""
    shape = jax.ShapeDtypeStruct((1, 8 * QUERIES, 4, 8), jnp.float32)
    ours, one_call = (
        jax.jit(attend).lower(*[shape] * 3).compile().memory_analysis().temp_size_in_bytes
        for attend in (dot_product_attention, jax.nn.dot_product_attention)
    )
    assert ours < 0.6 * one_call


def test_other_backends_have_one_call():
    """Two products in the program of a GPU; two for each block in that of the CPU."""
    shape = jax.ShapeDtypeStruct((1, 2 * QUERIES, 3, 4), jnp.float32)
    products = []
    for platform in ("cpu", "cuda", "tpu"):
        exported = jax.export.export(jax.jit(dot_product_attention), platforms=[platform])
        products.append(exported(*[shape] * 3).mlir_module().count("stablehlo.dot_general"))
    assert products == [4, 2, 2]


def test_a_symbolic_number_of_tokens_is_one_call():
    (tokens,) = jax.export.symbolic_shape("tokens")
    shape = jax.ShapeDtypeStruct((1, tokens, 3, 4), jnp.float32)
    exported = jax.export.export(jax.jit(dot_product_attention))(*[shape] * 3)
    x = [array[:1] for array in heads(QUERIES + 3)]
    np.testing.assert_allclose(exported.call(*x), by_hand(*x), atol=2e-5)
