"""Binary glTF 2.0 (GLB) of points in their colours, and of surfaces that carry the photo.

The axes are those of glTF: y up, and the camera looks along -z.
"""

import io
import json
import struct
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from diffdepth_jax.media.point_cloud import PointCloud
from diffdepth_jax.media.reading import RGB, FilePath

_AXES = np.array([1, -1, -1], np.float32)
# Numbers of the glTF 2.0 specification.
_FLOAT, _UNSIGNED_INT = 5126, 5125
_VERTICES, _INDICES = 34962, 34963
_POINTS, _TRIANGLES = 0, 4
_LINEAR, _LINEAR_MIPMAPS, _CLAMP_TO_EDGE = 9729, 9987, 33071
_ASSET = {"version": "2.0", "generator": "diffdepth_jax"}
_UNLIT: dict[str, Any] = {"extensions": {"KHR_materials_unlit": {}}, "doubleSided": True}
_TEXTURE_SIDE = 2048  # pixels; larger photos are reduced, because not all viewers take them
_JPEG_QUALITY = 90

_GltfArray = tuple[str, np.ndarray, str]  # name, array, element type


def write_glb(path: FilePath, cloud: PointCloud, image: RGB) -> None:
    """Writes one unlit mesh: points in their colours, or, with faces, a surface.

    A surface has normals and the image as its texture. Without any point the scene is empty,
    because glTF has no empty meshes.
    """
    if not len(cloud.points):
        _write_chunks(path, {"asset": _ASSET, "scene": 0, "scenes": [{}]}, b"")
        return
    positions = cloud.points * _AXES
    if len(cloud.faces):
        arrays = [
            ("POSITION", positions, "VEC3"),
            ("NORMAL", cloud.normals * _AXES, "VEC3"),
            ("TEXCOORD_0", cloud.places, "VEC2"),
            ("indices", cloud.faces.astype(np.uint32).reshape(-1), "SCALAR"),
        ]
        _write_mesh(path, arrays, _jpeg(image))
    else:
        colors = _linear_colors(cloud.colors)
        _write_mesh(path, [("POSITION", positions, "VEC3"), ("COLOR_0", colors, "VEC3")])


def _write_mesh(path: FilePath, arrays: list[_GltfArray], texture: bytes = b"") -> None:
    # The numbers are multiples of 4 bytes, as glTF wants them; the texture may begin anywhere.
    binary = b"".join(array.tobytes() for _, array, _ in arrays)
    gltf = _gltf(arrays, len(binary), len(texture))
    binary += texture
    binary += b"\0" * (-len(binary) % 4)
    _write_chunks(path, gltf | {"buffers": [{"byteLength": len(binary)}]}, binary)


def _write_chunks(path: FilePath, gltf: dict[str, Any], binary: bytes) -> None:
    header = json.dumps(gltf).encode()
    header += b" " * (-len(header) % 4)
    chunks = [(header, b"JSON"), (binary, b"BIN\0")] if binary else [(header, b"JSON")]
    with open(path, "wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + sum(8 + len(x) for x, _ in chunks)))
        for chunk, kind in chunks:
            file.write(struct.pack("<I4s", len(chunk), kind) + chunk)


def _gltf(arrays: list[_GltfArray], offset: int, texture: int) -> dict[str, Any]:
    """Returns the JSON part without the buffer, where `texture` bytes follow the arrays."""
    views, accessors = _gltf_arrays(arrays)
    index = {name: number for number, (name, _, _) in enumerate(arrays)}
    has_faces = index.pop("indices", None)
    primitive: dict[str, Any] = {"attributes": index, "material": 0, "mode": _POINTS}
    if has_faces is not None:
        primitive |= {"mode": _TRIANGLES, "indices": has_faces}
    gltf = {
        "asset": _ASSET,
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [_UNLIT],
        "bufferViews": views,
        "accessors": accessors,
    }
    return gltf | (_gltf_texture(views, offset, texture) if texture else {})


def _gltf_arrays(arrays: list[_GltfArray]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns glTF's views of the buffer and its accessors, one of each for an array."""
    views, accessors, offset = [], [], 0
    for name, array, kind in arrays:
        target, component = (_INDICES, _UNSIGNED_INT) if name == "indices" else (_VERTICES, _FLOAT)
        size = {"byteOffset": offset, "byteLength": array.nbytes}
        views.append({"buffer": 0, **size, "target": target})
        accessor = {"componentType": component, "count": len(array), "type": kind}
        accessors.append({"bufferView": len(accessors), **accessor})
        offset += array.nbytes
    positions = arrays[0][1]
    accessors[0] |= {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    return views, accessors


def _gltf_texture(views: list[dict[str, Any]], offset: int, length: int) -> dict[str, Any]:
    """Returns what the JSON part says of the texture, whose view is appended to `views`."""
    views.append({"buffer": 0, "byteOffset": offset, "byteLength": length})
    wrap = {"wrapS": _CLAMP_TO_EDGE, "wrapT": _CLAMP_TO_EDGE}
    color = {"baseColorTexture": {"index": 0}, "metallicFactor": 0}
    return {
        "images": [{"bufferView": len(views) - 1, "mimeType": "image/jpeg"}],
        "samplers": [{"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAPS, **wrap}],
        "textures": [{"source": 0, "sampler": 0}],
        "materials": [_UNLIT | {"pbrMetallicRoughness": color}],
    }


def _jpeg(image: RGB) -> bytes:
    picture, file = Image.fromarray(image), io.BytesIO()
    picture.thumbnail((_TEXTURE_SIDE, _TEXTURE_SIDE))
    picture.save(file, format="JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def _linear_colors(colors: UInt8[np.ndarray, "points 3"]) -> Float32[np.ndarray, "points 3"]:
    """Maps sRGB to linear RGB in [0, 1], which glTF wants for vertices.

    Floats, because 8 bits are too few for dark colours, and not all programs read 16 bits.
    """
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)[colors]
