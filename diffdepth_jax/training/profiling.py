"""A trace of some steps of training, for TensorBoard or Perfetto."""

import pathlib

import jax

from diffdepth_jax.errors import UserError


def check_profile_steps(steps, num_steps):
    """Raises unless `steps` is (first, last) within a run of `num_steps`; equal: no trace."""
    if len(steps) != 2 or not 0 <= steps[0] <= steps[1] <= num_steps:
        raise UserError(
            f"train.profile_steps {tuple(steps)}: must be (first, last) with 0 <= first <= last <= "
            f"train.num_steps {num_steps}; (0, 0) for no trace"
        )


class Trace:
    """Traces steps first .. last - 1 to WORKDIR/profile; a context manager.

    A run that resumes within them traces the rest. Of several processes only the first does.
    """

    def __init__(self, workdir, first, last):
        self._directory = pathlib.Path(workdir) / "profile"
        self._steps = range(first, last) if jax.process_index() == 0 else range(0)
        self._running = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop()

    def at(self, step):
        """To be called before each step, and after the last; waits for the device at both ends."""
        if (step in self._steps) == self._running:
            return
        jax.block_until_ready(jax.live_arrays())
        if self._running:
            self._stop()
        else:
            jax.profiler.start_trace(self._directory)
            self._running = True

    def _stop(self):
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
