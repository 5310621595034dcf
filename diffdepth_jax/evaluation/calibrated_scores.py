"""Scores of the intervals of a calibration."""

import numpy as np
from jaxtyping import Bool, Float

from diffdepth_jax.checkpoints.calibration import Calibration
from diffdepth_jax.evaluation import uncertainty

NAMES = (
    "calibrated_coverage",
    "calibrated_interval_score",
    "calibrated_crps",
    "uncalibrated_crps",
)


def calibrated_scores(
    maps: Float[np.ndarray, "maps height width"],
    truth: Float[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    calibration: Calibration,
) -> dict[str, float]:
    """Scores one image.

    Args:
      maps: positive metres, see `scoring.Prediction`.
      truth: metres.
      mask: True where the truth is valid.
      calibration: of the model.

    Returns:
      {name: value} for NAMES, nan without valid pixels: coverage and interval score of the interval
      at LEVEL, and `crps` of the members stretched and as they are. Of a single depth both are its
      mean absolute error. `fair_crps` would not do: it takes members for independent draws, and
      those that are stretched about their median are none.
    """
    if not mask.any():
        return dict.fromkeys(NAMES, np.nan)
    x, y = maps[:, mask], np.log(truth[mask])
    depth, spread = x[0], x[1] if len(x) > 1 else np.zeros_like(x[0])
    members = np.log(x[3:] if len(x) > 3 else x[:1])
    low, high = map(np.log, calibration.widths.interval(depth, spread, uncertainty.LEVEL))
    scores = (
        uncertainty.is_covered(low, high, y),
        uncertainty.interval_score(low, high, y, uncertainty.LEVEL),
        uncertainty.crps(calibration.stretched(members), y),
        uncertainty.crps(members, y),
    )
    return {name: float(score.mean()) for name, score in zip(NAMES, scores, strict=True)}
