"""How well a depth map keeps the edges of the true one.

An edge lies between two neighbouring pixels, in a row or in a column, if the farther is more than t
times as far as the nearer. A pair counts only if both pixels are valid.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from diffdepth_jax.arrays import Array, Depth, Mask

NAMES = ("boundary_f1", "edge_abs_rel", "aligned_edge_abs_rel")
THRESHOLDS = np.linspace(1.05, 1.25, 10)  # the ratios t of `boundary_f1`, as in Depth Pro
EDGE = 1.25  # the ratio t of `edge_strip`
DENSE = 0.75  # of `is_dense`


def edge_scores(
    prediction: Depth, aligned: Depth, target: Depth, truth: Mask, scored: Mask
) -> dict[str, Float[jax.Array, " batch"]]:
    """Computes the edge scores of each image.

    Args:
      prediction: positive metres [B, H, W, 1].
      aligned: the prediction after `metrics.align_median`.
      target: metres [B, H, W, 1].
      truth: bool [B, H, W, 1], True where the target is valid.
      scored: the part of `truth` that has a prediction, too.

    Returns:
      {name: float32 [B]} for NAMES, all of them nan for an image that does not count: its ground
      truth is not dense, or no scored pixel is at an edge.
    """
    at_edges = edge_abs_rel(prediction, target, scored)
    counts = is_dense(truth) & ~jnp.isnan(at_edges)
    values = (
        boundary_f1(aligned, target, scored),
        at_edges,
        edge_abs_rel(aligned, target, scored),
    )
    scores = zip(NAMES, values, strict=True)
    return {name: jnp.where(counts, value, jnp.nan) for name, value in scores}


def is_dense(mask: Mask) -> Bool[jax.Array, " batch"]:
    """Tells whether pixels of a mask have valid neighbours, so that edges can be seen.

    Of the pairs with a valid pixel, the fraction DENSE or more must have two. Sky without ground
    truth does no harm; scattered pixels of a LiDAR are not dense.
    """
    first, second = _pairs(mask)
    return (first & second).sum(1) >= DENSE * (first | second).sum(1)


def boundary_f1(prediction: Depth, target: Depth, mask: Mask) -> Float[jax.Array, " batch"]:
    """The scale-invariant boundary F1 of Depth Pro (Bochkovskii et al. 2024, arXiv 2410.02073).

    An edge of the target is found if the prediction has one at the same pair, with the same pixel
    in front. The result is the mean of F1 over THRESHOLDS, weighted by the threshold. Here F1 is
    that of all pairs of an image; there precision and recall are means over four directions.

    Args:
      prediction: metres [B, H, W, 1], positive where the mask is True.
      target: metres [B, H, W, 1].
      mask: bool [B, H, W, 1].

    Returns:
      float32 [B], 0 to 1. A threshold at which an image has no true edge is left out of its mean;
      nan without edges at any threshold.
    """
    predicted, true = _steps(prediction, mask), _steps(target, mask)
    same_side = jnp.sign(predicted) == jnp.sign(true)
    both = jnp.where(same_side, jnp.minimum(jnp.abs(predicted), jnp.abs(true)), 0)

    def at_threshold(t: Float[Array, ""]) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
        steps = (predicted, true, both)
        found, edges, matched = ((jnp.abs(x) > jnp.log(t)).sum(1) for x in steps)
        return 2 * matched / jnp.maximum(found + edges, 1), jnp.where(edges > 0, t, 0)

    # A loop, because XLA would otherwise compute the logs anew for each threshold.
    f1, weights = jax.lax.map(at_threshold, jnp.asarray(THRESHOLDS, jnp.float32))
    return (weights * f1).sum(0) / weights.sum(0)


def edge_strip(target: Depth, mask: Mask) -> Bool[jax.Array, "batch height width 1"]:
    """Both pixels of each pair at whose edge the ratio of the target's depths is above EDGE."""
    log_depth, strip = _log(target, mask), jnp.zeros(mask.shape, bool)
    for axis in (1, 2):
        edge = jnp.abs(jnp.diff(log_depth, axis=axis)) > np.log(EDGE)
        for padding in ((0, 1), (1, 0)):
            widths = [padding if each == axis else (0, 0) for each in range(4)]
            strip |= jnp.pad(edge, widths)
    return strip


def edge_abs_rel(prediction: Depth, target: Depth, mask: Mask) -> Float[jax.Array, " batch"]:
    """abs_rel of each image, float32 [B], over `edge_strip`; nan without edges."""
    strip = edge_strip(target, mask)
    error = jnp.abs(prediction - target) / jnp.where(strip, target, 1)
    return jnp.where(strip, error, 0).sum((1, 2, 3)) / strip.sum((1, 2, 3))


def _log(depth, mask):
    """ln of metres; nan where the mask is False, which is above no threshold."""
    return jnp.log(jnp.where(mask, depth, jnp.nan).astype(jnp.float32))


def _pairs(x: Array) -> tuple[jax.Array, jax.Array]:
    """The values on both sides of all pairs of neighbours in [B, H, W, 1]: each [B, pairs]."""
    sides = (x[:, :, :-1], x[:, :-1]), (x[:, :, 1:], x[:, 1:])
    first, second = (jnp.concatenate([y.reshape(len(x), -1) for y in side], 1) for side in sides)
    return first, second


def _steps(depth, mask):
    first, second = _pairs(_log(depth, mask))
    return second - first
