"""The interval around a depth: of the model's calibration, or of its own samples and scale."""

import dataclasses
import functools
import os

import numpy as np
from absl import logging

from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints.calibration import Calibration, load_calibration
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.identity import parameters_identity, short_identity
from diffdepth_jax.prediction.depth_prediction import DepthPrediction
from diffdepth_jax.prediction.options import Options


class Intervals:
    """Makes the intervals of one model."""

    def __init__(
        self, directory: str | os.PathLike | None, variables: Variables, has_scale: bool
    ) -> None:
        """Creates them.

        Args:
          directory: of the model, whose calibration is read at first need; None: it has none.
          variables: that predict; a calibration holds for no others.
          has_scale: whether each sample has a Laplace scale.
        """
        self._directory, self._variables = directory, variables
        self._has_scale, self._told = has_scale, False

    @functools.cached_property
    def _calibration(self) -> Calibration | None:
        return None if self._directory is None else load_calibration(self._directory)

    @functools.cached_property
    def identity(self) -> str:
        """The identity of the parameters that predict."""
        return parameters_identity(self._variables)

    def identities(self, options: Options) -> dict[str, str]:
        """Short texts that differ for other parameters (""), and for another calibration."""
        if options.interval is None:
            return {"": self.identity}
        return {"": self.identity, " (its calibration.json)": short_identity(self._calibration)}

    def check(self, options: Options, num_steps: int) -> None:
        """Refuses an interval that cannot be made; tells once if it is not calibrated.

        Args:
          options: with the interval, if any.
          num_steps: of the sampler, where the options leave it open.

        Raises:
          UserError: the calibration is damaged or holds for other predictions, or there is neither
            a calibration nor an ensemble nor a scale.
        """
        if options.interval is None:
            return
        if self._calibration is not None and self._directory is not None:
            if options.native_size:
                raise UserError(
                    "native_size: the calibration holds for the model's image size; leave out "
                    "native_size (--size=native) or the interval"
                )
            steps = options.num_steps or num_steps
            self._calibration.check(self._directory, self.identity, options.ensemble, steps)
            self._calibration.widths.row(options.interval)
        elif options.ensemble < 2 and not self._has_scale:
            raise UserError(
                f"interval {options.interval:g}: this model is not calibrated, and one sample says "
                "nothing of it: write its calibration.json with python -m diffdepth_jax.main "
                "--mode=calibrate, or take an ensemble of 2 or more"
            )
        elif not self._told:
            self._told = True
            logging.warning(
                "intervals are not calibrated: %s; calibrate the model with --mode=calibrate",
                self._source(options.ensemble),
            )

    def _source(self, ensemble: int) -> str:
        """Says where intervals without calibration come from."""
        scale = "the model's Laplace scale, which knows only the errors on its training images"
        samples = f"quantiles of the {ensemble} samples, which often agree on what is wrong"
        if ensemble < 2:
            return f"they are those of {scale}"
        return f"they lie between {samples}" + f", widened for {scale}" * self._has_scale

    def are_calibrated(self, ensemble: int, num_steps: int) -> bool:
        """Tells whether there is a calibration that holds for such samples; see `check`.

        A damaged one is worth a warning.
        """
        try:
            calibration = self._calibration
        except UserError as error:
            logging.warning("there are no intervals: %s", error)
            return False
        if calibration is None or self._directory is None:
            return False
        try:
            calibration.check(self._directory, self.identity, ensemble, num_steps)
        except UserError:
            return False
        return True

    def uncalibrated(self, options: Options) -> float | None:
        """Returns the level of an interval that is not the calibration's; None: there is none."""
        return None if options.interval is None or self._calibration else options.interval

    def add(self, prediction: DepthPrediction, options: Options) -> DepthPrediction:
        """Returns a prediction with the interval of the calibration, if there is one.

        Its metres must be those that the calibration saw: for a model with a canonical focal length
        the metres for the true camera, otherwise those that the model says.
        """
        if options.interval is None or self._calibration is None:
            return prediction
        depth, spread = prediction.depth, prediction.spread
        spread = np.zeros_like(depth) if spread is None else spread
        low, high = self._calibration.widths.interval(depth, spread, options.interval)
        return dataclasses.replace(prediction, low=low, high=high)
