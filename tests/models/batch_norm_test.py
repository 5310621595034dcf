"""Batch normalisation by hand, as PyTorch's documentation defines it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models.batch_norm import BatchNorm

X = np.random.default_rng(0).normal(3, 2, (2, 3, 5, 4)).astype(np.float32)
VARIABLES = {
    "params": {"scale": np.float32([1, 2, 3, 4]), "bias": np.float32([4, 3, 2, 1])},
    "batch_stats": {"mean": np.float32([1, 0, 2, 0]), "var": np.float32([1, 4, 9, 16])},
}


def normalised(x, mean, var):
    scale, bias = VARIABLES["params"]["scale"], VARIABLES["params"]["bias"]
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


def test_evaluation_uses_the_running_statistics():
    stats = VARIABLES["batch_stats"]
    y = BatchNorm().apply(VARIABLES, X, False)
    np.testing.assert_allclose(y, normalised(X, stats["mean"], stats["var"]), rtol=1e-5)


def test_training_normalises_by_the_biased_and_keeps_the_unbiased_variance():
    """A channel has 30 values; PyTorch's running variance divides by 29."""
    y, updated = BatchNorm().apply(VARIABLES, X, True, mutable="batch_stats")
    rows = X.reshape(-1, 4).astype(np.float64)
    expected = normalised(X, rows.mean(0), rows.var(0))
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for name, batch in (("mean", rows.mean(0)), ("var", rows.var(0, ddof=1))):
        kept = 0.9 * VARIABLES["batch_stats"][name] + 0.1 * batch
        np.testing.assert_allclose(updated["batch_stats"][name], kept, rtol=1e-6)


def test_arrays_that_were_given_stay_as_they_are():
    before = jax.tree.map(np.copy, VARIABLES)
    BatchNorm().apply(VARIABLES, X, True, mutable="batch_stats")
    jax.tree.map(np.testing.assert_array_equal, VARIABLES, before)


def test_the_variance_of_a_map_far_from_zero_is_exact():
    """As a difference of means it would be lost in rounding."""
    x = 1e4 + X
    _, updated = BatchNorm(momentum=1.0).apply(VARIABLES, x, True, mutable="batch_stats")
    expected = x.reshape(-1, 4).astype(np.float64).var(0, ddof=1)
    np.testing.assert_allclose(updated["batch_stats"]["var"], expected, rtol=1e-3)


def test_one_value_for_each_channel_leaves_finite_statistics():
    _, updated = BatchNorm().apply(VARIABLES, X[:1, :1, :1], True, mutable="batch_stats")
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(updated))


def test_initialisation_leaves_the_statistics_at_0_and_1():
    variables = BatchNorm().init(jax.random.key(0), X, True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(4))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(4))


@pytest.mark.parametrize("train", [False, True])
def test_bfloat16_is_normalised_in_float32(train):
    x = X.astype(jnp.bfloat16)
    apply = BatchNorm().apply
    y, updated = apply(VARIABLES, x, train, mutable="batch_stats")
    expected, _ = apply(VARIABLES, x.astype(jnp.float32), train, mutable="batch_stats")
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, expected.astype(jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(updated)} <= {jnp.dtype(jnp.float32)}


def test_the_gradient_passes_through_the_batch_statistics():
    """A shift of the input, its scale or a bias before it change nothing."""

    def loss(x):
        y, _ = BatchNorm().apply(VARIABLES, x, True, mutable="batch_stats")
        return (y * np.arange(X.size).reshape(X.shape)).sum()

    gradient = np.asarray(jax.grad(loss)(X))
    largest = np.abs(gradient).max()
    assert largest > 1
    np.testing.assert_allclose(gradient.sum((0, 1, 2)), np.zeros(4), atol=1e-4 * largest)
