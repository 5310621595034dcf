"""Writes the files that the web page shows and offers for a photo, into the photo's folder."""

import dataclasses
import pathlib
import zipfile

import numpy as np

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera, drawing
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.defaults import DENOISING_STEPS
from diffdepth_jax.media.preprocessing import letterbox_size, resize_image
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.estimator import DepthEstimator, DepthPrediction
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.outputs import OutputWriter
from diffdepth_jax.web.markup import escaped
from diffdepth_jax.web.photos import Upload

MAX_ENSEMBLE = 16
_INTERVAL = 0.9  # the level of the interval, where the model can make one
_SHOWN_SIDE = 960  # pixels of the longer side of the pictures on the page
_MAX_POINTS = 200_000  # a browser turns so many smoothly
_NAME = "depth"  # the downloads' names begin with it, whatever an upload is called
_ARCHIVE = "depth.zip"
_ASSUMED_FOV = 60.0  # degrees, where neither the photo nor the model states a focal length


@dataclasses.dataclass(frozen=True)
class Result:
    """The files for one photo.

    Attributes:
      directory: the folder of all files.
      downloads: all files that the page offers one by one.
      size: (height, width) of the photo and of its depth.
      is_calibrated: whether the interval, if there is one, is the model's calibration's.
      summary: sentences for the user.
    """

    directory: pathlib.Path
    downloads: tuple[pathlib.Path, ...]
    size: tuple[int, int]
    is_calibrated: bool
    summary: str

    @property
    def photo(self) -> pathlib.Path:
        """The shown picture of the photo."""
        return self.directory / "shown_photo.png"

    @property
    def photo_alone(self) -> pathlib.Path:
        """The shown picture of the photo without a scale."""
        return self.directory / "photo_alone.png"

    @property
    def depth(self) -> pathlib.Path:
        """The shown picture of the depth."""
        return self.directory / "shown_depth.png"

    @property
    def archive(self) -> pathlib.Path:
        """All downloads in one file."""
        return self.directory / _ARCHIVE

    @property
    def shown_size(self) -> tuple[int, int]:
        """(height, width) of the photo in the shown pictures; to its right is a scale."""
        return letterbox_size(*self.size, (_SHOWN_SIDE, _SHOWN_SIDE))

    def output(self, suffix: str) -> pathlib.Path | None:
        """Returns the download whose name ends with this suffix, or None if there is none."""
        path = self.directory / f"{_NAME}{suffix}"
        return path if path in self.downloads else None

    def pixel_at(self, x: int, y: int) -> tuple[int, int] | None:
        """Returns (column, row) in the photo of a pixel of the shown pictures; None outside."""
        (height, width), (shown_height, shown_width) = self.size, self.shown_size
        column, row = x * width // shown_width, y * height // shown_height
        return (column, row) if self.holds(column, row) else None

    def holds(self, column: int, row: int) -> bool:
        """Whether the photo has such a pixel."""
        height, width = self.size
        return 0 <= column < width and 0 <= row < height

    def metres_at(self, column: int, row: int) -> float:
        """Returns the depth at a pixel; nan where the model says that there is none."""
        return self._value(f"{_NAME}.npy", column, row)

    def interval_at(self, column: int, row: int) -> str:
        """Returns the interval at a pixel as text; "" if the result has none."""
        if self.output("_low.npy") is None:
            return ""
        low, high = (self._value(f"{_NAME}_{end}.npy", column, row) for end in ("low", "high"))
        if np.isnan(low):
            return ""
        doubt = "" if self.is_calibrated else ", not calibrated"
        return f"{low:.2f} to {high:.2f} m ({100 * _INTERVAL:.0f} % interval{doubt})"

    def _value(self, file: str, column: int, row: int) -> float:
        return float(np.load(self.directory / file, mmap_mode="r")[row, column])


def create(
    estimator: DepthEstimator,
    upload: Upload,
    directory: pathlib.Path,
    *,
    num_steps: int,
    ensemble: int,
    cameras: CameraChoice,
) -> Result:
    """Predicts a photo's depth and writes all files for the page.

    Args:
      estimator: predicts the depth.
      upload: see `read_upload`.
      directory: an empty folder for the files.
      num_steps: the sampler's steps.
      ensemble: the number of samples, at most MAX_ENSEMBLE.
      cameras: the camera that the user chose, as for `predict`.

    Raises:
      UserError: a number is out of range, or the camera does not fit the photo.
    """
    if not 1 <= ensemble <= MAX_ENSEMBLE:
        raise UserError(f"ensemble {ensemble}: must be 1 to {MAX_ENSEMBLE}")
    photo, chosen = upload.photo, cameras.of_photo(upload.photo)
    if chosen and cameras.focal_length is not None:
        chosen = dataclasses.replace(chosen, source="as you stated")  # and not as by a flag
    interval = _interval(estimator, ensemble, num_steps)
    prediction = estimator(
        photo.image,
        num_steps=num_steps,
        ensemble=ensemble,
        trajectory=DENOISING_STEPS if estimator.diffuses else False,
        focal_length=chosen.fx if chosen and estimator.focal_length else None,
        interval=interval,
    )
    assert isinstance(prediction, DepthPrediction)  # and not a list, for this is one image
    pinhole = chosen or _assumed_camera(prediction)
    notes = [f"{escaped(note)}." for note in photo.notes]
    result = Result(
        directory,
        _write(directory, prediction, pinhole),
        photo.image.shape[:2],
        interval is not None and estimator.is_calibrated(ensemble, num_steps),
        " ".join([_summarize(prediction, pinhole), *notes]),
    )
    _draw(result, prediction)
    _pack(result)
    return result


def _interval(estimator: DepthEstimator, ensemble: int, num_steps: int) -> float | None:
    """Returns the level of the interval; None if the model cannot make one for such samples."""
    options = Options(num_steps=num_steps, ensemble=ensemble)
    estimator.check(options)
    try:
        estimator.check(dataclasses.replace(options, interval=_INTERVAL))
    except UserError:
        return None
    return _INTERVAL


def _write(
    directory: pathlib.Path, prediction: DepthPrediction, pinhole: Camera
) -> tuple[pathlib.Path, ...]:
    kinds = ("npy", "png16", "color", "ply", "glb")
    kinds += ("gif",) * (prediction.trajectory is not None)
    kinds += ("spread",) * (prediction.spread is not None)
    kinds += ("interval",) * (prediction.low is not None)
    writer = OutputWriter(directory, kinds, surface=True, max_points=_MAX_POINTS)
    writer.write(_NAME, prediction, pinhole)
    return tuple(sorted(writer.paths(_NAME)))


def _pack(result: Result) -> None:
    with zipfile.ZipFile(result.archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in result.downloads:
            archive.write(path, path.name)


def _assumed_camera(prediction: DepthPrediction) -> Camera:
    """Returns the camera that the model assumes, otherwise one of a usual field of view."""
    size = prediction.depth.shape
    if prediction.focal_length:
        return camera.centred(prediction.focal_length, *size, "what the model assumes")
    return camera.from_field_of_view(_ASSUMED_FOV, *size)


def _draw(result: Result, prediction: DepthPrediction) -> None:
    """Draws the photo and its depth in one size, with the scale in metres to the right of both."""
    height, width = result.shown_size
    picture = _picture(result, drawing.depth_limits(prediction.marked_depth))
    drawing.write_png(result.depth, picture)
    picture = picture.copy()
    photo = picture[:height, :width] = resize_image(prediction.image, result.shown_size)
    drawing.write_png(result.photo, picture)
    drawing.write_png(result.photo_alone, photo)


def _picture(result: Result, limits: drawing.Limits) -> drawing.Picture:
    """Draws the depth at the shown size, with colours between these limits in metres."""
    depth = np.load(result.directory / f"{_NAME}.npy")
    return drawing.depth_picture(depth, limits, size=result.shown_size)


def draw_pair(left: Result, right: Result, directory: pathlib.Path) -> list[pathlib.Path]:
    """Draws the depth of two results in the same colours; returns the pictures' paths.

    The colours reach from the nearer near end of the two to the farther far end.
    """
    limits = [
        drawing.depth_limits(np.load(result.directory / f"{_NAME}.npy")) for result in (left, right)
    ]
    (near, far), (other_near, other_far) = limits
    shared = min(near, other_near), max(far, other_far)
    paths = [directory / "left_depth.png", directory / "right_depth.png"]
    for result, path in zip((left, right), paths, strict=True):
        drawing.write_png(path, _picture(result, shared))
    return paths


def _summarize(prediction: DepthPrediction, pinhole: Camera) -> str:
    depth = prediction.marked_depth
    height, width = depth.shape
    has_depth = bool(np.isfinite(depth).any())
    median = f", median {np.nanmedian(depth):.2f} m" if has_depth else ""
    text = (
        f"**{prediction.limits}**{median}, at {width} x {height} pixels. Metres and points hold "
        f"for a focal length of {pinhole.fx:.0f} pixels ({pinhole.source})."
    )
    if prediction.spread is not None and has_depth:
        relative = 100 * float(np.nanmedian(prediction.spread / depth))
        text += f" The spread is {relative:.2g} % of the depth (median)."
    if prediction.holes:
        text += f" {prediction.holes}."
    return text
