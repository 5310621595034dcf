"""Points, normals and surfaces from depth, in colour, and PLY files of them.

All are in metres in the camera's axes: x right, y down, z forward; the camera is at the origin.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.defaults import MAX_POINTS, MAX_TRIANGLES
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


@dataclasses.dataclass(frozen=True)
class PointCloud:
    """Points of an image, row by row.

    Attributes:
      points: metres, in the camera's axes.
      colors: RGB.
      places: of the points in the image, from 0 to 1, x from the left and y from the top.
      faces: indices of three points each, anticlockwise as the camera sees them; may be empty.
    """

    points: Float32[np.ndarray, "points 3"]
    colors: UInt8[np.ndarray, "points 3"]
    places: Float32[np.ndarray, "points 2"]
    faces: Int32[np.ndarray, "faces 3"]

    @property
    def normals(self) -> Float32[np.ndarray, "points 3"]:
        """Unit normals: the means of a point's faces by area; without faces, towards the camera."""
        a, b, c = (self.points[self.faces[:, corner]] for corner in range(3))
        sums = np.zeros_like(self.points)
        for corner in range(3):
            np.add.at(sums, self.faces[:, corner], np.cross(b - a, c - a))
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        away = np.array([0, 0, -1], np.float32)
        return np.where(lengths > 0, sums / np.maximum(lengths, np.finfo(np.float32).tiny), away)


def unproject(
    depth: Float[np.ndarray, "height width"], camera: Camera, step: int = 1
) -> Float32[np.ndarray, "height width 3"]:
    """Returns the point of each pixel in metres; nan where depth along the optical axis is nan.

    `depth` is that of every `step`-th row and column of the camera's image.
    """
    rows, columns = (step * index for index in np.indices(depth.shape, sparse=True))
    z = depth.astype(np.float64)
    x, y = (columns - camera.cx) / camera.fx * z, (rows - camera.cy) / camera.fy * z
    return np.stack([x, y, z], axis=-1).astype(np.float32)


def surface_normals(
    points: Float32[np.ndarray, "height width 3"],
) -> Float32[np.ndarray, "height width 3"]:
    """Returns unit normals towards the camera, by differences of the neighbours of each pixel.

    They are nan where a neighbour has no depth, and mean nothing across the edge of an object.
    """
    if min(points.shape[:2]) < 2:
        raise UserError(
            f"normals of {points.shape[0]} x {points.shape[1]} pixels: 2 x 2 are needed"
        )
    down, right = np.gradient(points.astype(np.float64), axis=(0, 1))
    normals = np.cross(down, right)
    return (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32)


def create(
    depth: Float[np.ndarray, "height width"],
    image: RGB,
    camera: Camera,
    *,
    surface: bool = False,
    max_points: int = MAX_POINTS,
    max_triangles: int = MAX_TRIANGLES,
) -> PointCloud:
    """Returns a point in the image's colour for each pixel that has a depth.

    Args:
      depth: metres along the optical axis; nan where there is none.
      image: as large as depth.
      camera: of this image.
      surface: whether to join neighbouring points to triangles.
      max_points: of every k-th row and column only, with the smallest k that leaves at most so
        many points,
      max_triangles: and of a surface at most so many triangles.
    """
    height, width = depth.shape
    step = _step(height, width, max_points, max_triangles if surface else None)
    points = unproject(depth[::step, ::step], camera, step)
    kept = np.isfinite(points[..., 2])
    faces = _faces(points[..., 2]) if surface else np.empty((0, 3), np.int32)
    index = np.cumsum(kept.ravel(), dtype=np.int32) - 1  # of a pixel's point among those kept
    rows, columns = np.indices(kept.shape) * step + 0.5
    places = np.stack([columns / width, rows / height], axis=-1).astype(np.float32)
    return PointCloud(points[kept], image[::step, ::step][kept], places[kept], index[faces])


def _step(height: int, width: int, max_points: int, max_triangles: int | None) -> int:
    """Returns the smallest k so that every k-th row and column is within the limits."""
    step = 1
    while True:
        rows, columns = -(-height // step), -(-width // step)
        triangles = 2 * (rows - 1) * (columns - 1)
        if rows * columns <= max_points and (max_triangles is None or triangles <= max_triangles):
            return step
        step += 1


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
