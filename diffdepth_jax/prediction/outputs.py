"""Writes the files of a prediction."""

import contextlib
import dataclasses
import functools
import math
import pathlib
import threading
from collections.abc import Callable, Collection, Generator, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float32, UInt16
from PIL import Image

from diffdepth_jax.errors import UserError, did_you_mean
from diffdepth_jax.media import color_maps, defaults, drawing, glb, marks, point_cloud, video
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.drawing import Limits
from diffdepth_jax.media.frame_times import Clock, Span
from diffdepth_jax.media.point_cloud import PointCloud
from diffdepth_jax.media.reading import RGB
from diffdepth_jax.media.video import VideoWriter
from diffdepth_jax.prediction import file_formats
from diffdepth_jax.prediction.depth_prediction import DepthPrediction, RelativePrediction
from diffdepth_jax.prediction.model_facts import ModelFacts
from diffdepth_jax.prediction.output_kinds import FRAME, KINDS, NEED_TRAJECTORY
from diffdepth_jax.prediction.output_names import InputFile
from diffdepth_jax.whole_files import whole_file

AnyPrediction = DepthPrediction | RelativePrediction
Metres = Float32[np.ndarray, "height width"]
_T = TypeVar("_T")
_PNG_MAX = np.iinfo(np.uint16).max
_FOLDERS = threading.Lock()  # else one thread removes a folder into which another writes


@dataclasses.dataclass(frozen=True)
class OutputWriter:
    """Writes predictions as files of some kinds.

    Attributes:
      directory: the folder of all files.
      kinds: names of KINDS.
      depth_scale: values of the 16-bit PNG are metres times this.
      color_range: metres at the two ends of the colours; None: chosen for each image.
      surface: PLY and GLB hold triangles instead of points.
      max_points, max_triangles: the most in PLY and GLB, see `point_cloud.create`.
      colormap: of pictures, see `color_maps.depth_map`.
    """

    directory: pathlib.Path
    kinds: tuple[str, ...]
    depth_scale: float = 1000.0
    color_range: Limits | None = None
    surface: bool = False
    max_points: int = defaults.MAX_POINTS
    max_triangles: int = defaults.MAX_TRIANGLES
    colormap: str = defaults.COLORMAP

    def __post_init__(self) -> None:
        if not 0 < self.depth_scale < math.inf:
            raise UserError(f"depth_scale {self.depth_scale}: must be positive and finite")
        for name in ("max_points", "max_triangles"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)}: must be 1 or more")
        color_maps.depth_map(self.colormap)  # for its checks
        if self.color_range is not None:
            near, far = self.color_range
            if not 0 < near < far < math.inf:
                raise UserError(f"color_range {near:g},{far:g}: must be positive and increasing")

    def paths(self, name: str) -> list[pathlib.Path]:
        """Returns the paths of all files that `write` makes for an image."""
        return [self._path(name, suffix) for suffix in self._suffixes()]

    def _suffixes(self) -> list[str]:
        kinds = [KINDS[kind] for kind in self.kinds if kind != "video"]
        return [suffix for kind in kinds for suffix in kind.suffixes]

    def _path(self, name: str, suffix: str) -> pathlib.Path:
        return self.directory / f"{name}{suffix}"

    @property
    def makes_video(self) -> bool:
        """Whether a video of depth is made of each video."""
        return "video" in self.kinds

    def video_path(self, name: str) -> pathlib.Path:
        """Returns the path of the video of depth that is made of a video."""
        return self._path(name, KINDS["video"].suffixes[0])

    def existing(self, file: InputFile) -> list[pathlib.Path]:
        """Returns what exists at the paths that are written for a file, of whichever frame."""
        if not file.is_video:
            return [path for path in self.paths(file.name) if path.exists()]
        video = self.video_path(file.name)
        return [*self.existing_frames(file.name), *[video] * (self.makes_video and video.exists())]

    def existing_frames(self, name: str) -> list[pathlib.Path]:
        """Returns the files in a video's folder that have names of files of its frames."""
        ends = self._suffixes()
        try:
            paths = sorted((self.directory / name).iterdir())
        except OSError:  # no frame was written
            return []
        return [path for path in paths if FRAME.sub("", path.name) in ends]

    def exist(self, name: str) -> bool:
        """Whether all files of an image exist already."""
        return all(path.exists() for path in self.paths(name))

    def limits(self, prediction: AnyPrediction) -> Limits:
        """Returns the metres, or the inverse depths, at the two ends of the colours."""
        if isinstance(prediction, RelativePrediction):
            return drawing.relative_limits(prediction.inverse_depth)
        return self.color_range or drawing.depth_limits(prediction.marked_depth)

    def write(self, name: str, prediction: AnyPrediction, camera: Camera | None) -> None:
        """Writes all files of an image, each whole or not at all."""
        writers = self._pictures(prediction)
        if isinstance(prediction, RelativePrediction):
            inverse_depth = prediction.inverse_depth
            writers["_inverse_depth.npy"] = lambda path: np.save(path, inverse_depth)
        else:
            writers |= self._writers(prediction, camera)
        for suffix in self._suffixes():
            with _file_in_folder(self._path(name, suffix)) as unfinished:
                writers[suffix](unfinished)

    def _pictures(self, prediction: AnyPrediction) -> dict[str, Callable[[pathlib.Path], object]]:
        """Returns for each suffix of a picture of any prediction the function that writes it."""

        def draw(path: pathlib.Path, image: RGB | None = None) -> None:
            drawing.write_png(path, self._picture(prediction, self.limits(prediction), image))

        return {
            "_color.png": draw,
            "_side_by_side.png": lambda path: draw(path, prediction.image),
        }

    def _picture(
        self, prediction: AnyPrediction, limits: Limits, image: RGB | None = None
    ) -> drawing.Picture:
        colormap = self.colormap
        if isinstance(prediction, RelativePrediction):
            inverse_depth = prediction.inverse_depth
            return drawing.relative_picture(inverse_depth, limits, image, colormap=colormap)
        return drawing.depth_picture(prediction.marked_depth, limits, image, colormap=colormap)

    def _writers(
        self, prediction: DepthPrediction, camera: Camera | None
    ) -> Mapping[str, Callable[[pathlib.Path], object]]:
        """Returns for each suffix the function that writes the file to a path."""
        depth = prediction.marked_depth
        animate = functools.partial(
            file_formats.write_animation, prediction=prediction, colormap=self.colormap
        )
        return {
            ".npy": lambda path: np.save(path, depth),
            ".npz": lambda path: file_formats.write_npz(path, prediction, camera),
            ".png": lambda path: _write_png16(path, depth, self.depth_scale),
            ".tiff": lambda path: file_formats.write_tiff(path, depth),
            ".exr": lambda path: file_formats.write_exr(path, depth),
            "_spread.npy": lambda path: np.save(path, _marked(prediction, "spread")),
            "_spread.png": lambda path: _draw_spread(path, prediction),
            "_low.npy": lambda path: np.save(path, _marked(prediction, "low")),
            "_high.npy": lambda path: np.save(path, _marked(prediction, "high")),
            ".ply": lambda path: point_cloud.write_ply(path, self._cloud(prediction, camera)),
            ".glb": lambda path: glb.write_glb(
                path, self._cloud(prediction, camera), prediction.image
            ),
            "_trajectory.gif": animate,
            "_trajectory.mp4": animate,
        }

    def _cloud(self, prediction: DepthPrediction, camera: Camera | None) -> PointCloud:
        return point_cloud.create(
            prediction.marked_depth,
            prediction.image,
            _present(camera),
            surface=self.surface,
            max_points=self.max_points,
            max_triangles=self.max_triangles,
        )

    @contextlib.contextmanager
    def open_video(
        self, name: str, clock: Clock
    ) -> Generator[Callable[[AnyPrediction, Span], None], None, None]:
        """Makes a video, whole or not at all; yields a function that appends a prediction to it.

        Each frame shows the image and its depth. All frames have the colour range of the first one
        with a depth, so that the colours do not flicker. `clock` counts the times of the frames.
        """
        path, limits = self.video_path(name), None
        with _file_in_folder(path) as unfinished:
            with VideoWriter(unfinished, clock) as video:

                def append(prediction: AnyPrediction, span: Span) -> None:
                    nonlocal limits
                    found = limits or self.limits(prediction)
                    limits = found if _has_depth(prediction) else limits
                    video.write(self._picture(prediction, found, prediction.image), span)

                yield append
            marks.mark_video(unfinished)


def _has_depth(prediction: AnyPrediction) -> bool:
    if isinstance(prediction, RelativePrediction):
        return True
    return bool(np.isfinite(prediction.marked_depth).any())


@contextlib.contextmanager
def _file_in_folder(path: pathlib.Path) -> Generator[pathlib.Path]:
    """Does what `whole_file` does, in a folder that is made, and removed again if that fails."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        with whole_file(path) as unfinished:
            with _FOLDERS:
                path.parent.mkdir(parents=True, exist_ok=True)
                unfinished.touch()
            yield unfinished
    except BaseException:
        with _FOLDERS, contextlib.suppress(OSError):  # another file is in the folder
            for folder in missing:
                folder.rmdir()
        raise


def check_kinds(kinds: Collection[str], interval: float | None = None) -> None:
    """Raises a UserError unless all are kinds of output that such a prediction has."""
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(
                f"outputs {kind}: must be of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}"
            )
    if not kinds:
        raise UserError(f"outputs is empty: give some of {', '.join(KINDS)}")
    if "interval" in kinds and interval is None:
        raise UserError("outputs interval: say how wide it is with --interval=0.9")
    for kind, library in (("exr", file_formats.exr_library), ("mp4", video.library)):
        if kind in kinds:
            library()  # for its error, which would otherwise come after the first prediction


def trajectory_steps(kinds: Collection[str]) -> int:
    """Returns the least number of steps of the trajectory that these kinds show; 0: none."""
    return defaults.DENOISING_STEPS if NEED_TRAJECTORY & set(kinds) else 0


def check_spread(kinds: Collection[str], ensemble: int, model: ModelFacts) -> None:
    """Raises a UserError for "spread" unless there are several samples, or each has its own."""
    if "spread" in kinds and ensemble < 2 and not model.has_scale:
        several = "give --ensemble=N of 2 or more, or " if model.diffuses else "give "
        raise UserError(
            f"outputs spread: one sample of this model has none; {several}a model that was trained "
            "with model.laplace_scale"
        )


def _present(value: _T | None) -> _T:
    """Returns what a kind of output needs; the checks made sure that it is there."""
    assert value is not None
    return value


def _marked(prediction: DepthPrediction, name: str) -> Metres:
    """Returns a map of the prediction by its name, with nan where there is no depth."""
    return prediction.marked(_present(getattr(prediction, name)))


def _scaled(depth: Metres, depth_scale: float) -> UInt16[np.ndarray, "height width"]:
    """Returns metres times `depth_scale`, rounded; 0 where that is out of range or nan."""
    scaled = np.multiply(depth, depth_scale, dtype=np.float64)
    np.round(scaled, out=scaled)
    scaled[~(scaled <= _PNG_MAX)] = 0
    return scaled.astype(np.uint16)


def count_beyond_png(depth: Metres, depth_scale: float) -> int:
    """Returns the number of pixels with a depth that a 16-bit PNG cannot hold."""
    return int(((_scaled(depth, depth_scale) == 0) & ~np.isnan(depth)).sum())


def _write_png16(path: pathlib.Path, depth: Metres, depth_scale: float) -> None:
    Image.fromarray(_scaled(depth, depth_scale)).save(path, **marks.PNG)


def _draw_spread(path: pathlib.Path, prediction: DepthPrediction) -> None:
    spread = _marked(prediction, "spread")
    drawing.write_png(path, drawing.spread_picture(spread, prediction.marked_depth))
