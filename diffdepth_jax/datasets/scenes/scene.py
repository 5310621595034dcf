"""What a scene consists of: a camera, solids, a light and a sky.

World axes: x right, y forward, z up, in metres. Camera axes: x right, y down, z forward.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from diffdepth_jax.datasets.scenes.textures import Color, Material

Vector = Float[np.ndarray, " 3"]
Rotation = Float[np.ndarray, "3 3"]
Shape = Literal["box", "sphere", "cylinder", "room"]
# The standard focal length by the image width. The horizontal field of view is 58 degrees, as a
# Kinect's (NYU Depth v2).
FOCAL_PER_WIDTH = 0.9


class Solid(NamedTuple):
    """An upright solid; a sphere may be an ellipsoid, and a room is a box seen from inside."""

    shape: Shape
    centre: Vector
    half: Vector  # half extents in metres
    yaw: float  # rotation about z in radians
    material: Material
    casts_shadow: bool = True


class Camera(NamedTuple):
    """A pinhole camera in the world."""

    position: Vector
    rotation: Rotation  # from camera axes to world axes
    focal_per_width: float = FOCAL_PER_WIDTH  # focal length by the width of the image


class Light(NamedTuple):
    """A lamp, or the sun, and the light that comes from everywhere."""

    position: Vector  # of the lamp, or the unit vector towards the sun
    is_sun: bool
    colour: Color
    ambient: Color
    flash: float = 0.0  # light from the camera onto a white surface one metre away


class Scene(NamedTuple):
    """A camera and what it sees."""

    camera: Camera
    solids: list[Solid]
    light: Light
    sky: Float[np.ndarray, "2 3"]  # linear RGB at the horizon and at the zenith
    haze: float  # metres over which the sky's colour replaces all but 1/e of a surface's colour


def look(position: Sequence[float] | Vector, yaw: float, pitch: float, roll: float) -> Camera:
    """Returns a camera; at angles of 0 it looks along +y, at a positive pitch it looks up.

    Angles are in radians.
    """
    forward = np.array([-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    down = np.cross(forward, right)
    level = np.stack([right, down, forward], axis=1)
    cos, sin = np.cos(roll), np.sin(roll)
    roll_matrix = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    return Camera(np.asarray(position, np.float32), (level @ roll_matrix).astype(np.float32))


def upright(yaw: float) -> Rotation:
    """Returns the rotation about z from the axes of a solid with this yaw to world axes."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)
