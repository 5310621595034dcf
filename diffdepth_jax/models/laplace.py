"""What a Laplace distribution of log depth, with scale b, says of metres; alone or in an ensemble.

Evaluation and prediction compute spreads and intervals with these functions, in NumPy and in JAX.
"""

import math

from jaxtyping import Float

from diffdepth_jax.arrays import Array

Values = Float[Array, "*shape"]
Samples = Float[Array, "samples *shape"]


def deviation(depth: Values, scale: Values) -> Values:
    """Returns the standard deviation in metres: sqrt(2) b times the depth, to first order."""
    return 2**0.5 * scale * depth


def mean_deviation(deviations: Samples) -> Values:
    """Returns the root of the samples' mean variance."""
    return (deviations**2).mean(0) ** 0.5


def joined(between: Values, within: Values) -> Values:
    """Returns the root of the summed squares, by the law of total variance.

    `between` says how far samples lie from each other, `within` how far the truth from a sample.
    """
    return (between**2 + within**2) ** 0.5


def widened(
    low: Values, centre: Values, high: Values, relative: Values, level: float
) -> tuple[Values, Values]:
    """Returns the ends of an interval between samples, widened for the scale of each of them.

    Each side is joined with b log(1 / (1 - level)), half the interval of the Laplace distribution.
    Of one sample the interval is exactly that of the distribution.

    Args:
      low, centre, high: the samples' quantiles and their median, in log depth.
      relative: the mean deviation divided by the depth, sqrt(2) b.
      level: the nominal coverage.
    """
    half = relative * (-math.log1p(-level) / 2**0.5)
    return centre - joined(centre - low, half), centre + joined(high - centre, half)
