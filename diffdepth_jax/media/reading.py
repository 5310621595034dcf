"""One photo from whatever holds it, as RGB the way the camera was held."""

import dataclasses
import os
import pathlib
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageOps

from diffdepth_jax.datasets.folder import read_image
from diffdepth_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Photo:
    """An image file.

    Attributes:
      image: uint8 RGB [H, W, 3].
      focal_length_35mm: EXIF's FocalLengthIn35mmFilm in millimetres; 0 if it is not stated.
      num_pictures: in the file; of an animation, or of a file of many pages, `image` is the first.
    """

    image: np.ndarray
    focal_length_35mm: float
    num_pictures: int


def read_photo(path) -> Photo:
    """Reads an image file; a UserError names what cannot be read, or is too large to."""
    try:
        with warnings.catch_warnings():
            # Pillow warns first and refuses at twice the size, which takes gigabytes to unpack.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = read_image(path, exif_orientation=True)
            with Image.open(path) as file:
                focal_length = file.getexif().get_ifd(ExifTags.IFD.Exif)
                focal_length = focal_length.get(ExifTags.Base.FocalLengthIn35mmFilm) or 0
                # A camera's own file of a photo and its previews is a photo.
                frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
    except Image.DecompressionBombWarning as error:
        raise UserError(
            f"image {path} is larger than {Image.MAX_IMAGE_PIXELS / 1e6:.0f} megapixels: "
            "make it smaller"
        ) from error
    except UserError as error:
        if pathlib.Path(path).suffix.lower() in (".heic", ".heif"):
            raise UserError(f"{error}; HEIC has to be converted to JPEG") from error
        raise
    return Photo(image, float(focal_length), frames)


def as_rgb(image) -> np.ndarray:
    """uint8 [H, W, 3] of an array, which has to be that already, a PIL image, or a file's path."""
    if isinstance(image, (str, os.PathLike)):
        return read_photo(pathlib.Path(image)).image
    if isinstance(image, Image.Image):
        if image.mode[0] in "IF":
            raise UserError(f"image of mode {image.mode}: convert it to 8 bits per channel")
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(
            f"image of shape {image.shape} and type {image.dtype}: must be RGB uint8 [H, W, 3]"
        )
    if min(image.shape) < 1:
        height, width = image.shape[:2]
        raise UserError(f"image {height} x {width}: height and width must be positive")
    return image
