"""Does the spread of an ensemble predict its error?

Sparsification (Ilg et al. 2018, arXiv 1802.07095): pixels are left out from the most uncertain on;
the mean error of those that stay should fall. AUSE is the area between that curve and the one that
leaves out by the error itself, both divided by the error of all pixels: 0 is perfect, a spread that
says nothing has about the area under 1 less the oracle's.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import spearmanr

FRACTIONS = np.arange(0, 1, 0.05)  # of the pixels, left out


def sparsification(
    error: Float[np.ndarray, " pixels"], uncertainty: Float[np.ndarray, " pixels"]
) -> Float[np.ndarray, " fractions"]:
    """Mean errors [len(FRACTIONS)] of the pixels that stay, as fractions of the mean of all."""
    order = np.argsort(-uncertainty, kind="stable")
    remaining = error[order][::-1].cumsum()[::-1]
    first = (FRACTIONS * len(error)).astype(int)
    return remaining[first] / (len(error) - first) / max(error.mean(), 1e-12)


def assess(
    members: Float[np.ndarray, "members images height width"],
    depth: Float[np.ndarray, "images height width"],
    mask: Bool[np.ndarray, "images height width"],
) -> dict[str, Any]:
    """Scores of an ensemble, means over images.

    Args:
      members: metres [M, N, H, W]; spread and error are those of their logs, the error that of the
        median.
      depth: metres [N, H, W].
      mask: bool [N, H, W].

    Returns:
      {"spearman", "ause", "random_ause", "curve", "oracle", "mean_spread"}; random_ause is that of
      an uncertainty that says nothing.
    """
    logs = np.log(members)
    spread, median = logs.std(0), np.median(logs, 0)
    rows = []
    for index in range(len(depth)):
        inside = mask[index]
        error = np.abs(median[index][inside] - np.log(depth[index][inside]))
        rows.append(_assess_image(error, spread[index][inside]))
    return {name: np.mean([row[name] for row in rows], 0).tolist() for name in rows[0]}


def _assess_image(error, spread):
    curve, oracle = sparsification(error, spread), sparsification(error, error)
    constant = np.ptp(spread) == 0
    return {
        "spearman": 0.0 if constant else float(spearmanr(spread, error).statistic),
        "ause": float(np.trapezoid(curve - oracle, FRACTIONS)),
        "random_ause": float(np.trapezoid(1 - oracle, FRACTIONS)),
        "curve": curve,
        "oracle": oracle,
        "mean_spread": float(spread.mean()),
    }
