"""Writes the files that the web page shows and offers for a photo, into the photo's folder."""

import dataclasses
import os
import pathlib
import re
import warnings

import numpy as np
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera, drawing
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.photo_formats import open_picture
from diffdepth_jax.media.preprocessing import letterbox_size, resize_image
from diffdepth_jax.media.reading import Photo, read_photo
from diffdepth_jax.prediction.estimator import DepthEstimator, DepthPrediction
from diffdepth_jax.prediction.outputs import OutputWriter

MAX_SIDE = 10_000  # pixels of an upload's longer side
WORK_SIDE = 2048  # pixels to which a longer side is reduced, so that one request's cost is bounded
MAX_ENSEMBLE = 16
INTERVAL = 0.9  # the level of the interval, if the model is calibrated
_SHOWN_SIDE = 960  # pixels of the longer side of the pictures on the page
_MAX_POINTS = 200_000  # a browser turns so many smoothly
_NAME = "depth"  # the downloads' names begin with it, whatever an upload is called
_ASSUMED_FOV = 60.0  # degrees, where neither the photo nor the model states a focal length


@dataclasses.dataclass(frozen=True)
class Result:
    """The files for one photo.

    Attributes:
      directory: the folder of all files.
      downloads: all files that the page offers.
      shown_size: (height, width) of the photo in the shown pictures; to its right is a scale.
      summary: sentences for the user.
    """

    directory: pathlib.Path
    downloads: tuple[pathlib.Path, ...]
    shown_size: tuple[int, int]
    summary: str

    @property
    def photo(self) -> pathlib.Path:
        """The shown picture of the photo."""
        return self.directory / "shown_photo.png"

    @property
    def depth(self) -> pathlib.Path:
        """The shown picture of the depth."""
        return self.directory / "shown_depth.png"

    def output(self, suffix: str) -> pathlib.Path | None:
        """Returns the download whose name ends with this suffix, or None if there is none."""
        path = self.directory / f"{_NAME}{suffix}"
        return path if path in self.downloads else None

    def metres_at(self, x: int, y: int) -> float | None:
        """Returns the depth at a pixel of the shown pictures; None outside of the photo.

        It is nan where the model says that there is no depth.
        """
        height, width = self.shown_size
        if not (0 <= x < width and 0 <= y < height):
            return None
        return self._value(f"{_NAME}.npy", x, y)

    def interval_at(self, x: int, y: int) -> tuple[float, float] | None:
        """Returns the ends of the interval at a pixel in the photo; None if the result has none."""
        if self.output("_low.npy") is None:
            return None
        return self._value(f"{_NAME}_low.npy", x, y), self._value(f"{_NAME}_high.npy", x, y)

    def _value(self, file: str, x: int, y: int) -> float:
        values, (height, width) = np.load(self.directory / file, mmap_mode="r"), self.shown_size
        return float(values[y * values.shape[0] // height, x * values.shape[1] // width])


def _check_header(path: pathlib.Path) -> None:
    """Refuses a file by its size or its bits, before any pixel is unpacked."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # read_photo refuses
            with open_picture(path) as image:
                (width, height), mode = image.size, image.mode
    except Exception:  # metadata can raise any; read_photo passes them over, or says what is wrong
        return
    _check_size(path, height, width)
    if mode[0] in "IF":
        raise UserError(
            f"{path.name} has more than 8 bits per channel: convert it to 8 bits per channel"
        )


def _check_size(path: pathlib.Path, height: int, width: int) -> None:
    if max(height, width) > MAX_SIDE:
        raise UserError(
            f"{path.name} is {width} x {height} pixels: make it at most {MAX_SIDE} pixels a side"
        )


def read_upload(path: str | os.PathLike[str]) -> Photo:
    """Reads a photo and reduces it to at most WORK_SIDE pixels a side.

    Raises:
      UserError: the file is no photo, or too large; the message names it without its folder, as
        the photo's notes do.
    """
    path = pathlib.Path(path)
    _check_header(path)
    try:
        photo = read_photo(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from error
    height, width, _ = photo.image.shape
    _check_size(path, height, width)
    notes = tuple(note.replace(str(path), path.name) for note in photo.notes)
    image = photo.image
    if max(height, width) > WORK_SIDE:
        image = resize_image(image, letterbox_size(height, width, (WORK_SIDE, WORK_SIDE)))
    return dataclasses.replace(photo, image=image, notes=notes)


def create(
    estimator: DepthEstimator,
    photo: Photo,
    directory: pathlib.Path,
    *,
    num_steps: int,
    ensemble: int,
    use_exif: bool,
) -> Result:
    """Predicts a photo's depth and writes all files for the page.

    Args:
      estimator: predicts the depth.
      photo: see `read_upload`.
      directory: an empty folder for the files.
      num_steps: the sampler's steps.
      ensemble: the number of samples, at most MAX_ENSEMBLE.
      use_exif: whether metres are rescaled to the focal length in the photo's EXIF data, if any.

    Raises:
      UserError: a number is out of range.
    """
    if not 1 <= ensemble <= MAX_ENSEMBLE:
        raise UserError(f"ensemble {ensemble}: must be 1 to {MAX_ENSEMBLE}")
    size = photo.image.shape[:2]
    stated = None
    if use_exif and photo.focal_length_35mm:
        stated = camera.from_exif(photo.focal_length_35mm, *size)
    interval = INTERVAL if estimator.is_calibrated(ensemble, num_steps) else None
    prediction = estimator(
        photo.image,
        num_steps=num_steps,
        ensemble=ensemble,
        trajectory=estimator.diffuses,
        focal_length=stated.fx if stated and estimator.focal_length else None,
        interval=interval,
    )
    assert isinstance(prediction, DepthPrediction)  # and not a list, for this is one image
    pinhole = stated or _assumed_camera(prediction)
    kinds = ("npy", "png16", "color", "ply", "glb")
    kinds += ("gif",) * estimator.diffuses + ("spread",) * (prediction.spread is not None)
    kinds += ("interval",) * (interval is not None)
    writer = OutputWriter(directory, kinds, surface=True, max_points=_MAX_POINTS)
    writer.write(_NAME, prediction, pinhole)
    shown_size = letterbox_size(*size, (_SHOWN_SIDE, _SHOWN_SIDE))
    notes = [f"{_without_markup(note)}." for note in photo.notes]
    summary = " ".join([_summarize(prediction, pinhole), *notes])
    downloads = tuple(sorted(writer.paths(_NAME)))
    result = Result(directory, downloads, shown_size, summary)
    _draw(result, prediction)
    return result


def _without_markup(text: str) -> str:
    """Returns Markdown that shows a text from a photo as it is, without links or pictures."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def _assumed_camera(prediction: DepthPrediction) -> Camera:
    """Returns the camera that the model assumes, otherwise one of a usual field of view."""
    size = prediction.depth.shape
    if prediction.focal_length:
        return camera.centred(prediction.focal_length, *size, "what the model assumes")
    return camera.from_field_of_view(_ASSUMED_FOV, *size)


def _draw(result: Result, prediction: DepthPrediction) -> None:
    """Draws the photo and its depth in one size, with the scale in metres to the right of both."""
    height, width = result.shown_size
    depth = prediction.marked_depth
    picture = drawing.depth_picture(depth, drawing.depth_limits(depth), size=result.shown_size)
    drawing.write_png(result.depth, picture)
    picture = picture.copy()
    picture[:height, :width] = resize_image(prediction.image, result.shown_size)
    drawing.write_png(result.photo, picture)


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
