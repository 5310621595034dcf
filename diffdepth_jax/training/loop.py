"""Training: from a configuration to the step, and the loop around it."""

import functools
import pathlib

import jax
from clu.parameter_overview import get_parameter_overview

from diffdepth_jax.checkpoints.model_directory import claim_directory, holds_steps
from diffdepth_jax.checkpoints.run_checkpoints import RunCheckpoints
from diffdepth_jax.datasets import pipeline
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.distributed import processes, sharding
from diffdepth_jax.distributed.preemption import EXIT_STATUS, Preemption
from diffdepth_jax.errors import UserError, require_positive, require_within
from diffdepth_jax.evaluation import scoring
from diffdepth_jax.evaluation.evaluator import create_evaluator
from diffdepth_jax.method import diffusion, objective
from diffdepth_jax.models.assembly import with_rematerialised_backbone
from diffdepth_jax.training.environment import describe_environment
from diffdepth_jax.training.optimizer import create_optimizer, create_schedule
from diffdepth_jax.training.pretrained import check_backbone_path, start_from
from diffdepth_jax.training.profiling import Trace, check_profile_steps
from diffdepth_jax.training.run_log import LossMeter, RunLog, inform, progress
from diffdepth_jax.training.skipped_updates import SkippedUpdates
from diffdepth_jax.training.state import create_train_state
from diffdepth_jax.training.step import train_step


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
        scatter=layout.scatter,
    )
    return layout.compile(step, state)


def _training_batches(config, source, first_step):
    return pipeline.train_iterator(
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
    names = (
        "schedule",
        "learning_rate",
        "warmup_steps",
        "end_fraction",
        "power",
        "boundaries",
        "factors",
    )
    rate = create_schedule(
        num_steps=config.train.num_steps, **{name: fields.pop(name) for name in names}
    )
    return rate, create_optimizer(rate=rate, **fields)


def _check_fields(config):
    fields = config.train
    names = (
        "batch_size",
        "num_steps",
        "log_every",
        "evaluate_every",
        "checkpoint_every",
        "num_threads",
        "num_panels",
        "accumulate",
    )
    require_positive("train", **{name: fields[name] for name in names})
    require_within("train", 0, float("inf"), max_skipped=fields.max_skipped)
    check_profile_steps(fields.profile_steps, fields.num_steps)
    require_within("config", 0, 2**31 - 1, seed=config.seed)
    sharding.local_batch_size(fields.batch_size, fields.accumulate)
    _create_optimizer(config)  # refuses what does not fit before a directory is made
    fields = config.loss
    require_within("loss", 0, 1, metric_fraction=fields.metric_fraction)
    objective.check_target(fields.target)
    diffusion.check_gradient_steps(fields.gradient_steps, config.sampler.num_steps)
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


def _started(checkpoints, layout, create, config):
    """The newest saved state, or the initial one with the weights that the configuration names."""
    if not checkpoints.empty:
        return checkpoints.restore(layout.abstract(create))
    state = layout.create(create)
    variables, messages = start_from(
        state.variables,
        backbone_weights=config.model.backbone_weights,
        initial_weights=config.train.initial_weights,
    )
    for message in messages:
        inform(message)
    return layout.place(state.started_from(variables))


def train(config, workdir, sources=None):
    """Trains as `config` says, in `workdir`, going on from its newest checkpoint if there is one.

    Samples are those of the `data` group, or what the caller hands over: `sources`, as returned by
    `input_pipeline.create_sources`.

    SIGTERM or SIGINT saves after the step and exits with `preemption.EXIT_STATUS`.

    Returns {row: metrics}: the last evaluation, beside the baselines if the config asks for them.
    """
    _check_fields(config)
    if not holds_steps(workdir):
        check_backbone_path(config.model.backbone_weights, config.train.initial_weights)
    with Preemption() as preemption:  # first and last: until the last checkpoint is written
        source, sets = sources or create_sources(seed=config.seed, **config.data)
        evaluator = create_evaluator(config, sets)
        claim_directory(workdir, config)
        with (
            RunCheckpoints(workdir) as checkpoints,
            RunLog(workdir) as log,
            Trace(workdir, *config.train.profile_steps) as trace,
        ):
            log.append("environment.jsonl", describe_environment())
            results = _run_steps(
                config, workdir, source, evaluator, checkpoints, log, trace, preemption
            )
    return evaluator.with_baselines(results)


def _run_steps(config, workdir, source, evaluator, checkpoints, log, trace, preemption):
    """From the first step, or the one to resume from, to the last; returns its evaluation."""
    fields, total = config.train, config.train.num_steps
    model, schedule = evaluator.model, evaluator.schedule
    layout = sharding.Layout(fields.parallel, sharding.create_mesh())
    rate, optimizer = _create_optimizer(config)
    key = jax.random.key(config.seed)
    create = functools.partial(create_train_state, model, optimizer, key, fields.ema_decay)
    step_fn = create_step(config, model, schedule, optimizer, layout, layout.abstract(create))
    state = _started(checkpoints, layout, create, config)
    overview = get_parameter_overview(state.variables["params"], include_stats=False)
    log.text("parameters.txt", overview)
    first = int(state.step)
    batches = _training_batches(config, source, first)
    meter = LossMeter(log, rate, fields.batch_size)
    skipped = SkippedUpdates(workdir, fields.max_skipped)
    agreement = processes.Agreement()
    # Save, evaluate, next batch, step: in this order a resumed run loses and repeats no update.
    for step in progress(first, total, meter):
        trace.at(step)
        last = step == total
        stop = agreement.ask(preemption.requested is not None)
        if stop or last:
            skipped.check(step - 1, meter.newest())
        if last or step % fields.log_every == 0:
            meter.flush(step)
        with meter.paused():
            if stop or last or (step > first and step % fields.checkpoint_every == 0):
                checkpoints.save(step, state)
            if stop:
                raise SystemExit(EXIT_STATUS)
            if last or (step > 0 and step % fields.evaluate_every == 0):
                directory = pathlib.Path(workdir) / "evaluation" if last else None
                results = evaluator.evaluate(layout.local(state.evaluated), log, step, directory)
                checkpoints.save_best(step, state.evaluated, scoring.mean_of(results))
        if not last:
            batch = next(batches)
            skipped.keep(step, batch)
            state, terms = step_fn(state, layout.shard_batch(batch), key)
            skipped.check(step - 1, meter.add(terms))
    return results
