"""Warns of a loss from which nothing is learned."""

import collections
import math

from absl import logging

_REPORTS = 3  # that have to agree
_SAME = 1e-6  # relative; samples and noise alone move a loss by far more


class StuckLoss:
    """Looks at each report of the loss, and warns once of each kind of trouble."""

    def __init__(self) -> None:
        self._newest: collections.deque[float] = collections.deque(maxlen=_REPORTS)
        self._told: set[str] = set()

    def see(self, step: int, loss: float, gradient_norm: float) -> None:
        """Takes the means of a report, at a step."""
        self._newest.append(loss)
        if loss == 0:
            self._warn(
                step,
                "the loss is exactly 0",
                "look at loss.weights, and whether ground truth is between frame.min_depth and "
                "frame.max_depth",
            )
        elif gradient_norm == 0:
            self._warn(step, "the gradient is exactly 0", "look at optimizer.freeze")
        elif self._rests():
            self._warn(
                step,
                f"the loss does not move from {loss:g}",
                "look at optimizer.learning_rate and at the data",
            )

    def _rests(self) -> bool:
        newest = self._newest
        if len(newest) < _REPORTS or not all(map(math.isfinite, newest)):
            return False
        return max(newest) - min(newest) <= _SAME * abs(newest[0])

    def _warn(self, step: int, trouble: str, remedy: str) -> None:
        if remedy not in self._told:
            self._told.add(remedy)
            logging.warning("step %d: %s, so nothing is learned: %s", step, trouble, remedy)
