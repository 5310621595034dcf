"""Training: from a configuration to the step, and the loop around it."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping

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
from diffdepth_jax.program.environment import describe_environment
from diffdepth_jax.program.folder_lock import FolderLock
from diffdepth_jax.program.heap import give_back_freed_memory
from diffdepth_jax.training.announcements import (
    compiling,
    describe_parameters,
    inform,
    inform_of_end,
    inform_of_evaluation,
    inform_of_start,
    warn_of_other_samples,
)
from diffdepth_jax.training.batches import augmented_batches, cached_batches, filled, open_cache
from diffdepth_jax.training.configured import configured_optimizer, create_step
from diffdepth_jax.training.feature_cache import create_encode
from diffdepth_jax.training.pretrained import (
    check_backbone_path,
    check_origin,
    licences,
    origins,
    score_start,
    start_from,
)
from diffdepth_jax.training.profiling import Trace
from diffdepth_jax.training.run_log import LossMeter, RunLog, progress
from diffdepth_jax.training.skipped_updates import SkippedUpdates
from diffdepth_jax.training.state import TrainState, create_train_state


def _started(
    checkpoints: RunCheckpoints,
    layout: sharding.Layout,
    create: Callable[[], TrainState],
    abstract: TrainState,
    config: Configuration,
) -> TrainState:
    """The newest saved state, or the initial one with the weights that the configuration names."""
    if checkpoints.newest is not None:
        return checkpoints.restore(abstract)
    state = layout.create(create, abstract)
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

    SIGTERM or SIGINT saves after the step and exits with `preemption.EXIT_STATUS`. While the step
    compiles, or the model is evaluated, all is saved, and the exit does not wait.

    Args:
      config: the configuration.
      workdir: the run's directory, which is made if it does not exist.
      sources: samples, as `create_sources` returns them. Default: those of the `data` group.

    Returns:
      {row: metrics}: the last evaluation, beside the baselines if the configuration asks for them.

    Raises:
      UserError: the configuration does not fit the machine, the data or the directory, or another
        run goes on in the directory.
    """
    sharding.local_batch_size(config.train.batch_size, config.train.accumulate)
    if not holds_steps(workdir):
        check_backbone_path(config.model.backbone_weights, config.train.initial_weights)
        check_origin(config)
    # `Preemption` is closed last: the last checkpoint is then written.
    with Preemption() as preemption, FolderLock(workdir) as lock:
        source, sets = sources or create_sources(config.data, config.seed)
        if config.data.missing_depth == "hole":
            source = DenselyMeasured(source)
        evaluator = create_evaluator(config, sets)
        _check_ground_truth(config, source, evaluator)
        processes.in_first(lock.take, "wait until it ends, or give another --workdir")
        claim_directory(workdir, config)
        with (
            RunCheckpoints(workdir) as checkpoints,
            _resumed_log(workdir, checkpoints.newest or 0, config) as log,
            Trace(workdir, *config.train.profile_steps) as trace,
        ):
            counts = {"train": len(source), **evaluator.scorer.sets}
            if checkpoints.newest is not None:
                warn_of_other_samples(workdir, counts)
            log.append("environment.jsonl", {**describe_environment(), "samples": counts})
            opened = evaluator, checkpoints, log, trace, preemption
            results = _Run(config, pathlib.Path(workdir), source, *opened).steps()
        with preemption.ending_at_once():
            return evaluator.scorer.with_baselines(results, score_start(config, evaluator))


@dataclasses.dataclass(frozen=True)
class _Run:
    """An open run: everything that the training loop uses."""

    config: Configuration
    workdir: pathlib.Path
    source: Source
    evaluator: Evaluator
    checkpoints: RunCheckpoints
    log: RunLog
    trace: Trace
    preemption: Preemption

    def steps(self) -> dict[str, Means]:
        """Trains from the first or resumed step to the last, and returns the last evaluation."""
        fields, total = self.config.train, self.config.train.num_steps
        layout = sharding.Layout(fields.parallel, sharding.create_mesh())
        rate, optimizer = configured_optimizer(self.config)
        key = jax.random.key(self.config.seed)
        state, step_fn = self._start(layout, optimizer, key)
        first = int(state.step)
        batches = self._batches(first, state, layout) if first < total else iter(())
        meter = LossMeter(self.log, rate, fields.batch_size)
        skipped = SkippedUpdates(self.workdir, fields.max_skipped)
        agreement = processes.Agreement()
        results = {}
        # Save, evaluate, next batch, step: in this order a resumed run skips and repeats no update,
        # and an evaluation may be broken off.
        for step in progress(first, total, meter):
            self.trace.at(step)
            last = step == total
            stop = agreement.ask(self.preemption.requested is not None)
            if stop or last:
                skipped.check(step - 1, meter.newest())
            if last or step % fields.log_every == 0:
                meter.flush(step)
            with meter.paused():
                evaluated = _is_evaluated(step, self.config)
                self._save(step, state, now=stop or last or evaluated, first=first)
                if stop:
                    raise SystemExit(EXIT_STATUS)
                if evaluated:
                    results = self._evaluate(step, state.evaluated, layout, last)
            if not last:
                batch = next(batches)
                skipped.keep(step, batch)
                with self._compiling() if step == first else contextlib.nullcontext():
                    state, terms = step_fn(state, layout.shard_batch(batch), key)
                skipped.check(step - 1, meter.add(terms))
        inform_of_end(self.workdir, total, self.checkpoints.best)
        return results

    def _start(
        self, layout: sharding.Layout, optimizer: optax.GradientTransformation, key: jax.Array
    ) -> tuple[TrainState, Callable]:
        """The state to start from, and the compiled step."""
        model, schedule = self.evaluator.model, self.evaluator.schedule
        ema_decay = self.config.train.ema_decay
        create = functools.partial(create_train_state, model, optimizer, key, ema_decay)
        abstract = layout.abstract(create)
        self._inform(abstract.variables["params"])
        step_fn = create_step(self.config, model, schedule, optimizer, layout, abstract)
        state = _started(self.checkpoints, layout, create, abstract, self.config)
        overview = get_parameter_overview(state.variables["params"], include_stats=False)
        self.log.text("parameters.txt", overview)
        return state, step_fn

    def _inform(self, params: Variables) -> None:
        config = self.config
        inform_of_start(
            self.workdir,
            samples=len(self.source),
            held_out=self.evaluator.scorer.sets,
            parameters=describe_parameters(params, config.optimizer.freeze),
            steps=(self.checkpoints.newest or 0, config.train.num_steps),
        )

    def _batches(self, first: int, state: TrainState, layout: sharding.Layout) -> Iterator[Batch]:
        if not self.config.train.cache_features:
            return augmented_batches(self.config, self.source, first)
        model, variables = self.evaluator.model, state.variables
        cache = open_cache(self.config, self.source, model, variables, self.workdir)
        encode = create_encode(model, layout.local(variables), layout.mesh)
        size = sharding.divisible(self.config.evaluation.batch_size, layout.mesh)
        with contextlib.closing(filled(cache, encode, size)) as rows:
            for _ in rows:
                if self.preemption.requested is not None:
                    raise SystemExit(EXIT_STATUS)
        return cached_batches(self.config, self.source, cache, first)

    def _save(self, step: int, state: TrainState, *, now: bool, first: int) -> None:
        due = step > first and step % self.config.train.checkpoint_every == 0
        if (now or due) and self.checkpoints.save(step, state):
            inform(f"step {step}: saving to checkpoints/{step}")

    @contextlib.contextmanager
    def _compiling(self) -> Generator[None]:
        """For the first step: it compiles, and is not saved, so that the run may end meanwhile."""
        with self._ending_at_once(), compiling():
            yield
        give_back_freed_memory()

    def _ending_at_once(self) -> contextlib.AbstractContextManager[None]:
        """While nothing is lost that is not saved, or being saved."""

        def finish() -> None:
            self.log.flush()
            self.checkpoints.wait()

        return self.preemption.ending_at_once(finish)

    def _evaluate(
        self, step: int, variables: Variables, layout: sharding.Layout, last: bool
    ) -> dict[str, Means]:
        """Scores the variables and keeps them if they are the best so far."""
        directory, began = self.workdir / "evaluation" if last else None, time.monotonic()
        whole = layout.local(variables)
        inform(f"step {step}: evaluating ...")
        with self._ending_at_once():
            results = self.evaluator.evaluate(whole, self.log, step, directory)
        best = self.checkpoints.save_best(step, whole, mean_of(results))
        if best:
            fields = self.config.train
            origin = f"Step {step} of {fields.num_steps}, with {fields.batch_size} images each."
            card = model_card(self.config, origin, results, licences(self.config))
            processes.in_first(write_card, self.workdir, card)
        inform_of_evaluation(step, began, results, best=best)
        return results
