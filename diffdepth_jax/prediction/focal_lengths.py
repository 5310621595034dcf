"""Focal lengths as callers of the estimator give them, and the metres that hold for them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from diffdepth_jax.arrays import Array
from diffdepth_jax.configuration.model import Frame
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera
from diffdepth_jax.media.reading import RGB
from diffdepth_jax.prediction.depth_prediction import DepthPrediction, rescaled

FocalLength = float | Array | None
FocalLengths = FocalLength | Sequence[FocalLength]


def one_each(focal_length: FocalLengths, count: int) -> list[float | None]:
    """Returns a focal length in pixels, or None, for each of `count` images.

    Args:
      focal_length: a number or None for all images; or a sequence or an array [count] of these.
        Numbers may be those of NumPy and JAX, and arrays [].
      count: the number of images.

    Raises:
      UserError: there is another number of them, or one is no positive number.
    """
    several = isinstance(focal_length, Sequence) or getattr(focal_length, "ndim", 0) > 0
    if isinstance(focal_length, str | bytes) or not several:
        return [_number(focal_length)] * count
    values: Any = focal_length
    if len(values) != count:
        raise UserError(f"{len(values)} focal lengths for {count} images")
    return [_number(value) for value in values]


def of_images(
    images: Sequence[RGB], focal_length: FocalLengths, fov: float | None
) -> list[float | None]:
    """Returns a focal length in pixels, or None, for each image.

    Args:
      images: the images.
      focal_length: see `one_each`.
      fov: the horizontal field of view of all images in degrees, in place of the focal length.

    Raises:
      UserError: both are given, or one is out of range.
    """
    if fov is None:
        return one_each(focal_length, len(images))
    if focal_length is not None:
        raise UserError("focal_length and fov both name the camera: give one of them")
    return [camera.from_field_of_view(fov, *image.shape[:2]).fx for image in images]


def assumed(frame: Frame) -> float:
    """Returns the focal length in pixels at the network's input that metres hold for by default.

    That is the case where a photo's own is not given. 0: the model states none.
    """
    return frame.focal_length or frame.canonical_focal_length


def metres_per_unit(frame: Frame, own: float | None) -> float:
    """Returns the factor from what the network says to metres.

    Args:
      frame: of the model's configuration.
      own: the photo's focal length in pixels at the network's input; None: the assumed one.

    Raises:
      UserError: the model does not state for which focal length it has learned.
    """
    if own is None and not assumed(frame):
        return 1.0
    learned = frame.canonical_focal_length or frame.focal_length
    if not learned:
        raise UserError(
            "this model's configuration states no frame.focal_length: leave focal_length out, or "
            "set it in the config.json of the model"
        )
    return (assumed(frame) if own is None else own) / learned


def in_metres(
    prediction: DepthPrediction, frame: Frame, scale: float, focal_length: float | None
) -> DepthPrediction:
    """Brings what the model says to metres for a camera.

    Metres are proportional to the focal length: an object twice as far away, seen through a lens of
    twice the focal length, has the same image.

    Args:
      prediction: in the model's units.
      frame: of the model's configuration.
      scale: the size at which the network saw the image, divided by the image's.
      focal_length: of the camera in pixels of the image, if known.
    """
    own = None if focal_length is None else focal_length * scale
    factor = np.float32(metres_per_unit(frame, own))
    return rescaled(prediction, factor, focal_length or assumed(frame) / scale or None)


def _number(value: Any) -> float | None:
    """Returns a number in pixels; a truth value or a text is none, though Python converts them."""
    if value is None:
        return None
    array = np.asarray(None if isinstance(value, Sequence) else value)
    if array.ndim or array.dtype.kind not in "iuf":
        raise UserError(f"focal_length {value!r}: must be a number of pixels")
    number = float(array)
    if not 0 < number < math.inf:
        raise UserError(f"focal_length {number}: must be positive, in pixels")
    return number
