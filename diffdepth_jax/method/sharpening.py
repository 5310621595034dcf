"""Moves the soft edges of a depth map to those of its image, and makes them steps.

What a network says of an edge whose place it does not know is a ramp between two surfaces: depth
where there is nothing. Each pixel of a ramp takes the weighted median of its row and of its column,
where pixels of a similar colour weigh more (the weighted median filter of Ma, He, Wei, Sun and Wu,
ICCV 2013, one axis at a time). What is left of a ramp goes to the nearer of its two ends. Wide
ramps are seen with gaps between the pixels of a window, first wide ones and then narrower ones.
What is painted on a plane changes nothing, unless the plane's depth changes by more than a fifth
from one pixel of a window to the next. Nothing here is trained.
"""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from diffdepth_jax.arrays import Array, Depth

RADIUS = 3  # pixels of a window beside its centre
PASSES = 2  # of the median
SIMILAR = 0.6  # standard deviation of the weights, over colours of a normalised image
BENT = 0.04  # change of log depth's slope, between three pixels of a window, of what is no surface
RAMP = 0.1  # range of log depth in 3x3 pixels of windows, of a ramp
NEARER = 2  # how many times as far the other end of a ramp is

_AXES = 1, 2
Window = Callable[..., list[jax.Array]]  # `_window` at a scale
_Images = Float[Array, "images height width 3"]


def sharpened(log_depth: Depth, image: _Images, scales: int) -> Depth:
    """Depth with sharp edges.

    Args:
      log_depth: log of depth [B, H, W, 1] in any unit.
      image: normalised [N, H, W, 3]; B is a multiple of N, maps of one image follow each other.
      scales: pixels of a window are 2^(scales - 1) apart at first, then half as far, until they are
        neighbours.

    Returns:
      log of depth [B, H, W, 1]. Every value is one of a pixel near by.
    """
    if log_depth.shape[0] != image.shape[0]:
        image = jnp.repeat(image, log_depth.shape[0] // image.shape[0], axis=0)
    at_scale = functools.partial(_at_scale, image=image, largest=2 ** max(scales - 1, 0))
    # A loop, because each scale by itself would take a second to compile.
    strides = jnp.asarray([2**scale for scale in reversed(range(scales))], jnp.int32)
    return jax.lax.scan(lambda x, stride: (at_scale(x, stride), None), log_depth, strides)[0]


def _at_scale(log_depth: Depth, stride: jax.Array, image: Array, largest: int) -> Depth:
    window = functools.partial(_window, stride=stride, largest=largest)
    weights = [(axis, _weights(image, axis, window)) for axis in _AXES]

    def median(x: Depth, _: None) -> tuple[Depth, None]:
        for axis, weight in weights:
            x = _weighted_median(window(x, RADIUS, axis), weight)
        return x, None

    filtered, _ = jax.lax.scan(median, log_depth, length=PASSES)
    return jnp.where(_is_bent(log_depth, window), _without_ramps(filtered, window), log_depth)


def _window(
    x: Array, radius: int, axis: int, *, stride: jax.Array, largest: int, mode: str = "edge"
) -> list[jax.Array]:
    """The pixels of a row or column around each pixel, in order, `stride` apart."""
    size, reach = x.shape[axis], radius * largest
    pads = [(reach, reach) if each == axis else (0, 0) for each in range(x.ndim)]
    padded = jnp.pad(x, pads, mode=mode)
    starts = [reach + offset * stride for offset in range(-radius, radius + 1)]
    return [jax.lax.dynamic_slice_in_dim(padded, start, size, axis) for start in starts]


def _weights(image: Array, axis: int, window: Window) -> list[jax.Array]:
    """By the similarity of colour to the pixel in the middle."""
    colours = window(image, RADIUS, axis)
    squares = [jnp.square(x - image).sum(-1, keepdims=True) for x in colours]
    return [jnp.exp(-square / (2 * SIMILAR**2)) for square in squares]


def _weighted_median(values: list[jax.Array], weights: list[jax.Array]) -> Depth:
    """The value from which the weighted sum of distances is least.

    Written out, because one array of all distances takes a hundred times as long on CPU.
    """
    pairs = itertools.combinations(range(len(values)), 2)
    distances = {frozenset(pair): jnp.abs(values[pair[0]] - values[pair[1]]) for pair in pairs}
    least, median = jnp.inf, values[RADIUS]
    for here in sorted(range(len(values)), key=lambda index: abs(index - RADIUS)):
        others = (other for other in range(len(values)) if other != here)
        terms = (weights[other] * distances[frozenset((here, other))] for other in others)
        total = functools.reduce(jnp.add, terms)
        median = jnp.where(total < least, values[here], median)
        least = jnp.minimum(total, least)
    return median


def _is_bent(x: Depth, window: Window) -> Bool[Array, "batch height width 1"]:
    """Whether the slope changes within a window of the pixel."""
    change = functools.reduce(jnp.maximum, (_change(x, axis, window) for axis in _AXES))
    return _extreme(jnp.maximum, change, RADIUS, window) > BENT


def _change(x: Depth, axis: int, window: Window) -> Depth:
    """Of the slope, from the pixel before to the pixel after; 0 at the border."""
    before, _, after = window(x, 1, axis)
    no_border, _, nor_there = window(jnp.ones_like(x), 1, axis, mode="constant")
    return no_border * nor_there * jnp.abs(before - 2 * x + after)


def _without_ramps(x: Depth, window: Window) -> Depth:
    """Pixels of a ramp become the nearer of its two ends, unless they are halfway."""
    low, high = (_extreme(choose, x, 1, window) for choose in (jnp.minimum, jnp.maximum))
    is_ramp = high - low > RAMP
    is_high, is_low = x - low > NEARER * (high - x), high - x > NEARER * (x - low)
    return jnp.where(is_ramp & is_high, high, jnp.where(is_ramp & is_low, low, x))


def _extreme(
    choose: Callable[[Array, Array], Array], x: Depth, radius: int, window: Window
) -> Depth:
    """The least or greatest value of the square window around each pixel."""
    for axis in _AXES:
        x = functools.reduce(choose, window(x, radius, axis))
    return x
