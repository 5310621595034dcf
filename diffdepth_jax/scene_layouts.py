"""Random rooms and streets: what stands where, in metres, for `scene_renderer` to draw.

The camera is held at eye or car-roof height and objects keep their sizes, so that one image
determines the scale. What varies is the extent of the place and the view into it.
"""

import numpy as np

from diffdepth_jax.scene_items import (
    AGAINST_WALL,
    FREE_STANDING,
    ON_WALL,
    STREET_FURNITURE,
    VEHICLES,
    build,
    footprint,
    material,
    paint,
)
from diffdepth_jax.scene_renderer import Light, Scene, Solid, look, upright

ROOM_DIAGONAL = 9.95  # metres, so that no depth in a room exceeds 10
STREET_LENGTH = 90.0  # metres


def _vector(*values):
    return np.array(values, np.float32)


def _box(centre, size, material, casts_shadow=True):
    half = np.asarray(size, np.float32) / 2
    return Solid("box", np.asarray(centre, np.float32), half, 0.0, material, casts_shadow)


def _pick(rng, items):
    names = list(items)
    return items[names[rng.integers(len(names))]]


def sample_room(rng):
    """A furnished box room [scene]; every depth in it is at most 10 m."""
    size = np.array([*np.exp(rng.uniform(np.log(1.9), np.log(9.5), 2)), rng.uniform(2.3, 3.2)])
    size[:2] *= min(1, np.sqrt(ROOM_DIAGONAL**2 - size[2] ** 2) / np.hypot(*size[:2]))
    camera = _room_camera(rng, size)
    solids = _shell(rng, size)
    solids += _wall_decoration(rng, size)
    solids += _furniture(rng, size, camera)
    lamp = rng.uniform(-0.3, 0.3, 3) * size
    lamp[2] = size[2] - rng.uniform(0.15, 0.6)
    tint = 1 + rng.uniform(-0.12, 0.12) * _vector(1, 0, -1)
    light = Light(
        lamp.astype(np.float32), False, rng.uniform(0.7, 1.3) * tint, rng.uniform(0.2, 0.5) * tint
    )
    return Scene(camera, solids, light, np.zeros((2, 3), np.float32), haze=1e6)


def _room_camera(rng, size):
    """A camera 0.4 m or more from the walls, which looks 0.9 m or more ahead before it meets one."""
    room = size[:2] / 2
    for _ in range(20):
        position = rng.uniform(-1, 1, 2) * (room - 0.4)
        yaw = rng.uniform(-np.pi, np.pi)
        ahead = position + 0.9 * np.array([-np.sin(yaw), np.cos(yaw)])
        if (np.abs(ahead) < room).all():
            break
    pitch, roll = np.radians(rng.normal((-6, 0), (5, 1.5)))
    return look([*position, rng.uniform(1.2, 1.7)], yaw, pitch, roll)


def _shell(rng, size):
    """Walls, floor, ceiling and, at times, a corner that is walled off."""
    width, length, height = size
    white, floor = paint(rng, 0.6, 0.9, 0.1), paint(rng, 0.2, 0.7, 0.6)
    wall = paint(rng, 0.35, 0.85, 0.5)
    if rng.random() < 0.7:
        walls = material(rng, ("skirting",), (1, 1), wall, white)
    else:
        walls = material(rng, ("bricks", "stripes", "tiles"), (0.25, 0.5), 0.8 * wall, wall)
    floors = material(rng, ("planks", "tiles", "checker", "plain"), (0.15, 0.6), 0.4 * floor, floor)
    ceiling = material(rng, ("plain",), (1, 1), 0.95 * white, white)
    # The floor and the ceiling are slabs that reach into the walls, so that no ray slips between.
    slab = (width + 1, length + 1, 1)
    half = _vector(width / 2, length / 2, height / 2 + 0.01)
    solids = [
        Solid("room", _vector(0, 0, half[2] - 0.005), half, 0.0, walls, False),
        _box((0, 0, -0.5), slab, floors, False),
        _box((0, 0, height + 0.5), slab, ceiling, False),
    ]
    return solids
