"""How well a prediction says how sure it is; all in the log of metres.

A spread comes from the members of an ensemble, from a Laplace scale, or from both. Members
[S, H, W] are metres of one image from S starting noises. A perfect ensemble is one whose members
and truth are draws from one distribution. Scores are in units of log depth: 0.01 is about 1 % of
the depth.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from diffdepth_jax.method.noise import count_paired
from diffdepth_jax.models import laplace

Members = Float[np.ndarray, "members *shape"]
Values = Float[np.ndarray, "*shape"]

LEVEL = 0.9  # of the interval that is scored
CELL = 8  # pixels of a pooled cell's side
SPREAD = (16, 84)  # percentiles; half their distance is the spread, as `predict` writes it
# The scores of one image that are averaged over images, see `image_scores`.
NAMES = (
    "coverage",
    "interval_score",
    "crps",
    "crps_8x8",
    "crps_image",
    "ause",
    "spread_rank",
    "spread_rank_ceiling",
)
IMAGE_NAMES = (*NAMES, "mean_spread", "mean_error")
# Upper ends in metres of the bins in which pixels are counted; each is 2.7 % deep.
DISTANCES = np.geomspace(1e-3, 1e3, 513)
_KEPT = 1 - np.arange(100) / 100  # fractions of the pixels at which `ause` looks


def image_scores(
    maps: Float[np.ndarray, "maps height width"],
    truth: Float[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
) -> dict[str, Any]:
    """Scores the spread and the members of one image.

    Args:
      maps: positive metres, with a spread, see `scoring.Prediction`.
      truth: metres.
      mask: True where the truth is valid.

    Returns:
      {name: value} for IMAGE_NAMES and "distances"; nan where a score has no value, as for an image
      without valid pixels.
        coverage: of the interval at LEVEL that `predict` writes without a calibration: between the
          members' quantiles, and widened for a Laplace scale.
        interval_score: of the same interval, see `interval_score`.
        crps, crps_8x8, crps_image: `fair_crps` of pixels, of cells and of the image. A cell's value
          is the mean log depth of its valid pixels, and so is the image's. They take the members as
          they are; a single one has none.
        ause: see `ause`; of the spread divided by the depth, here and below.
        spread_rank: the rank correlation of spread and absolute error over the pixels.
        spread_rank_ceiling: see `rank_ceiling`.
        mean_spread, mean_error: the means of spread and of absolute error.
        distances: see `count_distances`, by true depth.
    """
    if not mask.any():
        return dict.fromkeys(IMAGE_NAMES, np.nan) | {"distances": []}
    members = np.log(maps[3:] if len(maps) > 3 else maps[:1])
    x, y = members[:, mask], np.log(truth[mask])
    depth, spread, within = maps[:3, mask]
    spread, centre = spread / depth, np.median(x, axis=0)
    low, high = quantile_interval(x, LEVEL)
    low, high = map(np.asarray, laplace.widened(low, centre, high, within / depth, LEVEL))
    covered, error = is_covered(low, high, y), np.abs(centre - y)
    values = _crps_scores(members, np.log(np.where(mask, truth, 1)), mask) | {
        "coverage": covered.mean(),
        "interval_score": interval_score(low, high, y, LEVEL).mean(),
        "ause": ause(spread, error),
        "spread_rank": rank_correlation(spread, error),
        "spread_rank_ceiling": rank_ceiling(x),
        "mean_spread": spread.mean(),
        "mean_error": error.mean(),
    }
    values = {name: float(value) for name, value in values.items()}
    return values | {"distances": count_distances(truth[mask], covered)}


def stated_scores(
    maps: Float[np.ndarray, "5 height width"],
    truth: Float[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    level: float | None,
) -> dict[str, Any]:
    """Scores the spread and the interval that a program states beside its depth.

    Args:
      maps: depth, spread, an unused one, low and high end of the interval: positive metres; a
        spread of nan is not stated.
      truth: metres.
      mask: True where the truth is valid and there is a depth.
      level: the share of pixels for which intervals are meant to hold; None: there are none.

    Returns:
      What `image_scores` returns; nan for what was not stated. Coverage and interval score are
      those of the stated interval at its level.
    """
    scores = dict.fromkeys(IMAGE_NAMES, np.nan) | {"distances": []}
    if not mask.any():
        return scores
    (depth, spread, _, low, high), y = maps[:, mask], np.log(truth[mask])
    error = np.abs(np.log(depth) - y)
    scores |= {"mean_error": float(error.mean())}
    if np.isfinite(spread).all():
        scores |= {"ause": float(ause(spread / depth, error))}
        scores |= {"spread_rank": float(rank_correlation(spread / depth, error))}
        scores |= {"mean_spread": float((spread / depth).mean())}
    if level is not None:
        low, high = np.log(low), np.log(high)
        covered = is_covered(low, high, y)
        scores |= {"coverage": float(covered.mean())}
        scores |= {"interval_score": float(interval_score(low, high, y, level).mean())}
        scores |= {"distances": count_distances(truth[mask], covered)}
    return scores


def _crps_scores(members, truth, mask):
    if len(members) < 2:
        return dict.fromkeys(("crps", "crps_8x8", "crps_image"), np.nan)
    x, y = members[:, mask], truth[mask]
    return {
        "crps": fair_crps(x, y).mean(),
        "crps_8x8": fair_crps(*(pooled(z, mask, CELL) for z in (members, truth))).mean(),
        "crps_image": fair_crps(x.mean(axis=1), y.mean()),
    }


def count_distances(
    depth: Float[np.ndarray, " pixels"], covered: Bool[np.ndarray, " pixels"]
) -> list[list[int]]:
    """Counts pixels by their depth in metres: [bin, pixels, covered pixels]; see DISTANCES."""
    bins = np.minimum(np.searchsorted(DISTANCES, depth), len(DISTANCES) - 1)
    pixels, inside = np.bincount(bins), np.bincount(bins, covered)
    return [[int(n), int(pixels[n]), int(inside[n])] for n in np.flatnonzero(pixels)]


def quantile_interval(members: Members, level: float) -> tuple[Values, Values]:
    """Returns the quantiles of the members, interpolated, between which `level` of them lie."""
    return tuple(np.quantile(members, [(1 - level) / 2, (1 + level) / 2], axis=0))


def spread_of(members: Members) -> Values:
    """Returns half the distance between the 16th and the 84th percentile of the members."""
    low, high = np.percentile(members, SPREAD, axis=0)
    return (high - low) / 2


def is_covered(low: Values, high: Values, truth: Values) -> Bool[np.ndarray, "*shape"]:
    """Tells where the truth lies in the interval."""
    return (low <= truth) & (truth <= high)


def interval_score(low: Values, high: Values, truth: Values, level: float) -> Values:
    """Returns the interval score of Gneiting and Raftery 2007, section 6.2; lower is better.

    It is the width, and where the truth lies outside 2 / (1 - level) times its distance.
    """
    outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    return high - low + 2 / (1 - level) * outside


def fair_crps(members: Members, truth: Values) -> Values:
    """Returns the fair CRPS of an ensemble (Ferro 2014); lower is better.

    Its expectation is the CRPS of the distribution that two or more members are drawn from, however
    many they are. The members' distance from each other is that of independent ones: the two of a
    pair, see `noise.antithetic`, are not compared.
    """
    count, paired = len(members), count_paired(len(members))
    partners = np.abs(members[:paired:2] - members[1:paired:2]).sum(axis=0)
    pairs = (count * (count - 1) - paired) / 2
    return _mean_error(members, truth) - (_distances(members) - partners) / pairs / 2


def crps(members: Members, truth: Values) -> Values:
    """Returns the CRPS of the distribution that has the members as its only values."""
    return _mean_error(members, truth) - _distances(members) / len(members) ** 2


def _mean_error(members, truth):
    return np.abs(members - truth).mean(axis=0)


def _distances(members):
    """The sum of |x_i - x_j| over all pairs, of sorted members."""
    count = len(members)
    signs = 2 * np.arange(1, count + 1) - count - 1
    return np.tensordot(signs, np.sort(members, axis=0), axes=1)


def pooled(
    values: Float[np.ndarray, "*lead height width"],
    mask: Bool[np.ndarray, "height width"],
    cell: int,
) -> Float[np.ndarray, "*lead cells"]:
    """Returns the means over the valid pixels of square cells; cells without any are left out."""

    def sums(x):
        rows, columns = (np.arange(0, side, cell) for side in mask.shape)
        return np.add.reduceat(np.add.reduceat(x, rows, axis=-2), columns, axis=-1)

    count = sums(mask.astype(np.float32))
    return sums(np.where(mask, values, 0))[..., count > 0] / count[count > 0]


def ause(spread: Float[np.ndarray, " pixels"], error: Float[np.ndarray, " pixels"]) -> float:
    """Returns the area between two sparsification curves; 0 is the best.

    A curve is the mean absolute error of the pixels that are left when a growing fraction is taken
    out, beginning with the largest spread, or for the oracle with the largest error. Both are
    divided by the mean error of all pixels, so that they begin at 1. Pixels of equal spread count
    with their mean error. After Ilg et al. 2018 (arXiv 1802.07095).
    """
    total = error.mean()
    if total == 0:
        return 0.0
    _, group = np.unique(spread, return_inverse=True)  # groups in the order of the spread
    sizes = np.bincount(group)
    by_spread = np.repeat(np.bincount(group, error) / sizes, sizes)
    kept = np.ceil(_KEPT * len(error)).astype(int)
    curves = [np.cumsum(x)[kept - 1] / kept for x in (by_spread, np.sort(error))]
    return float((curves[0] - curves[1]).mean() / total)


def rank_correlation(first: Shaped[np.ndarray, " n"], second: Shaped[np.ndarray, " n"]) -> float:
    """Returns Spearman's rank correlation; nan if one of both is constant."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values):
    """Equal values share their mean rank. scipy.stats would take a second to import."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def rank_ceiling(members: Float[np.ndarray, "members pixels"]) -> float:
    """Returns the `spread_rank` of an image whose truth is a draw of the model itself.

    The last member stands for the truth. Those that are independent of it have the spread and the
    median. A real truth can hardly be ranked better. nan with fewer than three members.
    """
    count = len(members)
    if count < 3:
        return np.nan
    truth, others = members[-1], members[: -2 if count_paired(count) == count else -1]
    return rank_correlation(spread_of(others), np.abs(np.median(others, axis=0) - truth))
