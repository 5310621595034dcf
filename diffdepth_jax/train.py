"""Training: from a configuration to the step, and the loop around it."""

import functools
import pathlib

import jax
from clu.parameter_overview import get_parameter_overview

from diffdepth_jax import evaluate, input_pipeline, processes, sharding
from diffdepth_jax.checkpoint import RunCheckpoints, claim_directory, holds_steps
from diffdepth_jax.environment import describe_environment
from diffdepth_jax.errors import UserError, require_positive, require_within
from diffdepth_jax.evaluator import create_evaluator
from diffdepth_jax.models.diffusion_depth import with_rematerialised_backbone
from diffdepth_jax.optimizer import create_optimizer, create_schedule
from diffdepth_jax.preemption import EXIT_STATUS, Preemption
from diffdepth_jax.pretrained import check_backbone_path, start_from
from diffdepth_jax.profiling import Trace, check_profile_steps
from diffdepth_jax.run_log import LossMeter, RunLog, inform, progress
from diffdepth_jax.skipped_updates import SkippedUpdates
from diffdepth_jax.train_state import create_train_state
from diffdepth_jax.train_step import train_step


def create_step(config, model, schedule, optimizer, layout, state):
    """train_step with everything static bound, compiled for the layout; its state is donated."""
    if config.train.remat_backbone:
        model = with_rematerialised_backbone(model)
    loss = config.loss
    objective_fields = {
        "target": loss.target,
        "every_step": loss.every_step,
        "random_timesteps": loss.random_timesteps,
        "gradient_steps": loss.gradient_steps,
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
        accumulate=config.train.accumulate,
        gather=layout.gather,
    )
    return layout.compile(step, state)


def _training_batches(config, source, first_step):
    return input_pipeline.train_iterator(
        source,
        seed=config.seed,
        batch_size=sharding.local_batch_size(config.train.batch_size, config.train.accumulate),
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
             "num_threads", "num_panels", "accumulate")  # fmt: skip
    require_positive("train", **{name: fields[name] for name in names})
    require_within("train", 0, float("inf"), max_skipped=fields.max_skipped)
    check_profile_steps(fields.profile_steps, fields.num_steps)
    require_within("config", 0, 2**31 - 1, seed=config.seed)
    fields = config.augmentation
    require_within("augmentation", 0, 180, rotation=fields.rotation)
    require_within("augmentation", 1, 10, zoom=fields.zoom)
    chances = {name: fields[name] for name in ("flip_probability", "color_probability")}
    strengths = {name: fields[name] for name in ("gamma", "brightness", "color")}
    require_within("augmentation", 0, 1, **chances, **strengths)
    require_within("augmentation", 1e-6, 1, keep_valid=fields.keep_valid)
    _check_size("augmentation.crop_size", fields.crop_size)
    _check_size("inference.size", config.inference.size)


def _check_size(name, size):
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"{name} {tuple(size)}: must be (height, width) in pixels")


def _started(state, checkpoints, config, layout):
    """The newest saved state, or the initial one with the weights that the configuration names."""
    if not checkpoints.empty:
        return checkpoints.restore(state)
    variables, messages = start_from(
        state.variables,
        backbone_weights=config.model.backbone_weights,
        initial_weights=config.train.initial_weights,
    )
    for message in messages:
        inform(message)
    return layout.place(state.started_from(variables))


def _due(step, every, first, total):
    """Whether what happens `every` so many steps, and at the end, happens before this one."""
    return step == total or (step > first and step % every == 0)


def train(config, workdir, sources=None):
    """Trains as `config` says, in `workdir`, going on from its newest checkpoint if there is one.

    Samples are those of the `data` group, or what the caller hands over: `sources`, as returned by
    `input_pipeline.create_sources`.

    SIGTERM or SIGINT saves after the step and exits with `preemption.EXIT_STATUS`.

    Returns {row: metrics}: the last evaluation, beside the baselines if the config asks for them.
    """
    _check_fields(config)
    fields = config.train
    if not holds_steps(workdir):
        check_backbone_path(config.model.backbone_weights, fields.initial_weights)
    if sources is None:
        sources = input_pipeline.create_sources(seed=config.seed, **config.data)
    source, sources = sources
    layout = sharding.Layout(fields.parallel, sharding.create_mesh())
    evaluator = create_evaluator(config, sources)
    model, schedule = evaluator.model, evaluator.schedule
    rate, optimizer = _create_optimizer(config)
    key = jax.random.key(config.seed)
    state = layout.place(create_train_state(model, optimizer, key, fields.ema_decay))
    step_fn = create_step(config, model, schedule, optimizer, layout, state)
    claim_directory(workdir, config)
    with (
        Preemption() as preemption,  # outlasts the wait for the last checkpoint
        RunCheckpoints(workdir) as checkpoints,
        RunLog(workdir) as log,
        Trace(workdir, *fields.profile_steps) as trace,
    ):
        log.append("environment.jsonl", describe_environment())
        params = state.variables["params"]
        log.text("parameters.txt", get_parameter_overview(params, include_stats=False))
        state = _started(state, checkpoints, config, layout)
        span = first, total = int(state.step), fields.num_steps
        batches = _training_batches(config, source, first)
        meter = LossMeter(log, rate, fields.batch_size)
        skipped = SkippedUpdates(workdir, fields.max_skipped)
        # Evaluate, save, next batch, step: in this order a resumed run repeats nothing.
        for step in progress(first, total, meter):
            trace.at(step)
            stop = processes.any_of(preemption.requested is not None)
            if stop or step == total:
                skipped.check(step - 1, meter.newest(), state.skipped)
            if _due(step, fields.log_every, *span):
                meter.flush(step)
            with meter.paused():
                if _due(step, fields.evaluate_every, *span):
                    directory = pathlib.Path(workdir) / "evaluation" if step == total else None
                    variables = layout.local(state.evaluated)
                    results = evaluator.evaluate(variables, log, step, directory)
                    checkpoints.save_best(step, state.evaluated, evaluate.mean_of(results))
                if stop or _due(step, fields.checkpoint_every, *span):
                    checkpoints.save(step, state)
            if step == total:
                continue  # to the end of the progress bar
            if stop:
                raise SystemExit(EXIT_STATUS)
            batch = next(batches)
            skipped.keep(step, batch)
            state, terms = step_fn(state, layout.shard_batch(batch), key)
            skipped.check(step - 1, meter.add(terms), state.skipped)
    return evaluator.with_baselines(results)
