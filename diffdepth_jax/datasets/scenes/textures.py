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


def per_pixel(vectors, owner):
    """[C, N]: of K vectors [C], the one that each pixel's `owner` [N] numbers."""
    return np.stack(vectors, axis=1).take(owner, axis=1)


def albedo(materials, owner, uv, footprint):
    """Linear RGB [3, N] at texture coordinates [2, N] of the materials number `owner` [N].

    `footprint` [N] is the width of a pixel at the surface in metres.
    """
    names = list(PATTERNS)
    pattern = np.array([names.index(material.pattern) for material in materials]).take(owner)
    period = np.array([material.period for material in materials], np.float32).take(owner)
    u, v = uv + per_pixel([material.offset for material in materials], owner)
    # A texture finer than the pixels fades to its mean, as it does in a camera.
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


def _lattice(i, j):
    return _TABLE.take((i * 37 + j * 1009) & 4095)


def value_noise(u, v):
    """Smooth noise in [0, 1] with one random value at every integer point, [N]."""
    u0, v0 = _cell(u), _cell(v)
    s, t = _fraction(u), _fraction(v)
    a, b, c, d = (_lattice(u0 + i, v0 + j) for j in (0, 1) for i in (0, 1))
    low, high = a + (b - a) * s, c + (d - c) * s
    return low + (high - low) * t


def _cell(values):
    return np.floor(values).astype(np.intp)


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
    return np.where(v < 0.1, 1, 0.15 * value_noise(2 * u, 2 * v))


def dado(u, v):
    """A wall in real metres (period 1): skirting, panels 0.4 m wide, a rail at 0.95 m."""
    frame = (_fraction(u / 0.4) < 0.15) | (v < 0.15) | (v > 0.83)
    panelled = np.where(frame, 1, 0.8)
    return np.where(v < 0.95, panelled, 0.15 * value_noise(2 * u, 2 * v))


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
    "skirting": (skirting, 0.1),
    "dado": (dado, 0.4),
    "windows": (windows, 0.25),
    "road": (road, 0.1),
}
