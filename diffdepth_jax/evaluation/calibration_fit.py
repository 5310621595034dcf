"""Fits a calibration: how far members are stretched, and how wide intervals have to be."""

import dataclasses
from itertools import chain, pairwise

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize

from diffdepth_jax.checkpoints.calibration import IntervalWidths, stretched
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import uncertainty

LEVELS = (0.5, 0.8, 0.9, 0.95)
MIN_PICTURES, MIN_PIXELS = 4, 1000  # with ground truth, of a whole calibration
# A bin of distance has as many pictures and pixels at least, unless it is the only one.
_BIN_PICTURES, _BIN_PIXELS = 10, 1000
_MAX_DISTANCES, _MAX_SPREADS = 5, 10  # bins
_SPREAD_PIXELS = 500  # of a bin of spread
_STRETCH = (0.01, 100.0)

Column = Float[np.ndarray, " pixels"]


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Pixels of several pictures, with what was predicted there.

    Attributes:
      picture: the number of its picture, from 0.
      truth, depth, spread: metres; the spread of a single sample is 0.
      members: the samples, in log depth.
    """

    picture: Int[np.ndarray, " pixels"]
    truth: Column
    depth: Column
    spread: Column
    members: Float[np.ndarray, "members pixels"]

    @property
    def error(self) -> Column:
        """The absolute error of log depth."""
        return np.abs(np.log(self.depth) - np.log(self.truth))

    @property
    def pictures(self) -> int:
        """The number of pictures with pixels."""
        return len(np.unique(self.picture))

    def where(self, chosen: Bool[np.ndarray, " pixels"]) -> "Pixels":
        """Returns some of the pixels."""
        return Pixels(**{name: values[..., chosen] for name, values in vars(self).items()})


def check_enough(pixels: Pixels) -> None:
    """Raises a UserError if a calibration could not be trusted, for want of pictures."""
    if pixels.pictures < MIN_PICTURES or len(pixels.picture) < MIN_PIXELS:
        raise UserError(
            f"{pixels.pictures} pictures with ground truth at {len(pixels.picture)} pixels are too "
            f"few to calibrate with: give an evaluation set of {MIN_PICTURES} pictures and "
            f"{MIN_PIXELS} pixels or more; a hundred pictures are a good number"
        )


def fit_stretch(pixels: Pixels) -> float:
    """Returns the factor that gives stretched members the least CRPS; 1 if there is no spread.

    It is the CRPS of the members' distribution. The fair one would grow the factor without end for
    two or three members: stretched about their median they are no independent draws, and their
    distances from each other count for too much.
    """
    if not np.ptp(pixels.members, axis=0).any():
        return 1.0
    truth = np.log(pixels.truth)

    def cost(log_factor):
        return uncertainty.crps(stretched(pixels.members, np.exp(log_factor)), truth).mean()

    found = optimize.minimize_scalar(
        cost, bounds=np.log(_STRETCH), method="bounded", options={"xatol": 1e-3}
    )
    return float(np.exp(found.x))


def fit_widths(pixels: Pixels) -> IntervalWidths:
    """Returns split-conformal half widths in bins of distance and of spread.

    In each bin of distance they increase with the spread, see `_increasing_quantiles`.
    """
    distances = _distance_ends(pixels)
    bins = np.searchsorted(distances, pixels.depth)
    spreads, half_widths = [], []
    for n in range(len(distances) + 1):
        inside = pixels.where(bins == n)
        ends = _spread_ends(inside)
        groups = np.searchsorted(ends, inside.spread / inside.depth)
        errors = [inside.error[groups == group] for group in range(len(ends) + 1)]
        rows = [_increasing_quantiles(errors, level) for level in LEVELS]
        spreads.append(ends.tolist())
        half_widths.append(np.maximum.accumulate(rows).tolist())
    return IntervalWidths(list(LEVELS), distances.tolist(), spreads, half_widths)


def conformal_quantile(errors: Column, level: float) -> float:
    """Returns the ceil((n + 1) level)-th smallest of n errors, or the largest of too few.

    A further error that is exchangeable with these is no larger, with probability `level`.
    """
    rank = min(int(np.ceil((len(errors) + 1) * level)), len(errors)) - 1
    return float(np.partition(errors, rank)[rank])


def _ends(values: Column, count: int) -> Column:
    """The values at which `count` bins of as many values meet; bins of equal values are one."""
    ends = np.quantile(values, np.arange(1, count) / count, method="lower")
    return np.unique(ends[ends < values.max()])


def _distance_ends(pixels):
    for count in range(_MAX_DISTANCES, 1, -1):
        ends = _ends(pixels.depth, count)
        bins = np.searchsorted(ends, pixels.depth)
        each = [pixels.picture[bins == n] for n in range(len(ends) + 1)]
        if all(len(np.unique(x)) >= _BIN_PICTURES and len(x) >= _BIN_PIXELS for x in each):
            return ends
    return np.array([])


def _spread_ends(pixels):
    count = min(_MAX_SPREADS, pixels.pictures, len(pixels.picture) // _SPREAD_PIXELS)
    return _ends(pixels.spread / pixels.depth, max(count, 1))


def _increasing_quantiles(errors: list[Column], level: float) -> list[float]:
    """The conformal quantile of each bin; neighbours that decrease are pooled to one bin.

    Isotonic regression finds the bins to pool. Their common quantile is taken anew, because a mean
    of quantiles would cover too little or too much.
    """
    pools = [[column] for column in errors]
    while True:
        quantiles = [conformal_quantile(np.concatenate(pool), level) for pool in pools]
        weights = [sum(map(len, pool)) for pool in pools]
        blocks = optimize.isotonic_regression(quantiles, weights=weights).blocks
        if len(blocks) == len(pools) + 1:
            return [q for q, pool in zip(quantiles, pools, strict=True) for _ in pool]
        pools = [[*chain(*pools[first:last])] for first, last in pairwise(blocks)]
