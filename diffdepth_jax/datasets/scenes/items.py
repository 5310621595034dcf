"""Items of furniture and of streets in metres, and how to build them from solids.

Items have the sizes of real ones, so that they show the scale of an image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffdepth_jax.datasets.scenes import materials
from diffdepth_jax.datasets.scenes.materials import Range
from diffdepth_jax.datasets.scenes.scene import Shape, Solid, upright
from diffdepth_jax.datasets.scenes.textures import Material

Triple = tuple[float, float, float]
Part = tuple[Shape, Triple, Triple, int]  # shape, centre, full size, slot of the material


class Item(NamedTuple):
    """A piece of furniture or of a street, on the floor with its back towards +y.

    Slots: the material in slot 0 has one of `patterns`, with a period in metres from `period`;
    slot 1 is dark, slot 2 pale, slot 3 glows, slot 4 is leaves.
    """

    patterns: tuple[str, ...]
    period: Range
    parts: tuple[Part, ...]


def _slot_material(rng: np.random.Generator, item: Item, slot: int) -> Material:
    if slot == 0:
        return materials.coloured(rng, item.patterns, item.period)
    make = {1: materials.dark, 2: materials.pale, 3: materials.glowing, 4: materials.leaves}
    return make[slot](rng)


def build(
    rng: np.random.Generator,
    item: Item,
    position: Sequence[float] | Float[np.ndarray, " 2"],
    yaw: float,
    spread: float = 0.12,
) -> list[Solid]:
    """Returns the solids of an item at `position` (x, y) metres.

    Width and depth vary by +-`spread`, height by half of that.
    """
    slots = sorted({part[3] for part in item.parts})
    chosen = {slot: _slot_material(rng, item, slot) for slot in slots}
    stretch = 1 + spread * rng.uniform(-1, 1, 3) * (1, 1, 0.5)
    turn, base = upright(yaw), np.array([*position, 0.0])
    solids = []
    for shape, centre, size, slot in item.parts:
        placed = (turn @ (stretch * centre) + base).astype(np.float32)
        half = (stretch * size / 2).astype(np.float32)
        solids.append(Solid(shape, placed, half, yaw, chosen[slot]))
    return solids


def footprint(item: Item) -> Float[np.ndarray, " 2"]:
    """Returns the half extents (x, y) in metres of an item of mean size, around its origin."""
    return np.max([np.abs(c[:2]) + np.array(s[:2]) / 2 for _, c, s, _ in item.parts], axis=0)
