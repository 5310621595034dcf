"""Reads images and depth from files; photos come as RGB, turned the way the camera was held."""

import dataclasses
import math
import os
import pathlib
import tokenize
import warnings

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import ArrayLike
from PIL import ExifTags, Image, ImageOps

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.photo_formats import HEIF_ADVICE, HEIF_EXTENSIONS, register_heif

RGB = UInt8[np.ndarray, "height width 3"]
FilePath = str | os.PathLike[str]

# The errors that Pillow and NumPy were seen to raise on truncated and damaged files.
_DECODER_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    tokenize.TokenError,
    Image.DecompressionBombError,
)
_DEPTH_FORMATS = "single-channel 16-bit PNG or .npy in metres"


@dataclasses.dataclass(frozen=True)
class Photo:
    """An image and what its file says of it.

    Attributes:
      image: uint8 RGB [H, W, 3].
      focal_length_35mm: EXIF's FocalLengthIn35mmFilm in millimetres; 0 if the file has none.
      num_pictures: number of pictures in the file; `image` is the first of an animation's frames
        or of a document's pages.
    """

    image: RGB
    focal_length_35mm: float
    num_pictures: int


def read_photo(path: FilePath) -> Photo:
    """Reads an image file; raises a UserError if it cannot be read or is too large."""
    register_heif()
    try:
        with warnings.catch_warnings():
            # Pillow warns at this size, and refuses at twice the size, which takes gigabytes.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = read_image(path, exif_orientation=True)
            focal_length, num_pictures = _read_header(path)
    except Image.DecompressionBombWarning as error:
        limit = Image.MAX_IMAGE_PIXELS or math.inf  # None turns Pillow's limit off
        raise UserError(
            f"image {path} is larger than {limit / 1e6:.0f} megapixels: make it smaller"
        ) from error
    except UserError as error:
        if pathlib.Path(path).suffix.lower() in HEIF_EXTENSIONS and not register_heif():
            raise UserError(f"{error}; {HEIF_ADVICE}") from error
        raise
    return Photo(image, focal_length, num_pictures)


def _read_header(path: FilePath) -> tuple[float, int]:
    """Reads EXIF's focal length on 35 mm film, 0 if there is none, and the number of pictures."""
    with Image.open(path) as file:
        exif = file.getexif().get_ifd(ExifTags.IFD.Exif)
        # In an MPO file a camera puts previews behind the photo.
        num_pictures = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
    return float(exif.get(ExifTags.Base.FocalLengthIn35mmFilm) or 0), num_pictures


def as_rgb(image: ArrayLike | Image.Image | FilePath) -> RGB:
    """Returns an image as uint8 RGB; it may be such an array, a PIL image, or a file's path.

    Raises a UserError for an array of another shape or type, and for a PIL image with more than 8
    bits per channel.
    """
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


def read_image(path: FilePath, *, exif_orientation: bool) -> RGB:
    """Reads an image file; grey becomes three equal channels, alpha is dropped.

    With `exif_orientation` the image is turned the way the camera was held.
    """
    try:
        with Image.open(path) as image:
            # Pillow would clip more than 8 bits of grey to white instead of scaling them.
            if image.mode[0] not in "IF":
                turned = ImageOps.exif_transpose(image) if exif_orientation else image
                return np.array(turned.convert("RGB"))
            mode = image.mode
    except _DECODER_ERRORS as error:
        raise unreadable("image", path, error) from error
    raise UserError(
        f"image {path} has mode {mode}; expected 8 bits per channel:"
        " convert it, or check that the pattern does not match depth files"
    )


def read_depth(path: str, depth_scale: float) -> Float32[np.ndarray, "height width 1"]:
    """Reads depth in metres from a PNG, TIFF or .npy file; 0, nan and inf stay as they are.

    Integers in the file are metres times `depth_scale`; floats are metres.
    """
    read = _read_depth_array if path.lower().endswith(".npy") else _read_depth_picture
    try:
        values = read(path)
    except _DECODER_ERRORS as error:
        raise unreadable("depth file", path, error) from error
    scale = 1.0 if values.dtype.kind == "f" else depth_scale
    return (values.astype(np.float32) / np.float32(scale)).reshape(*values.shape[:2], 1)


def _read_depth_array(path: str) -> np.ndarray:
    """Reads [H, W] or [H, W, 1] from a .npy file; floats, or integers of 16 bits and more."""
    values = np.load(path, allow_pickle=False)
    if not isinstance(values, np.ndarray):
        raise UserError(f"depth file {path} is an archive of arrays; expected {_DEPTH_FORMATS}")
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (1,)):
        raise UserError(f"depth file {path} has shape {values.shape}; expected [H, W] or [H, W, 1]")
    if values.dtype.kind not in "fiu" or values.dtype.itemsize < 2:
        raise UserError(
            f"depth file {path} has dtype {values.dtype}; expected floats in metres,"
            " or integers of 16 bits or more in metres times depth_scale"
        )
    return values


def _read_depth_picture(path: str) -> np.ndarray:
    """Reads integers [H, W] from a PNG or TIFF file of one channel with 16 or 32 bits."""
    with Image.open(path) as picture:
        if picture.mode == "L":
            raise UserError(
                f"depth file {path} has 8 bits, most likely a picture scaled for viewing and not"
                f" metric depth; expected {_DEPTH_FORMATS}: export it again from the source"
            )
        if not picture.mode.startswith("I"):
            raise UserError(f"depth file {path} has mode {picture.mode}; expected {_DEPTH_FORMATS}")
        return np.array(picture)


def unreadable(kind: str, path: FilePath, error: Exception) -> UserError:
    """Returns the UserError that names a damaged file and the decoder's reason in one line."""
    reason = " ".join(str(error).split())
    return UserError(f"{kind} {path} cannot be read ({reason}); replace or remove it")
