"""Depth metrics of single images; an evaluation reports their mean over the images.

`protocols` defines which pixels are scored, and between which limits of depth.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Real, Shaped

from diffdepth_jax.arrays import Array, Depth, Mask

# The metrics of Eigen et al. 2014, and the stricter shares of pixels that recent papers add:
# within 5 % and 10 % instead of 25 %.
NAMES = (
    "abs_rel",
    "sq_rel",
    "rmse",
    "rmse_log",
    "log10",
    "silog",
    "d105",
    "d110",
    "d1",
    "d2",
    "d3",
)
# The metrics of KITTI's depth prediction benchmark, which ranks by the first four. silog and the
# relative errors are in percent, the inverse errors in 1/km, rmse and mae in metres.
KITTI_NAMES = ("silog", "sq_error_rel", "abs_error_rel", "irmse", "imae", "rmse", "mae")
ALL_NAMES = tuple(dict.fromkeys(NAMES + KITTI_NAMES))
# Three of them after `align_median`.
ALIGNED_NAMES = ("aligned_abs_rel", "aligned_silog", "aligned_d1")
_POSITIVE = (1e-12, 1e12)  # metres; their products and quotients are finite in float32


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


def align_median(
    prediction: Depth, target: Depth, mask: Mask
) -> Float[jax.Array, "batch height width 1"]:
    """Scales each prediction so that its median is the target's, both taken where mask is True.

    This is the median scaling of Zhou et al. 2017 (arXiv 1704.07813) and of Monodepth2 (Godard et
    al. 2019, arXiv 1806.01260). Scale predictions before they are clamped, as there.

    Args:
      prediction: metres [B, H, W, 1]; nan and what is not positive become tiny.
      target: metres [B, H, W, 1]; may be anything where the mask is False.
      mask: bool [B, H, W, 1].

    Returns:
      float32 [B, H, W, 1]; nan for an image without valid pixels.
    """
    prediction = clamp_prediction(prediction.astype(jnp.float32), *_POSITIVE)
    scale = median(target, mask) / median(prediction, mask)
    return prediction * scale[:, None, None, None]


def median(depth: Depth, mask: Mask) -> Float[jax.Array, " batch"]:
    """The median of each image [B] over its valid pixels; nan if there are none.

    Positive floats have the order of their bits, so that the middle value is found bit by bit. XLA
    takes ten times as long to sort a map of 480x640 on a CPU.

    Args:
      depth: metres [B, H, W, 1], positive where the mask is True.
      mask: bool [B, H, W, 1].
    """
    bits = jax.lax.bitcast_convert_type(jnp.asarray(depth, jnp.float32), jnp.int32)
    bits = jnp.where(mask, bits, jnp.iinfo(jnp.int32).max)
    count = mask.sum((1, 2, 3))
    ranks = jnp.stack([(count - 1) // 2, count // 2])  # of the middle value, or of both middle ones

    def narrow(step: int | Int[Array, ""], found: Int[Array, "2 batch"]) -> Int[Array, "2 batch"]:
        candidate = found + (1 << (30 - step))
        smaller = (bits < candidate[..., None, None, None]).sum((2, 3, 4))
        return jnp.where(smaller <= ranks, candidate, found)

    found = jax.lax.fori_loop(0, 31, narrow, jnp.zeros_like(ranks))
    return jax.lax.bitcast_convert_type(found, jnp.float32).mean(0)


def aligned_metrics(aligned: Depth, target: Depth, mask: Mask) -> dict[str, Real[Array, " batch"]]:
    """The ALIGNED_NAMES of each image; for the arguments see `depth_metrics`."""
    values = depth_metrics(aligned, target, mask)
    return {name: values[name.removeprefix("aligned_")] for name in ALIGNED_NAMES}


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
        "d105": mean(ratio < 1.05),
        "d110": mean(ratio < 1.10),
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
