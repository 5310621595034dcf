"""The average of the parameters: its closed form; in the step, in evaluation and on disk."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffdepth_jax.checkpoints.model_directory import load_variables
from diffdepth_jax.checkpoints.weights_file import read_weights
from diffdepth_jax.distributed import sharding
from diffdepth_jax.method import diffusion
from diffdepth_jax.training import configured, loop
from diffdepth_jax.training.state import TrainState, create_train_state, update_average
from tests.support import small_run, tiny

DECAY = 0.9


def _config(ema_decay=DECAY, **optimizer):
    fields = {f"optimizer__{name}": value for name, value in optimizer.items()}
    return small_run.config(ema_decay=ema_decay, evaluation__baselines=False, **fields)


def _closed_form(values, decay):
    """sum decay^(t - i) p_i / sum decay^(t - i), in float64."""
    weights = decay ** np.arange(len(values) - 1, -1, -1.0)
    return np.tensordot(weights, np.float64(values), 1) / weights.sum()


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9999])
def test_the_average_has_its_closed_form(decay):
    """The start, far off, has no part in it."""
    values = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    average = {"kernel": jnp.full(5, 1e3)}
    step_fn = jax.jit(lambda average, params, step: update_average(average, params, decay, step))
    for step, value in enumerate(values, 1):
        average = step_fn(average, {"kernel": value}, jnp.int32(step))
        if step in (1, 2, 30):
            expected = _closed_form(values[:step], decay)
            np.testing.assert_allclose(average["kernel"], expected, rtol=0, atol=1e-3 / step)


def test_far_into_a_run_each_step_counts_as_much_as_the_decay_leaves():
    average = update_average({"kernel": jnp.zeros(2)}, {"kernel": jnp.ones(2)}, 0.99, 1_000_000)
    np.testing.assert_allclose(average["kernel"], 0.01, rtol=1e-5)


def test_what_never_moves_is_averaged_to_itself():
    value = np.random.default_rng(0).normal(size=50).astype(np.float32)
    average = {"bias": jnp.asarray(value)}
    for step in range(1, 20):
        average = update_average(average, {"bias": value}, DECAY, step)
    np.testing.assert_array_equal(average["bias"], value)


def _created(decay):
    return create_train_state(tiny.model(), optax.sgd(1.0), jax.random.key(0), decay)


def test_with_a_decay_every_parameter_has_its_average():
    state = jax.eval_shape(lambda: _created(DECAY))
    assert jax.tree.structure(state.average) == jax.tree.structure(state.variables["params"])


def test_without_a_decay_there_is_no_average():
    state = jax.eval_shape(lambda: _created(0.0))
    assert state.average is None and state.evaluated is state.variables
    assert update_average(None, state.variables["params"], 0.0, 1) is None


def test_evaluated_are_averaged_parameters_and_current_statistics():
    variables = {"params": {"bias": jnp.ones(2)}, "batch_stats": {"mean": jnp.full(2, 7.0)}}
    average = {"bias": jnp.full(2, 3.0)}
    state = TrainState(jnp.int32(4), variables, (), average)
    assert state.evaluated == {"params": average, "batch_stats": variables["batch_stats"]}
    restarted = state.started_from({"params": {"bias": jnp.zeros(2)}})
    assert not restarted.average["bias"].any()
    assert restarted.average["bias"] is not restarted.variables["params"]["bias"]


def _run_steps(config, count):
    """(state of a tiny model before, the states after each step, the terms of the last)."""
    model, layout = tiny.model(), sharding.Layout("jit", sharding.create_mesh())
    _, optimizer = configured.configured_optimizer(config)
    variables = tiny.init_model(model)
    params = variables["params"]
    state = TrainState(jnp.int32(0), variables, optimizer.init(params), params)
    states = [layout.place(state.started_from(variables))]
    schedule = diffusion.create_schedule(**vars(config.diffusion))
    step_fn = configured.create_step(config, model, schedule, optimizer, layout, state)
    for _ in range(count):
        copy = jax.tree.map(jnp.copy, states[-1])  # the step gives its memory away
        state, terms = step_fn(copy, tiny.batch(), jax.random.key(0))
        states.append(state)
    return states, terms


@pytest.mark.slow
def test_the_step_averages_what_it_trains_and_leaves_alone_what_is_frozen():
    """The norm that it reports is of the gradient of what it trains, which SGD shows."""
    config = _config(
        freeze="backbone/.*",
        name="sgd",
        momentum=0.0,
        schedule="constant",
        learning_rate=1e-2,
        warmup_steps=0,
        weight_decay=0.0,
        clip_norm=0.0,
    )
    states, terms = _run_steps(config, 3)
    before = states[0].variables["params"]["backbone"]
    for state in states[1:]:
        for params in (state.variables["params"], state.average):
            jax.tree.map(np.testing.assert_array_equal, params["backbone"], before)
    trained = [jax.tree.leaves(state.variables["params"]["neck"]) for state in states[1:]]
    for leaf, *values in zip(jax.tree.leaves(states[-1].average["neck"]), *trained, strict=True):
        expected = _closed_form(np.stack(values), DECAY)
        np.testing.assert_allclose(leaf, expected, rtol=1e-5, atol=1e-6)
        assert not np.array_equal(values[0], values[1])
    steps = [
        optax.tree.sub(b.variables["params"], a.variables["params"])
        for a, b in itertools.pairwise(states)
    ]
    expected = float(optax.tree.norm(steps[-1])) / 1e-2
    assert float(terms["gradient_norm"][0]) == pytest.approx(expected, rel=1e-2)
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(part))
        for name, part in states[0].variables["params"].items()
    }
    held = sum(leaf.size for leaf in jax.tree.leaves(states[-1].opt_state) if leaf.ndim)
    assert held == sum(sizes.values()) - sizes["backbone"]


@pytest.mark.slow
def test_a_resumed_run_with_an_average_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    """Some parameters frozen; evaluated and kept is the average."""
    config = _config(freeze="backbone/.*")
    rows = loop.train(config, tmp_path / "whole")
    with small_run.power_cut_after(4, monkeypatch):
        loop.train(config, tmp_path / "cut")
    assert loop.train(config, tmp_path / "cut") == rows
    resumed, whole = (small_run.read_state(tmp_path / name, 6) for name in ("cut", "whole"))
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    best = read_weights(tmp_path / "whole")[1].step
    state = small_run.read_state(tmp_path / "whole", best)
    kept, trained = load_variables(tmp_path / "whole"), state["variables"]
    jax.tree.map(np.testing.assert_array_equal, kept["params"], state["average"])
    jax.tree.map(
        np.testing.assert_array_equal, kept["params"]["backbone"], trained["params"]["backbone"]
    )
    kernels = (tree["params"]["neck"]["lateral0"]["kernel"] for tree in (kept, trained))
    assert not np.array_equal(*kernels)
