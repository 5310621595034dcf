"""The pinhole projection: the rays of pixels, and the pixels that see a part of the world.

Rays are not normalised. Their z in camera axes is 1, so the distance along a ray is the z-depth.
"""

import numpy as np
from jaxtyping import Float, Float32, Float64

from diffdepth_jax.datasets.scenes.scene import Camera, Rotation

NEAR = 0.05  # metres; nothing closer than this is seen

Window = tuple[slice, slice]  # rows and columns of an image


def focal_length(camera: Camera, width: int) -> float:
    """Returns the focal length in pixels of the camera's image, `width` pixels wide."""
    return camera.focal_per_width * width


def intrinsics(camera: Camera, height: int, width: int) -> Float64[np.ndarray, "3 3"]:
    """Returns the pinhole matrix; integer coordinates are pixel centres."""
    focal = focal_length(camera, width)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def pixel_rays(
    camera: Camera, height: int, width: int
) -> tuple[Float32[np.ndarray, " width"], Float32[np.ndarray, " height"]]:
    """Returns x of each column and y of each row; a pixel's ray is (x, y, 1) in camera axes."""
    focal = focal_length(camera, width)
    x = (np.arange(width) - (width - 1) / 2) / focal
    y = (np.arange(height) - (height - 1) / 2) / focal
    return x.astype(np.float32), y.astype(np.float32)


def rotated_rays(
    matrix: Rotation, x: Float[np.ndarray, " width"], y: Float[np.ndarray, " height"]
) -> Float[np.ndarray, "3 height width"]:
    """Returns the matrix times the ray (x, y, 1) of each pixel."""
    rows = matrix[:, 1:2] * y + matrix[:, 2:]
    return rows[:, :, None] + (matrix[:, :1] * x)[:, None, :]


def windows_of(
    hulls: Float[np.ndarray, "solids 3 points"], camera: Camera, height: int, width: int
) -> list[Window | None]:
    """Returns the window that sees each convex hull of world points; None if no pixel does."""
    points = _clip(camera.rotation.T @ (hulls - camera.position[:, None]))
    scale = focal_length(camera, width) / points[:, 2]
    columns = _spans(points[:, 0] * scale + (width - 1) / 2, width)
    rows = _spans(points[:, 1] * scale + (height - 1) / 2, height)
    pairs = zip(rows, columns, strict=True)
    return [(row, column) if row and column else None for row, column in pairs]


def _clip(points: Float[np.ndarray, "solids 3 points"]) -> Float[np.ndarray, "solids 3 clipped"]:
    """Returns the points of each hull, cut at the near plane, in camera axes.

    These are the points in front of the plane, and where lines to points behind it meet the plane;
    all other of the points x points entries are nan.
    """
    z = points[:, 2]
    front = z > NEAR
    crosses = front[:, :, None] & ~front[:, None]  # [solids, from in front, to behind]
    rise = np.where(crosses, z[:, :, None] - z[:, None], 1)
    step = np.where(crosses, (z[:, :, None] - NEAR) / rise, 0)[:, None]
    start = np.where(front[:, None], points, np.nan)[:, :, :, None]
    return (start + step * (points[:, :, None] - start)).reshape(len(points), 3, -1)


def _spans(values: Float[np.ndarray, "solids clipped"], size: int) -> list[slice | None]:
    """Returns slices of the pixels from the least to the greatest value; None if there are none."""
    starts = np.maximum(np.floor(np.fmin.reduce(values, axis=1)), 0)
    stops = np.minimum(np.ceil(np.fmax.reduce(values, axis=1)) + 1, size)
    spans = zip(starts, stops, strict=True)
    return [slice(int(start), int(stop)) if start < stop else None for start, stop in spans]
