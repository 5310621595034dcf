"""How well a depth map keeps the edges of the true one.

`boundary_f1` is the scale-invariant boundary F1 of Depth Pro (Bochkovskii et al. 2024, arXiv
2410.02073, section on sharp boundaries): a pair of neighbouring pixels has an edge at threshold t
if the farther is more than t times as far as the nearer; an edge is found if the prediction has it
at the same pair and in the same direction. Precision and recall give F1 at each of ten thresholds
from 1.05 to 1.25; their mean is weighted by the threshold, as there.
"""

import numpy as np
from jaxtyping import Bool, Float

THRESHOLDS = np.linspace(1.05, 1.25, 10)
EDGE = 1.25  # ratio of neighbouring depths, of the strip around edges


def _pairs(x):
    """Values of x [..., H, W] on both sides of each pair of neighbours: four arrays, flattened."""
    flat = x.shape[:-2]
    left, right = x[..., :, :-1].reshape(*flat, -1), x[..., :, 1:].reshape(*flat, -1)
    upper, lower = x[..., :-1, :].reshape(*flat, -1), x[..., 1:, :].reshape(*flat, -1)
    return np.concatenate([left, upper], -1), np.concatenate([right, lower], -1)


def boundary_f1(
    prediction: Float[np.ndarray, "images height width"],
    depth: Float[np.ndarray, "images height width"],
    mask: Bool[np.ndarray, "images height width"],
) -> Float[np.ndarray, " images"]:
    """F1 of each image; nan where the truth has no edge at any threshold.

    Args:
      prediction, depth: metres [N, H, W], positive where the mask is True.
      mask: bool [N, H, W]; pairs of which one pixel is not valid do not count.

    Returns:
      [N], 0 to 1; a threshold at which an image has no true edge is left out of its mean.
    """
    valid = np.logical_and(*_pairs(mask))
    steps = []
    for x in (prediction, depth):
        first, second = _pairs(np.log(np.where(mask, x, 1.0)))
        steps.append(np.where(valid, second - first, 0.0))
    scores = np.stack([_f1(*steps, np.log(threshold)) for threshold in THRESHOLDS])
    weights = np.where(np.isnan(scores), 0, THRESHOLDS[:, None])
    total = weights.sum(0)
    mean = (weights * np.nan_to_num(scores)).sum(0) / np.maximum(total, 1e-9)
    return np.where(total > 0, mean, np.nan)


def _f1(predicted_step, true_step, threshold):
    """2 matched / (predicted + true), which is the harmonic mean of precision and recall."""
    predicted, true = (np.sign(x) * (np.abs(x) > threshold) for x in (predicted_step, true_step))
    matched = ((predicted == true) & (true != 0)).sum(-1)
    count = (true != 0).sum(-1)
    total = (predicted != 0).sum(-1) + count
    return np.where(count > 0, 2 * matched / np.maximum(total, 1), np.nan)


def edge_strip(
    depth: Float[np.ndarray, "images height width"], mask: Bool[np.ndarray, "images height width"]
) -> Bool[np.ndarray, "images height width"]:
    """Pixels [N, H, W] next to a pair of valid neighbours whose depths differ by a ratio > EDGE."""
    log_depth = np.log(np.where(mask, depth, 1.0))
    strip = np.zeros(mask.shape, bool)
    for axis in (-1, -2):
        low = [slice(None)] * mask.ndim
        high = list(low)
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        low, high = tuple(low), tuple(high)
        jump = np.abs(log_depth[high] - log_depth[low]) > np.log(EDGE)
        jump &= mask[high] & mask[low]
        strip[low] |= jump
        strip[high] |= jump
    return strip


def edge_abs_rel(
    prediction: Float[np.ndarray, "images height width"],
    depth: Float[np.ndarray, "images height width"],
    mask: Bool[np.ndarray, "images height width"],
) -> Float[np.ndarray, " images"]:
    """abs_rel of each image [N] over the pixels on both sides of edges; nan without edges."""
    strip = edge_strip(depth, mask)
    error = np.where(strip, np.abs(prediction - depth) / np.where(strip, depth, 1.0), 0.0)
    count = strip.sum((-2, -1))
    return np.where(count > 0, error.sum((-2, -1)) / np.maximum(count, 1), np.nan)
