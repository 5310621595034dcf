"""The checkpoints of a training run: what it resumes from, and its best parameters."""

import math
import os
import pathlib
from typing import Any, Self

from absl import logging
from jaxtyping import PyTree

from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints import (
    model_directory,
    numbered_folders,
    older_parameters,
    saved_steps,
    weights_file,
)
from diffdepth_jax.checkpoints.fitting import check_leaves, first_line
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
        self._directory, self._checkpoints = directory, directory / "checkpoints"
        self._latest = SavedSteps(self._checkpoints, "state", keep=2)
        self._best = _best(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Waits for the save in progress.

        Its failure is raised, unless another error ends the run: then it is a warning.
        """
        try:
            self._latest.close()
        except UserError as failure:
            if kind in (None, SystemExit):
                raise
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
        except Exception as error:  # of many classes, see `fitting.explained`
            raise UserError(
                f"{folder} cannot be restored ({first_line(error)}): its files are as "
                "they were written, so resume with the version that wrote them, or give another "
                "--workdir"
            ) from error
        if processes.is_first():
            logging.info("resuming from checkpoints/%d", step)
        return restored

    def save(self, step: int, state: PyTree) -> bool:
        """Saves the state to resume from; a second save of one step does nothing: False."""
        if step == self._latest.newest:
            return False
        self._latest.save(step, state)
        return True

    def wait(self) -> None:
        """Waits for the save in progress; raises as `save` does."""
        self._latest.finish()

    @property
    def best(self) -> int | None:
        """The step of the best variables; None if it is not known."""
        return None if self._best is None else self._best[0]

    def save_best(self, step: int, variables: Variables, score: float) -> bool:
        """Keeps these whole variables if their score is the lowest so far; tells whether it is.

        Raises:
          UserError: they cannot be written.
        """
        if self._best is not None:
            best_step, best = self._best
            # The same step comes again where the run was killed after it: perhaps before its card.
            if not (score < best or math.isnan(best) or step == best_step):
                return False
        processes.in_first(_write_best, self._directory, step, variables, score)
        self._best = step, score
        return True


def _write_best(directory: pathlib.Path, step: int, variables: Variables, score: float) -> None:
    try:
        model_directory.write_variables(directory, variables, step=step, score=float(score))
    except OSError as error:
        raise saved_steps.unwritten(directory / weights_file.FILE, str(error)) from error


def _best(directory: pathlib.Path) -> tuple[int | None, float] | None:
    """The step and the score of the variables that are kept; None if no score is known."""
    if model_directory.holds_weights(directory):
        header = weights_file.read_weights(directory)[1]
        return None if header.score is None else (header.step, header.score)
    score = older_parameters.best_score(directory)
    return None if score is None else (None, score)


def _set_damaged_aside(workdir: pathlib.Path) -> None:
    _set_damaged_checkpoints_aside(workdir)
    _set_damaged_weights_aside(workdir)


def _set_damaged_checkpoints_aside(workdir: pathlib.Path) -> None:
    damaged, whole = numbered_folders.find_damaged(workdir / "checkpoints")
    if damaged and whole is None:  # nothing to go on from
        step, damage = next(iter(damaged.items()))
        raise UserError(
            f"{workdir / 'checkpoints' / str(step)} cannot be restored ({damage}), nor can one "
            "before: restore the folder from a backup, or give another --workdir"
        )
    for step, damage in damaged.items():
        target = _moved_aside(workdir, f"checkpoints/{step}", str(step))
        logging.warning(
            "checkpoints/%d is damaged (%s): moved to %s, going on from checkpoints/%d",
            step,
            damage,
            target,
            whole,
        )


def _set_damaged_weights_aside(workdir: pathlib.Path) -> None:
    """Moves damaged variables, which the next evaluation replaces; older versions' are let be."""
    if not model_directory.holds_weights(workdir):
        return
    try:
        weights_file.read_weights(workdir)
    except UserError as damage:
        target = _moved_aside(workdir, weights_file.FILE, weights_file.FILE)
        logging.warning("%s; moved to %s", damage, target)


def _moved_aside(workdir: pathlib.Path, name: str, new_name: str) -> pathlib.Path:
    target = _unused(workdir / "damaged" / new_name)
    target.parent.mkdir(exist_ok=True)
    (workdir / name).rename(target)
    return target


def _unused(path: pathlib.Path) -> pathlib.Path:
    while path.exists():
        path = path.with_name(f"{path.name}-again")
    return path
