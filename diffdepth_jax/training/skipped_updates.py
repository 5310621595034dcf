"""Updates skipped because loss or gradient were not finite: their batches, and how many to bear."""

import pathlib

import jax
import numpy as np
from absl import logging

from diffdepth_jax.errors import UserError


class SkippedUpdates:
    """Writes the batches of skipped updates to WORKDIR/nonfinite and ends a run of too many.

    A skipped update is known one step late, so the newest two batches are held.
    """

    def __init__(self, workdir, limit):
        """`limit`: of the updates skipped in the whole run; one more raises."""
        self._directory, self._limit = pathlib.Path(workdir) / "nonfinite", limit
        self._batches = {}

    def keep(self, step, batch):
        """Holds this process's numpy batch of the update from `step` to `step + 1`."""
        self._batches = {**dict(list(self._batches.items())[-1:]), step: batch}

    def check(self, step, terms):
        """Acts if the update from `step` was skipped; it has to be one of the newest two kept.

        Args:
          step: of the update.
          terms: {name: (sum, count)} of it, fetched; None: none was made.
        """
        if terms is None or not terms["skipped"][0]:
            return
        count, path = int(terms["skipped_so_far"][0]), self._write(step)
        logging.warning(
            "loss %g or its gradient is not finite: update of step %d skipped, %d of at most %d; "
            "its batch: %s",
            terms["loss"][0],
            step,
            count,
            self._limit,
            path,
        )
        if count > self._limit:
            raise UserError(self._message(count))

    def _write(self, step):
        self._directory.mkdir(exist_ok=True)
        process = f"_process_{jax.process_index()}" if jax.process_count() > 1 else ""
        path = self._directory / f"step_{step}{process}.npz"
        np.savez_compressed(path, step=step, **self._batches[step])
        return path

    def _message(self, count):
        steps = sorted({int(path.stem.split("_")[1]) for path in self._directory.glob("*.npz")})
        return (
            f"{count} updates skipped for loss or gradient that are not finite, at most "
            f"{self._limit} allowed (train.max_skipped). Batches of steps "
            f"{', '.join(map(str, steps))}: {self._directory}/step_*.npz; the newest checkpoint, "
            "without these updates, is kept. Look at the batches; or, in another --workdir, lower "
            "optimizer.learning_rate or set model.dtype to float32"
        )
