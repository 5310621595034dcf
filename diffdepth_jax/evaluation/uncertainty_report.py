"""The scores of `uncertainty` over all images of a set."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from diffdepth_jax.evaluation import uncertainty

_QUINTILES = range(1, 6)
# The tables that an evaluation prints for an ensemble, see `over_images`.
TABLES = (
    (*uncertainty.NAMES, "image_rank"),
    (
        "coverage_p10",
        "coverage_p90",
        *(f"coverage_q{n}" for n in _QUINTILES),
        *(f"to_q{n}" for n in _QUINTILES),
    ),
)


def over_images(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Sums up the scores of images with valid pixels.

    Returns:
      {name: value} for the names in TABLES; None where there is no value.
        NAMES of `uncertainty`: means over images; images without a value are left out.
        image_rank: the rank correlation of the mean spread and the mean error of the images.
        coverage_p10, coverage_p90: a tenth of the images have lower, or higher, coverage.
        coverage_q1 ... coverage_q5: coverage of the nearest fifth of all pixels, of the next fifth,
          and so on.
        to_q1 ... to_q5: metres up to which these fifths reach, to 3 %.
    """
    columns = {name: np.array([row[name] for row in rows]) for name in uncertainty.IMAGE_NAMES}
    values = {name: _mean(columns[name]) for name in uncertainty.NAMES}
    values["image_rank"] = uncertainty.rank_correlation(
        columns["mean_spread"], columns["mean_error"]
    )
    for percent in (10, 90):
        values[f"coverage_p{percent}"] = np.percentile(columns["coverage"], percent)
    values |= _by_distance(np.concatenate([row["distances"] for row in rows]))
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def _mean(values):
    known = values[~np.isnan(values)]
    return known.mean() if len(known) else np.nan


def _by_distance(counts):
    """coverage_q* and to_q* of what `count_distances` returned for all images."""
    pixels, covered = (np.bincount(counts[:, 0], counts[:, n]) for n in (1, 2))
    before = np.cumsum(pixels) - pixels / 2  # pixels nearer than the middle of a bin
    fifth = np.floor(5 * before / pixels.sum()).astype(int) + 1
    values = {}
    for n in _QUINTILES:
        bins = np.flatnonzero((fifth == n) & (pixels > 0))
        values[f"coverage_q{n}"] = covered[bins].sum() / pixels[bins].sum() if len(bins) else np.nan
        values[f"to_q{n}"] = uncertainty.DISTANCES[bins[-1]] if len(bins) else np.nan
    return values
