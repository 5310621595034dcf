"""Updates that were skipped because the loss or the gradient was not finite."""

import os
import pathlib
from typing import Any

import jax
import numpy as np
from absl import logging

from diffdepth_jax.arrays import Batch, Term
from diffdepth_jax.errors import UserError


class SkippedUpdates:
    """Writes the batches of skipped updates to WORKDIR/nonfinite and ends a run of too many.

    A skipped update is known one step late, so the newest two batches are held.
    """

    def __init__(self, workdir: str | os.PathLike, limit: int):
        """`limit`: this many updates may be skipped in the whole run; one more raises."""
        self._directory, self._limit = pathlib.Path(workdir) / "nonfinite", limit
        self._batches: dict[int, dict[str, Any]] = {}

    def keep(self, step: int, batch: Batch) -> None:
        """Holds this process's numpy batch of the update from `step` to `step + 1`.

        Features are left out: they are on disk, and a file of them would be large.
        """
        kept: dict[str, Any] = {name: x for name, x in batch.items() if name != "features"}
        self._batches = {**dict(list(self._batches.items())[-1:]), step: kept}

    def check(self, step: int, terms: dict[str, Term] | None) -> None:
        """Acts if the update from `step` was skipped.

        Args:
          step: the update's; one of the newest two that were kept.
          terms: the update's {name: (sum, count)}, fetched; None if there was no update.

        Raises:
          UserError: more updates were skipped than the limit allows.
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

    def _write(self, step: int) -> pathlib.Path:
        self._directory.mkdir(exist_ok=True)
        process = f"_process_{jax.process_index()}" if jax.process_count() > 1 else ""
        path = self._directory / f"step_{step}{process}.npz"
        np.savez_compressed(path, step=step, **self._batches[step])
        return path

    def _message(self, count: int) -> str:
        steps = sorted({int(path.stem.split("_")[1]) for path in self._directory.glob("*.npz")})
        return (
            f"{count} updates skipped for loss or gradient that are not finite, at most "
            f"{self._limit} allowed (train.max_skipped). Batches of steps "
            f"{', '.join(map(str, steps))}: {self._directory}/step_*.npz; the newest checkpoint, "
            "without these updates, is kept. Look at the batches; or, in another --workdir, lower "
            "optimizer.learning_rate or set model.dtype to float32"
        )
