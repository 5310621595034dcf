"""Reads the photos that visitors sent, within bounds that no photo of a camera exceeds."""

import dataclasses
import os
import pathlib
import warnings
from typing import NamedTuple

from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.photo_formats import open_picture
from diffdepth_jax.media.preprocessing import letterbox_size, resize_image
from diffdepth_jax.media.reading import Photo, read_photo

MAX_SIDE = 10_000  # pixels of an upload's longer side
WORK_SIDE = 2048  # pixels to which a longer side is reduced, so that one request's cost is bounded


class Upload(NamedTuple):
    """A photo that was sent.

    Attributes:
      photo: at most WORK_SIDE pixels a side.
      scale: its width divided by the width that was sent.
    """

    photo: Photo
    scale: float


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


def read_upload(path: str | os.PathLike[str]) -> Upload:
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
    reduced = dataclasses.replace(photo, image=image, notes=notes)
    return Upload(reduced, image.shape[1] / width)
