"""Random streets: road, buildings, traffic, the sun and the camera, in metres.

The camera is held at the height of a car's roof and objects have real sizes, so that one image
shows the scale. Streets vary in their width and in the view along them.
"""

import numpy as np
from jaxtyping import Float

from diffdepth_jax.datasets.scenes.items import build, footprint
from diffdepth_jax.datasets.scenes.materials import material, paint
from diffdepth_jax.datasets.scenes.placement import Disc, box, claim, pick, vector
from diffdepth_jax.datasets.scenes.scene import Camera, Light, Scene, Solid, look
from diffdepth_jax.datasets.scenes.street_items import STREET_FURNITURE, VEHICLES

STREET_LENGTH = 90.0  # metres


def sample_street(rng: np.random.Generator) -> Scene:
    """Returns the scene of a street along +y, seen from y = 0; a building may close the street."""
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
    taken: list[Disc] = [(*camera.position[:2].tolist(), 1.2)]
    solids += _traffic(rng, half_road, end - 4, taken)
    solids += _pavement_items(rng, half_road, pavement, end - 2, taken)
    return Scene(camera, solids, _sun(rng), _sky_colours(rng), haze=rng.uniform(40, 70))


def _street_camera(rng: np.random.Generator, half_road: float) -> Camera:
    x = rng.uniform(-0.75, 0.75) * half_road
    yaw, pitch, roll = np.radians(rng.normal((0, -1, 0), (9, 3.0, 1.5)))
    return look([x, 0.0, rng.uniform(1.5, 1.8)], np.clip(yaw, -0.35, 0.35), pitch, roll)


def _sun(rng: np.random.Generator) -> Light:
    azimuth, elevation = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(25, 70))
    direction = vector(
        np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth), np.sin(elevation)
    )
    strength = rng.uniform(0.2, 1.2)  # from overcast to clear
    colour = strength * vector(1.0, 0.95, 0.85)
    return Light(direction, True, colour, (0.75 - 0.35 * strength) * vector(0.9, 1.0, 1.1))


def _sky_colours(rng: np.random.Generator) -> Float[np.ndarray, "2 3"]:
    """Returns linear RGB at the horizon and, bluer and darker, at the zenith."""
    horizon = rng.uniform(0.55, 0.85) * vector(0.95, 1.0, 1.05)
    return np.stack([horizon, horizon * vector(0.45, 0.65, 1.0) ** np.float32(rng.random())])


def _ground(rng: np.random.Generator, half_road: float, pavement: float) -> list[Solid]:
    """Returns the road, and raised pavements that reach under the facades."""
    grey, tone = np.ones(3, np.float32), rng.uniform(0.08, 0.25)
    road = material(rng, ("road",), (1, 1), tone * grey, 0.75 * grey)
    slabs = material(
        rng,
        ("tiles", "checker"),
        (0.6, 1.5),
        0.7 * paint(rng, 0.3, 0.5, 0.2),
        paint(rng, 0.35, 0.6, 0.2),
    )
    solids = [box((0, 40, -0.5), (120, 120, 1), road, False)]
    for side in (-1, 1):
        centre = (side * (half_road + pavement / 2 + 10), STREET_LENGTH / 2, 0.06)
        solids.append(box(centre, (pavement + 20, STREET_LENGTH + 30, 0.12), slabs, False))
    return solids


def _building(
    rng: np.random.Generator, centre: tuple[float, float], size: tuple[float, float, float]
) -> Solid:
    wall, glass = paint(rng, 0.2, 0.8, 0.8), paint(rng, 0.03, 0.2, 0.4)
    patterns = ("windows",) if rng.random() < 0.85 else ("bricks", "plain")
    facade = material(rng, patterns, (2.6, 3.4), wall, glass)
    if facade.pattern == "bricks":
        facade = facade._replace(period=0.5, low=0.7 * wall, high=wall)
    return box((*centre, size[2] / 2), size, facade)


def _facades(rng: np.random.Generator, side: int, line: float, end: float) -> list[Solid]:
    """Returns buildings and low walls on one side, from behind the camera to y = `end`."""
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


def _traffic(
    rng: np.random.Generator, half_road: float, end: float, taken: list[Disc]
) -> list[Solid]:
    """Returns vehicles up to y = `end`: parked at the kerbs of wide roads, driving in the lanes."""
    solids = []
    parked = rng.random() * (half_road > 3.5)
    for side in (-1, 1):
        for y in np.arange(rng.uniform(2, 8), min(end, 40), 6.5):
            if rng.random() < 0.8 * parked:
                x = side * (half_road - 1.1)
                solids += _park(rng, (x, y), side, taken)
    for _ in range(rng.integers(0, 4)):
        y = np.exp(rng.uniform(np.log(6), np.log(min(end, 50))))
        x = rng.uniform(-1, 1) * max(half_road - 1.5, 0.2)
        solids += _park(rng, (x, y), np.sign(x), taken)
    return solids


def _park(
    rng: np.random.Generator, position: tuple[float, float], side: float, taken: list[Disc]
) -> list[Solid]:
    """Returns a vehicle that keeps to its side of the road, or nothing if its place is taken."""
    item = pick(rng, VEHICLES)
    yaw = rng.normal(0, 0.05) + (np.pi if side > 0 else 0.0)
    if not claim(taken, position, yaw, footprint(item)):
        return []
    return build(rng, item, position, yaw, spread=0.06)


def _pavement_items(
    rng: np.random.Generator, half_road: float, pavement: float, end: float, taken: list[Disc]
) -> list[Solid]:
    """Returns poles or trees in a row along the kerb, and people and bins on the pavements."""
    solids = []
    for side in (-1, 1):
        item = STREET_FURNITURE[("lamp_post", "sign", "tree")[rng.integers(3)]]
        x = side * (half_road + 0.5)
        for y in np.arange(rng.uniform(3, 15), min(end, 50), rng.uniform(8, 25)):
            if claim(taken, (x, y), 0.0, (0.2, 0.2)):
                solids += build(rng, item, (x, y), side * np.pi / 2)
    for name in rng.choice(("person", "litter_bin", "person"), rng.integers(1, 6)):
        y = np.exp(rng.uniform(np.log(3), np.log(min(end, 35))))
        x = rng.choice((-1, 1)) * (half_road + rng.uniform(0.2, 1.0) * pavement)
        if claim(taken, (x, y), 0.0, (0.3, 0.3)):
            solids += build(rng, STREET_FURNITURE[name], (x, y), rng.uniform(0, 2 * np.pi))
    return solids
