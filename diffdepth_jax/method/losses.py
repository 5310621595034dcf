"""Masked losses: f(prediction, target, mask, ...) -> (sum, count), float32.

Each is a mean over an image's valid elements, summed over the images that have any; count is the
number of those images. A batch's loss is sum / count, and pairs of parts of a batch, or of devices,
add up before the division. Targets may hold anything, nan included, where the mask is False.
"""

import jax.numpy as jnp


def _per_image_sum(x):
    return x.sum(axis=tuple(range(1, x.ndim)))


def _valid_counts(mask):
    """T, the valid elements of each image, [B] float32."""
    return _per_image_sum(mask.astype(jnp.float32))


def _masked_difference(prediction, target, mask):
    """prediction - target, zero with zero gradient outside the mask."""
    difference = prediction.astype(jnp.float32) - jnp.where(mask, target, 0)
    return jnp.where(mask, difference, 0)


def _sum_and_count(per_image_total, valid_counts):
    """Sums total / T over images with T > 0."""
    return (per_image_total / jnp.maximum(valid_counts, 1)).sum(), (valid_counts > 0).sum()


def l1(prediction, target, mask):
    """1/T sum |delta|, arrays [B, ...] of one shape."""
    delta = _masked_difference(prediction, target, mask)
    return _sum_and_count(_per_image_sum(jnp.abs(delta)), _valid_counts(mask))


def l2(prediction, target, mask):
    """1/T sum delta^2, arrays [B, ...] of one shape; also of latents, if the mask is broadcast."""
    delta = _masked_difference(prediction, target, mask)
    return _sum_and_count(_per_image_sum(delta**2), _valid_counts(mask))


def _variance_like(delta, mask, weight):
    """1/T sum delta^2 + weight/T^2 (sum delta)^2 for each image."""
    count = _valid_counts(mask)
    mean = _per_image_sum(delta) / jnp.maximum(count, 1)
    return _sum_and_count(_per_image_sum(delta**2) + weight * mean**2 * count, count)


def silog(log_prediction, log_target, mask, scale_invariance=0.85):
    """Scale-invariant log loss (Eigen et al. 2014), no square root: arrays of log metres.

    1/T sum e^2 - lambda/T^2 (sum e)^2 with e = log prediction - log target and lambda =
    `scale_invariance`. The paper's L_pixel in the form of the work that it cites.
    """
    return _variance_like(
        _masked_difference(log_prediction, log_target, mask), mask, -scale_invariance
    )


def literal_pixel(prediction, target, mask, weight=0.85):
    """L_pixel as the user's documents print it: 1/T sum d^2 + lambda/T^2 (sum d)^2 on metres."""
    return _variance_like(_masked_difference(prediction, target, mask), mask, weight)
