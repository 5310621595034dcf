"""The cameras that the page offers: those of `predict`, as numbers, which its events may send."""

from diffdepth_jax.media import camera
from diffdepth_jax.prediction.camera_choice import CameraChoice

_NAMED = ("model", "exif", *camera.DATASETS)
FIELD_OF_VIEW, FOCAL_LENGTH = len(_NAMED), len(_NAMED) + 1
_LABELS = {
    "model": "The model's own",
    "exif": "The photo's EXIF, if it has any",
    "nyu": "NYU Depth V2",
    "kitti": "KITTI",
}
CHOICES = [
    *((_LABELS[name], number) for number, name in enumerate(_NAMED)),
    ("A field of view (degrees)", FIELD_OF_VIEW),
    ("A focal length (pixels)", FOCAL_LENGTH),
]


def default(*, has_canonical_camera: bool) -> int:
    """Returns the number of the camera that `predict` takes for such a model."""
    choice = CameraChoice().completed(has_canonical_camera=has_canonical_camera)
    return _NAMED.index(choice.name or "model")


def chosen(number: int, value: float, scale: float) -> CameraChoice:
    """Returns the choice of a number.

    Args:
      number: of CHOICES.
      value: degrees or pixels, for the last two.
      scale: by which the photo was reduced, see `photos.Upload`.

    Raises:
      UserError: the value is out of range.
    """
    if number == FIELD_OF_VIEW:
        return CameraChoice(fov=value)
    if number == FOCAL_LENGTH:
        return CameraChoice(focal_length=value * scale)
    return CameraChoice(name=_NAMED[number])
