"""The checkpoints of a training run: what it resumes from, and its best parameters."""

import math
import os
import pathlib
from typing import Any, Self

from absl import logging
from jaxtyping import PyTree

from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints import saved_steps
from diffdepth_jax.checkpoints.model_directory import check_leaves
from diffdepth_jax.checkpoints.saved_steps import SavedSteps
from diffdepth_jax.distributed import processes
from diffdepth_jax.errors import UserError


class RunCheckpoints:
    """The checkpoints of one training run, for saving and resuming; a context manager.

    Damaged checkpoints are moved aside first, as long as a whole one is left to go on from.
    """

    def __init__(self, workdir: str | os.PathLike):
        directory = pathlib.Path(workdir).absolute()
        processes.in_first(_set_damaged_aside, directory)
        self._checkpoints = directory / "checkpoints"
        self._latest = SavedSteps(self._checkpoints, "state", keep=2)
        # The newest is the best: variables are saved only if their score is the best so far.
        self._best = SavedSteps(
            directory / "parameters",
            "default",
            keep=1,
            best_fn=lambda metrics: metrics["score"],
            best_mode="min",
        )
        best = self._best.newest
        self._score = None if best is None else self._best.score(best)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Waits for the saves in progress.

        Their failure is raised, unless another error ends the run: then it is a warning.
        """
        failure: UserError | None = None
        for steps in (self._latest, self._best):
            try:
                steps.close()
            except UserError as unwritten:
                failure = failure or unwritten
        if failure and kind in (None, SystemExit):
            raise failure
        if failure:
            logging.warning("%s", failure)

    @property
    def newest(self) -> int | None:
        """The step to resume from; None if nothing was saved."""
        return self._latest.newest

    def restore(self, state: PyTree) -> PyTree:
        """The newest saved state, laid out like `state`; `state` itself if nothing was saved."""
        step = self._latest.newest
        if step is None:
            return state
        folder = self._checkpoints / str(step)

        def to_restore(saved: PyTree) -> PyTree:
            check_leaves(saved, state)
            return saved_steps.abstract_tree(state)

        try:
            restored = saved_steps.read_step(folder / "state", to_restore)
        except saved_steps.RESTORE_ERRORS as error:
            raise UserError(
                f"{folder} cannot be restored ({saved_steps.first_line(error)}): its files are as "
                "they were written, so resume with the version that wrote them, or give another "
                "--workdir"
            ) from error
        if processes.is_first():
            logging.info("resuming from checkpoints/%d", step)
        return restored

    def save(self, step: int, state: PyTree) -> None:
        """Saves the state to resume from; a second save of one step does nothing."""
        if step != self._latest.newest:
            self._latest.save(step, state)

    def save_best(self, step: int, variables: Variables, score: float) -> None:
        """Keeps these variables if their score is the lowest so far."""
        if self._score is not None and not (score < self._score or math.isnan(self._score)):
            return
        best = self._best.newest
        if best is not None and step <= best:  # orbax only saves steps that rise
            self._best.delete(best)
        self._best.save(step, variables, metrics={"score": float(score)})
        self._score = score


def _set_damaged_aside(workdir: pathlib.Path) -> None:
    for name, prefix in (("checkpoints", ""), ("parameters", "parameters-")):
        damaged, whole = saved_steps.find_damaged(workdir / name)
        if damaged and whole is None and name == "checkpoints":  # nothing to go on from
            step, damage = next(iter(damaged.items()))
            raise UserError(
                f"{workdir / name / str(step)} cannot be restored ({damage}), nor can one before: "
                "restore the folder from a backup, or give another --workdir"
            )
        for step, damage in damaged.items():
            target = _unused(workdir / "damaged" / f"{prefix}{step}")
            target.parent.mkdir(exist_ok=True)
            (workdir / name / str(step)).rename(target)
            logging.warning(
                "%s/%d is damaged (%s): moved to %s, going on from %s",
                name,
                step,
                damage,
                target,
                "the next" if whole is None else f"{name}/{whole}",
            )


def _unused(path: pathlib.Path) -> pathlib.Path:
    while path.exists():
        path = path.with_name(f"{path.name}-again")
    return path
