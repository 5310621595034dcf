"""The options of XLA's compiler change how long it compiles, and no more than rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.program import compiler_options

KINDS = compiler_options.of_predictions, compiler_options.of_what_runs_once
# As XLA has them; the flags of these tests are others.
DEFAULTS = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}


def draw(key):
    weights = jax.nn.initializers.truncated_normal(0.02)(key, (24, 32))
    return weights, jnp.tanh(weights @ weights.T).sum(0)


def compiled(options):
    key = jax.random.key(3)
    return jax.jit(draw, compiler_options=options)(key)


def test_predictions_differ_by_rounding():
    found = compiled(DEFAULTS | compiler_options.of_predictions())
    for ours, plain in zip(found, compiled(DEFAULTS), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-7)


def test_what_is_drawn_once_is_the_same_bit_for_bit():
    weights, _ = compiled(DEFAULTS | compiler_options.of_what_runs_once())
    np.testing.assert_array_equal(weights, compiled(DEFAULTS)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_other_compilers_get_none(kind, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert kind()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert kind() == {}
