"""The options of XLA's compiler change how long it compiles, and no more than rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.program import compiler_options

KINDS = compiler_options.of_predictions, compiler_options.of_what_runs_once


def draw(key):
    weights = jax.nn.initializers.truncated_normal(0.02)(key, (24, 32))
    return weights, jnp.tanh(weights @ weights.T).sum(0)


@pytest.mark.parametrize("kind", KINDS)
def test_xla_knows_them_and_results_are_close(kind):
    key = jax.random.key(3)
    expected = jax.jit(draw)(key)
    found = jax.jit(draw, compiler_options=kind())(key)
    for ours, plain in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_other_compilers_get_none(kind, monkeypatch):
    assert kind()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert kind() == {}
