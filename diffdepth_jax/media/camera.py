"""Pinhole cameras: where a pixel looks, from a focal length, a field of view, EXIF or a dataset.

Coordinates of pixels are those of their centres, the first being 0.
"""

import dataclasses
import math

from diffdepth_jax.errors import UserError

_DIAGONAL_35MM = math.hypot(36, 24)  # of a frame of 35 mm film, to which EXIF refers (CIPA DCG-001)
_ASPECT_TOLERANCE = 0.03


@dataclasses.dataclass(frozen=True)
class Camera:
    """Focal lengths and principal point in pixels, and a text that says where they come from."""

    fx: float
    fy: float
    cx: float
    cy: float
    source: str


# (height, width) of the frames, and the camera: NYU's toolbox (Silberman et al. 2012, RGB), and
# camera 02 of KITTI's first day (calib_cam_to_cam.txt, P_rect_02).
_DATASETS = {
    "nyu": (480, 640, Camera(518.8579, 519.46961, 325.58245, 253.73617, "NYU Depth V2")),
    "kitti": (375, 1242, Camera(721.5377, 721.5377, 609.5593, 172.854, "KITTI 2011_09_26")),
}
DATASETS = tuple(_DATASETS)


def centred(focal_length, height, width, source) -> Camera:
    """A camera of this focal length in pixels that looks through the centre of its image."""
    if not 0 < focal_length < math.inf:
        raise UserError(f"focal_length {focal_length}: must be positive, in pixels")
    return Camera(focal_length, focal_length, (width - 1) / 2, (height - 1) / 2, source)


def from_field_of_view(degrees, height, width) -> Camera:
    """Of the horizontal field of view."""
    if not 0 < degrees < 180:
        raise UserError(f"fov {degrees}: must be more than 0 and less than 180 degrees")
    focal_length = width / 2 / math.tan(math.radians(degrees) / 2)
    return centred(focal_length, height, width, f"field of view of {degrees:g} degrees")


def from_exif(focal_length_35mm, height, width) -> Camera:
    """Of EXIF's FocalLengthIn35mmFilm, in millimetres; holds for photos that were not cut."""
    focal_length = focal_length_35mm / _DIAGONAL_35MM * math.hypot(height, width)
    return centred(focal_length, height, width, f"EXIF, {focal_length_35mm:g} mm on 35 mm film")


def from_dataset(name, height, width) -> Camera:
    """Of a dataset's whole frames, at any size."""
    frame_height, frame_width, camera = _DATASETS[name]
    scale = width / frame_width
    if abs(height / (scale * frame_height) - 1) > _ASPECT_TOLERANCE:
        raise UserError(
            f"image {height} x {width}: camera {name} is that of whole frames, {frame_height} x "
            f"{frame_width}: give --focal_length"
        )
    return Camera(
        scale * camera.fx,
        scale * camera.fy,
        scale * (camera.cx + 0.5) - 0.5,
        scale * (camera.cy + 0.5) - 0.5,
        camera.source,
    )
