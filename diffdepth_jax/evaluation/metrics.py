"""Depth metrics of single images; an evaluation reports their mean over the images.

`protocols` defines which pixels are scored, and between which limits of depth.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Real, Shaped

from diffdepth_jax.arrays import Array, Depth, Mask

# The metrics of Eigen et al. 2014.
NAMES = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "d1", "d2", "d3")
# The metrics of KITTI's depth prediction benchmark, which ranks by the first four. silog and the
# relative errors are in percent, the inverse errors in 1/km, rmse and mae in metres.
KITTI_NAMES = ("silog", "sq_error_rel", "abs_error_rel", "irmse", "imae", "rmse", "mae")
ALL_NAMES = tuple(dict.fromkeys(NAMES + KITTI_NAMES))


def evaluation_mask(
    target: Float[Array, "*shape"],
    mask: Bool[Array, "*shape"],
    min_depth: float,
    max_depth: float,
) -> Bool[jax.Array, "*shape"]:
    """Tells where the mask is True and the target lies strictly between the limits in metres."""
    return mask & jnp.isfinite(target) & (target > min_depth) & (target < max_depth)


def clamp_prediction(
    prediction: Float[Array, "*shape"], min_depth: float, max_depth: float
) -> Float[jax.Array, "*shape"]:
    """Clamps metres to the limits; nan and -inf become min_depth, +inf becomes max_depth."""
    prediction = jnp.nan_to_num(prediction, nan=min_depth, posinf=max_depth, neginf=min_depth)
    return jnp.clip(prediction, min_depth, max_depth)


def depth_metrics(prediction: Depth, target: Depth, mask: Mask) -> dict[str, Real[Array, " batch"]]:
    """Computes the metrics of each image.

    Args:
      prediction: positive metres [B, H, W, 1].
      target: metres [B, H, W, 1]; may be anything where the mask is False.
      mask: bool [B, H, W, 1], see `evaluation_mask`.

    Returns:
      {name: float32 [B]} for ALL_NAMES, nan for an image without valid pixels; and the number of
      valid pixels as "valid", int32 [B].
    """
    axes = (1, 2, 3)
    count = mask.sum(axes)

    def mean(values: Shaped[Array, "batch height width 1"]) -> Float[Array, " batch"]:
        return jnp.where(mask, values, 0).sum(axes) / count

    target = jnp.where(mask, target, 1)
    prediction = jnp.where(mask, prediction, 1).astype(jnp.float32)
    error = prediction - target
    log_error = jnp.log(prediction) - jnp.log(target)
    inverse_error = 1000 / prediction - 1000 / target  # 1/km
    ratio = jnp.maximum(prediction / target, target / prediction)
    abs_rel = mean(jnp.abs(error) / target)
    return {
        "abs_rel": abs_rel,
        "sq_rel": mean(error**2 / target),
        "rmse": jnp.sqrt(mean(error**2)),
        "rmse_log": jnp.sqrt(mean(log_error**2)),
        "log10": mean(jnp.abs(log_error)) / jnp.log(10.0),
        # mean((e - mean e)^2): the usual mean(e^2) - (mean e)^2 loses its digits in float32.
        "silog": 100 * jnp.sqrt(mean((log_error - mean(log_error)[:, None, None, None]) ** 2)),
        "d1": mean(ratio < 1.25),
        "d2": mean(ratio < 1.25**2),
        "d3": mean(ratio < 1.25**3),
        "sq_error_rel": 100 * mean((error / target) ** 2),
        "abs_error_rel": 100 * abs_rel,
        "irmse": jnp.sqrt(mean(inverse_error**2)),
        "imae": mean(jnp.abs(inverse_error)),
        "mae": mean(jnp.abs(error)),
        "valid": count,
    }
