"""Training: from a configuration to the step, and the loop around it."""

import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import optax
from clu.parameter_overview import get_parameter_overview

from diffdepth_jax.arrays import Batch, Variables
from diffdepth_jax.checkpoints.model_directory import claim_directory, holds_steps
from diffdepth_jax.checkpoints.run_checkpoints import RunCheckpoints
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets.canonical import CanonicalCamera
from diffdepth_jax.datasets.mixture import check_training_source
from diffdepth_jax.datasets.samples import Source
from diffdepth_jax.datasets.sources import DenselyMeasured, EvaluationSets, create_sources
from diffdepth_jax.distributed import processes, sharding
from diffdepth_jax.distributed.preemption import EXIT_STATUS, Preemption
from diffdepth_jax.evaluation.evaluator import Evaluator, create_evaluator
from diffdepth_jax.evaluation.model_card import model_card, write_card
from diffdepth_jax.evaluation.scoring import Means, mean_of
from diffdepth_jax.method.diffusion import NoiseSchedule
from diffdepth_jax.method.objective import Objective
from diffdepth_jax.method.pixel_objective import Regression
from diffdepth_jax.models.assembly import (
    DepthNetwork,
    DiffusionDepth,
    FeedForwardDepth,
    with_rematerialised_backbone,
)
from diffdepth_jax.training.batches import augmented_batches, cached_batches, open_cache
from diffdepth_jax.training.environment import describe_environment
from diffdepth_jax.training.feature_cache import create_encode
from diffdepth_jax.training.optimizer import create_optimizer, create_schedule
from diffdepth_jax.training.pretrained import (
    check_backbone_path,
    check_origin,
    licences,
    origins,
    score_untrained,
    start_from,
)
from diffdepth_jax.training.profiling import Trace
from diffdepth_jax.training.run_log import LossMeter, RunLog, counted, inform, progress
from diffdepth_jax.training.skipped_updates import SkippedUpdates
from diffdepth_jax.training.state import TrainState, create_train_state
from diffdepth_jax.training.step import train_step


def configured_objective(
    config: Configuration, model: DepthNetwork, schedule: NoiseSchedule
) -> Objective | Regression:
    """The losses that a configuration asks for; terms of weight 0 are only logged."""
    fields = dict(vars(config.loss))
    until, weights = fields.pop("l1_l2_until"), vars(fields.pop("weights"))
    pixel: dict[str, Any] = {
        "silog_lambda": fields.pop("silog_lambda"),
        "clamp_depth": fields.pop("clamp_depth"),
        "weights": {name: weight for name, weight in sorted(weights.items()) if weight},
        "l1_l2_steps": int(until * config.train.num_steps),
    }
    if isinstance(model, FeedForwardDepth):
        return Regression(model=model, **pixel)
    assert isinstance(model, DiffusionDepth)
    sampler = vars(config.sampler)
    return Objective(model=model, schedule=schedule, sampler=sampler, **pixel, **fields)


def configured_optimizer(
    config: Configuration,
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """The learning rate by step, and the optimizer."""
    fields = dict(vars(config.optimizer))
    del fields["boundaries"]
    names = ("schedule", "learning_rate", "warmup_steps", "end_fraction", "power", "factors")
    steps = config.train.num_steps
    rate = create_schedule(
        num_steps=steps,
        starts=config.optimizer.starts(steps),
        **{name: fields.pop(name) for name in names},
    )
    return rate, create_optimizer(rate=rate, **fields)


def create_step(
    config: Configuration,
    model: DepthNetwork,
    schedule: NoiseSchedule,
    optimizer: optax.GradientTransformation,
    layout: sharding.Layout,
    state: TrainState,
) -> Callable:
    """train_step with its fixed arguments filled in, compiled; a call reuses its state's memory."""
    if config.train.remat_backbone:
        model = with_rematerialised_backbone(model)
    step = functools.partial(
        train_step,
        objective=configured_objective(config, model, schedule),
        optimizer=optimizer,
        freeze=config.optimizer.freeze,
        ema_decay=config.train.ema_decay,
        accumulate=config.train.accumulate,
        layout=layout,
    )
    return layout.compile(step, state)


def _started(
    checkpoints: RunCheckpoints,
    layout: sharding.Layout,
    create: Callable[[], TrainState],
    config: Configuration,
) -> TrainState:
    """The newest saved state, or the initial one with the weights that the configuration names."""
    if checkpoints.newest is not None:
        return checkpoints.restore(layout.abstract(create))
    state = layout.create(create)
    variables, messages = start_from(state.variables, **origins(config))
    for message in messages:
        inform(message)
    return layout.place(state.started_from(variables))


def _is_evaluated(step: int, config: Configuration) -> bool:
    fields = config.train
    return step == fields.num_steps or (step > 0 and step % fields.evaluate_every == 0)


def _resumed_log(workdir: str | os.PathLike, step: int, config: Configuration) -> RunLog:
    """The record of a run that goes on from a step, or starts at step 0."""
    return RunLog(workdir, step, evaluated_again=_is_evaluated(step, config))


def _check_ground_truth(config: Configuration, source: Source, evaluator: Evaluator) -> None:
    processes.in_first(
        check_training_source,
        source,
        (config.frame.min_depth, config.frame.max_depth),
        max_unreadable=config.train.max_unreadable,
        camera=CanonicalCamera.of(config),
    )
    evaluator.check_ground_truth()


def train(
    config: Configuration,
    workdir: str | os.PathLike,
    sources: tuple[Source, EvaluationSets] | None = None,
) -> Mapping[str, Means]:
    """Trains in `workdir`, going on from its newest checkpoint if there is one.

    SIGTERM or SIGINT saves after the step and exits with `preemption.EXIT_STATUS`.

    Args:
      config: the configuration.
      workdir: the run's directory, which is made if it does not exist.
      sources: samples, as `create_sources` returns them. Default: those of the `data` group.

    Returns:
      {row: metrics}: the last evaluation, beside the baselines if the configuration asks for them.

    Raises:
      UserError: the configuration does not fit the machine, the data or the directory.
    """
    sharding.local_batch_size(config.train.batch_size, config.train.accumulate)
    if not holds_steps(workdir):
        check_backbone_path(config.model.backbone_weights, config.train.initial_weights)
        check_origin(config)
    with Preemption() as preemption:  # closed last: the last checkpoint is then written
        source, sets = sources or create_sources(config.data, config.seed)
        if config.data.missing_depth == "hole":
            source = DenselyMeasured(source)
        evaluator = create_evaluator(config, sets)
        _check_ground_truth(config, source, evaluator)
        claim_directory(workdir, config)
        with (
            RunCheckpoints(workdir) as checkpoints,
            _resumed_log(workdir, checkpoints.newest or 0, config) as log,
            Trace(workdir, *config.train.profile_steps) as trace,
        ):
            log.append("environment.jsonl", describe_environment())
            run = _Run(
                config, pathlib.Path(workdir), evaluator, checkpoints, log, trace, preemption
            )
            results = run.steps(source)
    return evaluator.scorer.with_baselines(results, score_untrained(config, evaluator))


@dataclasses.dataclass(frozen=True)
class _Run:
    """An open run: everything that the training loop uses."""

    config: Configuration
    workdir: pathlib.Path
    evaluator: Evaluator
    checkpoints: RunCheckpoints
    log: RunLog
    trace: Trace
    preemption: Preemption

    def steps(self, source: Source) -> dict[str, Means]:
        """Trains from the first or resumed step to the last, and returns the last evaluation."""
        fields, total = self.config.train, self.config.train.num_steps
        layout = sharding.Layout(fields.parallel, sharding.create_mesh())
        rate, optimizer = configured_optimizer(self.config)
        key = jax.random.key(self.config.seed)
        state, step_fn = self._start(layout, optimizer, key)
        first = int(state.step)
        batches = self._batches(source, first, state, layout) if first < total else iter(())
        meter = LossMeter(self.log, rate, fields.batch_size)
        skipped = SkippedUpdates(self.workdir, fields.max_skipped)
        agreement = processes.Agreement()
        results = {}
        # Save, evaluate, next batch, step: in this order a resumed run skips and repeats no update.
        for step in progress(first, total, meter):
            self.trace.at(step)
            last = step == total
            stop = agreement.ask(self.preemption.requested is not None)
            if stop or last:
                skipped.check(step - 1, meter.newest())
            if last or step % fields.log_every == 0:
                meter.flush(step)
            with meter.paused():
                self._save(step, state, now=stop or last, first=first)
                if stop:
                    raise SystemExit(EXIT_STATUS)
                if _is_evaluated(step, self.config):
                    results = self._evaluate(step, state.evaluated, layout, last)
            if not last:
                batch = next(batches)
                skipped.keep(step, batch)
                state, terms = step_fn(state, layout.shard_batch(batch), key)
                skipped.check(step - 1, meter.add(terms))
        return results

    def _start(
        self, layout: sharding.Layout, optimizer: optax.GradientTransformation, key: jax.Array
    ) -> tuple[TrainState, Callable]:
        """The state to start from, and the compiled step."""
        model, schedule = self.evaluator.model, self.evaluator.schedule
        ema_decay = self.config.train.ema_decay
        create = functools.partial(create_train_state, model, optimizer, key, ema_decay)
        abstract = layout.abstract(create)
        step_fn = create_step(self.config, model, schedule, optimizer, layout, abstract)
        state = _started(self.checkpoints, layout, create, self.config)
        overview = get_parameter_overview(state.variables["params"], include_stats=False)
        self.log.text("parameters.txt", overview)
        return state, step_fn

    def _batches(
        self, source: Source, first: int, state: TrainState, layout: sharding.Layout
    ) -> Iterator[Batch]:
        if not self.config.train.cache_features:
            return augmented_batches(self.config, source, first)
        cache = open_cache(self.config, source, self.evaluator.model, state.variables, self.workdir)
        inform(str(cache))
        variables = layout.local(state.variables)
        encode = create_encode(self.evaluator.model, variables, layout.mesh)
        size = sharding.divisible(self.config.evaluation.batch_size, layout.mesh)
        with contextlib.closing(cache.fill(encode, size)) as done:  # it saves when it is closed
            for _ in counted(done, "features", cache.done, len(cache)):
                if self.preemption.requested is not None:
                    raise SystemExit(EXIT_STATUS)
        return cached_batches(self.config, source, cache, first)

    def _save(self, step: int, state: TrainState, *, now: bool, first: int) -> None:
        due = step > first and step % self.config.train.checkpoint_every == 0
        if now or due:
            self.checkpoints.save(step, state)

    def _evaluate(
        self, step: int, variables: Variables, layout: sharding.Layout, last: bool
    ) -> dict[str, Means]:
        """Scores the variables and keeps them if they are the best so far."""
        directory = self.workdir / "evaluation" if last else None
        whole = layout.local(variables)
        results = self.evaluator.evaluate(whole, self.log, step, directory)
        if self.checkpoints.save_best(step, whole, mean_of(results)):
            fields = self.config.train
            origin = f"Step {step} of {fields.num_steps}, with {fields.batch_size} images each."
            card = model_card(self.config, origin, results, licences(self.config))
            processes.in_first(write_card, self.workdir, card)
        return results
