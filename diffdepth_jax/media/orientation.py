"""Turns pixels the way the camera was held, and depth maps so that they fit the turned picture.

A camera stores the pixels as its sensor lies, and EXIF's Orientation says how viewers turn them. A
depth map has no EXIF. It lies like the stored pixels or like the turned picture.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from absl import logging

from diffdepth_jax.media.preprocessing import Size

AS_STORED = 1  # the orientation of a picture that needs no turning
# "stored": a depth map lies like the stored pixels. "apply": the orientation was applied to it.
DepthOrientation = Literal["stored", "apply"]
TURNS: Mapping[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns stored pixels [H, W, ...] by EXIF's Orientation, 1 to 8."""
    return np.ascontiguousarray(TURNS[orientation](pixels))


def turned_size(size: Size, orientation: int) -> Size:
    """Returns the (height, width) of pixels of this size after turning.

    Turning back has the same effect on the size.
    """
    return (size[1], size[0]) if orientation > 4 else size


def depth_turn(
    size: Size, frame: Size, orientation: int, lies: DepthOrientation, field: str
) -> int:
    """Returns the Orientation by which a depth map is turned to fit the turned picture.

    The size of the depth map decides. Where the stored and the turned picture have the same size,
    it cannot: then `lies` does, and a warning says so once.

    Args:
      size: of the depth map.
      frame: size of the turned picture.
      orientation: of the picture.
      lies: how depth maps lie where their size does not tell.
      field: the name under which the user sets `lies`.
    """
    stored = turned_size(frame, orientation)
    if orientation == AS_STORED or size not in (frame, stored):
        return AS_STORED
    if frame != stored:
        return orientation if size == stored else AS_STORED
    _warn(orientation, lies, field)
    return orientation if lies == "stored" else AS_STORED


def _warn(orientation: int, lies: DepthOrientation, field: str) -> None:
    told, other = ("turned with it", "apply") if lies == "stored" else ("taken as it is", "stored")
    logging.log_first_n(
        logging.WARNING,
        "EXIF turns a picture within its own size (Orientation %d), so that the size of its depth "
        "map does not tell whether the map lies in the same way. It is %s; if that is wrong, set "
        "%s to %s",
        1,
        orientation,
        told,
        field,
        other,
    )
