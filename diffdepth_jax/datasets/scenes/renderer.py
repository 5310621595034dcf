"""Ray casting of textured boxes, ellipsoids and cylinders with numpy: colour and z-depth.

World frame: x right, y forward, z up, metres. Camera frame: x right, y down, z forward. Rays are
not normalised: their camera z is 1, so the distance along a ray is the z-depth itself. Every
solid is intersected only inside its projected bounding rectangle, in its own upright frame.
"""

from typing import NamedTuple

import numpy as np

from diffdepth_jax.datasets.scenes.textures import Material, albedo, per_pixel

NEAR = 0.05  # metres; nothing closer than this is seen
ROOM_REACH = np.float32(12.0)  # metres; more than the diagonal of any room
SHAPES = ("box", "sphere", "cylinder", "room")
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
    flash: float = 0.0  # light on the camera: what it gives a white surface one metre away


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
    """Camera at `position` [3]. Angles in radians; at 0 it looks along +y, positive pitch is up."""
    forward = np.array([-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
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


def to_unit(solid):
    """Matrix [3, 3] from world directions to the frame in which the solid's half extents are 1."""
    return upright(solid.yaw).T / solid.half[:, None]


def interval(shape, origin, rays):
    """Distances (near, far) at which rays enter and leave a unit solid; near > far: missed.

    `origin` and `rays` are [3, ...] in the frame of `to_unit`, and broadcast against each other.
    """
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


def _corners(solids):
    """The corners [K, 3, 8] of the solids' bounding boxes, in the world."""
    turns = np.stack([upright(solid.yaw) for solid in solids])
    halves = np.stack([solid.half for solid in solids])[:, :, None]
    return turns @ (CORNERS * halves) + np.stack([solid.centre for solid in solids])[:, :, None]


def windows_of(hulls, camera, height, width):
    """For each hull of world points, [K, 3, P], the slices (rows, columns) that see it, or None."""
    points = _clip(camera.rotation.T @ (hulls - camera.position[:, None]))
    scale = focal_length(width) / points[:, 2]
    columns = _spans(points[:, 0] * scale + (width - 1) / 2, width)
    rows = _spans(points[:, 1] * scale + (height - 1) / 2, height)
    pairs = zip(rows, columns, strict=True)
    return [(row, column) if row and column else None for row, column in pairs]


def _clip(points):
    """[K, 3, P] to [K, 3, P * P]: points and where lines between them meet the near plane.

    NaN stands for what lies behind it.
    """
    z = points[:, 2]
    front = z > NEAR
    crosses = front[:, :, None] & ~front[:, None]  # [K, P, P], from in front to behind
    rise = np.where(crosses, z[:, :, None] - z[:, None], 1)
    step = np.where(crosses, (z[:, :, None] - NEAR) / rise, 0)[:, None]
    start = np.where(front[:, None], points, np.nan)[:, :, :, None]
    return (start + step * (points[:, :, None] - start)).reshape(len(points), 3, -1)


def _spans(values, size):
    """Slices of the pixels between the least and the greatest of values [K, P], None if empty."""
    starts = np.maximum(np.floor(np.fmin.reduce(values, axis=1)), 0)
    stops = np.minimum(np.ceil(np.fmax.reduce(values, axis=1)) + 1, size)
    spans = zip(starts, stops, strict=True)
    return [slice(int(start), int(stop)) if start < stop else None for start, stop in spans]


def trace(camera, solids, height, width):
    """First hits: z-depth [H, W] (inf: none) and the index of the solid hit [H, W] (-1: none)."""
    x, y = pixel_rays(height, width)
    depth = np.full((height, width), np.inf, np.float32)
    owner = np.full((height, width), -1, np.int16)
    windows = windows_of(_corners(solids), camera, height, width)
    for index, (solid, window) in enumerate(zip(solids, windows, strict=True)):
        if window is None:
            continue
        to_local = to_unit(solid)
        rays = _rotated_rays(to_local @ camera.rotation, x[window[1]], y[window[0]])
        origin = (to_local @ (camera.position - solid.centre)).reshape(3, 1, 1)
        near, far = interval(solid.shape, origin, rays)
        hit = far if solid.shape == "room" else near
        closer = (near < far) & (hit > NEAR) & (hit < depth[window])
        np.copyto(depth[window], hit, where=closer)
        np.copyto(owner[window], index, where=closer)
    return depth, owner


def shadowed(points, scene):
    """Whether each world point [3, H, W] is hidden from the light, [H, W] bool."""
    height, width = points.shape[1:]
    blocked = np.zeros((height, width), bool)
    casters = [solid for solid in scene.solids if solid.casts_shadow]
    if not casters:
        return blocked
    volumes = _shadow_volumes(_corners(casters), scene.light)
    windows = windows_of(volumes, scene.camera, height, width)
    for solid, window in zip(casters, windows, strict=True):
        if window is None:
            continue
        here = points[:, *window]
        blocked[window] |= _blocks(solid, here.reshape(3, -1), scene.light).reshape(here.shape[1:])
    return blocked


def _shadow_volumes(corners, light):
    """The hulls [K, 3, 16] of what solids with these corners [K, 3, 8] can hide from the light."""
    if light.is_sun:
        height = np.maximum(corners[:, 2:].max(axis=2, keepdims=True), 0)
        swept = corners - light.position[:, None] * (height / light.position[2])  # to the ground
    else:
        away = corners - light.position[:, None]
        nearest = np.sqrt((away * away).sum(axis=1, keepdims=True).min(axis=2, keepdims=True))
        swept = corners + away * (ROOM_REACH / nearest)
    return np.concatenate([corners, swept], axis=2)


def _blocks(solid, points, light):
    """Whether the solid stands between each world point [3, N] and the light."""
    to_local = to_unit(solid)
    here = to_local @ (points - solid.centre[:, None])
    if light.is_sun:
        rays, reach = (to_local @ light.position)[:, None], np.inf
    else:
        rays, reach = (to_local @ (light.position - solid.centre))[:, None] - here, 1
    near, far = interval(solid.shape, here, rays)
    return (near < far) & (far > 0) & (near < reach)


def surface(shape, points, half):
    """Normals [3, N] and texture coordinates [2, N] in metres at local points [3, N]."""
    x, y, z = points
    height = z + half[2]  # textures start at the foot of a solid
    if shape == "sphere":
        normals = points / (half * half)
        normals /= np.sqrt((normals * normals).sum(axis=0))
        return normals, np.stack([np.arctan2(y, x) * half[0], height])
    if shape == "cylinder":
        cap = np.abs(z) > 0.999 * half[2]
        normals = np.stack([x / half[0], y / half[1], np.zeros_like(z)]) * ~cap
        normals[2] = cap * np.sign(z)
        around = np.arctan2(y, x) * half[0]
        return normals, np.stack([np.where(cap, x, around), np.where(cap, y, height)])
    u, v, w = np.abs(points) / half
    top = w >= np.maximum(u, v)
    side = (u >= v) & ~top
    normals = np.sign(points) * np.stack([side, ~(side | top), top])
    uv = np.stack([np.where(side, y, x), np.where(top, y, height)])
    return (-normals if shape == "room" else normals), uv


def _surfaces(solids, points, owner):
    """World normals [3, N], texture coordinates [2, N] of points [3, N] on solids `owner` [N]."""
    yaw = np.array([solid.yaw for solid in solids], np.float32)
    cos, sin = np.cos(yaw).take(owner), np.sin(yaw).take(owner)
    x, y, z = points - per_pixel([solid.centre for solid in solids], owner)
    local = np.stack([cos * x + sin * y, cos * y - sin * x, z])
    half = per_pixel([solid.half for solid in solids], owner)
    shape = np.array([SHAPES.index(solid.shape) for solid in solids], np.int8).take(owner)
    found = np.zeros((5, owner.size), np.float32)  # normals, then texture coordinates
    for index, name in enumerate(SHAPES):
        chosen = np.flatnonzero(shape == index)
        parts = surface(name, local.take(chosen, axis=1), half.take(chosen, axis=1))
        for row, values in zip(found, np.concatenate(parts), strict=True):
            row[chosen] = values
    x, y, z = found[:3]
    return np.stack([cos * x - sin * y, sin * x + cos * y, z]), found[3:]


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
    lit = light.colour[:, None] * direct + light.ambient[:, None] * sky_light
    return lit + _flash_light(scene, points, normals) if light.flash else lit


def _flash_light(scene, points, normals):
    """[N] Lambert with inverse square; from the camera's own place it casts no visible shadow."""
    to_camera = scene.camera.position[:, None] - points
    squared = (to_camera**2).sum(0) + np.float32(1e-6)
    facing = np.abs((normals * to_camera).sum(0)) / np.sqrt(squared)
    return np.float32(scene.light.flash) * facing / squared


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
    flat_points, flat_depth, flat_owner = points.reshape(3, -1), depth.ravel(), owner.ravel()
    flat_owner = np.maximum(flat_owner, 0).astype(np.intp)  # the sky is painted over below
    normals, uv = _surfaces(scene.solids, flat_points, flat_owner)
    materials = [solid.material for solid in scene.solids]
    colours = albedo(materials, flat_owner, uv, flat_depth / np.float32(focal_length(width)))
    shadow = shadowed(points + OFFSET * normals.reshape(points.shape), scene).ravel()
    glow = np.array([material.glow for material in materials], np.float32).take(flat_owner)
    image = colours * (_illumination(scene, flat_points, normals, shadow) + glow)
    sky = _sky(scene, rays.reshape(3, -1))
    clear = np.exp(flat_depth / np.float32(-scene.haze)) * (flat_depth > 0)
    image = sky + (image - sky) * clear
    return image.T.reshape(height, width, 3), depth
