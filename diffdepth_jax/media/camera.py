"""Pinhole cameras from a focal length, a field of view, EXIF or a dataset's calibration.

Pixel coordinates are those of pixel centres; the first centre is at 0.
"""

import dataclasses
import math

from diffdepth_jax.errors import UserError

# Diagonal in mm of a frame of 35 mm film, to which EXIF refers (CIPA DCG-001).
_DIAGONAL_35MM = math.hypot(36, 24)
_ASPECT_TOLERANCE = 0.03
_WIDEST = 170.0  # degrees; the plane of a pinhole camera holds no wider view of use


@dataclasses.dataclass(frozen=True)
class Camera:
    """Focal lengths and principal point in pixels, and a text that says where they come from."""

    fx: float
    fy: float
    cx: float
    cy: float
    source: str

    @property
    def rows(self) -> tuple[tuple[float, ...], ...]:
        """The rows of the camera matrix."""
        return (self.fx, 0.0, self.cx), (0.0, self.fy, self.cy), (0.0, 0.0, 1.0)


# The colour camera of the dataset's toolbox (Silberman et al. 2012), at 480 x 640.
NYU = Camera(518.8579, 519.46961, 325.58245, 253.73617, "NYU Depth V2")
# Camera 02 of the first day (P_rect_02 in calib_cam_to_cam.txt), at 375 x 1242.
_KITTI = Camera(721.5377, 721.5377, 609.5593, 172.854, "KITTI 2011_09_26")
# (height, width) of the frames, and their camera.
_DATASETS = {"nyu": (480, 640, NYU), "kitti": (375, 1242, _KITTI)}
DATASETS = tuple(_DATASETS)


def centred(focal_length: float, height: int, width: int, source: str) -> Camera:
    """Returns a camera with this focal length in pixels that looks through the image's centre."""
    if not 0 < focal_length < math.inf:
        raise UserError(f"focal_length {focal_length}: must be positive, in pixels")
    return Camera(focal_length, focal_length, (width - 1) / 2, (height - 1) / 2, source)


def from_field_of_view(degrees: float, height: int, width: int) -> Camera:
    """Returns the camera with this horizontal field of view."""
    if not 0 < degrees <= _WIDEST:
        raise UserError(f"fov {degrees:g}: must be more than 0 and at most {_WIDEST:g} degrees")
    focal_length = width / 2 / math.tan(math.radians(degrees) / 2)
    return centred(focal_length, height, width, f"field of view of {degrees:g} degrees")


def from_exif(focal_length_35mm: float, height: int, width: int) -> Camera:
    """Returns the camera with EXIF's FocalLengthIn35mmFilm (mm) of a photo that was not cropped."""
    focal_length = focal_length_35mm / _DIAGONAL_35MM * math.hypot(height, width)
    return centred(focal_length, height, width, f"EXIF, {focal_length_35mm:g} mm on 35 mm film")


def from_dataset(name: str, height: int, width: int) -> Camera:
    """Returns the camera of a dataset in DATASETS, scaled to whole frames of this size."""
    frame_height, frame_width, camera = _DATASETS[name]
    across, down = width / frame_width, height / frame_height
    if abs(down / across - 1) > _ASPECT_TOLERANCE:
        raise UserError(
            f"image {height} x {width}: camera {name} is that of whole frames, {frame_height} x "
            f"{frame_width}: give --focal_length"
        )
    return Camera(
        across * camera.fx,
        down * camera.fy,
        across * (camera.cx + 0.5) - 0.5,
        down * (camera.cy + 0.5) - 0.5,
        camera.source,
    )
