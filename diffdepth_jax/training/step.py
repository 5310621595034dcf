"""One update of the model: a pure function, the same under `jit`, `jax.pmap` and sharded state."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Int, PyTree

from diffdepth_jax.arrays import Batch, ImageKeys, Term, Variables
from diffdepth_jax.distributed import collectives
from diffdepth_jax.distributed.sharding import Layout
from diffdepth_jax.method.objective import Draws, Objective
from diffdepth_jax.method.pixel_objective import Regression, total_loss
from diffdepth_jax.training.optimizer import stop_frozen
from diffdepth_jax.training.state import TrainState, update_average

Terms = dict[str, Term]


def train_step(
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    *,
    objective: Objective | Regression,
    optimizer: optax.GradientTransformation,
    freeze: str,
    ema_decay: float,
    accumulate: int,
    layout: Layout,
) -> tuple[TrainState, Terms]:
    """One update: (state, batch, root key) -> (state, {name: (sum, count)}).

    Where the loss or a gradient is not finite, only the state's counters change, and the term
    "skipped" is 1.

    Args:
      state: what the update starts from.
      batch: the global batch, or under `jax.pmap` the part of it that lies on one device.
      key: the run's. The step and an image's place in the global batch are folded in.
      objective: the losses.
      optimizer, freeze: see `create_optimizer`.
      ema_decay: see `update_average`.
      accumulate: the batch is computed in this many micro-batches, to save memory.
      layout: how state and gradients lie on the devices.
    """
    image_keys, drop_path_key = _keys(key, state.step, len(batch["image"]))
    draws = objective.draw(image_keys, *batch["image"].shape[1:3])
    counts = collectives.total(objective.counts(batch))
    weights = objective.weights_at(state.step)

    def loss_fn(params, variables, batch, draws, drop_path_key):
        """The share of this part of the batch in the loss: the counts are those of all parts."""
        params = stop_frozen(layout.gather(params), freeze)
        terms, variables = objective.terms(
            {**variables, "params": params}, batch, draws, drop_path_key
        )
        sums = {name: (total, counts[name]) for name, (total, _) in terms.items()}
        return total_loss(sums, weights), (terms, variables)

    gradients, terms, variables = _accumulated_gradients(
        loss_fn, state.variables, batch, draws, drop_path_key, accumulate
    )
    gradients, terms = collectives.total((layout.scatter(gradients), terms))
    terms |= {"loss": (total_loss(terms, weights), 1.0), **_gradient_norms(gradients)}
    return _updated(state, gradients, variables, terms, optimizer=optimizer, ema_decay=ema_decay)


def _keys(key: jax.Array, step: Int[jax.Array, ""], size: int) -> tuple[ImageKeys, jax.Array]:
    """The keys of the images at hand in this step, and the key of stochastic depth."""
    image_key, drop_path_key = jax.random.split(jax.random.fold_in(key, step))
    keys = jax.random.split(image_key, size * collectives.num_shards())
    return collectives.own_part(keys), collectives.own_key(drop_path_key)


def _accumulated_gradients(
    loss_fn: Callable,
    variables: Variables,
    batch: Batch,
    draws: Draws | tuple[()],
    drop_path_key: jax.Array,
    count: int,
) -> tuple[PyTree, Terms, Variables]:
    """(gradients, terms, variables) summed over `count` micro-batches, one after the other."""
    gradient_fn = jax.grad(loss_fn, has_aux=True)
    params = variables["params"]
    if count == 1:
        gradients, (terms, variables) = gradient_fn(params, variables, batch, draws, drop_path_key)
        return gradients, terms, variables

    def add(carry, inputs):
        totals, statistics = carry
        micro_batch, micro_draws, key = inputs
        gradients, (terms, updated) = gradient_fn(
            params, {**variables, **statistics}, micro_batch, micro_draws, key
        )
        totals = jax.tree.map(jnp.add, totals, (gradients, terms))
        return (totals, _without_params(updated)), None

    inputs = *_micro_batches((batch, draws), count), jax.random.split(drop_path_key, count)
    start = jax.tree.map(lambda x: x[0], inputs)
    shapes = jax.eval_shape(gradient_fn, params, variables, *start)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes[0], shapes[1][0]))
    # Unrolled on CPU: there, gradients of convolutions in a loop body are 40 times slower.
    (totals, statistics), _ = jax.lax.scan(
        add, (zeros, _without_params(variables)), inputs, unroll=jax.default_backend() == "cpu"
    )
    return *totals, {**variables, **statistics}


def _without_params(variables: Variables) -> dict[str, Any]:
    return {name: value for name, value in variables.items() if name != "params"}


def _micro_batches(tree: PyTree, count: int) -> PyTree:
    """Leaves [B, ...] -> [count, B / count, ...].

    A micro-batch takes every count-th image, so that each device finds its images in its own part.
    """
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, count, *x.shape[1:]), 0, 1), tree)


def _gradient_norms(gradients: dict[str, PyTree]) -> Terms:
    """The norm of the whole gradient, and the norm of each part of the model."""
    norms = {f"gradient_norm/{part}": optax.tree.norm(tree) for part, tree in gradients.items()}
    norms["gradient_norm"] = optax.tree.norm(norms)
    return {name: (norm, 1.0) for name, norm in norms.items()}


def _updated(
    state: TrainState,
    gradients: PyTree,
    variables: Variables,
    terms: Terms,
    *,
    optimizer: optax.GradientTransformation,
    ema_decay: float,
) -> tuple[TrainState, Terms]:
    """The next state and what to report; only counters change if something is not finite."""
    finite = jnp.isfinite(terms["loss"][0]) & jnp.isfinite(terms["gradient_norm"][0])
    skipped = state.skipped + ~finite
    step = state.step + 1

    def update(state: TrainState) -> TrainState:
        params = state.variables["params"]
        updates, opt_state = optimizer.update(gradients, state.opt_state, params)
        params = optax.apply_updates(params, updates)
        average = update_average(state.average, params, ema_decay, step - skipped)
        return state.replace(
            variables={**variables, "params": params}, opt_state=opt_state, average=average
        )

    # A choice leaf by leaf would make XLA's CPU backend hold two optimizer states at once.
    state = jax.lax.cond(finite, update, lambda state: state, state)
    report: Terms = {"skipped": (~finite, 1), "skipped_so_far": (skipped, 1)}
    return state.replace(step=step, skipped=skipped), terms | report
