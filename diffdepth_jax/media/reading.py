"""Reads pictures as RGB, and photos turned the way the camera was held."""

import dataclasses
import io
import math
import os
import pathlib
import warnings
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8, UInt16
from numpy.typing import ArrayLike
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.metadata_removal import without_metadata
from diffdepth_jax.media.orientation import turned
from diffdepth_jax.media.photo_formats import (
    HEIF_ADVICE,
    HEIF_EXTENSIONS,
    open_file,
    open_picture,
    register_heif,
)
from diffdepth_jax.media.photo_metadata import Metadata, read_metadata

_LEVELS = (np.dtype(np.uint8), np.dtype(np.uint16))
_UNUSED = 4095  # of 12 bits in 16: such a picture would come out black
RGB = UInt8[np.ndarray, "height width 3"]
FilePath = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Picture:
    """The pixels of an image file as they are stored, and what the file says of them.

    Attributes:
      stored: uint8 RGB [H, W, 3]; grey becomes three equal channels, alpha is dropped.
      metadata: tells among others how to turn the pixels.
    """

    stored: RGB
    metadata: Metadata


@dataclasses.dataclass(frozen=True)
class Photo:
    """An image as viewers show it, and what its file says of it.

    Attributes:
      image: uint8 RGB [H, W, 3].
      focal_length_35mm: EXIF's FocalLengthIn35mmFilm in millimetres; 0 if the file has none.
      num_pictures: number of pictures in the file; `image` is the first of an animation's frames
        or of a document's pages.
      notes: a sentence about each piece of metadata that was wrong and is passed over.
    """

    image: RGB
    focal_length_35mm: float = 0.0
    num_pictures: int = 1
    notes: tuple[str, ...] = ()


def read_photo(path: FilePath) -> Photo:
    """Reads an image file; raises a UserError if it cannot be read or is too large."""
    with warnings.catch_warnings():
        # Pillow warns at this size, and refuses at twice the size, which takes gigabytes.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)  # of damaged metadata, which `notes` tell of
        picture = read_picture(path)
    metadata = picture.metadata
    return Photo(
        turned(picture.stored, metadata.orientation),
        metadata.focal_length_35mm,
        metadata.num_pictures,
        metadata.notes,
    )


def read_picture(path: FilePath) -> Picture:
    """Reads an image file; raises a UserError if it cannot be read or has more than 8 bits."""
    try:
        with open_file(path) as file:
            return _read_with_or_without_metadata(file, path)
    except UserError:
        raise
    except Exception as error:  # Pillow raises errors of many types on damaged files
        raise _refusal(path, error) from error


def _refusal(path: FilePath, error: Exception) -> UserError:
    if isinstance(error, Image.DecompressionBombWarning):
        limit = Image.MAX_IMAGE_PIXELS or math.inf  # None turns Pillow's limit off
        text = f"image {path} is larger than {limit / 1e6:.0f} megapixels: make it smaller"
        return UserError(text)
    needs_add_on = pathlib.Path(path).suffix.lower() in HEIF_EXTENSIONS and not register_heif()
    advice = f"; {HEIF_ADVICE}" if needs_add_on else ""
    return UserError(f"{unreadable('image', path, error)}{advice}")


def _read_with_or_without_metadata(file: BinaryIO, path: FilePath) -> Picture:
    """Decodes a file, and again without its metadata if Pillow refuses the file with them."""
    try:
        return _decode(file, path)
    except UserError:
        raise
    except Exception as error:  # Pillow raises errors of many types on damaged metadata
        file.seek(0)
        data = file.read()
        bare = without_metadata(data)
        if bare == data:
            raise
        picture = _decode(io.BytesIO(bare), path)
        note = f"metadata cannot be read ({_one_line(error)}): passed over"
        return Picture(picture.stored, Metadata(notes=(note,)))


def _decode(file: BinaryIO, path: FilePath) -> Picture:
    with open_picture(file) as image:
        if image.mode[0] in "IF":  # Pillow would clip them to white instead of scaling them
            raise UserError(
                f"image {path} has more than 8 bits per channel (mode {image.mode}): convert it to "
                "8 bits; if it is a depth map, give the photo instead"
            )
        pixels = np.array(image.convert("RGB"))
        # After the pixels: Pillow looks at all pages to count them, and stays at a damaged one.
        return Picture(pixels, read_metadata(image))


def as_rgb(image: ArrayLike | Image.Image | FilePath) -> RGB:
    """Returns an image as uint8 RGB.

    Args:
      image: an array, uint8 or uint16, RGB [H, W, 3] or grey [H, W] or [H, W, 1]; a PIL image; or
        the path of a file. Grey becomes three equal channels. The levels of 16 bits are 0 to 65535:
        they are divided by 257. Those of a camera of 10 to 14 bits must be scaled to that before.

    Raises:
      UserError: an array of another shape or type, 16 bits of which the upper four are not used,
        a PIL image or a file of more than 8 bits, which often is a depth map, or a URL.
    """
    if isinstance(image, str) and image.startswith(("http://", "https://")):
        raise UserError(f"image {image} is a URL: download it, and give the file")
    if isinstance(image, (str, os.PathLike)):
        return read_photo(image).image
    if isinstance(image, Image.Image):
        if image.mode[0] in "IF":
            raise UserError(f"image of mode {image.mode}: convert it to 8 bits per channel")
        return turned(np.array(image.convert("RGB")), read_metadata(image).orientation)
    return _array_as_rgb(np.asarray(image))


def _array_as_rgb(image: np.ndarray) -> RGB:
    shaped = image[..., None] if image.ndim == 2 else image
    if shaped.ndim != 3 or shaped.shape[2] not in (1, 3) or image.dtype not in _LEVELS:
        raise UserError(
            f"image of shape {image.shape} and type {image.dtype}: must be RGB [H, W, 3] or grey "
            "[H, W], uint8 or uint16"
        )
    if min(shaped.shape) < 1:
        height, width = shaped.shape[:2]
        raise UserError(f"image {height} x {width}: height and width must be positive")
    if image.dtype == np.uint16:
        shaped = _eight_bits(shaped)
    return shaped if shaped.shape[2] == 3 else np.repeat(shaped, 3, axis=2)


def _eight_bits(image: UInt16[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    highest = int(image.max())
    if highest <= _UNUSED:
        raise UserError(
            f"image of type uint16 whose highest level is {highest}: white is 65535; scale the "
            "levels to that, or convert the image to uint8"
        )
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def unreadable(kind: str, path: FilePath, error: Exception) -> UserError:
    """Returns the UserError that names a damaged file and the decoder's reason in one line."""
    return UserError(f"{kind} {path} cannot be read ({_one_line(error)}); {remedy(error)}")


def remedy(error: Exception | str) -> str:
    """Returns what to do about a file that cannot be read for this reason."""
    if isinstance(error, PermissionError):
        return "make it readable (chmod +r)"
    return "check its path" if isinstance(error, FileNotFoundError) else "replace or remove it"


def _one_line(error: Exception) -> str:
    """Returns the reason; that of the system without its number and the path."""
    reason = getattr(error, "strerror", None) or str(error)
    return " ".join(reason.split()) or type(error).__name__
