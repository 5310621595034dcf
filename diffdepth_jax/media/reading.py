"""One photo from whatever holds it, as RGB the way the camera was held."""

import dataclasses
import os
import pathlib
import tokenize
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageOps

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


# What Pillow and NumPy were seen to raise on truncated and damaged files.
_DECODER_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    tokenize.TokenError,
    Image.DecompressionBombError,
)
_DEPTH_FORMATS = "single-channel 16-bit PNG or .npy in metres"


def read_image(path: str, *, exif_orientation: bool) -> np.ndarray:
    """Reads an image file as uint8 [H, W, 3]: grey is repeated, alpha dropped.

    With `exif_orientation` a photograph is turned the way the camera was held.
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


def read_depth(path: str, depth_scale: float) -> np.ndarray:
    """Reads float32 [H, W, 1] in metres, as the file has it: 0, nan and inf included."""
    read = _read_depth_array if path.lower().endswith(".npy") else _read_depth_picture
    try:
        values = read(path)
    except _DECODER_ERRORS as error:
        raise unreadable("depth file", path, error) from error
    scale = 1.0 if values.dtype.kind == "f" else depth_scale
    return (values.astype(np.float32) / np.float32(scale)).reshape(*values.shape[:2], 1)


def _read_depth_array(path: str) -> np.ndarray:
    """Reads a .npy file of [H, W] or [H, W, 1]; floats, or integers of 16 bits and more."""
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
    """Reads integers [H, W] from a PNG or TIFF of one channel and 16 or 32 bits."""
    with Image.open(path) as picture:
        if picture.mode == "L":
            raise UserError(
                f"depth file {path} has 8 bits, most likely a picture scaled for viewing and not"
                f" metric depth; expected {_DEPTH_FORMATS}: export it again from the source"
            )
        if not picture.mode.startswith("I"):
            raise UserError(f"depth file {path} has mode {picture.mode}; expected {_DEPTH_FORMATS}")
        return np.array(picture)


def unreadable(kind: str, path: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{kind} {path} cannot be read ({reason}); replace or remove it")
