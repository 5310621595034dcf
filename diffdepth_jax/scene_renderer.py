"""Ray casting of textured boxes, ellipsoids and cylinders with numpy: colour and z-depth.

World frame: x right, y forward, z up, metres. Camera frame: x right, y down, z forward. Rays are
not normalised: their camera z is 1, so the distance along a ray is the z-depth itself. Every
solid is intersected only inside its projected bounding rectangle, in its own upright frame.
"""

from typing import NamedTuple

import numpy as np

from diffdepth_jax.scene_textures import Material, albedo

NEAR = 0.05  # metres; nothing closer than this is seen
OFFSET = np.float32(0.01)  # metres from a surface to the start of its shadow ray
# Of the image width: a horizontal field of view of 58 degrees, that of a Kinect (NYU Depth v2).
FOCAL_PER_WIDTH = 0.9
CORNERS = np.array(
    [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32
).T  # [3, 8]


class Solid(NamedTuple):
    """An upright solid. `shape`: box, sphere (ellipsoid), cylinder, or room (a box seen from in).

    `half` holds the half extents in metres and `yaw` the rotation about z in radians.
    """

    shape: str
    centre: np.ndarray
    half: np.ndarray
    yaw: float
    material: Material
    casts_shadow: bool = True


class Camera(NamedTuple):
    position: np.ndarray  # [3] metres
    rotation: np.ndarray  # [3, 3], camera to world


class Light(NamedTuple):
    """A lamp at `position` or, if `is_sun`, parallel light from that unit direction."""

    position: np.ndarray
    is_sun: bool
    colour: np.ndarray  # linear RGB [3]
    ambient: np.ndarray  # linear RGB [3]


class Scene(NamedTuple):
    camera: Camera
    solids: list
    light: Light
    sky: np.ndarray  # [2, 3]: linear RGB at the horizon and at the zenith
    haze: float  # metres over which the horizon's colour replaces all but 1/e of a surface's


def focal_length(width):
    """Focal length in pixels of an image `width` pixels wide."""
    return FOCAL_PER_WIDTH * width


def intrinsics(height, width):
    """Pinhole matrix [3, 3] float32; integer coordinates are pixel centres."""
    focal = focal_length(width)
    return np.array(
        [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], np.float32
    )


def look(position, yaw, pitch, roll):
    """Camera at `position` [3]; at zero angles (radians) it looks along +y; positive pitch is up."""
    forward = np.array(
        [-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)]
    )
    right = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    down = np.cross(forward, right)
    level = np.stack([right, down, forward], axis=1)
    cos, sin = np.cos(roll), np.sin(roll)
    roll_matrix = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    return Camera(np.asarray(position, np.float32), (level @ roll_matrix).astype(np.float32))


def upright(yaw):
    """Rotation [3, 3] about z, local to world."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)


def interval(shape, origin, rays, half):
    """Distances (near, far) at which rays enter and leave a solid centred on 0; near > far: missed.

    `origin` and `rays` are [3, ...] and broadcast against each other; `half` is [3].
    """
    half = half.reshape(3, *[1] * (rays.ndim - 1))
    origin, rays = origin / half, rays / half
    if shape == "sphere":
        return _round_interval(origin, rays)
    if shape == "cylinder":
        near, far = _round_interval(origin[:2], rays[:2])
        slab_near, slab_far = _slab_interval(origin[2:], rays[2:])
        return np.maximum(near, slab_near), np.minimum(far, slab_far)
    return _slab_interval(origin, rays)


def _slab_interval(origin, rays):
    inverse = 1 / (rays + 1e-9)  # a ray exactly parallel to a face stays finite
    middle, extent = -origin * inverse, np.abs(inverse)
    return (middle - extent).max(axis=0), (middle + extent).min(axis=0)


def _round_interval(origin, rays):
    a = (rays * rays).sum(axis=0) + 1e-12
    b = (origin * rays).sum(axis=0)
    root_squared = b * b - a * ((origin * origin).sum(axis=0) - 1)
    root = np.sqrt(np.maximum(root_squared, 0))
    near = np.where(root_squared < 0, np.inf, (-b - root) / a)
    return near, (root - b) / a


def pixel_rays(height, width):
    """Camera-frame slopes of the pixel centres: x [W] and y [H]; a ray is (x, y, 1)."""
    focal = focal_length(width)
    x = (np.arange(width) - (width - 1) / 2) / focal
    y = (np.arange(height) - (height - 1) / 2) / focal
    return x.astype(np.float32), y.astype(np.float32)


def _rotated_rays(matrix, x, y):
    rows = matrix[:, 1:2] * y + matrix[:, 2:]
    return rows[:, :, None] + (matrix[:, :1] * x)[:, None, :]  # [3, H, W]


def _corners(solid):
    return upright(solid.yaw) @ (CORNERS * solid.half[:, None]) + solid.centre[:, None]


def window_of(points, camera, height, width):
    """Slices (rows, columns) of the pixels that can see the hull of world points [3, K], or None."""
    points = camera.rotation.T @ (points - camera.position[:, None])
    front = points[2] > NEAR
    if not front.any():
        return None
    if not front.all():
        points = _clip(points[:, front], points[:, ~front])
    scale = focal_length(width) / points[2]
    columns = _span(points[0] * scale + (width - 1) / 2, width)
    rows = _span(points[1] * scale + (height - 1) / 2, height)
    return None if columns is None or rows is None else (rows, columns)


def _clip(front, behind):
    """The points in front, and where the lines to those behind cross the near plane."""
    step = (front[2][:, None] - NEAR) / (front[2][:, None] - behind[2])
    crossing = front[:, :, None] + step * (behind[:, None] - front[:, :, None])
    return np.concatenate([front, crossing.reshape(3, -1)], axis=1)


def _span(values, size):
    start = max(int(np.floor(values.min())), 0)
    stop = min(int(np.ceil(values.max())) + 1, size)
    return slice(start, stop) if start < stop else None


def trace(camera, solids, height, width):
    """First hits: z-depth [H, W] (inf: none) and the index of the solid hit [H, W] (-1: none)."""
    x, y = pixel_rays(height, width)
    depth = np.full((height, width), np.inf, np.float32)
    owner = np.full((height, width), -1, np.int16)
    for index, solid in enumerate(solids):
        window = window_of(_corners(solid), camera, height, width)
        if window is None:
            continue
        to_local = upright(solid.yaw).T
        rays = _rotated_rays(to_local @ camera.rotation, x[window[1]], y[window[0]])
        origin = (to_local @ (camera.position - solid.centre)).reshape(3, 1, 1)
        near, far = interval(solid.shape, origin, rays, solid.half)
        hit = far if solid.shape == "room" else near
        closer = (near < far) & (hit > NEAR) & (hit < depth[window])
        np.copyto(depth[window], hit, where=closer)
        np.copyto(owner[window], index, where=closer)
    return depth, owner


def shadowed(points, scene):
    """Whether each world point [3, H, W] is hidden from the light, [H, W] bool."""
    height, width = points.shape[1:]
    blocked = np.zeros((height, width), bool)
    for solid in scene.solids:
        window = _shadow_window(solid, scene, height, width) if solid.casts_shadow else None
        if window is None:
            continue
        to_local = upright(solid.yaw).T
        here = points[:, *window]
        shape = here.shape
        here = to_local @ (here.reshape(3, -1) - solid.centre[:, None])
        if scene.light.is_sun:
            rays, reach = (to_local @ scene.light.position)[:, None], np.inf
        else:
            rays = (to_local @ (scene.light.position - solid.centre))[:, None] - here
            reach = 1.0
        near, far = interval(solid.shape, here, rays, solid.half)
        blocked[window] |= ((near < far) & (far > 0) & (near < reach)).reshape(shape[1:])
    return blocked


def _shadow_window(solid, scene, height, width):
    """Pixels that can see the shadow of a solid: those of the volume it sweeps from the light."""
    corners, light = _corners(solid), scene.light
    if light.is_sun:
        length = max(corners[2].max(), 0) / light.position[2]  # down to the ground
        swept = corners - light.position[:, None] * length
    else:
        away = corners - light.position[:, None]
        swept = corners + away * 12 / np.sqrt((away * away).sum(axis=0).min())
    points = np.concatenate([corners, swept], axis=1)
    return window_of(points, scene.camera, height, width)


def surface(solid, points):
    """Normals [3, N] and texture coordinates [2, N] (metres) at local surface points [3, N]."""
    x, y, z = points
    height = z + solid.half[2]  # textures start at the foot of a solid
    if solid.shape == "sphere":
        normals = points / (solid.half * solid.half)[:, None]
        normals /= np.sqrt((normals * normals).sum(axis=0))
        return normals, np.stack([np.arctan2(y, x) * solid.half[0], height])
    if solid.shape == "cylinder":
        cap = np.abs(z) > 0.999 * solid.half[2]
        normals = np.stack([x / solid.half[0], y / solid.half[1], np.zeros_like(z)]) * ~cap
        normals[2] = cap * np.sign(z)
        return normals, np.stack([np.arctan2(y, x) * solid.half[0], height])
    u, v, w = np.abs(points) / solid.half[:, None]
    top = w >= np.maximum(u, v)
    side = (u >= v) & ~top
    facing = -1 if solid.shape == "room" else 1
    normals = np.sign(points) * np.stack([side, ~(side | top), top]) * np.float32(facing)
    return normals, np.stack([np.where(side, y, x), np.where(top, y, height)])


def _surfaces(scene, points, depth, owner, focal):
    """Normals [3, N], albedo [3, N] and glow [N] of the visible points [3, N]."""
    normals, colours = np.zeros((2, *points.shape), np.float32)
    glow = np.zeros_like(depth)
    for index, solid in enumerate(scene.solids):
        chosen = np.flatnonzero(owner == index)
        if chosen.size == 0:
            continue
        to_world = upright(solid.yaw)
        local = to_world.T @ (points[:, chosen] - solid.centre[:, None])
        local_normals, uv = surface(solid, local)
        normals[:, chosen] = to_world @ local_normals
        colours[:, chosen] = albedo(solid.material, uv, depth[chosen] / np.float32(focal))
        glow[chosen] = solid.material.glow
    return normals, colours, glow


def _illumination(scene, points, normals, shadow):
    """Light that arrives at points [3, N]: Lambert, shadow, and ambient light mostly from above."""
    light = scene.light
    if light.is_sun:
        lambert = light.position @ normals
    else:
        towards = light.position[:, None] - points
        distance_squared = (towards * towards).sum(axis=0)
        lambert = (towards * normals).sum(axis=0) / np.sqrt(distance_squared)
        lambert *= 6 / (4 + distance_squared)  # softer than 1/d^2: walls bounce light back
    direct = np.where(shadow, 0, np.maximum(lambert, 0))
    sky_light = np.float32(0.8) + np.float32(0.2) * normals[2]
    return light.colour[:, None] * direct + light.ambient[:, None] * sky_light


def _sky(scene, rays):
    """Linear RGB [3, N] of the sky along world rays [3, N]."""
    steepness = rays[2] / np.sqrt((rays * rays).sum(axis=0))
    horizon, zenith = scene.sky
    blend = np.clip(2 * steepness, 0, 1)
    return horizon[:, None] + (zenith - horizon)[:, None] * blend


def render(scene, height, width):
    """Linear RGB [H, W, 3] float32 and z-depth [H, W] in metres, 0 where a ray hits nothing."""
    depth, owner = trace(scene.camera, scene.solids, height, width)
    depth[owner < 0] = 0
    rays = _rotated_rays(scene.camera.rotation, *pixel_rays(height, width))
    points = scene.camera.position[:, None, None] + rays * depth
    flat_points, flat_depth = points.reshape(3, -1), depth.ravel()
    normals, colours, glow = _surfaces(
        scene, flat_points, flat_depth, owner.ravel(), focal_length(width)
    )
    lifted = points + OFFSET * normals.reshape(points.shape)
    shadow = shadowed(lifted, scene).ravel()
    light = _illumination(scene, flat_points, normals, shadow)
    image = colours * (light + glow)
    sky = _sky(scene, rays.reshape(3, -1))
    clear = np.exp(flat_depth / np.float32(-scene.haze)) * (owner.ravel() >= 0)
    image = sky + (image - sky) * clear
    return image.T.reshape(height, width, 3), depth
