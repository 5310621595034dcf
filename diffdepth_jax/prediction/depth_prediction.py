"""The result for one image: its depth in metres, and what is known beside it.

Of a relative model it is an inverse depth without unit, a class of its own: it has no metres.
"""

import dataclasses
import io
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera, color_maps, drawing, point_cloud, viewer
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.defaults import COLORMAP
from diffdepth_jax.media.reading import RGB, FilePath
from diffdepth_jax.media.scale import Limits
from diffdepth_jax.prediction import file_formats
from diffdepth_jax.prediction.placement import Placement, take_back

_PLANES = ("depth", "spread", "low", "high")  # maps at the image's size
_NOTEBOOK_SIZE = (1280, 1280)  # pixels that a picture in a notebook may have


@dataclasses.dataclass(frozen=True, repr=False)
class DepthPrediction:
    """The depth of one image.

    A notebook shows it as a picture.

    Attributes:
      depth: metres along the optical axis; the median of an ensemble. It is finite everywhere, also
        where `valid` is False.
      focal_length: of the camera for which the metres hold, in pixels of the image; None if the
        model's configuration does not state it.
      image: the RGB image whose depth this is, turned the way the camera was held.
      spread: in metres, like a standard deviation: of an ensemble, of a model with a Laplace scale,
        or of both, see `sampling.summarize`; otherwise None.
      trajectory: if asked for, in metres: the latent decoded as noise and after each of the S
        steps, at the size that the network sees; of an ensemble, the first member's. It ends in
        `depth` unless it was sampled apart, with more steps than the depth.
      low, high: if asked for, the ends of an interval around the depth, in metres.
      valid: of a model with validity: False where there is no depth at all, such as in the sky;
        otherwise None.
    """

    depth: Float32[np.ndarray, "height width"]
    focal_length: float | None
    image: RGB
    spread: Float32[np.ndarray, "height width"] | None = None
    trajectory: Float32[np.ndarray, "latents rows columns"] | None = None
    low: Float32[np.ndarray, "height width"] | None = None
    high: Float32[np.ndarray, "height width"] | None = None
    valid: Bool[np.ndarray, "height width"] | None = None

    @property
    def marked_depth(self) -> Float32[np.ndarray, "height width"]:
        """The depth with nan where `valid` is False, as files and pictures show it."""
        return self.marked(self.depth)

    def marked(
        self, metres: Float32[np.ndarray, "height width"]
    ) -> Float32[np.ndarray, "height width"]:
        """Returns a map, such as the spread, with nan where `valid` is False."""
        return metres if self.valid is None else np.where(self.valid, metres, np.float32(np.nan))

    @property
    def camera(self) -> Camera:
        """The camera for which the metres hold; it looks through the image's centre.

        Raises:
          UserError: the model's configuration states no focal length.
        """
        if self.focal_length is None:
            raise UserError(
                "no focal length is known for points: give the estimator a model whose "
                "configuration states frame.focal_length"
            )
        return camera.centred(self.focal_length, *self.depth.shape, "the prediction's")

    def points(self) -> Float32[np.ndarray, "height width 3"]:
        """Returns the point of each pixel in metres, nan where `valid` is False.

        The axes are the camera's: x right, y down, z forward, along the optical axis; the camera is
        at the origin. It raises what `camera` raises.
        """
        return point_cloud.unproject(self.marked_depth, self.camera)

    def normals(self) -> Float32[np.ndarray, "height width 3"]:
        """Returns unit normals of the surface, towards the camera, in the axes of `points`.

        They are nan where a neighbour of the pixel is not valid.
        """
        return point_cloud.surface_normals(self.points())

    def color(self, colormap: str = COLORMAP, limits: Limits | None = None) -> RGB:
        """Returns the depth in colours, without a scale, black where `valid` is False.

        Args:
          colormap: see `color_maps.depth_map`.
          limits: metres at the near and at the far end of the colours; by default those that suit
            this depth.
        """
        depth = self.marked_depth
        limits = limits or drawing.depth_limits(depth)
        return color_maps.colorize_depth(depth, *limits, colormap=colormap)

    def picture(self, colormap: str = COLORMAP, *, with_image: bool = False) -> Image.Image:
        """Returns the depth in colours beside a scale in metres, and the image, if wanted."""
        depth, image = self.marked_depth, self.image if with_image else None
        limits = drawing.depth_limits(depth)
        return Image.fromarray(drawing.depth_picture(depth, limits, image, colormap=colormap))

    def show(self, colormap: str = COLORMAP) -> None:
        """Shows the image beside its depth: in a notebook, otherwise in the desktop's viewer.

        Raises:
          UserError: there is no viewer.
        """
        viewer.show(self.picture(colormap, with_image=True))

    def save(self, path: FilePath, colormap: str = COLORMAP) -> None:
        """Writes a file, in the format that its extension names. An older file is replaced.

        Args:
          path: .png: the picture with its scale. .npy, .tiff, .exr: metres, nan where `valid` is
            False. .npz: also what else is known. .ply: points. .glb: a surface with the image on
            it. .gif, .mp4: the denoising, of a prediction with a trajectory.
          colormap: of pictures, see `color_maps.depth_map`.

        Raises:
          UserError: the extension is none of these, what the file needs is not known, a library is
            missing, or there is no such folder.
        """
        file_formats.save(self, path, colormap)

    def _repr_png_(self) -> bytes:
        """The picture that a notebook shows."""
        file, picture = io.BytesIO(), self.picture(with_image=True)
        picture.thumbnail(_NOTEBOOK_SIZE)
        picture.save(file, format="PNG")
        return file.getvalue()

    def __repr__(self) -> str:
        height, width = self.depth.shape
        parts = [f"{height} x {width}", self.limits]
        if self.holes:
            parts.append(self.holes)
        if self.focal_length is not None:
            parts.append(f"focal length {self.focal_length:.1f} px")
        return f"DepthPrediction({', '.join(parts)})"

    @property
    def limits(self) -> str:
        """The least and the greatest depth where there is one, as text."""
        depths = self.depth if self.valid is None else self.depth[self.valid]
        return f"{depths.min():.2f} to {depths.max():.2f} m" if depths.size else "no depth"

    @property
    def holes(self) -> str:
        """Which share of the pixels has no depth, as text; "" if the model does not say."""
        return "" if self.valid is None else f"{np.mean(~self.valid):.1%} without depth"


@dataclasses.dataclass(frozen=True)
class RelativePrediction:
    """What a relative model says of one image.

    Attributes:
      inverse_depth: a number that is the larger the nearer a pixel is, 0 or more: an unknown scale
        and shift of it are 1 / metres.
      image: the RGB image, turned the way the camera was held.
    """

    inverse_depth: Float32[np.ndarray, "height width"]
    image: RGB

    @property
    def limits(self) -> str:
        """The least and the greatest inverse depth, as text."""
        low, high = self.inverse_depth.min(), self.inverse_depth.max()
        return f"relative inverse depth {low:.4g} to {high:.4g}"

    @property
    def holes(self) -> str:
        """Nothing: a relative model has a number for each pixel."""
        return ""


def relative_at_image_size(
    image: RGB, placed: Placement, maps: Mapping[str, np.ndarray]
) -> RelativePrediction:
    """Returns the prediction of an image from the map "inverse_depth", see `at_image_size`."""
    return RelativePrediction(take_back(maps["inverse_depth"], placed), image)


def at_image_size(image: RGB, placed: Placement, maps: Mapping[str, np.ndarray]) -> DepthPrediction:
    """Returns the prediction of an image, without a focal length, from maps of `create_predict`.

    Args:
      image: the image.
      placed: where it lies in the picture that the network sees.
      maps: of that picture: "depth" and perhaps "spread", "low", "high" and "validity", [H', W'],
        and "trajectory", [S + 1, H', W']. Only the trajectory keeps this size.
    """
    height, width = placed.content
    trajectory, validity = maps.get("trajectory"), maps.get("validity")
    return DepthPrediction(
        focal_length=None,
        image=image,
        trajectory=None if trajectory is None else trajectory[:, :height, :width],
        valid=None if validity is None else take_back(validity, placed) >= 0.5,
        **{name: take_back(maps[name], placed) for name in _PLANES if name in maps},
    )


def rescaled(
    prediction: DepthPrediction, factor: np.float32, focal_length: float | None
) -> DepthPrediction:
    """Returns the prediction with all metres times `factor`, and this focal length in pixels."""
    maps = {name: getattr(prediction, name) for name in (*_PLANES, "trajectory")}
    maps = {name: factor * metres for name, metres in maps.items() if metres is not None}
    return dataclasses.replace(prediction, focal_length=focal_length, **maps)
