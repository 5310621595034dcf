"""The files that a prediction is written to."""

import dataclasses
import pathlib

import numpy as np
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import drawing, point_cloud
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.prediction.estimator import DepthPrediction
from diffdepth_jax.whole_files import write_whole

# Kind of output: what follows the name, and what it is.
KINDS = {
    "npy": ((".npy",), "float32 metres"),
    "npz": ((".npz",), "float32 metres, spread and camera"),
    "png16": ((".png",), "16 bit, metres x depth_scale"),
    "tiff": ((".tiff",), "32-bit float metres"),
    "color": (("_color.png",), "near red to far blue"),
    "side_by_side": (("_side_by_side.png",), "photo and depth"),
    "spread": (("_spread.npy", "_spread.png"), "spread of samples, metres; picture: % of depth"),
    "ply": ((".ply",), "points in metres"),
    "glb": ((".glb",), "points in metres"),
    "gif": (("_trajectory.gif",), "the denoising, step by step"),
    "video": (("_depth.mp4",), "of a video: photo and depth"),
}
DEFAULT = ("npy", "png16", "color")
NEED_CAMERA = {"ply", "glb"}
_PNG_MAX = np.iinfo(np.uint16).max
_GIF_MILLISECONDS = 2000  # of the whole denoising; the result then stands as long


@dataclasses.dataclass(frozen=True)
class OutputWriter:
    """Writes predictions as files of the kinds asked for.

    Attributes:
      directory: for all of them.
      kinds: of KINDS.
      depth_scale: of the 16-bit PNG, whose values are metres times this.
      color_range: metres at the ends of the colours; None: chosen for each image.
      surface: triangles instead of points in PLY and GLB.
      max_points: in PLY and GLB, see `point_cloud.create`.
    """

    directory: pathlib.Path
    kinds: tuple[str, ...]
    depth_scale: float = 1000.0
    color_range: tuple[float, float] | None = None
    surface: bool = False
    max_points: int = 1_000_000

    def paths(self, name) -> list[pathlib.Path]:
        """Of everything that is written for an image but videos."""
        kinds = [kind for kind in self.kinds if kind != "video"]
        return [self._path(name, suffix) for kind in kinds for suffix in KINDS[kind][0]]

    def _path(self, name, suffix):
        return self.directory / f"{name}{suffix}"

    @property
    def makes_video(self):
        return "video" in self.kinds

    def video_path(self, name) -> pathlib.Path:
        """Of the video that is made of a video."""
        return self._path(name, KINDS["video"][0][0])

    def exist(self, name):
        """Whether there is nothing left to be written for an image."""
        return all(path.exists() for path in self.paths(name))

    def limits(self, depth):
        """Metres at the ends of the colours."""
        return self.color_range or drawing.depth_limits(depth)

    def write(self, name, prediction: DepthPrediction, camera: Camera | None):
        """Writes all of an image's files, each whole or not at all."""
        writers = {
            ".npy": lambda path: np.save(path, prediction.depth),
            ".npz": lambda path: _write_npz(path, prediction, camera),
            ".png": lambda path: _write_png16(path, prediction.depth, self.depth_scale),
            ".tiff": lambda path: Image.fromarray(prediction.depth).save(path),
            "_color.png": lambda path: self._draw(path, prediction),
            "_side_by_side.png": lambda path: self._draw(path, prediction, prediction.image),
            "_spread.npy": lambda path: np.save(path, prediction.spread),
            "_spread.png": lambda path: drawing.write_png(
                path, drawing.spread_picture(prediction.spread, prediction.depth)
            ),
            ".ply": lambda path: point_cloud.write_ply(path, self._cloud(prediction, camera)),
            ".glb": lambda path: point_cloud.write_glb(path, self._cloud(prediction, camera)),
            "_trajectory.gif": lambda path: _write_gif(path, prediction.trajectory),
        }
        self._path(name, "").parent.mkdir(parents=True, exist_ok=True)
        for kind in self.kinds:
            for suffix in KINDS[kind][0]:
                if suffix in writers:
                    write_whole(self._path(name, suffix), writers[suffix])

    def _draw(self, path, prediction, image=None):
        limits = self.limits(prediction.depth)
        drawing.write_png(path, drawing.depth_picture(prediction.depth, limits, image))

    def _cloud(self, prediction, camera):
        return point_cloud.create(
            prediction.depth,
            prediction.image,
            camera,
            surface=self.surface,
            max_points=self.max_points,
        )


def check_kinds(kinds, ensemble):
    """Raises unless these are kinds of output that such an ensemble has."""
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"outputs {kind!r}: must be of {', '.join(KINDS)}")
    if not kinds:
        raise UserError(f"outputs is empty: give some of {', '.join(KINDS)}")
    if "spread" in kinds and ensemble < 2:
        raise UserError("outputs spread: one sample has none; give --ensemble=N of 2 or more")


def _scaled(depth, depth_scale):
    """Metres x depth_scale as uint16; 0 where that is out of range."""
    scaled = np.multiply(depth, depth_scale, dtype=np.float64)
    np.round(scaled, out=scaled)
    scaled[scaled > _PNG_MAX] = 0
    return scaled.astype(np.uint16)


def count_beyond_png(depth, depth_scale):
    """Pixels that a 16-bit PNG cannot hold."""
    return int((_scaled(depth, depth_scale) == 0).sum())


def _write_png16(path, depth, depth_scale):
    Image.fromarray(_scaled(depth, depth_scale)).save(path)


def _write_npz(path, prediction, camera):
    arrays = {"depth": prediction.depth}
    if prediction.spread is not None:
        arrays["spread"] = prediction.spread
    if camera is not None:
        arrays["fx_fy_cx_cy"] = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    np.savez_compressed(path, **arrays)


def _write_gif(path, trajectory):
    pictures = [Image.fromarray(frame) for frame in drawing.denoising_pictures(trajectory)]
    durations = [max(20, _GIF_MILLISECONDS // len(pictures))] * (len(pictures) - 1)
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        loop=0,
        duration=[*durations, _GIF_MILLISECONDS],
    )
