"""Random rooms and streets: what stands where, in metres, for `scene_renderer` to draw.

The camera is held at eye or car-roof height and objects keep their sizes, so that one image
determines the scale. What varies is the extent of the place and the view into it.
"""

import math

import numpy as np

from diffdepth_jax.datasets.scenes.items import (
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
from diffdepth_jax.datasets.scenes.renderer import Light, Scene, Solid, look, upright

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
    """Scene of a furnished box room; no depth in it exceeds 10 m."""
    size = _room_size(rng)
    camera = _room_camera(rng, size)
    solids = _shell(rng, size)
    solids += _wall_decoration(rng, size)
    solids += _furniture(rng, size, camera)
    return Scene(camera, solids, _lamp(rng, size), np.zeros((2, 3), np.float32), haze=1e6)


def _lamp(rng, size):
    """A warm or cold lamp under the middle of the ceiling, above the furniture, and a flash."""
    x, y = rng.uniform(-0.2, 0.2, 2) * size[:2]
    position = _vector(x, y, size[2] - rng.uniform(0.08, 0.25))
    tint = 1 + rng.uniform(-0.12, 0.12) * _vector(1, 0, -1)
    colour, ambient = rng.uniform(0.2, 0.5) * tint, rng.uniform(0.08, 0.16) * tint
    return Light(position, False, colour, ambient, flash=rng.uniform(2.2, 2.8))


def _room_size(rng):
    """Width, length and height in metres, from a bathroom to a hall."""
    extent = np.exp(rng.uniform(np.log(2.0), np.log(10.0)))
    aspect = np.sqrt(np.exp(rng.uniform(-0.6, 0.6)))
    size = np.array([extent * aspect, extent / aspect, rng.uniform(2.3, 3.2)])
    size[:2] *= min(1, np.sqrt(ROOM_DIAGONAL**2 - size[2] ** 2) / np.hypot(*size[:2]))
    return size


def _room_camera(rng, size):
    """A camera that meets a wall about as far ahead as a distance drawn on a log scale."""
    room = size[:2] / 2
    wanted = rng.uniform(np.log(1.2), np.log(10))
    positions, yaws = rng.uniform(-1, 1, (16, 2)) * (room - 0.4), rng.uniform(-np.pi, np.pi, 16)
    directions = np.stack([-np.sin(yaws), np.cos(yaws)], axis=1)
    ahead = ((room - positions * np.sign(directions)) / np.abs(directions)).min(axis=1)
    best = np.argmin(np.abs(np.log(ahead) - wanted))
    pitch, roll = np.radians(rng.normal((-16, 0), (3, 1.0)))
    return look([*positions[best], rng.uniform(1.4, 1.6)], yaws[best], pitch, roll)


def _shell(rng, size):
    """Walls, floor and ceiling."""
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
    half = _vector(width / 2, length / 2, height / 2 + 0.01)
    return [
        Solid("room", _vector(0, 0, half[2] - 0.005), half, 0.0, walls, False),
        _box((0, 0, -0.5), slab, floors, False),
        _box((0, 0, height + 0.5), slab, ceiling, False),
    ]


def _against(rng, size, half):
    """Position (x, y) and yaw of an item of half extents `half` [2] with its back to a wall."""
    side = rng.integers(4)
    yaw = side * np.pi / 2
    along, away = (size[0], size[1]) if side % 2 == 0 else (size[1], size[0])
    local = (rng.uniform(-1, 1) * max(along / 2 - half[0], 0), away / 2 - half[1])
    return (upright(yaw)[:2, :2] @ local), yaw


def _wall_decoration(rng, size):
    """Doors, windows and pictures that do not overlap."""
    taken, solids = [], []
    names = ("door", "window", "picture", "picture", "window", "door")
    for name in names[: rng.integers(3, 7)]:
        half = footprint(ON_WALL[name]) * (1.12, 0)
        position, yaw = _against(rng, size, half)
        if _claim(taken, position, yaw, half + np.array((0, 0.1))):
            solids += build(rng, ON_WALL[name], position, yaw)
    return solids


def _furniture(rng, size, camera):
    """Items on the floor that overlap neither each other nor the camera."""
    taken = [(*camera.position[:2], 0.55)]
    solids = []
    for _ in range(round(5 + 0.35 * size[0] * size[1])):
        at_wall = rng.random() < 0.6
        item = _pick(rng, AGAINST_WALL if at_wall else FREE_STANDING)
        half = 1.12 * footprint(item)
        if (2 * half.max() > size[:2]).any():
            continue
        if at_wall:
            position, yaw = _against(rng, size, half)
        else:
            room = size[:2] / 2 - np.hypot(*half)
            position, yaw = rng.uniform(-1, 1, 2) * np.maximum(room, 0), rng.uniform(0, 2 * np.pi)
        if _claim(taken, position, yaw, half):
            solids += build(rng, item, position, yaw)
    return solids


def _claim(taken, position, yaw, half):
    """Add a rectangle, as a row of discs (x, y, radius), to `taken`; False if it overlaps one.

    Discs little wider than the shorter side are tighter around a long item than a single one.
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


def sample_street(rng):
    """Scene of a street along +y, at times closed by a building; the camera is at y = 0."""
    half_road = np.exp(rng.uniform(np.log(2.0), np.log(7.5)))
    pavement = rng.uniform(1.2, 4.0)
    camera = _street_camera(rng, half_road)
    solids = _ground(rng, half_road, pavement)
    end = STREET_LENGTH
    if rng.random() < 0.45:
        end = np.exp(rng.uniform(np.log(12), np.log(70)))
        size = (2 * (half_road + pavement) + 12, 10, rng.uniform(5, 18))
        solids.append(_building(rng, (rng.uniform(-3, 3), end + 5), size))
    for side in (-1, 1):
        solids += _facades(rng, side, half_road + pavement, end)
    taken = [(*camera.position[:2], 1.2)]
    solids += _traffic(rng, half_road, end - 4, taken)
    solids += _pavement_items(rng, half_road, pavement, end - 2, taken)
    return Scene(camera, solids, _sun(rng), _sky_colours(rng), haze=rng.uniform(40, 70))


def _street_camera(rng, half_road):
    x = rng.uniform(-0.75, 0.75) * half_road
    yaw, pitch, roll = np.radians(rng.normal((0, -1, 0), (9, 3.0, 1.5)))
    return look([x, 0.0, rng.uniform(1.5, 1.8)], np.clip(yaw, -0.35, 0.35), pitch, roll)


def _sun(rng):
    azimuth, elevation = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(25, 70))
    direction = _vector(
        np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth), np.sin(elevation)
    )
    strength = rng.uniform(0.2, 1.2)  # from overcast to clear
    colour = strength * _vector(1.0, 0.95, 0.85)
    return Light(direction, True, colour, (0.75 - 0.35 * strength) * _vector(0.9, 1.0, 1.1))


def _sky_colours(rng):
    horizon = rng.uniform(0.55, 0.85) * _vector(0.95, 1.0, 1.05)
    return np.stack([horizon, horizon * _vector(0.45, 0.65, 1.0) ** np.float32(rng.random())])


def _ground(rng, half_road, pavement):
    """The road, and raised pavements that reach under the facades."""
    grey, tone = np.ones(3, np.float32), rng.uniform(0.08, 0.25)
    road = material(rng, ("road",), (1, 1), tone * grey, 0.75 * grey)
    slabs = material(
        rng,
        ("tiles", "checker"),
        (0.6, 1.5),
        0.7 * paint(rng, 0.3, 0.5, 0.2),
        paint(rng, 0.35, 0.6, 0.2),
    )
    solids = [_box((0, 40, -0.5), (120, 120, 1), road, False)]
    for side in (-1, 1):
        centre = (side * (half_road + pavement / 2 + 10), STREET_LENGTH / 2, 0.06)
        solids.append(_box(centre, (pavement + 20, STREET_LENGTH + 30, 0.12), slabs, False))
    return solids


def _building(rng, centre, size):
    wall, glass = paint(rng, 0.2, 0.8, 0.8), paint(rng, 0.03, 0.2, 0.4)
    patterns = ("windows",) if rng.random() < 0.85 else ("bricks", "plain")
    facade = material(rng, patterns, (2.6, 3.4), wall, glass)
    if facade.pattern == "bricks":
        facade = facade._replace(period=0.5, low=0.7 * wall, high=wall)
    return _box((*centre, size[2] / 2), size, facade)


def _facades(rng, side, line, end):
    """Buildings, and at times a low wall instead, from behind the camera to y = `end`."""
    solids, y = [], rng.uniform(-14, -4)
    while y < end:
        length, setback = rng.uniform(7, 22), max(rng.normal(0, 1.5), 0)
        height, depth = rng.uniform(3.5, 18), 10.0
        if rng.random() < 0.2:
            height, depth = rng.uniform(0.8, 2.2), 0.5
        x = side * (line + setback + depth / 2)
        solids.append(_building(rng, (x, y + length / 2), (depth, length, height)))
        y += length + (rng.uniform(2, 10) if rng.random() < 0.3 else 0)
    return solids


def _traffic(rng, half_road, end, taken):
    """Parked cars along the kerbs of wide roads, and moving ones in the lanes, up to y = `end`."""
    solids = []
    parked = rng.random() * (half_road > 3.5)
    for side in (-1, 1):
        for y in np.arange(rng.uniform(2, 8), min(end, 40), 6.5):
            if rng.random() < 0.8 * parked:
                x = side * (half_road - 1.1)
                _park(rng, (x, y), side, taken, solids)
    for _ in range(rng.integers(0, 4)):
        y = np.exp(rng.uniform(np.log(6), np.log(min(end, 50))))
        x = rng.uniform(-1, 1) * max(half_road - 1.5, 0.2)
        _park(rng, (x, y), np.sign(x), taken, solids)
    return solids


def _park(rng, position, side, taken, solids):
    """Add a vehicle that keeps to its side of the road, if its place is free."""
    item = _pick(rng, VEHICLES)
    yaw = rng.normal(0, 0.05) + (np.pi if side > 0 else 0.0)
    if _claim(taken, position, yaw, footprint(item)):
        solids += build(rng, item, position, yaw, spread=0.06)


def _pavement_items(rng, half_road, pavement, end, taken):
    """Poles and trees in a row along the kerb, people and bins anywhere on the pavement."""
    solids = []
    for side in (-1, 1):
        item = STREET_FURNITURE[("lamp_post", "sign", "tree")[rng.integers(3)]]
        x = side * (half_road + 0.5)
        for y in np.arange(rng.uniform(3, 15), min(end, 50), rng.uniform(8, 25)):
            if _claim(taken, (x, y), 0.0, (0.2, 0.2)):
                solids += build(rng, item, (x, y), side * np.pi / 2)
    for name in rng.choice(("person", "litter_bin", "person"), rng.integers(1, 6)):
        y = np.exp(rng.uniform(np.log(3), np.log(min(end, 35))))
        x = rng.choice((-1, 1)) * (half_road + rng.uniform(0.2, 1.0) * pavement)
        if _claim(taken, (x, y), 0.0, (0.3, 0.3)):
            solids += build(rng, STREET_FURNITURE[name], (x, y), rng.uniform(0, 2 * np.pi))
    return solids
