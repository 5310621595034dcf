"""Training: the step and the loop around it."""

import functools
import pathlib

import jax
import optax
from clu.parameter_overview import get_parameter_overview

from diffdepth_jax import evaluate, input_pipeline, objective, sharding
from diffdepth_jax.checkpoint import RunCheckpoints, claim_directory, holds_steps
from diffdepth_jax.errors import UserError, require_positive, require_within
from diffdepth_jax.evaluator import create_evaluator
from diffdepth_jax.optimizer import create_optimizer, create_schedule, stop_frozen
from diffdepth_jax.preemption import EXIT_STATUS, Preemption
from diffdepth_jax.pretrained import check_backbone_path, start_from
from diffdepth_jax.run_log import LossMeter, RunLog, progress
from diffdepth_jax.train_state import TrainState, create_train_state, update_average


def train_step(state, batch, key, *, model, optimizer, freeze, ema_decay, schedule,
               objective_fields, weights, metric_steps):  # fmt: skip
    """One update, pure: (state, batch, root key) -> (state, {name: (sum, count)}).

    The pixel losses in metres, l1 and l2, have weight 0 from step `metric_steps` on.
    """
    step_key = jax.random.fold_in(key, state.step)
    image_key, drop_path_key = jax.random.split(step_key)
    size, *shape, _ = batch["image"].shape
    keys = jax.random.split(image_key, size)
    draws = objective.draw(keys, model.latent_shape(*shape), schedule.num_timesteps)
    early = (state.step < metric_steps).astype("float32")
    weights = {
        name: weight * early if name in ("l1", "l2") else weight
        for name, weight in weights.items()
    }  # fmt: skip

    def loss_fn(params):
        params = stop_frozen(params, freeze)
        terms, variables = objective.loss_terms(
            model, {**state.variables, "params": params}, batch, draws, drop_path_key,
            schedule=schedule, **objective_fields,
        )  # fmt: skip
        return objective.total_loss(terms, weights), (terms, variables)

    params = state.variables["params"]
    (loss, (terms, variables)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, params)
    params = optax.apply_updates(params, updates)
    average = update_average(state.average, params, ema_decay, state.step + 1)
    terms = terms | {"loss": (loss, 1.0), "gradient_norm": (optax.tree.norm(gradients), 1.0)}
    variables = {**variables, "params": params}
    return TrainState(state.step + 1, variables, opt_state, average), terms


def _create_step(config, model, schedule, optimizer, mesh):
    """train_step with everything static bound and jitted for the mesh; donates the state."""
    loss = config.loss
    objective_fields = {
        "target": loss.target,
        "every_step": loss.every_step,
        "silog_lambda": loss.silog_lambda,
        "clamp_depth": loss.clamp_depth,
        **config.sampler,
    }
    step = functools.partial(
        train_step,
        model=model,
        optimizer=optimizer,
        freeze=config.optimizer.freeze,
        ema_decay=config.train.ema_decay,
        schedule=schedule,
        objective_fields=objective_fields,
        weights={name: weight for name, weight in loss.weights.items() if weight},
        metric_steps=int(loss.metric_fraction * config.train.num_steps),
    )
    shardings = (sharding.replicated(mesh), sharding.split(mesh), sharding.replicated(mesh))
    return jax.jit(
        step, in_shardings=shardings, out_shardings=sharding.replicated(mesh), donate_argnums=0
    )


def _training_batches(config, source, first_step):
    return input_pipeline.train_iterator(
        source,
        seed=config.seed,
        batch_size=sharding.local_batch_size(config.train.batch_size),
        num_threads=config.train.num_threads,
        max_unreadable=config.train.max_unreadable,
        process=(jax.process_index(), jax.process_count()),
        first_step=first_step,
        size=config.inference.size,
        input_crop=config.inference.input_crop,
        min_depth=config.inference.min_depth,
        max_depth=config.inference.max_depth,
        **config.augmentation,
    )


def _create_optimizer(config):
    """(learning rate by step, optimizer)."""
    fields = dict(config.optimizer)
    names = ("schedule", "learning_rate", "warmup_steps", "end_fraction", "power", "boundaries",
             "factors")  # fmt: skip
    rate = create_schedule(
        num_steps=config.train.num_steps, **{name: fields.pop(name) for name in names}
    )
    return rate, create_optimizer(rate=rate, **fields)


def _check_fields(config):
    fields = config.train
    names = ("batch_size", "num_steps", "log_every", "evaluate_every", "checkpoint_every",
             "num_threads", "num_panels")  # fmt: skip
    require_positive("train", **{name: fields[name] for name in names})
    require_within("config", 0, 2**31 - 1, seed=config.seed)
    fields = config.augmentation
    require_within("augmentation", 0, 180, rotation=fields.rotation)
    require_within("augmentation", 1, 10, zoom=fields.zoom)
    chances = {name: fields[name] for name in ("flip_probability", "color_probability")}
    strengths = {name: fields[name] for name in ("gamma", "brightness", "color")}
    require_within("augmentation", 0, 1, **chances, **strengths)
    _check_size("augmentation.crop_size", fields.crop_size)
    _check_size("inference.size", config.inference.size)


def _check_size(name, size):
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"{name} {tuple(size)}: must be (height, width) in pixels")


def _started(state, config):
    """The initial state with the weights that the configuration names, if any."""
    variables, messages = start_from(
        state.variables,
        backbone_weights=config.model.backbone_weights,
        initial_weights=config.train.initial_weights,
    )
    for message in messages:
        print(message)
    return state.started_from(variables)


def train(config, workdir):
    """Trains as `config` says, in `workdir`, going on from its newest checkpoint if there is one.

    SIGTERM or SIGINT saves after the step and exits with `preemption.EXIT_STATUS`.

    Returns {row: metrics}: the last evaluation, beside the baselines if the config asks for them.
    """
    _check_fields(config)
    if not holds_steps(workdir):
        check_backbone_path(config.model.backbone_weights, config.train.initial_weights)
    source, sources = input_pipeline.create_sources(seed=config.seed, **config.data)
    mesh = sharding.create_mesh()
    evaluator = create_evaluator(config, sources, mesh)
    rate, optimizer = _create_optimizer(config)
    key = jax.random.key(config.seed)
    state = create_train_state(evaluator.model, optimizer, key, config.train.ema_decay)
    step_fn = _create_step(config, evaluator.model, evaluator.schedule, optimizer, mesh)
    claim_directory(workdir, config)
    with RunCheckpoints(workdir) as checkpoints, RunLog(workdir) as log, Preemption() as preemption:
        log.text("parameters.txt", get_parameter_overview(state.variables["params"]))
        if checkpoints.empty:
            state = _started(state, config)
        state = checkpoints.restore(state)
        state = jax.device_put(state, sharding.replicated(mesh))
        first, total = int(state.step), config.train.num_steps
        batches = _training_batches(config, source, first)
        meter = LossMeter(log, rate, config.train.batch_size)
        # Evaluate, save, next batch, step: in this order a resumed run repeats nothing.
        for step in progress(first, total, meter):
            last = step == total
            if last or step % config.train.log_every == 0:
                meter.flush(step)
            with meter.paused():
                if last or (step > first and step % config.train.evaluate_every == 0):
                    directory = pathlib.Path(workdir) / "evaluation" if last else None
                    results = evaluator.evaluate(state.evaluated, log, step, directory)
                    checkpoints.save_best(step, state.evaluated, evaluate.mean_of(results))
                due = step > first and step % config.train.checkpoint_every == 0
                if last or due or preemption.requested:
                    checkpoints.save(step, state)
            if preemption.requested and not last:
                raise SystemExit(EXIT_STATUS)
            if not last:
                state, terms = step_fn(state, sharding.shard_batch(next(batches), mesh), key)
                meter.add(terms)
    return evaluator.with_baselines(results)
