"""Scores of a calibration on pictures that were left out of its fit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from diffdepth_jax.checkpoints.calibration import stretched
from diffdepth_jax.evaluation import uncertainty, uncertainty_report
from diffdepth_jax.evaluation.calibration_fit import (
    LEVELS,
    Pixels,
    conformal_quantile,
    fit_stretch,
    fit_widths,
)

Intervals = Float[np.ndarray, "levels 2 pixels"]  # low and high ends in log depth
Scores = dict[str, Any]

_FOLDS = 5
_COVERAGES = tuple(f"coverage_{round(100 * level)}" for level in LEVELS)
TABLES = ((*_COVERAGES, "interval_score", "crps"), uncertainty_report.COVERAGE_TABLE)


def cross_validate(pixels: Pixels) -> dict[str, Scores]:
    """Fits to some of the pictures and scores the others, until each picture was left out once.

    The parts are scattered: with five of them, every fifth picture is in one part.

    Returns:
      {way to make intervals: {name: value}} for the names in TABLES and the number of "images".
        "members as drawn": the interpolated quantiles of several members.
        "one width": the same conformal width for all pixels.
        "calibrated": widths by distance and spread; CRPS of the stretched members.
      The names of `uncertainty_report` and the interval score hold for `uncertainty.LEVEL`. Fifths
      are of predicted depth: of the farthest true depths even a perfect interval misses many, for
      they are far because they were underestimated. CRPS is that of the members' distribution, see
      `uncertainty.crps`.
    """
    _, number = np.unique(pixels.picture, return_inverse=True)
    fold = number % min(_FOLDS, pixels.pictures // 2)
    makers = {"members as drawn": _as_drawn, "one width": _one_width, "calibrated": _calibrated}
    if len(pixels.members) == 1:
        del makers["members as drawn"]
    intervals = {name: np.zeros((len(LEVELS), 2, len(fold))) for name in makers}
    crps = {name: np.zeros(len(fold)) for name in makers}
    for left_out in range(fold.max() + 1):
        fitted, scored = pixels.where(fold != left_out), pixels.where(fold == left_out)
        for name, make in makers.items():
            made = make(fitted, scored)
            intervals[name][..., fold == left_out], crps[name][fold == left_out] = made
    return {name: _scores(pixels, intervals[name], crps[name]) for name in makers}


def reliability(held_out: Mapping[str, Scores]) -> dict[str, list[tuple[float, float]]]:
    """Returns (nominal coverage, coverage) at each level, for each way to make intervals."""
    return {
        name: [(level, scores[key]) for level, key in zip(LEVELS, _COVERAGES, strict=True)]
        for name, scores in held_out.items()
    }


def _as_drawn(_, scored):
    intervals = [uncertainty.quantile_interval(scored.members, level) for level in LEVELS]
    return intervals, uncertainty.crps(scored.members, np.log(scored.truth))


def _one_width(fitted, scored):
    widths = [conformal_quantile(fitted.error, level) for level in LEVELS]
    return _around(scored, widths), np.nan


def _calibrated(fitted, scored):
    widths = fit_widths(fitted)
    rows = [widths.half_width(scored.depth, scored.spread, level) for level in LEVELS]
    members = stretched(scored.members, fit_stretch(fitted))
    return _around(scored, rows), uncertainty.crps(members, np.log(scored.truth))


def _around(pixels, widths):
    centre = np.log(pixels.depth)
    return [(centre - width, centre + width) for width in widths]


def _scores(pixels: Pixels, intervals: Intervals, crps: Float[np.ndarray, " pixels"]) -> Scores:
    truth = np.log(pixels.truth)
    covered = [uncertainty.is_covered(low, high, truth) for low, high in intervals]
    scored = LEVELS.index(uncertainty.LEVEL)
    _, picture = np.unique(pixels.picture, return_inverse=True)
    by_picture = np.bincount(picture, covered[scored]) / np.bincount(picture)
    distances = uncertainty.count_distances(pixels.depth, covered[scored])
    score = uncertainty.interval_score(*intervals[scored], truth, uncertainty.LEVEL)
    values = dict(zip(_COVERAGES, (inside.mean() for inside in covered), strict=True))
    values |= {"interval_score": score.mean(), "crps": crps.mean()}
    values |= uncertainty_report.coverage_of_parts(by_picture, distances)
    return uncertainty_report.as_json(values) | {"images": pixels.pictures}
