"""Procedural textures in metric surface coordinates, for the scenes of `scene_renderer`.

A pattern maps coordinates u, v [N], in units of the material's period, to values in [0, 1] [N]
that blend the material's two colours.
"""

from typing import NamedTuple

import numpy as np

_TABLE = np.random.default_rng(0).random(4096, dtype=np.float32)  # the lattice of all the noise


class Material(NamedTuple):
    """A two-colour texture; `period` metres is the size of one repeat, `offset` shifts it."""

    pattern: str
    period: float
    low: np.ndarray  # linear RGB [3]
    high: np.ndarray
    offset: np.ndarray  # [2] metres
    glow: float = 0.0  # light that the surface emits itself, in units of its albedo


def albedo(material, uv, footprint):
    """Linear RGB [3, N] at texture coordinates [2, N] seen by pixels `footprint` [N] metres wide."""
    pattern, mean = PATTERNS[material.pattern]
    u, v = uv + material.offset[:, None]
    # A texture finer than the pixels fades to its mean, as it does in a camera.
    contrast = np.minimum(np.float32(0.3 * material.period) / footprint, 1)
    scale = np.float32(1 / material.period)
    value = mean + (pattern(u * scale, v * scale) - mean) * contrast
    colour = material.low[:, None] + (material.high - material.low)[:, None] * value
    return colour * (np.float32(0.85) + np.float32(0.3) * value_noise(3 * u, 3 * v))


def _lattice(i, j):
    return _TABLE[(i * 37 + j * 1009) & 4095]


def value_noise(u, v):
    """Smooth noise in [0, 1] with one random value at every integer point, [N]."""
    u0, v0 = np.floor(u), np.floor(v)
    s, t = u - u0, v - v0
    cell = u0.astype(np.int32) * 37 + v0.astype(np.int32) * 1009
    a, b = _TABLE[cell & 4095], _TABLE[(cell + 37) & 4095]
    c, d = _TABLE[(cell + 1009) & 4095], _TABLE[(cell + 1046) & 4095]
    low, high = a + (b - a) * s, c + (d - c) * s
    return low + (high - low) * t


def _cell(values):
    return np.floor(values).astype(np.int32)


def _fraction(values):
    return values - np.floor(values)


def plain(u, v):
    """Coarse blotches only."""
    return value_noise(u, v)


def checker(u, v):
    """Squares of half a period."""
    return ((_cell(2 * u) + _cell(2 * v)) & 1).astype(np.float32)


def stripes(u, v):
    """Vertical bands of half a period."""
    return (_fraction(u) < 0.5).astype(np.float32)


def tiles(u, v):
    """Square tiles of one period, each a tone of its own, with dark joints."""
    joint = (_fraction(u) < 0.06) | (_fraction(v) < 0.06)
    return np.where(joint, 0, 0.6 + 0.4 * _lattice(_cell(u), _cell(v)))


def planks(u, v):
    """Boards along v: one period wide, eight long, each a tone of its own."""
    board = _cell(u)
    along = v / 8 + _lattice(board, 0)
    seam = (_fraction(u) < 0.07) | (_fraction(along) < 0.01)
    return np.where(seam, 0, 0.3 + 0.7 * _lattice(board, _cell(along)))


def bricks(u, v):
    """Courses a third of a period high in running bond; light mortar."""
    course = _cell(3 * v)
    along = u + 0.5 * (course & 1)
    mortar = (_fraction(3 * v) < 0.15) | (_fraction(along) < 0.05)
    return np.where(mortar, 1, 0.5 * _lattice(_cell(along), course))


def skirting(u, v):
    """A wall in real metres (period 1): blotches above a skirting board 0.1 m high."""
    return np.where(v < 0.1, 1, 0.35 * value_noise(2 * u, 2 * v))


def windows(u, v):
    """A facade: one window in each square of one period (a storey)."""
    s, t = _fraction(u), _fraction(v)
    pane = (np.abs(s - 0.5) < 0.22) & (np.abs(t - 0.52) < 0.27)
    cross = (np.abs(s - 0.5) < 0.02) | (np.abs(t - 0.6) < 0.02)
    glass = 0.7 + 0.3 * _lattice(_cell(u), _cell(v))
    return np.where(pane & ~cross, glass, 0.15 * (t < 0.06))


def road(u, v):
    """Lanes 3 m wide in real metres (period 1): dashed lines, 3 m long every 9 m, on asphalt."""
    line = np.abs(u - 3 * np.round(u / 3)) < 0.07
    dashed = (np.abs(u) < 0.1) | (_fraction(v / 9) < 0.33)
    return np.where(line & dashed, 1, 0.15 * value_noise(8 * u, 8 * v))


# Each with its mean, to which it fades where it is too fine for the image.
PATTERNS = {
    "plain": (plain, 0.5),
    "checker": (checker, 0.5),
    "stripes": (stripes, 0.5),
    "tiles": (tiles, 0.7),
    "planks": (planks, 0.6),
    "bricks": (bricks, 0.4),
    "skirting": (skirting, 0.2),
    "windows": (windows, 0.25),
    "road": (road, 0.1),
}
