"""One update of the model: a pure function, the same under `jit`, `jax.pmap` and sharded state."""

import jax
import jax.numpy as jnp
import optax

from diffdepth_jax.distributed import collectives
from diffdepth_jax.method import objective
from diffdepth_jax.training.optimizer import stop_frozen
from diffdepth_jax.training.state import update_average


def train_step(
    state,
    batch,
    key,
    *,
    model,
    optimizer,
    freeze,
    ema_decay,
    schedule,
    objective_fields,
    weights,
    metric_steps,
    accumulate,
    gather,
    scatter,
):
    """One update: (state, batch, root key) -> (state, {name: (sum, count)}).

    Where the loss or a gradient is not finite, the state stays as it is but for its counters, and
    the term "skipped" is 1.

    Args:
      state: TrainState.
      batch: see `objective.loss_terms`; the global batch, or under `jax.pmap` a device's part.
      key: the run's; the step and an image's place in the global batch are folded in.
      model, schedule: see `objective.loss_terms`.
      optimizer, freeze: see `create_optimizer`.
      ema_decay: see `update_average`.
      objective_fields: for `objective.loss_terms`.
      weights: {name: weight} of the terms; l1 and l2, losses in metres, count until `metric_steps`.
      metric_steps: see `weights`.
      accumulate: micro-batches that the batch is cut into, one after the other, to save memory.
      gather: params -> params to compute with, where those of the state are spread over devices.
      scatter: gradients -> gradients, spread like the state.
    """
    image_keys, drop_path_key = _keys(key, state.step, len(batch["image"]))
    draws = objective.draw(
        image_keys, model.latent_shape(*batch["image"].shape[1:3]), schedule.num_timesteps
    )
    counts = collectives.total(objective.counts(batch["mask"], objective_fields["target"]))
    weights = _weights_at(state.step, weights, metric_steps)

    def loss_fn(params, variables, batch, draws, drop_path_key):
        """This part's share of the loss, for the counts are those of all parts."""
        params = stop_frozen(gather(params), freeze)
        terms, variables = objective.loss_terms(
            model,
            {**variables, "params": params},
            batch,
            draws,
            drop_path_key,
            schedule=schedule,
            **objective_fields,
        )
        sums = {name: (total, counts[name]) for name, (total, _) in terms.items()}
        return objective.total_loss(sums, weights), (terms, variables)

    gradients, terms, variables = _accumulated_gradients(
        loss_fn, state.variables, batch, draws, drop_path_key, accumulate
    )
    gradients, terms = collectives.total((scatter(gradients), terms))
    terms |= {"loss": (objective.total_loss(terms, weights), 1.0), **_gradient_norms(gradients)}
    return _updated(state, gradients, variables, terms, optimizer=optimizer, ema_decay=ema_decay)


def _keys(key, step, size):
    """(keys [size] of the images at hand, key of stochastic depth) in this step."""
    image_key, drop_path_key = jax.random.split(jax.random.fold_in(key, step))
    keys = jax.random.split(image_key, size * collectives.num_shards())
    return collectives.own_part(keys), collectives.own_key(drop_path_key)


def _weights_at(step, weights, metric_steps):
    early = (step < metric_steps).astype(jnp.float32)
    return {
        name: weight * early if name in ("l1", "l2") else weight for name, weight in weights.items()
    }


def _accumulated_gradients(loss_fn, variables, batch, draws, drop_path_key, count):
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
    # Unrolled on CPU, where gradients of convolutions in a loop body are 40 times slower.
    (totals, statistics), _ = jax.lax.scan(
        add, (zeros, _without_params(variables)), inputs, unroll=jax.default_backend() == "cpu"
    )
    return *totals, {**variables, **statistics}


def _without_params(variables):
    return {name: value for name, value in variables.items() if name != "params"}


def _micro_batches(tree, count):
    """Leaves [B, ...] -> [count, B / count, ...].

    Every count-th image, not neighbours: a device then finds all of its images in its own part.
    """
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, count, *x.shape[1:]), 0, 1), tree)


def _gradient_norms(gradients):
    """Of all, and of each part of the model."""
    norms = {f"gradient_norm/{part}": optax.tree.norm(tree) for part, tree in gradients.items()}
    norms["gradient_norm"] = optax.tree.norm(norms)
    return {name: (norm, 1.0) for name, norm in norms.items()}


def _updated(state, gradients, variables, terms, *, optimizer, ema_decay):
    """The next state and what to report, or the counters alone if something is not finite."""
    finite = jnp.isfinite(terms["loss"][0]) & jnp.isfinite(terms["gradient_norm"][0])
    skipped = state.skipped + ~finite
    step = state.step + 1

    def update(state):
        params = state.variables["params"]
        updates, opt_state = optimizer.update(gradients, state.opt_state, params)
        params = optax.apply_updates(params, updates)
        average = update_average(state.average, params, ema_decay, step - skipped)
        return state.replace(
            variables={**variables, "params": params}, opt_state=opt_state, average=average
        )

    # Chosen leaf by leaf, XLA's CPU backend would hold two optimizer states at once.
    state = jax.lax.cond(finite, update, lambda state: state, state)
    return state.replace(step=step, skipped=skipped), terms | {
        "skipped": (~finite, 1),
        "skipped_so_far": (skipped, 1),
    }
