"""The result for one image: its depth in metres, and what is known beside it.

Of a relative model it is an inverse depth without unit, a class of its own: it has no metres.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float32

from diffdepth_jax.media.reading import RGB
from diffdepth_jax.prediction.placement import Placement, take_back

_PLANES = ("depth", "spread", "low", "high")  # maps at the image's size


@dataclasses.dataclass(frozen=True)
class DepthPrediction:
    """The depth of one image.

    Attributes:
      depth: metres along the optical axis; the median of an ensemble. It is finite everywhere, also
        where `valid` is False.
      focal_length: of the camera for which the metres hold, in pixels of the image; None if the
        model's configuration does not state it.
      image: the RGB image whose depth this is, turned the way the camera was held.
      spread: in metres, like a standard deviation: of an ensemble, of a model with a Laplace scale,
        or of both, see `sampling.summarize`; otherwise None.
      trajectory: if asked for, in metres: the latent decoded as noise and after each of the S
        steps, at the size that the network sees; of an ensemble, the first member's.
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
