"""Colours for depth and for its relative error.

Depth has a colour map of the user's choice on a logarithmic scale: equal ratios of depth look
equally different. The default is perceptually uniform: equal steps look equal, also to those who
see few colours. Relative error has the colours of `magma`, dark where the prediction is right.
Black means that a pixel has no value.
"""

import difflib
import functools
from typing import NamedTuple

import numpy as np
from cmap import Catalog, Colormap
from jaxtyping import Bool, Float64, Real, Shaped, UInt8

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.defaults import COLORMAP, COLORMAPS
from diffdepth_jax.media.reading import RGB

Depth = Real[np.ndarray, "height width"] | Real[np.ndarray, "height width 1"]  # metres
Mask = Bool[np.ndarray, "height width"] | Bool[np.ndarray, "height width 1"]
Plane = Real[np.ndarray, "height width"]


class ColorMap(NamedTuple):
    """The part from `start` to `stop`, within [0, 1], of the colour map that cmap calls `name`."""

    name: str
    start: float
    stop: float


ERROR_MAP = ColorMap("magma", 0.12, 1.0)
MAX_ERROR = 0.5  # abs_rel at the bright end
# Of the light of white, as a screen weighs its channels (BT.709). Darker ends of a map are left
# out: they look like the black of "no value".
_DARKEST = 0.13
_LUMA = np.array([0.2126, 0.7152, 0.0722])
_NO_ORDER = (
    "qualitative",
    "cyclic",
)  # of cmap's categories: their colours do not tell near and far


@functools.cache
def depth_map(name: str = COLORMAP) -> ColorMap:
    """Returns the part of a colour map that depth is drawn with, from near to far.

    Near is the end with more red than blue, or the brighter one of grey maps.

    Args:
      name: of a map of cmap, such as those in COLORMAPS; with `_r` at its end, near and far change
        places.

    Raises:
      UserError: there is no such map, or its colours have no order.
    """
    base = name.removesuffix("_r")
    colors = np.asarray(_named(base)(np.linspace(0, 1, 256)))[:, :3]
    start, *_, stop = np.flatnonzero(colors @ _LUMA >= _DARKEST)
    warmth = colors[[start, stop]] @ [1, 0, -1]
    if abs(warmth[1] - warmth[0]) < 0.05:
        warmth = colors[[start, stop]] @ _LUMA
    near, far = (start, stop) if (warmth[0] > warmth[1]) != (base != name) else (stop, start)
    return ColorMap(base, near / 255, far / 255)


def _named(name: str) -> Colormap:
    try:
        found = Colormap(name)
    except ValueError as error:
        nearest = difflib.get_close_matches(name, Catalog().short_keys(), n=3)
        known = f"did you mean {' or '.join(nearest)}" if nearest else f"try {', '.join(COLORMAPS)}"
        raise UserError(f"colormap {name!r} is unknown: {known}?") from error
    if found.category in _NO_ORDER or found.interpolation == "nearest":
        raise UserError(f"colormap {name!r}: its colours have no order; try {', '.join(COLORMAPS)}")
    return found


def colorize_depth(
    depth: Depth,
    min_depth: float | None = None,
    max_depth: float | None = None,
    mask: Mask | None = None,
    dilate: int = 0,
    colormap: str = COLORMAP,
) -> RGB:
    """Draws depth in the colours of a map, see `depth_map`.

    Args:
      depth: metres; valid where it is finite and positive and the mask is True.
      min_depth: depth in metres of the near end of the colours; by default a little less than the
        2nd percentile of the valid pixels.
      max_depth: depth in metres of the far end; by default a little more than the 98th percentile.
      mask: False where there is no depth.
      dilate: by how many pixels a valid pixel grows into invalid ones. Where two meet, the nearer
        one wins, because it would hide the farther one.
      colormap: the name of the map.
    """
    depth = valid_or_nan(depth, mask)
    low, high = percentile_limits(depth)
    low = low if min_depth is None else min_depth
    high = high if max_depth is None else max_depth
    if not 0 < low < high:
        raise UserError(f"depth limits {low} to {high} metres: must be positive and increasing")
    depth = _dilate(depth, dilate, np.fmin)
    return apply_map(depth_map(colormap), log_position(depth, (low, high)))


def colorize_error(
    prediction: Depth, target: Depth, mask: Mask | None = None, dilate: int = 0
) -> RGB:
    """Draws |prediction - target| / target, from 0 in dark to 0.5 and more in bright colours.

    A prediction that is not finite counts as the largest error. `dilate` is as in
    `colorize_depth`, but where two valid pixels meet, the larger error wins.
    """
    error = _relative_error(plane(prediction), valid_or_nan(target, mask))
    return apply_map(ERROR_MAP, _dilate(error, dilate, np.fmax) / MAX_ERROR)


def log_position(depth: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Returns where depths lie on the logarithmic scale from 0, the near end, to 1, the far end."""
    low, high = np.log(limits)
    return (np.log(depth) - low) / (high - low)


@functools.cache
def color_table(color_map: ColorMap) -> UInt8[np.ndarray, "256 3"]:
    """Returns 256 colours of a colour map, from its start to its stop."""
    positions = np.linspace(color_map.start, color_map.stop, 256)
    colors = np.asarray(Colormap(color_map.name)(positions))[:, :3]
    return np.rint(255 * colors).astype(np.uint8)


def apply_map(color_map: ColorMap, position: Plane) -> RGB:
    """Gives each position in the colour map, clipped to [0, 1], its colour; nan becomes black."""
    invalid = np.isnan(position)
    index = np.rint(255 * np.clip(np.where(invalid, 0, position), 0, 1)).astype(np.uint8)
    return np.where(invalid[..., None], np.uint8(0), color_table(color_map)[index])


def plane(array: np.ndarray) -> Shaped[np.ndarray, "height width"]:
    """Returns [H, W] from [H, W] or [H, W, 1]."""
    return np.asarray(array).reshape(array.shape[:2])


def valid_or_nan(depth: Depth, mask: Mask | None = None) -> Float64[np.ndarray, "height width"]:
    """Returns depth where it is finite and positive and the mask is True, and nan elsewhere."""
    depth = plane(depth).astype(np.float64)
    valid = np.isfinite(depth) & (depth > 0)
    if mask is not None:
        valid &= plane(mask).astype(bool)
    return np.where(valid, depth, np.nan)


def percentile_limits(depth: Plane) -> tuple[float, float]:
    """Returns the 2nd and 98th percentile of depth in metres, with a little room; nan is invalid.

    The room keeps the limits of constant depth apart, and puts its colour in the middle.
    """
    values = depth[np.isfinite(depth)]
    if not values.size:
        return 1.0, 10.0  # any limits will do: the whole picture is black
    low, high = np.percentile(values, (2, 98))
    return float(low / 1.01), float(high * 1.01)


def _relative_error(prediction: Plane, target: Plane) -> Plane:
    """Returns |prediction - target| / target, nan where the target is nan.

    It is inf where the prediction is not finite.
    """
    error = np.abs(np.where(np.isfinite(prediction), prediction, np.inf) - target)
    return error / target


def _dilate(values: Plane, radius: int, choose: np.ufunc) -> Plane:
    """Fills each nan from the square of this radius around it.

    `choose` takes one of the values in the square: np.fmin or np.fmax, which both skip nan.
    """
    padded = np.pad(values, radius, constant_values=np.nan)
    squares = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2)
    grown = choose.reduce(squares, axis=(-2, -1))
    return np.where(np.isnan(values), grown, values)
