"""The camera that a user chooses for all files."""

import dataclasses
from collections import Counter
from collections.abc import Iterable

from absl import logging

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.reading import Photo
from diffdepth_jax.prediction.output_kinds import NEED_CAMERA


@dataclasses.dataclass(frozen=True)
class CameraChoice:
    """What the user knows of the cameras; at most one field may differ from its default.

    Attributes:
      focal_length: in pixels of each image.
      fov: horizontal field of view in degrees.
      name: "model": the camera that the model assumes; "exif": the camera of each photo's EXIF
        data, or the model's if there is none; or one of `camera.DATASETS`. None leaves it to
        `completed`, and means "model" without it.
      by_exif: how many photos EXIF has told a camera of (True), and how many it has not (False).
    """

    focal_length: float | None = None
    fov: float | None = None
    name: str | None = None
    by_exif: Counter[bool] = dataclasses.field(
        default_factory=Counter, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if sum(self._given) > 1:
            raise UserError("give only one of --focal_length, --fov and --camera")
        # For the checks alone: these functions refuse values out of range.
        if self.fov is not None:
            camera.from_field_of_view(self.fov, 1, 1)
        if self.focal_length is not None:
            camera.centred(self.focal_length, 1, 1, "")

    @property
    def is_given(self) -> bool:
        """Whether the user chose another camera than the model's."""
        return any(self._given)

    @property
    def _given(self) -> tuple[bool, bool, bool]:
        names_camera = self.name not in (None, "model")
        return self.focal_length is not None, self.fov is not None, names_camera

    def completed(self, *, has_canonical_camera: bool) -> "CameraChoice":
        """The choice for a model: EXIF if the user chose nothing and the model has such a camera.

        The metres of a model with a canonical camera are right for every focal length that is
        given. Those of other models are best for the camera that they were trained with.
        """
        if self.is_given or self.name is not None or not has_canonical_camera:
            return self
        return CameraChoice(name="exif")

    def check(self, model_focal_length: float, kinds: Iterable[str]) -> None:
        """Refuses a camera that would change nothing.

        Args:
          model_focal_length: that of the model's configuration; 0 if it states none.
          kinds: the kinds of output that are written.

        Raises:
          UserError: metres cannot be rescaled, and no output needs the camera.
        """
        if self.is_given and not model_focal_length and not NEED_CAMERA & set(kinds):
            raise UserError(
                "this model's configuration states no frame.focal_length, so that metres cannot "
                "be rescaled: leave the camera out, or set it in the config.json of the model"
            )

    def of_photo(self, photo: Photo) -> Camera | None:
        """Returns the camera of a photo; None stands for the camera that the model assumes."""
        size = photo.image.shape[:2]
        if self.focal_length is not None:
            return camera.centred(self.focal_length, *size, "--focal_length")
        if self.fov is not None:
            return camera.from_field_of_view(self.fov, *size)
        if self.name in camera.DATASETS:
            return camera.from_dataset(self.name, *size)
        if self.name == "exif":
            self.by_exif[bool(photo.focal_length_35mm)] += 1
            if photo.focal_length_35mm:
                return camera.from_exif(photo.focal_length_35mm, *size)
        return None

    def warn_of_unknown(self) -> None:
        """Warns once of all photos so far whose camera EXIF should tell and does not."""
        if self.by_exif[False]:
            logging.warning(
                "no focal length in the metadata of %d of %d photos: metres are those of the "
                "camera that the model assumes; give --fov",
                self.by_exif[False],
                self.by_exif.total(),
            )
