"""One update of a tiny model, in every mode that a configuration can ask for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.distributed import sharding
from diffdepth_jax.method import diffusion
from diffdepth_jax.training import configured
from diffdepth_jax.training.state import TrainState
from tests.support import small_run, tiny
from tests.training.parallel_test import normed_model

LAYOUT = sharding.Layout("jit", sharding.create_mesh())
BATCH, KEY = tiny.batch(), jax.random.key(0)
WEIGHTS = {"ddim": 1.0, "silog": 2.0, "latent": 1.0, "reconstruction": 0.5, "l1": 0.1, "l2": 0.01}


def _config(**fields):
    """l1 and l2 count until step 5; `fields` by dotted name, a dot written as two underscores."""
    defaults = {
        "loss__weights": WEIGHTS,
        "loss__l1_l2_until": 0.1,
        "optimizer__learning_rate": 1e-2,
        "optimizer__warmup_steps": 0,
    }
    return small_run.config(num_steps=50, **defaults | fields)


def _initial_state(model):
    variables = tiny.init_model(model)
    _, optimizer = configured.configured_optimizer(_config())
    opt_state = optimizer.init(variables["params"])
    return LAYOUT.place(TrainState(jnp.zeros((), jnp.int32), variables, opt_state))


def _step_fn(model, **fields):
    """The compiled step as the loop calls it, but its argument can be used again."""
    config = _config(**fields)
    schedule = diffusion.create_schedule(**vars(config.diffusion))
    _, optimizer = configured.configured_optimizer(config)
    state = jax.eval_shape(lambda: _initial_state(model))
    compiled = configured.create_step(config, model, schedule, optimizer, LAYOUT, state)
    return lambda state, batch, key: compiled(jax.tree.map(jnp.copy, state), batch, key)


def _value(terms, name):
    total, count = terms[name]
    return float(total) / float(count)


def _assert_finite_step(before, after, terms):
    """Every loss is finite, and so is every parameter; all parts have moved."""
    assert all(np.isfinite(_value(terms, name)) for name in terms)
    assert int(after.step) == int(before.step) + 1
    changes = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), after.variables, before.variables
    )
    assert all(np.isfinite(change) for change in jax.tree.leaves(changes))
    for part in ("backbone", "neck", "codec", "denoiser"):
        assert max(jax.tree.leaves(changes["params"][part])) > 0


@pytest.fixture(scope="module")
def state():
    return _initial_state(tiny.model())


@pytest.fixture(scope="module")
def step_fn():
    """Self-diffusion, pixel losses on the last step; l1 and l2 count until step 5."""
    return _step_fn(tiny.model())


def test_self_diffusion_takes_a_finite_step(step_fn, state):
    _assert_finite_step(state, *step_fn(state, BATCH, KEY))


@pytest.mark.parametrize(
    "fields",
    [
        {"diffusion__prediction_type": "epsilon", "loss__target": "ground_truth"},
        {
            "diffusion__prediction_type": "v_prediction",
            "diffusion__schedule": "linear",
            "loss__pixel_losses_on_every_step": True,
            "sampler__eta": 1.0,
            "sampler__remat": True,
            "loss__random_timesteps": True,
        },
    ],
)
def test_other_modes_take_a_finite_step(state, fields):
    step_fn = _step_fn(tiny.model(), **fields)
    _assert_finite_step(state, *step_fn(state, BATCH, KEY))


@pytest.mark.parametrize(("step", "early"), [(0, True), (4, True), (5, False), (6, False)])
def test_metric_losses_count_until_their_last_step(step_fn, state, step, early):
    _, terms = step_fn(state.replace(step=state.step + step), BATCH, KEY)
    names = [name for name in WEIGHTS if early or name not in ("l1", "l2")]
    expected = sum(WEIGHTS[name] * _value(terms, name) for name in names)
    assert _value(terms, "loss") == pytest.approx(expected, rel=1e-5)
    assert _value(terms, "l1") > 0  # reported even when it has no weight


def test_noise_depends_on_the_step_and_the_key_alone(step_fn, state):
    at = [
        _value(step_fn(state.replace(step=state.step + step), BATCH, key)[1], "silog")
        for step, key in ((0, KEY), (0, KEY), (1, KEY), (0, jax.random.key(1)))
    ]
    assert at[0] == at[1]
    assert len(set(at)) == 3


@pytest.mark.slow
def test_bfloat16_computes_about_the_same_loss_and_keeps_float32_parameters(step_fn, state):
    after, terms = _step_fn(tiny.model(dtype=jnp.bfloat16))(state, BATCH, KEY)
    _assert_finite_step(state, after, terms)
    for leaf in jax.tree.leaves((after.variables, after.opt_state)):
        assert leaf.dtype == jnp.float32 or leaf.ndim == 0  # the steps' counters
    _, exact = step_fn(state, BATCH, KEY)
    assert _value(terms, "loss") == pytest.approx(_value(exact, "loss"), rel=0.05)
    assert _value(terms, "loss") != _value(exact, "loss")


def test_steps_on_one_batch_lower_its_loss(step_fn, state):
    losses = []
    for _ in range(30):
        state, terms = step_fn(state, BATCH, KEY)
        losses.append(_value(terms, "loss"))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[5:10])  # from step 5 on without l1 and l2


def test_an_update_that_is_not_finite_changes_nothing_but_the_counters(step_fn, state):
    batch = {**BATCH, "image": BATCH["image"] * np.float32(np.nan)}
    after, terms = step_fn(state, batch, KEY)
    assert (int(after.step), int(after.skipped)) == (1, 1)
    assert _value(terms, "skipped") == 1
    for name in ("variables", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(state, name))


def test_after_a_skipped_update_the_run_goes_on_as_if_the_batch_had_not_been():
    """But for the noise of the later step; averages and batch statistics too."""
    model = normed_model()
    state = _initial_state(model)
    state = state.replace(average=jax.tree.map(jnp.copy, state.variables["params"]))
    step_fn = _step_fn(model, train__ema_decay=0.5)
    broken = {**BATCH, "image": BATCH["image"] * np.float32(np.nan)}
    start, _ = step_fn(state, BATCH, KEY)
    after, _ = step_fn(start, broken, KEY)
    after, terms = step_fn(after, BATCH, KEY)
    # The later step alone, as update 2: one less of the steps counts as skipped.
    expected, _ = step_fn(start.replace(step=start.step + 1, skipped=start.skipped + 1), BATCH, KEY)
    assert _value(terms, "skipped") == 0
    for name in ("variables", "average", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(expected, name))
    assert (int(after.step), int(after.skipped)) == (3, 1)
    mean = jax.tree.map(  # of updates 1 and 2 with weights 1/2 and 1, over their sum
        lambda a, b: a / 3 + b * 2 / 3, start.variables["params"], after.variables["params"]
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.average, mean)


@pytest.mark.parametrize("target", ["self", "self_attached", "ground_truth"])
def test_counts_are_known_before_the_terms(target):
    mask = np.array([True, False])[:, None, None, None] & BATCH["mask"]
    batch = {**BATCH, "mask": mask}
    model = tiny.model()
    objective = tiny.objective(model, target=target)
    draws = objective.draw(jax.random.split(KEY, 2), 13, 18)

    @jax.jit  # XLA drops the parts on which no count depends
    def computed():
        terms, _ = objective.terms(tiny.init_model(model), batch, draws, None)
        return {name: count for name, (_, count) in terms.items()}

    assert jax.tree.map(int, objective.counts(batch)) == jax.tree.map(int, computed())
