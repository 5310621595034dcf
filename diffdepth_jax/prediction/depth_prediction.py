"""The result for one image: its depth in metres, and what is known beside it."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

from diffdepth_jax.media.reading import RGB
from diffdepth_jax.prediction.placement import Placement, take_back

_PLANES = ("depth", "spread", "low", "high")  # maps at the image's size


@dataclasses.dataclass(frozen=True)
class DepthPrediction:
    """The depth of one image.

    Attributes:
      depth: metres along the optical axis; the median of an ensemble.
      focal_length: of the camera for which the metres hold, in pixels of the image; None if the
        model's configuration does not state it.
      image: the RGB image whose depth this is, turned the way the camera was held.
      spread: of an ensemble, in metres: half the distance between the 16th and the 84th percentile
        of its members, which is the standard deviation if they are Gaussian.
      trajectory: if asked for, in metres: the latent decoded as noise and after each of the S
        steps, at the size that the network sees; of an ensemble, the first member's.
      low, high: if asked for, the ends of an interval around the depth, in metres.
    """

    depth: Float32[np.ndarray, "height width"]
    focal_length: float | None
    image: RGB
    spread: Float32[np.ndarray, "height width"] | None = None
    trajectory: Float32[np.ndarray, "latents rows columns"] | None = None
    low: Float32[np.ndarray, "height width"] | None = None
    high: Float32[np.ndarray, "height width"] | None = None


def at_image_size(image: RGB, placed: Placement, maps: Mapping[str, np.ndarray]) -> DepthPrediction:
    """Returns the prediction of an image, without a focal length, from maps in metres.

    Args:
      image: the image.
      placed: where it lies in the picture that the network sees.
      maps: of that picture: "depth" and perhaps "spread", "low" and "high", [H', W'], and
        "trajectory", [S + 1, H', W']. Only the trajectory keeps this size.
    """
    height, width = placed.content
    trajectory = maps.get("trajectory")
    taken = {name: take_back(maps[name], placed) for name in _PLANES if name in maps}
    trajectory = None if trajectory is None else trajectory[:, :height, :width]
    return DepthPrediction(focal_length=None, image=image, trajectory=trajectory, **taken)


def rescaled(
    prediction: DepthPrediction, factor: np.float32, focal_length: float | None
) -> DepthPrediction:
    """Returns the prediction with all metres times `factor`, and this focal length in pixels."""
    maps = {name: getattr(prediction, name) for name in (*_PLANES, "trajectory")}
    maps = {name: factor * metres for name, metres in maps.items() if metres is not None}
    return dataclasses.replace(prediction, focal_length=focal_length, **maps)
