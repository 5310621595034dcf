"""What a training step in bfloat16 computes in float32 all the same, read from its program."""

import collections

import jax
import jax.numpy as jnp
import pytest
from jax.extend import core

from benchmarks.training_memory import abstract_step
from tests.support import small_run

BATCH_SIZE = 3  # the size of no other axis

# Roots and logarithms: of norms, optimizer, schedule and losses. reduce_max: of softmax.
NEVER = {"log", "log1p", "expm1", "rsqrt", "sqrt", "reduce_max", "cumsum"}


@pytest.fixture(scope="module", params=["ours", pytest.param("released", marks=pytest.mark.slow)])
def equations(request):
    """All equations of the step, those of loops and calls included, that bfloat16 enters."""
    released = {
        "model__neck": "released_hahi",
        "model__codec": "released",
        "model__denoiser": "released",
        "model__backbone": "mpvit_small",
    }
    config = small_run.config(
        model__dtype="bfloat16",
        loss__weights={"pixel_as_printed": 1.0},
        **released if request.param == "released" else {},
    )
    step, arguments = abstract_step(config, batch_size=BATCH_SIZE)
    jaxpr = jax.make_jaxpr(step)(*arguments).jaxpr
    return [each for each in walk(jaxpr) if any(map(is_bfloat16, each.invars))]


def walk(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_program):
            if is_program(inner):
                yield from walk(getattr(inner, "jaxpr", inner))


def is_program(x):
    return isinstance(x, (core.Jaxpr, core.ClosedJaxpr))


def is_bfloat16(variable):
    return getattr(variable.aval, "dtype", None) == jnp.bfloat16


def test_norms_softmax_and_losses_never_see_bfloat16(equations):
    counts = collections.Counter(equation.primitive.name for equation in equations)
    assert counts["dot_general"] > 50 and counts["conv_general_dilated"] > 20  # these do
    assert not NEVER & set(counts)
    # The derivative of GELU alone: its exponential of a negative square stands beside an erf.
    assert counts["exp"] == counts["erf"]


def test_sums_in_bfloat16_are_gradients_of_biases(equations):
    """Nothing is summed to a number, or to one or several for each image: losses, means, norms."""
    for equation in equations:
        if equation.primitive.name == "reduce_sum":
            shape = equation.outvars[0].aval.shape
            assert shape and BATCH_SIZE not in shape


def test_the_samplers_state_and_its_gradient_are_float32(equations):
    """Of the loops' carries: the latent, and gradients that add up over steps."""
    for equation in equations:
        if equation.primitive.name == "scan":
            first = equation.params["num_consts"]
            carried = equation.invars[first : first + equation.params["num_carry"]]
            assert not any(map(is_bfloat16, carried))
