"""The field's depth metrics (Eigen et al. 2014), per image; the mean over images is the result."""

import jax.numpy as jnp

from diffdepth_jax.errors import UserError

NAMES = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "d1", "d2", "d3")

# Fractions of height and width (top, bottom, left, right); ends exclusive after int().
CROPS = {
    "none": (0.0, 1.0, 0.0, 1.0),
    # Eigen crop of NYU Depth V2: rows 45:471, columns 41:601 of 480x640.
    "nyu_eigen": (45 / 480, 471 / 480, 41 / 640, 601 / 640),
}


def crop_mask(height: int, width: int, crop: str):
    """bool [H, W, 1], True inside the evaluated rectangle."""
    if crop not in CROPS:
        raise UserError(f"evaluation.crop {crop!r}: must be one of {', '.join(CROPS)}")
    top, bottom, left, right = CROPS[crop]
    rows, columns = jnp.arange(height), jnp.arange(width)
    # Rounding before int() undoes the division: 45 / 480 * 480 may fall just below 45.
    inside_rows = (rows >= int(round(top * height, 6))) & (rows < int(round(bottom * height, 6)))
    inside_columns = (columns >= int(round(left * width, 6))) & (
        columns < int(round(right * width, 6))
    )
    return (inside_rows[:, None] & inside_columns[None, :])[..., None]


def evaluation_mask(target, mask, min_depth, max_depth, crop):
    """Pixels with ground truth strictly between the limits and inside the crop."""
    inside = crop_mask(*target.shape[-3:-1], crop)
    return mask & jnp.isfinite(target) & (target > min_depth) & (target < max_depth) & inside


def clamp_prediction(prediction, min_depth, max_depth):
    """Metres within the limits; nan and -inf become min_depth, +inf max_depth."""
    prediction = jnp.nan_to_num(prediction, nan=min_depth, posinf=max_depth, neginf=min_depth)
    return jnp.clip(prediction, min_depth, max_depth)


def depth_metrics(prediction, target, mask):
    """The nine metrics of each image.

    Args:
      prediction: metres, positive, [B, H, W, 1].
      target: metres [B, H, W, 1]; anything where the mask is False.
      mask: bool [B, H, W, 1], see `evaluation_mask`.

    Returns:
      {name: float32 [B]} for NAMES (nan for an image without valid pixels), and the number of
      valid pixels as "valid".
    """
    axes = (1, 2, 3)
    count = mask.sum(axes)

    def mean(values):
        return jnp.where(mask, values, 0).sum(axes) / count

    target = jnp.where(mask, target, 1)
    prediction = jnp.where(mask, prediction, 1).astype(jnp.float32)
    error = prediction - target
    log_error = jnp.log(prediction) - jnp.log(target)
    ratio = jnp.maximum(prediction / target, target / prediction)
    return {
        "abs_rel": mean(jnp.abs(error) / target),
        "sq_rel": mean(error**2 / target),
        "rmse": jnp.sqrt(mean(error**2)),
        "rmse_log": jnp.sqrt(mean(log_error**2)),
        "log10": mean(jnp.abs(log_error)) / jnp.log(10.0),
        # As mean((e - mean e)^2): the difference of two means loses its digits in float32.
        "silog": 100 * jnp.sqrt(mean((log_error - mean(log_error)[:, None, None, None]) ** 2)),
        "d1": mean(ratio < 1.25),
        "d2": mean(ratio < 1.25**2),
        "d3": mean(ratio < 1.25**3),
        "valid": count,
    }
