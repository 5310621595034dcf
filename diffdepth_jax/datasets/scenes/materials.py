"""Random colours and materials for what stands in a scene."""

import numpy as np

from diffdepth_jax.datasets.scenes.textures import Color, Material

Range = tuple[float, float]  # lowest and highest value

# Patterns with a fixed place on the surface: a skirting board is at the foot of a wall.
REGISTERED = ("skirting", "dado", "windows", "road")
WOOD = ("planks", "plain", "stripes")
CLOTH = ("plain", "checker", "stripes")


def paint(
    rng: np.random.Generator,
    darkest: float = 0.1,
    brightest: float = 0.8,
    saturation: float = 0.5,
) -> Color:
    """Returns a random linear RGB colour, whose largest value is from `darkest` to `brightest`."""
    level, *absorbed = rng.random(4)
    absorbed = np.array(absorbed, np.float32)
    hue = 1 - np.float32(saturation) * (absorbed - absorbed.min())
    return np.float32(darkest + (brightest - darkest) * level) * hue


def material(
    rng: np.random.Generator,
    patterns: tuple[str, ...],
    period: Range,
    low: Color,
    high: Color,
    glow: float = 0.0,
) -> Material:
    """Returns a material with one of the patterns, and a period in metres from this range."""
    which, stretch, *shift = rng.random(4)
    pattern = patterns[int(which * len(patterns))]
    offset = np.zeros(2) if pattern in REGISTERED else np.multiply(shift, 50)
    length = period[0] + (period[1] - period[0]) * stretch
    return Material(pattern, length, low, high, np.array(offset, np.float32), glow)


def dark(rng: np.random.Generator) -> Material:
    """Returns a dark grey material, as of metal and rubber."""
    color = paint(rng, 0.02, 0.12, 0.3)
    return material(rng, ("plain",), (1, 1), color, 1.3 * color)


def leaves(rng: np.random.Generator) -> Material:
    """Returns a green, blotched material."""
    tint = np.array([0.08, 0.2, 0.04], np.float32)
    green = paint(rng, 0.8, 1.6, 0.3) * tint
    return material(rng, ("plain",), (0.15, 0.15), 0.3 * green, 1.6 * green)


def pale(rng: np.random.Generator) -> Material:
    """Returns a pale material, as of paper and linen."""
    color = paint(rng, 0.5, 0.9, 0.15)
    return material(rng, ("plain",), (1, 1), color, 0.9 * color)


def glowing(rng: np.random.Generator) -> Material:
    """Returns a pale material that emits light, as of a lampshade and a window."""
    color = paint(rng, 0.5, 0.9, 0.15)
    glow = rng.uniform(0.3, 0.9)
    return material(rng, ("plain",), (1, 1), color, 0.9 * color, glow)


def coloured(rng: np.random.Generator, patterns: tuple[str, ...], period: Range) -> Material:
    """Returns a material of any two colours."""
    return material(rng, patterns, period, paint(rng, 0.05, 0.6, 0.8), paint(rng, 0.15, 0.9, 0.8))
