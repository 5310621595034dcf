"""What a run tells the person who watches it, beside its progress."""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Generator, Mapping

import jax
import numpy as np
from absl import logging
from jaxtyping import PyTree

from diffdepth_jax.checkpoints.weights_file import FILE
from diffdepth_jax.distributed.processes import only_in_first
from diffdepth_jax.evaluation.scoring import Means
from diffdepth_jax.program.devices import describe_devices
from diffdepth_jax.program.progress import reminders
from diffdepth_jax.training.optimizer import frozen


@only_in_first
def inform(message: str) -> None:
    """Writes a line for the person who watches the run."""
    logging.info("%s", message)


def describe_parameters(params: PyTree, freeze: str) -> str:
    """Returns how many parameters there are, and how many of them learn; see `create_optimizer`."""
    sizes = [int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params)]
    stay = jax.tree.leaves(frozen(params, freeze)) if freeze else [False] * len(sizes)
    learning = sum(size for size, stays in zip(sizes, stay, strict=True) if not stays)
    rest = "" if learning == sum(sizes) else f", of which {learning:,} are trained"
    return f"{sum(sizes):,}{rest}"


def inform_of_start(
    workdir: str | os.PathLike,
    *,
    samples: int,
    held_out: Mapping[str, int],
    parameters: str,
    steps: tuple[int, int],
) -> None:
    """Writes the lines with which training begins.

    Args:
      workdir: the run's directory.
      samples: the number of training samples.
      held_out: {name of an evaluation set: number of its images}.
      parameters: see `describe_parameters`.
      steps: the step that the run begins with, and the last one.
    """
    first, total = steps
    sets = ", ".join(f"{count} ({name})" for name, count in held_out.items())
    goes_on = f", going on from step {first}" if first else ""
    inform(f"device: {describe_devices()}")
    inform(f"data: {samples:,} training samples; evaluation samples: {sets}")
    inform(f"parameters: {parameters}")
    inform(f"work directory: {workdir}{goes_on}")
    if first < total:
        inform(
            f"{total - first} steps; the first waits until it is compiled: one to three minutes on "
            "two cores, some seconds if that was done before"
        )


@contextlib.contextmanager
def compiling() -> Generator[None]:
    """Tells of the first step, which compiles, and how long it took."""
    inform("compiling the training step ...")
    began = time.monotonic()
    with reminders("compiling"):
        yield
    inform(f"compiled; the first step is done after {time.monotonic() - began:.1f} s")


@only_in_first
def warn_of_other_samples(workdir: str | os.PathLike, counts: Mapping[str, int]) -> None:
    """Warns if a run goes on with other numbers of samples: those held out are then others, too.

    Args:
      workdir: the run's directory, whose `environment.jsonl` has the numbers of the last start.
      counts: of the training samples and of each evaluation set, by name.
    """
    path = pathlib.Path(workdir) / "environment.jsonl"
    whole, _, _ = (path.read_text() if path.exists() else "").rpartition("\n")
    lines = whole.splitlines()
    before = counts
    with contextlib.suppress(ValueError, AttributeError):  # a line that a crash has damaged
        before = json.loads(lines[-1]).get("samples", counts) if lines else counts
    if before != counts:
        logging.warning(
            "the data changed since this run was last started: %s samples were %s; what is held "
            "out now may have been trained on",
            dict(counts),
            before,
        )


def inform_of_evaluation(
    step: int, began: float, results: Mapping[str, Means], *, best: bool
) -> None:
    """Writes the line of an evaluation that began at a time of `time.monotonic`."""
    scores = ", ".join(f"{name} {means['abs_rel']:.4f}" for name, means in results.items())
    rank = "the best so far, kept" if best else "not the best so far"
    seconds = time.monotonic() - began
    inform(f"step {step}: evaluated in {seconds:.1f} s: abs_rel {scores}; {rank}")


def inform_of_end(workdir: str | os.PathLike, step: int, best: int | None) -> None:
    """Writes the last line: where the model is."""
    of_step = "" if best is None else f", of step {best}"
    inform(f"trained {step} steps; the model{of_step}: {pathlib.Path(workdir) / FILE}")
