"""Masked losses: f(prediction, target, mask, ...) -> (sum, count), float32.

A loss is a mean over the valid elements of one image. `sum` adds it up over the images that have a
valid element; `count` is the number of these images. A batch's loss is sum / count. Pairs of parts
of a batch, or of devices, are added before the division. Where the mask is False a target may hold
anything, nan included.
"""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from diffdepth_jax.arrays import Array, Term

Map = Float[Array, "batch *shape"]
Valid = Bool[Array, "batch *shape"]
PerImage = Float[Array, " batch"]
Rows = Float[Array, "batch height width 1"]
ValidRows = Bool[Array, "batch height width 1"]
Members = Float[Array, "batch members height width 1"]
_Cells = Float[Array, "batch members _ _ 1"]


def _per_image_sum(x: Map) -> PerImage:
    return x.sum(axis=tuple(range(1, x.ndim)))


def _valid_counts(mask: Valid) -> PerImage:
    """T, the number of valid elements of each image."""
    return _per_image_sum(mask.astype(jnp.float32))


def _masked_difference(prediction: Map, target: Map, mask: Valid) -> Map:
    """prediction - target, zero with zero gradient outside the mask."""
    difference = prediction.astype(jnp.float32) - jnp.where(mask, target, 0)
    return jnp.where(mask, difference, 0)


def _sum_and_count(per_image_total: PerImage, valid_counts: PerImage) -> Term:
    """The sum of total / T over the images with T > 0, and the number of these images."""
    return (per_image_total / jnp.maximum(valid_counts, 1)).sum(), (valid_counts > 0).sum()


def l1(prediction: Map, target: Map, mask: Valid) -> Term:
    """1/T sum |delta| with delta = prediction - target."""
    delta = _masked_difference(prediction, target, mask)
    return _sum_and_count(_per_image_sum(jnp.abs(delta)), _valid_counts(mask))


def l2(prediction: Map, target: Map, mask: Valid) -> Term:
    """1/T sum delta^2 with delta = prediction - target, of depth maps or of latents."""
    delta = _masked_difference(prediction, target, mask)
    return _sum_and_count(_per_image_sum(delta**2), _valid_counts(mask))


def scale_shift_invariant(prediction: Map, target: Map, mask: Valid) -> Term:
    """1/T sum |delta|, of inverse depth that is known up to a scale and a shift alone.

    delta is the difference after prediction and target are each brought to a median of 0 and a mean
    absolute value of 1 over the mask (MiDaS, Ranftl et al. 2020, arXiv 1907.01341; Depth Anything).
    """
    ours, theirs = _standardised(prediction.astype(jnp.float32), mask), _standardised(target, mask)
    return _sum_and_count(_per_image_sum(jnp.abs(ours - theirs)), _valid_counts(mask))


def _standardised(x: Map, mask: Valid) -> Map:
    """Less each image's median over the mask, over the mean size of that; 0 outside the mask."""
    count, shape = _valid_counts(mask), (-1, *[1] * (x.ndim - 1))
    ordered = jnp.sort(jnp.where(mask, x, jnp.inf).reshape(len(x), -1), axis=1)
    middle = jnp.maximum(count.astype(jnp.int32) - 1, 0) // 2
    median = jnp.take_along_axis(ordered, middle[:, None], axis=1)
    centred = jnp.where(mask, jnp.where(mask, x, 0) - median.reshape(shape), 0)
    size = _per_image_sum(jnp.abs(centred)) / jnp.maximum(count, 1)
    return centred / jnp.maximum(size, 1e-6).reshape(shape)


def _variance_like(delta: Map, mask: Valid, weight: float) -> Term:
    """1/T sum delta^2 + weight/T^2 (sum delta)^2 for each image."""
    count = _valid_counts(mask)
    mean = _per_image_sum(delta) / jnp.maximum(count, 1)
    centred = jnp.where(mask, delta - mean.reshape(-1, *[1] * (delta.ndim - 1)), 0)
    # sum delta^2 = sum centred^2 + T mean^2. Written so, nothing cancels where weight is -1.
    return _sum_and_count(_per_image_sum(centred**2) + (1 + weight) * mean**2 * count, count)


def silog(
    log_prediction: Map, log_target: Map, mask: Valid, scale_invariance: float = 0.85
) -> Term:
    """The scale-invariant log loss without square root (Eigen et al. 2014), of log metres.

    1/T sum e^2 - lambda/T^2 (sum e)^2 with e = log prediction - log target and lambda =
    `scale_invariance`. This is the paper's L_pixel in the form of the work that the paper cites.
    """
    return _variance_like(
        _masked_difference(log_prediction, log_target, mask), mask, -scale_invariance
    )


def pixel_as_printed(prediction: Map, target: Map, mask: Valid, weight: float = 0.85) -> Term:
    """L_pixel as the paper prints it: 1/T sum d^2 + lambda/T^2 (sum d)^2 of metres.

    The plus sign punishes an error that all pixels share; the minus sign of `silog` forgives it.
    """
    return _variance_like(_masked_difference(prediction, target, mask), mask, weight)


def laplace(log_prediction: Map, log_target: Map, mask: Valid, log_scale: Map) -> Term:
    """1/T sum (|e| / b + log 2b), with e as in `silog` and b = exp(log_scale).

    The negative log likelihood of log metres under a Laplace distribution (Kendall and Gal 2017,
    arXiv 1703.04977). The best b of a pixel is the mean of |e|. It may be below 0.
    """
    error = jnp.abs(_masked_difference(log_prediction, log_target, mask))
    log_scale = log_scale.astype(jnp.float32)
    values = jnp.where(mask, error * jnp.exp(-log_scale) + log_scale + jnp.log(2.0), 0)
    return _sum_and_count(_per_image_sum(values), _valid_counts(mask))


def validity(logit: Map, surface: Valid, hole: Valid) -> Term:
    """Mean binary cross entropy over the pixels of which it is known whether they have a depth.

    The logit is of the probability that a pixel has one. `surface` is True where it is known to
    have one, `hole` where it is known to have none. Other pixels have no influence.
    """
    logit, known = logit.astype(jnp.float32), surface | hole
    values = jnp.where(known, jax.nn.softplus(jnp.where(surface, -logit, logit)), 0)
    return _sum_and_count(_per_image_sum(values), _valid_counts(known))


DISTANCES = (1, 2, 4, 8)  # in pixels, of the pairs of `gradient_matching`; four scales as in MiDaS


def gradient_matching(log_prediction: Rows, log_target: Rows, mask: ValidRows) -> Term:
    """Mean |e_i - e_j| over pairs of valid pixels in one row or column, of log metres.

    e = log prediction - log target. It is the multi-scale scale-invariant loss of Li and
    Snavely (CVPR 2018) and MiDaS (Ranftl et al. 2020). Their coarser scales leave pixels out;
    here all pairs at each of DISTANCES count, so that sparse ground truth has pairs, too.
    """
    error = _masked_difference(log_prediction, log_target, mask)
    pairs = [_pairs(error, mask, axis, step) for axis in (1, 2) for step in DISTANCES]
    totals, counts = (jnp.stack(parts).sum(0) for parts in zip(*pairs, strict=True))
    # An image without a pair counts as 0, so that the number of images is that of the other losses.
    return (totals / jnp.maximum(counts, 1)).sum(), (_valid_counts(mask) > 0).sum()


def _pairs(error: Rows, mask: ValidRows, axis: int, step: int) -> tuple[PerImage, PerImage]:
    """(sum of |difference|, number) of the valid pairs `step` apart, of each image."""
    size = error.shape[axis]
    first, second = (slice(0, max(size - step, 0)), slice(step, size))
    index = (slice(None),) * axis
    valid = mask[(*index, first)] & mask[(*index, second)]
    difference = error[(*index, second)] - error[(*index, first)]
    return _per_image_sum(jnp.abs(jnp.where(valid, difference, 0))), _valid_counts(valid)


POOLING = 4  # side of a cell of the next coarser level, in cells, of `crps_pooled`


def crps(log_members: Members, log_target: Rows, mask: ValidRows) -> Term:
    """The fair continuous ranked probability score of an ensemble, a mean over valid pixels.

    mean |x_i - y| - 1/2 mean |x_i - x_j| over the pairs i != j of members x of a pixel, of log
    metres y (Gneiting and Raftery 2007; fair: Ferro 2014). Its expectation is least where the
    members are drawn from the distribution of y. Of one member it is the absolute error.
    """
    scores = _crps(log_members, jnp.where(mask, log_target, 0)[:, None])
    return _sum_and_count(_per_image_sum(jnp.where(mask, scores, 0)), _valid_counts(mask))


def crps_pooled(log_members: Members, log_target: Rows, mask: ValidRows) -> Term:
    """`crps` of means over cells of 4x4 pixels, 16x16 and so on, up to the whole picture.

    A mean is one over the cell's valid pixels, and cells count by their number. Members that differ
    as whole surfaces have a better score here than members that differ pixel by pixel.
    """
    weight = mask[:, None].astype(jnp.float32)
    members = jnp.where(mask[:, None], log_members.astype(jnp.float32), 0)
    target = jnp.where(mask, log_target, 0)[:, None]
    counts, totals = _valid_counts(mask), []
    while weight.shape[2] > 1 or weight.shape[3] > 1 or not totals:
        weight, members, target = (_cell_sums(x) for x in (weight, members, target))
        number = jnp.maximum(weight, 1)
        totals.append(_per_image_sum(_crps(members / number, target / number) * weight[:, 0]))
    return _sum_and_count(sum(totals) / len(totals), counts)


def _crps(members: Members, target: Float[Array, "batch 1 height width 1"]) -> Rows:
    members, number = members.astype(jnp.float32), members.shape[1]
    error = jnp.abs(members - target).mean(1)
    if number == 1:
        return error
    indices = itertools.combinations(range(number), 2)
    pairs = sum(jnp.abs(members[:, i] - members[:, j]) for i, j in indices)
    return error - pairs / (number * (number - 1))


def _cell_sums(x: _Cells) -> _Cells:
    batch, members, height, width, _ = x.shape
    x = jnp.pad(x, ((0, 0), (0, 0), (0, -height % POOLING), (0, -width % POOLING), (0, 0)))
    x = x.reshape(batch, members, -(-height // POOLING), POOLING, -(-width // POOLING), POOLING, 1)
    return x.sum((3, 5))
