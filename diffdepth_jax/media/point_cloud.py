"""Point clouds and surfaces from depth, in colour, written as PLY and as GLB.

PLY holds metres in the camera's axes: x right, y down, z forward. GLB has the axes of glTF: y up,
and the camera looks along -z.
"""

import dataclasses
import json
import struct
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.reading import RGB, FilePath

# A triangle is left out when its farthest corner is more than this times as far as its nearest:
# the triangle would span the edge of an object.
_MAX_RATIO = 1.1
_PLY_PROPERTIES = (  # name, type in PLY, type in numpy
    ("x", "float", "<f4"),
    ("y", "float", "<f4"),
    ("z", "float", "<f4"),
    ("red", "uchar", "u1"),
    ("green", "uchar", "u1"),
    ("blue", "uchar", "u1"),
)
_GLTF_AXES = np.array([1, -1, -1], np.float32)
# Numbers of the glTF 2.0 specification.
_FLOAT, _UNSIGNED_INT = 5126, 5125
_VERTICES, _INDICES = 34962, 34963
_POINTS, _TRIANGLES = 0, 4
_ASSET = {"version": "2.0", "generator": "diffdepth_jax"}

_GltfArray = tuple[str, np.ndarray, int, str]  # name, array, component type, element type


@dataclasses.dataclass(frozen=True)
class PointCloud:
    """Points of an image, row by row.

    Attributes:
      points: metres, in the camera's axes.
      colors: RGB.
      faces: indices of three points each, anticlockwise as the camera sees them; may be empty.
    """

    points: Float32[np.ndarray, "points 3"]
    colors: UInt8[np.ndarray, "points 3"]
    faces: Int32[np.ndarray, "faces 3"]


def create(
    depth: Float[np.ndarray, "height width"],
    image: RGB,
    camera: Camera,
    *,
    surface: bool = False,
    max_points: int | None = None,
) -> PointCloud:
    """Returns a point in the image's colour for each pixel that has a depth.

    Args:
      depth: metres along the optical axis; nan where there is none.
      image: as large as depth.
      camera: of this image.
      surface: whether to join neighbouring points to triangles.
      max_points: of every k-th row and column only, with the smallest k that leaves at most so
        many points.
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
    kept = np.isfinite(z).ravel()
    index = np.cumsum(kept, dtype=np.int32) - 1  # of a pixel's point among those that are kept
    colors = image[::step, ::step].reshape(-1, 3)
    return PointCloud(points[kept], colors[kept], index[faces])


def _faces(depth: Float[np.ndarray, "height width"]) -> Int32[np.ndarray, "faces 3"]:
    """Joins each square of four pixels by two triangles, except across the edge of an object.

    A corner without depth leaves the triangle out: nan is not at most anything.
    """
    height, width = depth.shape
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], axis=2).reshape(-1, 3)
    corners = depth.ravel()[faces]
    return faces[corners.max(axis=1) <= _MAX_RATIO * corners.min(axis=1)]


def write_ply(path: FilePath, cloud: PointCloud) -> None:
    """Writes binary PLY: positions in metres, colours, and faces if there are any."""
    vertices = np.empty(len(cloud.points), [(name, code) for name, _, code in _PLY_PROPERTIES])
    for axis, name in enumerate(("x", "y", "z")):
        vertices[name] = cloud.points[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = cloud.colors[:, channel]
    faces = np.empty(len(cloud.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, cloud.faces
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property {kind} {name}" for name, kind, _ in _PLY_PROPERTIES]
    if len(faces):
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    with open(path, "wb") as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode())
        file.write(vertices.tobytes())
        file.write(faces.tobytes())


def write_glb(path: FilePath, cloud: PointCloud) -> None:
    """Writes binary glTF 2.0: one mesh of points or triangles, with vertex colours and unlit.

    Without any point the scene is empty, because glTF has no empty meshes.
    """
    if not len(cloud.points):
        _write_chunks(path, {"asset": _ASSET, "scene": 0, "scenes": [{}]}, b"")
        return
    arrays: list[_GltfArray] = [
        ("POSITION", cloud.points * _GLTF_AXES, _FLOAT, "VEC3"),
        ("COLOR_0", _linear_colors(cloud.colors), _FLOAT, "VEC3"),
    ]
    if len(cloud.faces):
        indices = cloud.faces.astype(np.uint32).reshape(-1)
        arrays.append(("indices", indices, _UNSIGNED_INT, "SCALAR"))
    binary = b"".join(array.tobytes() for _, array, _, _ in arrays)  # all multiples of 4 bytes
    _write_chunks(path, _gltf(arrays, len(binary)), binary)


def _write_chunks(path: FilePath, gltf: dict[str, Any], binary: bytes) -> None:
    header = json.dumps(gltf).encode()
    header += b" " * (-len(header) % 4)
    chunks = [(header, b"JSON"), (binary, b"BIN\0")] if binary else [(header, b"JSON")]
    with open(path, "wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + sum(8 + len(x) for x, _ in chunks)))
        for chunk, kind in chunks:
            file.write(struct.pack("<I4s", len(chunk), kind) + chunk)


def _gltf(arrays: list[_GltfArray], length: int) -> dict[str, Any]:
    """Returns the JSON part; the arrays follow each other in a buffer of `length` bytes."""
    views, accessors = _gltf_arrays(arrays)
    primitive = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "material": 0}
    primitive |= {"mode": _TRIANGLES, "indices": 2} if len(arrays) == 3 else {"mode": _POINTS}
    return {
        "asset": _ASSET,
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


def _gltf_arrays(arrays: list[_GltfArray]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns glTF's views of the buffer and its accessors, one of each for an array."""
    views, accessors, offset = [], [], 0
    for name, array, component, kind in arrays:
        target = _INDICES if name == "indices" else _VERTICES
        size = {"byteOffset": offset, "byteLength": array.nbytes}
        views.append({"buffer": 0, **size, "target": target})
        accessor = {"componentType": component, "count": len(array), "type": kind}
        accessors.append({"bufferView": len(accessors), **accessor})
        offset += array.nbytes
    positions = arrays[0][1]
    accessors[0] |= {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    return views, accessors


def _linear_colors(colors: UInt8[np.ndarray, "points 3"]) -> Float32[np.ndarray, "points 3"]:
    """Maps sRGB to linear RGB in [0, 1], which glTF wants for vertices.

    Floats, because 8 bits are too few for dark colours, and not all programs read 16 bits.
    """
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)[colors]
