"""Writes a prediction as one file, in the format that the file's extension names."""

import importlib
import pathlib
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import denoising, glb, marks, point_cloud
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.reading import FilePath
from diffdepth_jax.whole_files import whole_file

if TYPE_CHECKING:  # it imports this module
    from diffdepth_jax.prediction.depth_prediction import DepthPrediction

_EXR_CHANNEL = "Z"  # the usual name of depth along the optical axis

_Write = Callable[[pathlib.Path, "DepthPrediction", str], object]  # to a path, with a colour map


def save(prediction: "DepthPrediction", path: FilePath, colormap: str) -> None:
    """Writes the file, whole or not at all; see `DepthPrediction.save`."""
    path = pathlib.Path(path)
    write = _FORMATS.get(path.suffix.lower())
    if write is None:
        raise UserError(f"{path}: the extension must be one of {', '.join(_FORMATS)}")
    if write is write_animation and prediction.trajectory is None:
        raise UserError(f"{path} shows the denoising: predict with trajectory=10")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist: make it first")
    with whole_file(path) as unfinished:
        write(unfinished, prediction, colormap)


def write_npz(path: FilePath, prediction: "DepthPrediction", camera: Camera | None) -> None:
    """Writes depth, what is known beside it, and the camera if it is known."""
    names = [x for x in ("spread", "low", "high") if getattr(prediction, x) is not None]
    arrays: dict[str, Any] = {
        name: prediction.marked(getattr(prediction, name)) for name in ("depth", *names)
    }
    if camera is not None:
        arrays["fx_fy_cx_cy"] = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    np.savez_compressed(path, **arrays)


def write_tiff(path: FilePath, depth: Float32[np.ndarray, "height width"]) -> None:
    """Writes metres as 32-bit floats."""
    Image.fromarray(depth).save(path, **marks.TIFF)


def exr_library() -> ModuleType:
    """Returns OpenEXR; raises a UserError if it is not installed."""
    try:
        return importlib.import_module("OpenEXR")
    except ImportError as error:
        raise UserError(
            "EXR needs OpenEXR: pip install OpenEXR, or pip install '.[exr]' in the checkout"
        ) from error


def write_exr(path: FilePath, depth: Float32[np.ndarray, "height width"]) -> None:
    """Writes metres as the channel Z of an OpenEXR file, 32-bit floats."""
    library = exr_library()
    header = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
    library.File(header, {_EXR_CHANNEL: np.ascontiguousarray(depth)}).write(str(path))


def write_animation(path: FilePath, prediction: "DepthPrediction", colormap: str) -> None:
    """Writes the denoising as GIF, or as MP4 if the name ends so."""
    assert prediction.trajectory is not None
    is_video = pathlib.Path(path).suffix.lower() == ".mp4"
    write = denoising.write_mp4 if is_video else denoising.write_gif
    image, valid = prediction.image, prediction.valid
    write(path, denoising.pictures(image, prediction.trajectory, valid, colormap=colormap))


def _write_surface(path: pathlib.Path, prediction: "DepthPrediction", _: str) -> None:
    depth, image = prediction.marked_depth, prediction.image
    cloud = point_cloud.create(depth, image, prediction.camera, surface=True)
    glb.write_glb(path, cloud, image)


def _write_points(path: pathlib.Path, prediction: "DepthPrediction", _: str) -> None:
    cloud = point_cloud.create(prediction.marked_depth, prediction.image, prediction.camera)
    point_cloud.write_ply(path, cloud)


def _write_arrays(path: pathlib.Path, prediction: "DepthPrediction", _: str) -> None:
    write_npz(path, prediction, prediction.camera if prediction.focal_length else None)


_FORMATS: dict[str, _Write] = {
    ".png": lambda path, prediction, colormap: prediction.picture(colormap).save(path, **marks.PNG),
    ".npy": lambda path, prediction, _: np.save(path, prediction.marked_depth),
    ".npz": _write_arrays,
    ".tiff": lambda path, prediction, _: write_tiff(path, prediction.marked_depth),
    ".exr": lambda path, prediction, _: write_exr(path, prediction.marked_depth),
    ".glb": _write_surface,
    ".ply": _write_points,
    ".gif": write_animation,
    ".mp4": write_animation,
}
