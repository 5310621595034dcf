"""The geometry of single solids: corners, intersections with rays, normals, surface coordinates."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from diffdepth_jax.datasets.scenes.scene import Shape, Solid, upright

_CORNERS = np.array(
    [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32
).T  # [3, 8]

Distances = Float[np.ndarray, "..."]


def corners(solids: Sequence[Solid]) -> Float[np.ndarray, "solids 3 8"]:
    """Returns the corners of the solids' bounding boxes, in world axes."""
    turns = np.stack([upright(solid.yaw) for solid in solids])
    halves = np.stack([solid.half for solid in solids])[:, :, None]
    return turns @ (_CORNERS * halves) + np.stack([solid.centre for solid in solids])[:, :, None]


def to_unit(solid: Solid) -> Float[np.ndarray, "3 3"]:
    """Returns the matrix from world directions to the axes in which half extents are 1."""
    return upright(solid.yaw).T / solid.half[:, None]


def interval(
    shape: Shape, origin: Float[np.ndarray, "3 ..."], rays: Float[np.ndarray, "3 ..."]
) -> tuple[Distances, Distances]:
    """Returns the distances at which rays enter and leave a solid whose half extents are 1.

    `origin` and `rays` are in the axes of `to_unit` and broadcast against each other. A ray that
    misses the solid enters at a greater distance than it leaves.
    """
    if shape == "sphere":
        return _round_interval(origin, rays)
    if shape == "cylinder":
        near, far = _round_interval(origin[:2], rays[:2])
        slab_near, slab_far = _slab_interval(origin[2:], rays[2:])
        return np.maximum(near, slab_near), np.minimum(far, slab_far)
    return _slab_interval(origin, rays)


def _slab_interval(
    origin: Float[np.ndarray, "axes ..."], rays: Float[np.ndarray, "axes ..."]
) -> tuple[Distances, Distances]:
    inverse = 1 / (rays + 1e-9)  # a ray exactly parallel to a face stays finite
    middle, extent = -origin * inverse, np.abs(inverse)
    return (middle - extent).max(axis=0), (middle + extent).min(axis=0)


def _round_interval(
    origin: Float[np.ndarray, "axes ..."], rays: Float[np.ndarray, "axes ..."]
) -> tuple[Distances, Distances]:
    a = (rays * rays).sum(axis=0) + 1e-12
    b = (origin * rays).sum(axis=0)
    root_squared = b * b - a * ((origin * origin).sum(axis=0) - 1)
    root = np.sqrt(np.maximum(root_squared, 0))
    near = np.where(root_squared < 0, np.inf, (-b - root) / a)
    return near, (root - b) / a


def surface(
    shape: Shape, points: Float[np.ndarray, "3 points"], half: Float[np.ndarray, "3 points"]
) -> tuple[Float[np.ndarray, "3 points"], Float[np.ndarray, "2 points"]]:
    """Returns normals and texture coordinates in metres at points on solids of one shape.

    Points and normals are in the axes of their solid, and `half` holds its half extents. Textures
    start at the foot of a solid.
    """
    if shape == "sphere":
        return _sphere_surface(points, half)
    if shape == "cylinder":
        return _cylinder_surface(points, half)
    normals, uv = _box_surface(points, half)
    return (-normals if shape == "room" else normals), uv


def _sphere_surface(
    points: Float[np.ndarray, "3 points"], half: Float[np.ndarray, "3 points"]
) -> tuple[Float[np.ndarray, "3 points"], Float[np.ndarray, "2 points"]]:
    x, y, z = points
    normals = points / (half * half)
    normals /= np.sqrt((normals * normals).sum(axis=0))
    return normals, np.stack([np.arctan2(y, x) * half[0], z + half[2]])


def _cylinder_surface(
    points: Float[np.ndarray, "3 points"], half: Float[np.ndarray, "3 points"]
) -> tuple[Float[np.ndarray, "3 points"], Float[np.ndarray, "2 points"]]:
    x, y, z = points
    cap = np.abs(z) > 0.999 * half[2]
    normals = np.stack([x / half[0], y / half[1], np.zeros_like(z)]) * ~cap
    normals[2] = cap * np.sign(z)
    around = np.arctan2(y, x) * half[0]
    return normals, np.stack([np.where(cap, x, around), np.where(cap, y, z + half[2])])


def _box_surface(
    points: Float[np.ndarray, "3 points"], half: Float[np.ndarray, "3 points"]
) -> tuple[Float[np.ndarray, "3 points"], Float[np.ndarray, "2 points"]]:
    x, y, z = points
    u, v, w = np.abs(points) / half
    top = w >= np.maximum(u, v)
    side = (u >= v) & ~top
    normals = np.sign(points) * np.stack([side, ~(side | top), top])
    return normals, np.stack([np.where(side, y, x), np.where(top, y, z + half[2])])
