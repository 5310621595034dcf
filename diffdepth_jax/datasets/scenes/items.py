"""The furniture of rooms and streets, in metres, and how to build it of solids.

Objects keep the sizes that they have in the world, so that they tell the scale of an image.
"""

from typing import NamedTuple

import numpy as np

from diffdepth_jax.datasets.scenes.renderer import Solid, upright
from diffdepth_jax.datasets.scenes.textures import Material


class Item(NamedTuple):
    """A piece of furniture or of a street. Parts are (shape, centre, full size, material slot).

    Its frame stands on the floor with its back towards +y. Slot 0 has one of `patterns` with a
    period in metres from `period`; slot 1 is dark, slot 2 pale, slot 3 glows, slot 4 is leaves.
    """

    patterns: tuple
    period: tuple
    parts: tuple


def _legs(width, depth, height, thickness):
    return tuple(
        ("box", (x * width / 2, y * depth / 2, height / 2), (thickness, thickness, height), 1)
        for x in (-1, 1)
        for y in (-1, 1)
    )


def _vehicle(width, length, height, cabin, hood):
    """Under-body, body and cabin; the cabin spans `cabin` (from, to) of the length."""
    start, stop = cabin
    middle, cabin_length = (start + stop - 1) / 2 * length, (stop - start) * length
    return (
        ("box", (0, -0.3 * length, 0.3), (width * 0.97, 0.62, 0.6), 1),
        ("box", (0, 0.3 * length, 0.3), (width * 0.97, 0.62, 0.6), 1),
        ("box", (0, 0, (0.3 + hood) / 2), (width, length, hood - 0.3), 0),
        ("box", (0, middle, hood + 0.22), (width * 0.88, cabin_length, 0.44), 1),
        (
            "box",
            (0, middle, (hood + 0.44 + height) / 2),
            (width * 0.88, cabin_length, height - hood - 0.44),
            0,
        ),
    )


# Patterns whose place on the surface means something: a skirting board is at the foot of a wall.
REGISTERED = ("skirting", "dado", "windows", "road")
WOOD = ("planks", "plain", "stripes")
CLOTH = ("plain", "checker", "stripes")

AGAINST_WALL = {
    "wardrobe": Item(WOOD, (0.3, 0.6), (("box", (0, 0, 1.0), (1.2, 0.6, 2.0), 0),)),
    "dresser": Item(
        WOOD,
        (0.2, 0.5),
        (
            ("box", (0, 0, 0.4), (1.0, 0.45, 0.8), 0),
            ("box", (-0.2, 0, 0.95), (0.3, 0.25, 0.3), 2),
        ),
    ),
    "kitchen": Item(
        ("tiles", "plain"),
        (0.6, 0.6),
        (
            ("box", (0, 0, 0.43), (1.8, 0.6, 0.86), 0),
            ("box", (0, 0, 0.88), (1.84, 0.64, 0.04), 1),
            ("box", (0, 0.12, 1.75), (1.8, 0.36, 0.7), 0),
        ),
    ),
    "shelf": Item(
        WOOD,
        (0.2, 0.5),
        (
            ("box", (0, 0.14, 0.9), (1.0, 0.02, 1.8), 1),
            ("box", (-0.49, 0, 0.9), (0.03, 0.3, 1.8), 0),
            ("box", (0.49, 0, 0.9), (0.03, 0.3, 1.8), 0),
            *(("box", (0, 0, z), (0.96, 0.3, 0.03), 0) for z in (0.05, 0.6, 1.15, 1.78)),
            ("box", (-0.2, 0, 0.75), (0.4, 0.2, 0.26), 2),
        ),
    ),
    "sofa": Item(
        CLOTH,
        (0.15, 0.5),
        (
            ("box", (0, 0, 0.22), (1.9, 0.85, 0.44), 0),
            ("box", (0, 0.33, 0.6), (1.9, 0.2, 0.4), 0),
            ("box", (-0.87, 0, 0.3), (0.18, 0.85, 0.6), 0),
            ("box", (0.87, 0, 0.3), (0.18, 0.85, 0.6), 0),
        ),
    ),
    "bed": Item(
        CLOTH,
        (0.2, 0.6),
        (
            ("box", (0, 0, 0.17), (1.6, 2.0, 0.34), 1),
            ("box", (0, 0, 0.44), (1.55, 1.9, 0.2), 0),
            ("box", (0, 0.7, 0.58), (1.2, 0.4, 0.1), 2),
            ("box", (0, 0.98, 0.5), (1.6, 0.06, 1.0), 1),
        ),
    ),
    "floor_lamp": Item(
        ("plain",),
        (0.5, 0.5),
        (
            ("cylinder", (0, 0, 0.8), (0.04, 0.04, 1.5), 1),
            ("cylinder", (0, 0, 1.6), (0.4, 0.4, 0.3), 3),
            ("cylinder", (0, 0, 0.02), (0.3, 0.3, 0.04), 1),
        ),
    ),
}
FREE_STANDING = {
    "table": Item(
        WOOD,
        (0.15, 0.4),
        (
            ("box", (0, 0, 0.73), (1.5, 0.85, 0.05), 0),
            *_legs(1.3, 0.7, 0.71, 0.06),
        ),
    ),
    "low_table": Item(
        WOOD,
        (0.15, 0.4),
        (
            ("box", (0, 0, 0.4), (1.0, 0.6, 0.06), 0),
            *_legs(0.85, 0.45, 0.38, 0.06),
        ),
    ),
    "chair": Item(
        CLOTH,
        (0.1, 0.3),
        (
            ("box", (0, 0, 0.46), (0.46, 0.46, 0.05), 0),
            ("box", (0, 0.21, 0.74), (0.44, 0.04, 0.5), 0),
            *_legs(0.4, 0.4, 0.44, 0.04),
        ),
    ),
    "round_table": Item(
        WOOD,
        (0.15, 0.4),
        (
            ("cylinder", (0, 0, 0.72), (1.0, 1.0, 0.05), 0),
            ("cylinder", (0, 0, 0.35), (0.1, 0.1, 0.7), 1),
            ("cylinder", (0, 0, 0.02), (0.5, 0.5, 0.04), 1),
        ),
    ),
    "bin": Item(CLOTH, (0.1, 0.3), (("cylinder", (0, 0, 0.22), (0.32, 0.32, 0.44), 0),)),
    "ball": Item(CLOTH, (0.2, 0.4), (("sphere", (0, 0, 0.3), (0.6, 0.6, 0.6), 0),)),
    "pouf": Item(CLOTH, (0.1, 0.3), (("sphere", (0, 0, 0.2), (0.7, 0.7, 0.42), 0),)),
    "crates": Item(
        ("planks", "checker", "plain"),
        (0.1, 0.3),
        (
            ("box", (0, 0, 0.25), (0.6, 0.5, 0.5), 0),
            ("box", (0.05, 0.03, 0.68), (0.4, 0.4, 0.36), 2),
        ),
    ),
    "plant": Item(
        ("plain", "tiles"),
        (0.1, 0.2),
        (
            ("cylinder", (0, 0, 0.2), (0.36, 0.36, 0.4), 0),
            ("cylinder", (0, 0, 0.5), (0.05, 0.05, 0.4), 1),
            ("sphere", (0, 0, 0.95), (0.7, 0.7, 0.8), 4),
        ),
    ),
    "armchair": Item(
        CLOTH,
        (0.1, 0.4),
        (
            ("box", (0, 0, 0.22), (0.8, 0.8, 0.44), 0),
            ("box", (0, 0.32, 0.6), (0.8, 0.16, 0.45), 0),
            ("box", (-0.34, 0, 0.3), (0.14, 0.8, 0.6), 0),
            ("box", (0.34, 0, 0.3), (0.14, 0.8, 0.6), 0),
        ),
    ),
}
ON_WALL = {
    "door": Item(
        ("planks", "plain"),
        (0.2, 0.4),
        (
            ("box", (0, 0, 1.04), (1.0, 0.04, 2.08), 2),
            ("box", (0, -0.02, 1.02), (0.86, 0.04, 2.02), 0),
        ),
    ),
    "window": Item(
        ("plain",),
        (1.0, 1.0),
        (
            ("box", (0, 0, 1.5), (1.4, 0.08, 1.2), 2),
            ("box", (-0.33, -0.02, 1.5), (0.6, 0.06, 1.08), 3),
            ("box", (0.33, -0.02, 1.5), (0.6, 0.06, 1.08), 3),
        ),
    ),
    "picture": Item(
        ("checker", "plain", "stripes", "tiles"),
        (0.15, 0.4),
        (
            ("box", (0, 0, 1.55), (0.8, 0.05, 0.6), 1),
            ("box", (0, -0.02, 1.55), (0.7, 0.04, 0.5), 0),
        ),
    ),
}
VEHICLES = {
    "car": Item(("plain",), (2, 4), _vehicle(1.8, 4.3, 1.48, (0.2, 0.78), 0.88)),
    "hatchback": Item(("plain",), (2, 4), _vehicle(1.7, 3.7, 1.52, (0.25, 0.98), 0.9)),
    "van": Item(("plain",), (2, 4), _vehicle(2.0, 5.2, 2.3, (0.0, 0.85), 1.15)),
    "truck": Item(
        ("stripes", "plain"),
        (1, 3),
        (
            ("box", (0, 0, 0.5), (2.2, 7.0, 0.7), 1),
            ("box", (0, 0.9, 2.15), (2.4, 5.2, 2.6), 0),
            ("box", (0, -2.8, 1.5), (2.3, 1.6, 2.0), 2),
        ),
    ),
}
STREET_FURNITURE = {
    "lamp_post": Item(
        ("plain",),
        (1, 1),
        (
            ("cylinder", (0, 0, 3.0), (0.16, 0.16, 6.0), 1),
            ("box", (0, -0.5, 6.0), (0.2, 1.2, 0.12), 1),
        ),
    ),
    "sign": Item(
        ("stripes", "checker"),
        (0.5, 0.8),
        (
            ("cylinder", (0, 0, 1.3), (0.08, 0.08, 2.6), 1),
            ("box", (0, -0.05, 2.4), (0.6, 0.04, 0.6), 0),
        ),
    ),
    "tree": Item(
        ("plain",),
        (0.2, 0.4),
        (
            ("cylinder", (0, 0, 1.2), (0.3, 0.3, 2.4), 1),
            ("sphere", (0, 0, 3.7), (3.0, 3.0, 3.4), 4),
        ),
    ),
    "person": Item(
        CLOTH,
        (0.2, 0.5),
        (
            ("cylinder", (0, 0, 0.42), (0.32, 0.28, 0.84), 1),
            ("cylinder", (0, 0, 1.14), (0.46, 0.28, 0.62), 0),
            ("sphere", (0, 0, 1.6), (0.2, 0.22, 0.26), 2),
        ),
    ),
    "litter_bin": Item(
        ("plain", "stripes"), (0.3, 0.5), (("cylinder", (0, 0, 0.5), (0.5, 0.5, 1.0), 0),)
    ),
}


def paint(rng, darkest=0.1, brightest=0.8, saturation=0.5):
    """A random linear RGB colour [3] whose brightest channel lies in the range given."""
    level, *absorbed = rng.random(4)
    absorbed = np.array(absorbed, np.float32)
    hue = 1 - np.float32(saturation) * (absorbed - absorbed.min())
    return np.float32(darkest + (brightest - darkest) * level) * hue


def material(rng, patterns, period, low, high, glow=0.0):
    """A texture with one of `patterns` and a period (metres) from the range `period`."""
    which, stretch, *offset = rng.random(4)
    pattern = patterns[int(which * len(patterns))]
    offset = (0, 0) if pattern in REGISTERED else np.multiply(offset, 50)
    period = period[0] + (period[1] - period[0]) * stretch
    return Material(pattern, period, low, high, np.array(offset, np.float32), glow)


def _slot_material(rng, item, slot):
    if slot == 0:
        return material(
            rng, item.patterns, item.period, paint(rng, 0.05, 0.6, 0.8), paint(rng, 0.15, 0.9, 0.8)
        )
    if slot == 1:
        dark = paint(rng, 0.02, 0.12, 0.3)
        return material(rng, ("plain",), (1, 1), dark, 1.3 * dark)
    if slot == 4:
        green = paint(rng, 0.8, 1.6, 0.3) * np.array([0.08, 0.2, 0.04], np.float32)
        return material(rng, ("plain",), (0.15, 0.15), 0.3 * green, 1.6 * green)
    pale = paint(rng, 0.5, 0.9, 0.15)
    glow = rng.uniform(0.3, 0.9) if slot == 3 else 0.0
    return material(rng, ("plain",), (1, 1), pale, 0.9 * pale, glow)


def build(rng, item, position, yaw, spread=0.12):
    """Solids of an item at `position` (x, y) metres; sizes vary by +-`spread`, heights by half."""
    slots = sorted({part[3] for part in item.parts})
    materials = {slot: _slot_material(rng, item, slot) for slot in slots}
    stretch = 1 + spread * rng.uniform(-1, 1, 3) * (1, 1, 0.5)
    turn, base = upright(yaw), np.array([*position, 0.0])
    solids = []
    for shape, centre, size, slot in item.parts:
        centre = (turn @ (stretch * centre) + base).astype(np.float32)
        half = (stretch * size / 2).astype(np.float32)
        solids.append(Solid(shape, centre, half, yaw, materials[slot]))
    return solids


def footprint(item):
    """Half extents (x, y) in metres of the item's unstretched parts around its origin."""
    return np.max([np.abs(c[:2]) + np.array(s[:2]) / 2 for _, c, s, _ in item.parts], axis=0)
