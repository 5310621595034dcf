"""Where solids and items stand, so that no two of them overlap."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32

from diffdepth_jax.datasets.scenes.items import Item
from diffdepth_jax.datasets.scenes.scene import Solid
from diffdepth_jax.datasets.scenes.textures import Material

Point = Float[np.ndarray, " 2"]  # (x, y) in metres
Disc = tuple[float, float, float]  # (x, y, radius) in metres of a part of the floor that is taken


def vector(*values: float | np.floating) -> Float32[np.ndarray, " 3"]:
    """Returns three numbers as an array."""
    return np.array(values, np.float32)


def box(
    centre: Sequence[float], size: Sequence[float], material: Material, casts_shadow: bool = True
) -> Solid:
    """Returns a box along the axes, with its full size in metres."""
    half = np.asarray(size, np.float32) / 2
    return Solid("box", np.asarray(centre, np.float32), half, 0.0, material, casts_shadow)


def pick(rng: np.random.Generator, items: Mapping[str, Item]) -> Item:
    """Returns one of the items; all are equally likely."""
    names = list(items)
    return items[names[rng.integers(len(names))]]


def claim(
    taken: list[Disc], position: Sequence[float] | Point, yaw: float, half: Sequence[float] | Point
) -> bool:
    """Takes the floor under a rectangle, if all of it is free; returns whether it was.

    The rectangle of half extents `half` becomes a row of discs in `taken`. Discs little wider than
    the shorter side lie closer around a long item than a single one.
    """
    short, reach = min(half), max(half) - min(half)
    angle = yaw + (math.pi / 2 if half[1] > half[0] else 0)
    count = math.ceil(reach / short)
    discs = []
    for i in range(-count, count + 1, 2):
        step = reach * i / max(count, 1)
        x, y = position[0] + step * math.cos(angle), position[1] + step * math.sin(angle)
        if any(math.hypot(x - u, y - v) < 1.2 * short + radius for u, v, radius in taken):
            return False
        discs.append((x, y, 1.2 * short))
    taken.extend(discs)
    return True
