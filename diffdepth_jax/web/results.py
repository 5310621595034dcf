"""What the web page shows and offers of one photo: files in a folder of their own."""

import dataclasses
import pathlib
import warnings

import numpy as np
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera, drawing
from diffdepth_jax.media.preprocessing import letterbox_size, resize_image
from diffdepth_jax.media.reading import Photo, read_photo
from diffdepth_jax.prediction.outputs import OutputWriter

MAX_SIDE = 10_000  # pixels of an upload
WORK_SIDE = 2048  # pixels to which uploads are brought: what one request costs is bounded
MAX_ENSEMBLE = 16
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")  # no EPS: it is a program
_SHOWN_SIDE = 960  # pixels of what the page shows
_MAX_POINTS = 200_000  # that a browser turns smoothly
_ASSUMED_FOV = 60.0  # degrees, if neither photo nor model know a focal length


@dataclasses.dataclass(frozen=True)
class Result:
    """Files of one photo.

    Attributes:
      directory: of all of them.
      name: with which those begin that are downloaded.
      shown_size: (height, width) of the photo within the pictures, whose right end is a scale.
      summary: sentences for the user.
    """

    directory: pathlib.Path
    name: str
    shown_size: tuple[int, int]
    summary: str

    @property
    def photo(self):
        return self.directory / "shown_photo.png"

    @property
    def depth(self):
        return self.directory / "shown_depth.png"

    def output(self, suffix):
        """The file NAME followed by this, or None if it was not written."""
        path = self.directory / f"{self.name}{suffix}"
        return path if path.exists() else None

    @property
    def downloads(self):
        return sorted(self.directory.glob(f"{self.name}*"))

    def metres_at(self, x, y):
        """The depth under a pixel of the shown picture; None on the scale beside it."""
        height, width = self.shown_size
        if not (0 <= x < width and 0 <= y < height):
            return None
        metres = np.load(self.directory / f"{self.name}.npy", mmap_mode="r")
        return float(metres[y * metres.shape[0] // height, x * metres.shape[1] // width])


def _check_header(path):
    """Refuses sizes and formats before a pixel is unpacked."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused later
            with Image.open(path) as image:
                (width, height), kind = image.size, image.format
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return  # read_photo says what is wrong
    if kind not in _FORMATS:
        raise UserError(f"{path.name} is of format {kind}: upload one of {', '.join(_FORMATS)}")
    if max(height, width) > MAX_SIDE:
        raise UserError(
            f"{path.name} is {width} x {height} pixels: make it at most {MAX_SIDE} pixels a side"
        )


def read_upload(path) -> Photo:
    """A photo of at most WORK_SIDE pixels a side; a UserError calls it by its name."""
    path = pathlib.Path(path)
    _check_header(path)
    try:
        photo = read_photo(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from error
    if max(photo.image.shape) <= WORK_SIDE:
        return photo
    size = letterbox_size(*photo.image.shape[:2], (WORK_SIDE, WORK_SIDE))
    return dataclasses.replace(photo, image=resize_image(photo.image, size))


def create(estimator, photo: Photo, directory, name, *, num_steps, ensemble, use_exif) -> Result:
    """Predicts a photo and writes everything that the page shows and offers.

    `use_exif` rescales metres to the focal length that the photo states, if it does.
    """
    if not 1 <= ensemble <= MAX_ENSEMBLE:
        raise UserError(f"ensemble {ensemble}: must be 1 to {MAX_ENSEMBLE}")
    size = photo.image.shape[:2]
    own = None
    if use_exif and photo.focal_length_35mm:
        own = camera.from_exif(photo.focal_length_35mm, *size)
    prediction = estimator(
        photo.image,
        num_steps=num_steps,
        ensemble=ensemble,
        trajectory=True,
        focal_length=own.fx if own and estimator.focal_length else None,
    )
    if own is None and prediction.focal_length:
        own = camera.centred(prediction.focal_length, *size, "what the model assumes")
    if own is None:
        own = camera.from_field_of_view(_ASSUMED_FOV, *size)
    kinds = ("npy", "png16", "color", "ply", "glb", "gif") + ("spread",) * (ensemble > 1)
    writer = OutputWriter(directory, kinds, surface=True, max_points=_MAX_POINTS)
    writer.write(name, prediction, own)
    shown_size = letterbox_size(*size, (_SHOWN_SIDE, _SHOWN_SIDE))
    result = Result(directory, name, shown_size, _summarize(prediction, own))
    _draw(result, prediction)
    return result


def _draw(result, prediction):
    """The photo and its depth at one size, both with the scale in metres at the right."""
    height, width = result.shown_size
    resized = Image.fromarray(prediction.depth).resize((width, height), Image.Resampling.BILINEAR)
    limits = drawing.depth_limits(prediction.depth)
    picture = drawing.depth_picture(np.asarray(resized), limits)
    drawing.write_png(result.depth, picture)
    picture = picture.copy()
    picture[:height, :width] = resize_image(prediction.image, result.shown_size)
    drawing.write_png(result.photo, picture)


def _summarize(prediction, own):
    depth = prediction.depth
    height, width = depth.shape
    text = (
        f"**{depth.min():.2f} to {depth.max():.2f} m**, median {np.median(depth):.2f} m, at "
        f"{width} x {height} pixels. Metres and points hold for a focal length of {own.fx:.0f} "
        f"pixels ({own.source})."
    )
    if prediction.spread is not None:
        relative = 100 * float(np.median(prediction.spread / depth))
        text += f" The members of the ensemble differ by {relative:.2g} % (median)."
    return text
