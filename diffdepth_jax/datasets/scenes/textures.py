"""Procedural textures in surface coordinates.

A pattern maps coordinates u to the right and v upwards, in units of the material's period, to
values in [0, 1] that blend the material's two colours.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Color = Float[np.ndarray, " 3"]  # linear RGB
Values = Float[np.ndarray, " points"]
Cells = Int[np.ndarray, " points"]

# Random values of the points with integer coordinates, from which all noise is interpolated.
_TABLE = np.random.default_rng(0).random(4096, dtype=np.float32)


class Material(NamedTuple):
    """A texture that blends two colours."""

    pattern: str  # a name in PATTERNS
    period: float  # metres after which the pattern repeats
    low: Color
    high: Color
    offset: Float[np.ndarray, " 2"]  # metres by which the pattern is shifted
    glow: float = 0.0  # light that the surface itself emits, in units of its albedo


def per_pixel(
    vectors: Sequence[Float[np.ndarray, " channels"]], owner: Int[np.ndarray, " points"]
) -> Float[np.ndarray, "channels points"]:
    """Returns for each point the vector with the index `owner`."""
    return np.stack(vectors, axis=1).take(owner, axis=1)


def albedo(
    materials: Sequence[Material],
    owner: Int[np.ndarray, " points"],
    uv: Float[np.ndarray, "2 points"],
    footprint: Values,
) -> Float[np.ndarray, "3 points"]:
    """Returns the linear RGB of surfaces.

    Args:
      materials: all materials of the scene.
      owner: index of the material at each point.
      uv: texture coordinates in metres.
      footprint: width in metres of a pixel at the surface.
    """
    names = list(PATTERNS)
    pattern = np.array([names.index(material.pattern) for material in materials]).take(owner)
    period = np.array([material.period for material in materials], np.float32).take(owner)
    u, v = uv + per_pixel([material.offset for material in materials], owner)
    # A texture that is finer than the pixels fades to its mean, as in a camera.
    contrast = np.minimum(0.3 * period / np.maximum(footprint, 1e-6), 1)
    across, along = u / period, v / period
    value = np.zeros_like(u)
    for index, (function, mean) in enumerate(PATTERNS.values()):
        chosen = np.flatnonzero(pattern == index)
        detail = function(across.take(chosen), along.take(chosen)) - mean
        value[chosen] = mean + detail * contrast.take(chosen)
    value *= np.float32(0.9) + np.float32(0.2) * value_noise(4 * u, 4 * v)
    low = per_pixel([material.low for material in materials], owner)
    step = per_pixel([material.high - material.low for material in materials], owner)
    return low + step * value


def _lattice(i: Cells, j: Cells | int) -> Values:
    return _TABLE.take((i * 37 + j * 1009) & 4095)


def value_noise(u: Values, v: Values) -> Values:
    """Returns smooth noise in [0, 1], with a random value at each point of integer coordinates."""
    u0, v0 = _cell(u), _cell(v)
    s, t = _fraction(u), _fraction(v)
    a, b, c, d = (_lattice(u0 + i, v0 + j) for j in (0, 1) for i in (0, 1))
    low, high = a + (b - a) * s, c + (d - c) * s
    return low + (high - low) * t


def _cell(values: Values) -> Cells:
    return np.floor(values).astype(np.intp)


def _fraction(values: Values) -> Values:
    return values - np.floor(values)


def plain(u: Values, v: Values) -> Values:
    """Coarse blotches only."""
    return value_noise(u, v)


def checker(u: Values, v: Values) -> Values:
    """Squares of half a period."""
    return ((_cell(2 * u) + _cell(2 * v)) & 1).astype(np.float32)


def stripes(u: Values, v: Values) -> Values:
    """Vertical bands of half a period."""
    return (_fraction(u) < 0.5).astype(np.float32)


def tiles(u: Values, v: Values) -> Values:
    """Square tiles of one period, in different tones, with dark joints."""
    joint = (_fraction(u) < 0.06) | (_fraction(v) < 0.06)
    return np.where(joint, 0, 0.6 + 0.4 * _lattice(_cell(u), _cell(v)))


def planks(u: Values, v: Values) -> Values:
    """Boards along v, one period wide and eight long, in different tones."""
    board = _cell(u)
    along = v / 8 + _lattice(board, 0)
    seam = (_fraction(u) < 0.07) | (_fraction(along) < 0.01)
    return np.where(seam, 0, 0.3 + 0.7 * _lattice(board, _cell(along)))


def bricks(u: Values, v: Values) -> Values:
    """Bricks in running bond, a third of a period high and one long, with light mortar."""
    course = _cell(3 * v)
    along = u + 0.5 * (course & 1)
    mortar = (_fraction(3 * v) < 0.15) | (_fraction(along) < 0.05)
    return np.where(mortar, 1, 0.5 * _lattice(_cell(along), course))


def skirting(u: Values, v: Values) -> Values:
    """A wall with a skirting board 0.1 m high; the period must be 1 m."""
    return np.where(v < 0.1, 1, 0.15 * value_noise(2 * u, 2 * v))


def dado(u: Values, v: Values) -> Values:
    """A wall with skirting, panels 0.4 m wide and a rail at 0.95 m; the period must be 1 m."""
    frame = (_fraction(u / 0.4) < 0.15) | (v < 0.15) | (v > 0.83)
    panelled = np.where(frame, 1, 0.8)
    return np.where(v < 0.95, panelled, 0.15 * value_noise(2 * u, 2 * v))


def windows(u: Values, v: Values) -> Values:
    """A facade with a window in each square of one period, the height of a storey."""
    s, t = _fraction(u), _fraction(v)
    pane = (np.abs(s - 0.5) < 0.22) & (np.abs(t - 0.52) < 0.27)
    cross = (np.abs(s - 0.5) < 0.02) | (np.abs(t - 0.6) < 0.02)
    glass = 0.7 + 0.3 * _lattice(_cell(u), _cell(v))
    return np.where(pane & ~cross, glass, 0.15 * (t < 0.06))


def road(u: Values, v: Values) -> Values:
    """Asphalt with lanes 3 m wide: a solid line in the middle, others broken; period 1 m."""
    line = np.abs(u - 3 * np.round(u / 3)) < 0.07
    dashed = (np.abs(u) < 0.1) | (_fraction(v / 9) < 0.33)
    return np.where(line & dashed, 1, 0.15 * value_noise(8 * u, 8 * v))


# Each pattern, and its mean, to which it fades where it is too fine for the image.
PATTERNS: dict[str, tuple[Callable[[Values, Values], Values], float]] = {
    "plain": (plain, 0.5),
    "checker": (checker, 0.5),
    "stripes": (stripes, 0.5),
    "tiles": (tiles, 0.7),
    "planks": (planks, 0.6),
    "bricks": (bricks, 0.4),
    "skirting": (skirting, 0.1),
    "dado": (dado, 0.4),
    "windows": (windows, 0.25),
    "road": (road, 0.1),
}
