"""The interval around a depth: of the model's calibration, or between members of an ensemble."""

import dataclasses
import functools
import os

import numpy as np
from absl import logging

from diffdepth_jax.checkpoints.calibration import Calibration, load_calibration
from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.depth_prediction import DepthPrediction
from diffdepth_jax.prediction.options import Options


class Intervals:
    """Makes the intervals of one model."""

    def __init__(self, directory: str | os.PathLike | None) -> None:
        """Takes the model directory, whose calibration is read at first need; None: it has none."""
        self._directory = directory
        self._told = False

    @functools.cached_property
    def _calibration(self) -> Calibration | None:
        return None if self._directory is None else load_calibration(self._directory)

    def check(self, options: Options, num_steps: int) -> None:
        """Refuses an interval that cannot be made; tells once if it is not calibrated.

        Args:
          options: with the interval, if any.
          num_steps: of the sampler, where the options leave it open.

        Raises:
          UserError: the calibration is damaged or holds for other predictions, or there is neither
            a calibration nor an ensemble.
        """
        if options.interval is None:
            return
        if self._calibration is not None and self._directory is not None:
            steps = options.num_steps or num_steps
            self._calibration.check(self._directory, options.ensemble, steps)
            self._calibration.widths.row(options.interval)
        elif options.ensemble < 2:
            raise UserError(
                f"interval {options.interval:g}: this model is not calibrated, and one sample says "
                "nothing of it: write its calibration.json with python -m diffdepth_jax.main "
                "--mode=calibrate, or take an ensemble of 2 or more"
            )
        elif not self._told:
            self._told = True
            logging.warning(
                "intervals are not calibrated: they lie between quantiles of the %d samples, which "
                "often agree on what is wrong; calibrate the model with --mode=calibrate",
                options.ensemble,
            )

    def are_calibrated(self, ensemble: int, num_steps: int) -> bool:
        """Tells whether there is a calibration that holds for such samples; see `check`."""
        if self._calibration is None or self._directory is None:
            return False
        try:
            self._calibration.check(self._directory, ensemble, num_steps)
        except UserError:
            return False
        return True

    def of_members(self, options: Options) -> float | None:
        """Returns the part of the members that the interval holds; None: not made of members."""
        return None if options.interval is None or self._calibration else options.interval

    def add(self, prediction: DepthPrediction, options: Options) -> DepthPrediction:
        """Returns a prediction in metres with the interval of the calibration, if there is one."""
        if options.interval is None or self._calibration is None:
            return prediction
        depth, spread = prediction.depth, prediction.spread
        spread = np.zeros_like(depth) if spread is None else spread
        low, high = self._calibration.widths.interval(depth, spread, options.interval)
        return dataclasses.replace(prediction, low=low, high=high)
