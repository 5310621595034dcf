"""A trace of some steps of training, for TensorBoard or Perfetto."""

import os
import pathlib
from typing import Any, Self

import jax

from diffdepth_jax.distributed import processes


class Trace:
    """Traces steps first .. last - 1 to WORKDIR/profile; a context manager.

    A run that resumes within these steps traces the rest. Of several processes only the first
    traces.
    """

    def __init__(self, workdir: str | os.PathLike, first: int, last: int):
        self._directory = pathlib.Path(workdir) / "profile"
        self._steps = range(first, last) if processes.is_first() else range(0)
        self._running = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop()

    def at(self, step: int) -> None:
        """Call it before each step and after the last; it waits for the device at both ends."""
        if (step in self._steps) == self._running:
            return
        jax.block_until_ready(jax.live_arrays())
        if self._running:
            self._stop()
        else:
            jax.profiler.start_trace(self._directory)
            self._running = True

    def _stop(self) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
