"""Ray casting of textured solids with numpy: colour and z-depth of each pixel.

Every solid is intersected only inside its projected bounding rectangle, in its own axes.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int16

from diffdepth_jax.datasets.scenes.projection import (
    NEAR,
    focal_length,
    pixel_rays,
    rotated_rays,
    windows_of,
)
from diffdepth_jax.datasets.scenes.scene import FOCAL_PER_WIDTH, Camera, Light, Scene, Shape, Solid
from diffdepth_jax.datasets.scenes.solids import corners, interval, surface, to_unit
from diffdepth_jax.datasets.scenes.textures import albedo, per_pixel

_ROOM_REACH = np.float32(12.0)  # metres; more than the diagonal of any room
_SHAPES: tuple[Shape, ...] = ("box", "sphere", "cylinder", "room")
_OFFSET = np.float32(0.01)  # metres from a surface to the start of its shadow ray

Vectors = Float[np.ndarray, "3 points"]


def render(
    scene: Scene, height: int, width: int
) -> tuple[Float32[np.ndarray, "height width 3"], Float32[np.ndarray, "height width"]]:
    """Returns linear RGB and z-depth in metres, which is 0 where a ray hits nothing."""
    depth, owner = trace(scene.camera, scene.solids, height, width)
    depth[owner < 0] = 0
    rays = rotated_rays(scene.camera.rotation, *pixel_rays(scene.camera, height, width))
    points = scene.camera.position[:, None, None] + rays * depth
    flat_points, flat_depth, flat_owner = points.reshape(3, -1), depth.ravel(), owner.ravel()
    flat_owner = np.maximum(flat_owner, 0).astype(np.intp)  # the sky is painted over below
    normals, uv = _surfaces(scene.solids, flat_points, flat_owner)
    materials = [solid.material for solid in scene.solids]
    focal = np.float32(focal_length(scene.camera, width))
    colours = albedo(materials, flat_owner, uv, flat_depth / focal)
    shadow = shadowed(points + _OFFSET * normals.reshape(points.shape), scene).ravel()
    glow = np.array([material.glow for material in materials], np.float32).take(flat_owner)
    image = colours * (_illumination(scene, flat_points, normals, shadow) + glow)
    sky = _sky(scene, rays.reshape(3, -1))
    clear = np.exp(flat_depth / np.float32(-scene.haze)) * (flat_depth > 0)
    image = sky + (image - sky) * clear
    return image.T.reshape(height, width, 3), depth


def trace(
    camera: Camera, solids: Sequence[Solid], height: int, width: int
) -> tuple[Float32[np.ndarray, "height width"], Int16[np.ndarray, "height width"]]:
    """Returns z-depth in metres and the index of the solid that each ray hits first.

    A ray that hits nothing has depth inf and index -1.
    """
    x, y = pixel_rays(camera, height, width)
    depth = np.full((height, width), np.inf, np.float32)
    owner = np.full((height, width), -1, np.int16)
    windows = windows_of(corners(solids), camera, height, width)
    for index, (solid, window) in enumerate(zip(solids, windows, strict=True)):
        if window is None:
            continue
        to_local = to_unit(solid)
        rays = rotated_rays(to_local @ camera.rotation, x[window[1]], y[window[0]])
        origin = (to_local @ (camera.position - solid.centre)).reshape(3, 1, 1)
        near, far = interval(solid.shape, origin, rays)
        hit = far if solid.shape == "room" else near
        closer = (near < far) & (hit > NEAR) & (hit < depth[window])
        np.copyto(depth[window], hit, where=closer)
        np.copyto(owner[window], index, where=closer)
    return depth, owner


def shadowed(
    points: Float[np.ndarray, "3 height width"], scene: Scene
) -> Bool[np.ndarray, "height width"]:
    """Returns whether a solid hides the light from the world point that each pixel sees."""
    height, width = points.shape[1:]
    blocked = np.zeros((height, width), bool)
    casters = [solid for solid in scene.solids if solid.casts_shadow]
    if not casters:
        return blocked
    volumes = _shadow_volumes(corners(casters), scene.light)
    windows = windows_of(volumes, scene.camera, height, width)
    for solid, window in zip(casters, windows, strict=True):
        if window is None:
            continue
        here = points[:, *window]
        blocked[window] |= _blocks(solid, here.reshape(3, -1), scene.light).reshape(here.shape[1:])
    return blocked


def _shadow_volumes(
    box_corners: Float[np.ndarray, "solids 3 8"], light: Light
) -> Float[np.ndarray, "solids 3 16"]:
    """Returns convex hulls that hold all points from which a solid can hide the light."""
    if light.is_sun:
        height = np.maximum(box_corners[:, 2:].max(axis=2, keepdims=True), 0)
        to_ground = light.position[:, None] * (height / light.position[2])
        swept = box_corners - to_ground
    else:
        away = box_corners - light.position[:, None]
        nearest = np.sqrt((away * away).sum(axis=1, keepdims=True).min(axis=2, keepdims=True))
        swept = box_corners + away * (_ROOM_REACH / nearest)
    return np.concatenate([box_corners, swept], axis=2)


def _blocks(solid: Solid, points: Vectors, light: Light) -> Bool[np.ndarray, " points"]:
    """Returns whether the solid stands between each world point and the light."""
    to_local = to_unit(solid)
    here = to_local @ (points - solid.centre[:, None])
    if light.is_sun:
        rays, reach = (to_local @ light.position)[:, None], np.inf
    else:
        rays, reach = (to_local @ (light.position - solid.centre))[:, None] - here, 1
    near, far = interval(solid.shape, here, rays)
    return (near < far) & (far > 0) & (near < reach)


def _surfaces(
    solids: Sequence[Solid], points: Vectors, owner: Int[np.ndarray, " points"]
) -> tuple[Vectors, Float[np.ndarray, "2 points"]]:
    """Returns world normals and texture coordinates of world points on the solids `owner`."""
    yaw = np.array([solid.yaw for solid in solids], np.float32)
    cos, sin = np.cos(yaw).take(owner), np.sin(yaw).take(owner)
    x, y, z = points - per_pixel([solid.centre for solid in solids], owner)
    local = np.stack([cos * x + sin * y, cos * y - sin * x, z])
    half = per_pixel([solid.half for solid in solids], owner)
    shape = np.array([_SHAPES.index(solid.shape) for solid in solids], np.int8).take(owner)
    found = np.zeros((5, owner.size), np.float32)  # normals, then texture coordinates
    for index, name in enumerate(_SHAPES):
        chosen = np.flatnonzero(shape == index)
        parts = surface(name, local.take(chosen, axis=1), half.take(chosen, axis=1))
        for row, values in zip(found, np.concatenate(parts), strict=True):
            row[chosen] = values
    x, y, z = found[:3]
    return np.stack([cos * x - sin * y, sin * x + cos * y, z]), found[3:]


def _illumination(
    scene: Scene, points: Vectors, normals: Vectors, shadow: Bool[np.ndarray, " points"]
) -> Vectors:
    """Returns the light that arrives at world points: Lambert's law, shadow, and ambient light.

    Ambient light comes mostly from above.
    """
    light = scene.light
    if light.is_sun:
        lambert = light.position @ normals
    else:
        towards = light.position[:, None] - points
        distance_squared = (towards * towards).sum(axis=0)
        lambert = (towards * normals).sum(axis=0) / np.sqrt(distance_squared)
        lambert *= 6 / (4 + distance_squared)  # softer than 1/d^2: walls reflect light
    direct = np.where(shadow, 0, np.maximum(lambert, 0))
    sky_light = np.float32(0.8) + np.float32(0.2) * normals[2]
    lit = light.colour[:, None] * direct + light.ambient[:, None] * sky_light
    return lit + _flash_light(scene, points, normals) if light.flash else lit


def _flash_light(scene: Scene, points: Vectors, normals: Vectors) -> Float[np.ndarray, " points"]:
    """Returns the light of the flash: Lambert's law and inverse square of the distance.

    The flash is at the camera, so the camera sees none of its shadows. It narrows its beam with the
    lens, as zoom heads do. So its light tells distance / focal length, as the size of things does;
    otherwise a picture would tell metres, whatever the lens.
    """
    to_camera = scene.camera.position[:, None] - points
    squared = (to_camera**2).sum(0) + np.float32(1e-6)
    facing = np.abs((normals * to_camera).sum(0)) / np.sqrt(squared)
    narrowed = scene.light.flash * (scene.camera.focal_per_width / FOCAL_PER_WIDTH) ** 2
    return np.float32(narrowed) * facing / squared


def _sky(scene: Scene, rays: Vectors) -> Vectors:
    """Returns the linear RGB of the sky along rays in world axes."""
    steepness = rays[2] / np.sqrt((rays * rays).sum(axis=0))
    horizon, zenith = scene.sky
    blend = np.clip(2 * steepness, 0, 1)
    return horizon[:, None] + (zenith - horizon)[:, None] * blend
