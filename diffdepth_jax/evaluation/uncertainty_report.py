"""The scores of `uncertainty` and of `calibrated_scores` over all images of a set."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from diffdepth_jax.checkpoints.calibration import Calibration
from diffdepth_jax.evaluation import calibrated_scores, uncertainty

# Scores clamped maps [maps, H, W] by truth [H, W] and mask [H, W]: {name: value}.
ScoreMaps = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, Any]]

_QUINTILES = range(1, 6)
COVERAGE_TABLE = (
    "coverage_p10",
    "coverage_p90",
    *(f"coverage_q{n}" for n in _QUINTILES),
    *(f"to_q{n}" for n in _QUINTILES),
)
# An evaluation prints each table for the rows that have its values.
TABLES = ((*uncertainty.NAMES, "image_rank"), COVERAGE_TABLE, calibrated_scores.NAMES)


def create_score_maps(has_spread: bool, calibration: Calibration | None) -> ScoreMaps | None:
    """What scores the maps of a model's predictions; None if they have only a depth.

    Args:
      has_spread: whether they have a spread, see `uncertainty.image_scores`.
      calibration: whose intervals are scored, too.
    """

    def score_maps(maps, truth, mask):
        values = uncertainty.image_scores(maps, truth, mask) if has_spread else {}
        if calibration is not None:
            values |= calibrated_scores.calibrated_scores(maps, truth, mask, calibration)
        return values

    return score_maps if has_spread or calibration is not None else None


def image_names(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the scores of uncertainty that an image has."""
    names = (*uncertainty.IMAGE_NAMES, *calibrated_scores.NAMES)
    return tuple(name for name in names if name in row)


def over_images(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Sums up the scores of images with valid pixels.

    Returns:
      {name: value} for the names in TABLES, as far as the rows have them; None where there is no
      value.
        NAMES of `uncertainty` and `calibrated_scores`: means over images; images without a value
          are left out.
        image_rank: the rank correlation of the mean spread and the mean error of the images.
        Coverage by image and by distance: see `coverage_of_parts`.
    """
    columns = {name: np.array([row[name] for row in rows]) for name in image_names(rows[0])}
    values = {name: _mean(column) for name, column in columns.items()}
    if "coverage" in values:
        spread, error = columns["mean_spread"], columns["mean_error"]
        values["image_rank"] = uncertainty.rank_correlation(spread, error)
        counts = [count for row in rows for count in row["distances"]]
        values |= coverage_of_parts(columns["coverage"], counts)
    return as_json(values)


def _mean(values):
    known = values[~np.isnan(values)]
    return known.mean() if len(known) else np.nan


def as_json(values: Mapping[str, float]) -> dict[str, float | None]:
    """Returns the values with None for nan."""
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def coverage_of_parts(
    by_image: Float[np.ndarray, " images"], counts: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Returns the values of COVERAGE_TABLE; nan where there is no value.

    Args:
      by_image: the coverage of each image.
      counts: what `uncertainty.count_distances` returned for all images.

    Returns:
      coverage_p10, coverage_p90: a tenth of the images have lower, or higher, coverage.
      coverage_q1 ... coverage_q5: coverage of the nearest fifth of all pixels, of the next fifth,
        and so on.
      to_q1 ... to_q5: metres up to which these fifths reach, to 3 %.
    """
    values = {f"coverage_p{percent}": np.percentile(by_image, percent) for percent in (10, 90)}
    if not len(counts):  # of intervals that nobody stated
        return dict.fromkeys(COVERAGE_TABLE, np.nan)
    bins, *weights = np.transpose(counts)
    pixels, covered = (np.bincount(bins, weight) for weight in weights)
    before = np.cumsum(pixels) - pixels / 2  # pixels nearer than the middle of a bin
    fifth = np.floor(5 * before / pixels.sum()).astype(int) + 1
    for n in _QUINTILES:
        chosen = np.flatnonzero((fifth == n) & (pixels > 0))
        found = len(chosen) > 0
        values[f"coverage_q{n}"] = covered[chosen].sum() / pixels[chosen].sum() if found else np.nan
        values[f"to_q{n}"] = uncertainty.DISTANCES[chosen[-1]] if found else np.nan
    return values
