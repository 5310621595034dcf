"""Random rooms: their size, what stands in them, the lamp and the camera, in metres.

The camera is held at eye height and objects have real sizes, so that one image shows the scale.
Rooms vary in their extent and in the view into them.
"""

import numpy as np
from jaxtyping import Float

from diffdepth_jax.datasets.scenes.furniture import AGAINST_WALL, FREE_STANDING, ON_WALL
from diffdepth_jax.datasets.scenes.items import build, footprint
from diffdepth_jax.datasets.scenes.materials import material, paint
from diffdepth_jax.datasets.scenes.placement import Disc, Point, box, claim, pick, vector
from diffdepth_jax.datasets.scenes.scene import Camera, Light, Scene, Solid, look, upright

Size = Float[np.ndarray, " 3"]  # width, length and height of a room in metres

ROOM_DIAGONAL = 9.95  # metres, so that no depth in a room exceeds 10


def sample_room(rng: np.random.Generator) -> Scene:
    """Returns the scene of a furnished box room; no depth in it exceeds 10 m."""
    size = _room_size(rng)
    camera = _room_camera(rng, size)
    solids = _shell(rng, size)
    solids += _wall_decoration(rng, size)
    solids += _furniture(rng, size, camera)
    return Scene(camera, solids, _lamp(rng, size), np.zeros((2, 3), np.float32), haze=1e6)


def _lamp(rng: np.random.Generator, size: Size) -> Light:
    """Returns a warm or cold lamp under the middle of the ceiling, and a flash on the camera."""
    x, y = rng.uniform(-0.2, 0.2, 2) * size[:2]
    position = vector(x, y, size[2] - rng.uniform(0.08, 0.25))
    tint = 1 + rng.uniform(-0.12, 0.12) * vector(1, 0, -1)
    colour, ambient = rng.uniform(0.2, 0.5) * tint, rng.uniform(0.08, 0.16) * tint
    return Light(position, False, colour, ambient, flash=rng.uniform(2.2, 2.8))


def _room_size(rng: np.random.Generator) -> Size:
    """Returns the size of a room, from a bathroom to a hall."""
    extent = np.exp(rng.uniform(np.log(2.0), np.log(10.0)))
    aspect = np.sqrt(np.exp(rng.uniform(-0.6, 0.6)))
    size = np.array([extent * aspect, extent / aspect, rng.uniform(2.3, 3.2)])
    size[:2] *= min(1, np.sqrt(ROOM_DIAGONAL**2 - size[2] ** 2) / np.hypot(*size[:2]))
    return size


def _room_camera(rng: np.random.Generator, size: Size) -> Camera:
    """Returns a camera whose distance to the wall ahead is about uniform on a log scale."""
    room = size[:2] / 2
    wanted = rng.uniform(np.log(1.2), np.log(10))
    positions, yaws = rng.uniform(-1, 1, (16, 2)) * (room - 0.4), rng.uniform(-np.pi, np.pi, 16)
    directions = np.stack([-np.sin(yaws), np.cos(yaws)], axis=1)
    ahead = ((room - positions * np.sign(directions)) / np.abs(directions)).min(axis=1)
    best = np.argmin(np.abs(np.log(ahead) - wanted))
    pitch, roll = np.radians(rng.normal((-16, 0), (3, 1.0)))
    return look([*positions[best], rng.uniform(1.4, 1.6)], yaws[best], pitch, roll)


def _shell(rng: np.random.Generator, size: Size) -> list[Solid]:
    """Returns walls, floor and ceiling."""
    width, length, height = size
    white, floor = paint(rng, 0.6, 0.9, 0.1), paint(rng, 0.2, 0.7, 0.6)
    wall, trim = paint(rng, 0.35, 0.85, 0.5), paint(rng, 0.15, 0.9, 0.4)
    if rng.random() < 0.5:
        walls = material(rng, ("skirting", "dado"), (1, 1), wall, trim)
    else:
        walls = material(rng, ("bricks", "stripes", "tiles"), (0.2, 0.5), 0.75 * wall, wall)
    floors = material(rng, ("planks", "tiles", "checker", "plain"), (0.15, 0.6), 0.4 * floor, floor)
    ceiling = material(rng, ("plain",), (1, 1), 0.95 * white, white)
    # The floor and the ceiling are slabs that reach into the walls, so that no ray slips between.
    slab = (width + 1, length + 1, 1)
    half = vector(width / 2, length / 2, height / 2 + 0.01)
    return [
        Solid("room", vector(0, 0, half[2] - 0.005), half, 0.0, walls, False),
        box((0, 0, -0.5), slab, floors, False),
        box((0, 0, height + 0.5), slab, ceiling, False),
    ]


def _against(rng: np.random.Generator, size: Size, half: Point) -> tuple[Point, float]:
    """Returns position and yaw of an item of these half extents with its back to a wall."""
    side = rng.integers(4)
    yaw = side * np.pi / 2
    along, away = (size[0], size[1]) if side % 2 == 0 else (size[1], size[0])
    local = (rng.uniform(-1, 1) * max(along / 2 - half[0], 0), away / 2 - half[1])
    return (upright(yaw)[:2, :2] @ local), yaw


def _wall_decoration(rng: np.random.Generator, size: Size) -> list[Solid]:
    """Returns doors, windows and pictures that do not overlap."""
    taken: list[Disc] = []
    solids = []
    names = ("door", "window", "picture", "picture", "window", "door")
    for name in names[: rng.integers(3, 7)]:
        half = footprint(ON_WALL[name]) * (1.12, 0)
        position, yaw = _against(rng, size, half)
        if claim(taken, position, yaw, half + np.array((0, 0.1))):
            solids += build(rng, ON_WALL[name], position, yaw)
    return solids


def _furniture(rng: np.random.Generator, size: Size, camera: Camera) -> list[Solid]:
    """Returns items on the floor that overlap neither each other nor the camera."""
    taken: list[Disc] = [(*camera.position[:2].tolist(), 0.55)]
    solids = []
    for _ in range(round(5 + 0.35 * size[0] * size[1])):
        at_wall = rng.random() < 0.6
        item = pick(rng, AGAINST_WALL if at_wall else FREE_STANDING)
        half = 1.12 * footprint(item)
        if (2 * half.max() > size[:2]).any():
            continue
        if at_wall:
            position, yaw = _against(rng, size, half)
        else:
            room = size[:2] / 2 - np.hypot(*half)
            position, yaw = rng.uniform(-1, 1, 2) * np.maximum(room, 0), rng.uniform(0, 2 * np.pi)
        if claim(taken, position, yaw, half):
            solids += build(rng, item, position, yaw)
    return solids
