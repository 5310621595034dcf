"""Depth in three dimensions: points or a surface in colour, as PLY and as GLB.

PLY holds metres in the camera's axes: x right, y down, z forward. GLB has those of glTF: y up, and
the camera looks along -z.
"""

import dataclasses
import json
import struct

import numpy as np

from diffdepth_jax.media.camera import Camera

# Of the depths of a triangle's corners, the farthest by the nearest: beyond it lies an edge of an
# object, over which no surface is drawn.
_MAX_RATIO = 1.1
_GLTF_AXES = np.array([1, -1, -1], np.float32)


@dataclasses.dataclass(frozen=True)
class PointCloud:
    """Points of an image, row by row.

    Attributes:
      points: metres, float32 [N, 3], in the camera's axes.
      colors: uint8 RGB [N, 3].
      faces: int32 [M, 3], three points each, anticlockwise as the camera sees them; may be empty.
    """

    points: np.ndarray
    colors: np.ndarray
    faces: np.ndarray


def create(depth, image, camera: Camera, *, surface=False, max_points=None) -> PointCloud:
    """The points of depth [H, W] in metres along the optical axis, and their image's colours.

    Of every k-th row and column only, with the smallest k that leaves at most `max_points`.
    """
    height, width = depth.shape
    step = 1
    while max_points and -(-height // step) * -(-width // step) > max_points:
        step += 1
    rows, columns = np.arange(0, height, step), np.arange(0, width, step)
    z = depth[::step, ::step].astype(np.float64)
    x = (columns - camera.cx) / camera.fx * z
    y = ((rows - camera.cy) / camera.fy)[:, None] * z
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float32)
    faces = _faces(z) if surface else np.empty((0, 3), np.int32)
    return PointCloud(points, image[::step, ::step].reshape(-1, 3), faces)


def _faces(depth):
    """int32 [M, 3]: two triangles between any four neighbours that no edge of an object parts."""
    height, width = depth.shape
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], axis=2).reshape(-1, 3)
    corners = depth.ravel()[faces]
    return faces[corners.max(axis=1) <= _MAX_RATIO * corners.min(axis=1)]


def write_ply(path, cloud: PointCloud):
    """Binary PLY with float x, y, z in metres, uchar red, green, blue, and faces if there are."""
    vertices = np.empty(
        len(cloud.points),
        [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")],
    )
    for axis, name in enumerate(("x", "y", "z")):
        vertices[name] = cloud.points[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = cloud.colors[:, channel]
    faces = np.empty(len(cloud.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, cloud.faces
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    kinds = {"<f4": "float", "|u1": "uchar"}
    lines += [f"property {kinds[vertices.dtype[n].str]} {n}" for n in vertices.dtype.names]
    if len(faces):
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    with open(path, "wb") as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode())
        file.write(vertices.tobytes())
        file.write(faces.tobytes())


def write_glb(path, cloud: PointCloud):
    """Binary glTF 2.0 with one mesh of points or triangles, coloured by vertex and unlit."""
    arrays = [
        ("POSITION", cloud.points * _GLTF_AXES, 5126, "VEC3"),
        ("COLOR_0", _linear_colors(cloud.colors), 5126, "VEC3"),
    ]
    if len(cloud.faces):
        arrays.append(("indices", cloud.faces.astype(np.uint32).reshape(-1), 5125, "SCALAR"))
    binary = b"".join(array.tobytes() for _, array, _, _ in arrays)  # all multiples of 4 bytes
    header = json.dumps(_gltf(arrays, len(binary))).encode()
    header += b" " * (-len(header) % 4)
    with open(path, "wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 28 + len(header) + len(binary)))
        file.write(struct.pack("<I4s", len(header), b"JSON") + header)
        file.write(struct.pack("<I4s", len(binary), b"BIN\0") + binary)


def _gltf(arrays, length):
    """The JSON part for (name, array, component type, element type) that follow each other."""
    views, accessors, offset = [], [], 0
    for name, array, component, kind in arrays:
        target = 34963 if name == "indices" else 34962
        size = {"byteOffset": offset, "byteLength": array.nbytes}
        views.append({"buffer": 0, **size, "target": target})
        accessor = {"componentType": component, "count": len(array), "type": kind}
        accessors.append({"bufferView": len(accessors), **accessor})
        offset += array.nbytes
    positions = arrays[0][1]
    accessors[0] |= {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    primitive = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "material": 0}
    primitive |= {"mode": 4, "indices": 2} if len(arrays) == 3 else {"mode": 0}
    return {
        "asset": {"version": "2.0", "generator": "diffdepth_jax"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"extensions": {"KHR_materials_unlit": {}}, "doubleSided": True}],
        "buffers": [{"byteLength": length}],
        "bufferViews": views,
        "accessors": accessors,
    }


def _linear_colors(colors):
    """uint8 sRGB [N, 3] -> float32 [N, 3]: glTF wants colours of vertices linear.

    As floats, because 8 bits are too few for dark ones, and not all programs read 16.
    """
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)[colors]
