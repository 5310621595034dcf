"""The call of the `transformers` library for depth, with the models of this one."""

from collections.abc import Iterator
from typing import Any, TypedDict, overload

import numpy as np
from jaxtyping import Float32
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.reading import FilePath
from diffdepth_jax.prediction.depth_prediction import DepthPrediction
from diffdepth_jax.prediction.estimator import DepthEstimator, ImageLike
from diffdepth_jax.prediction.options import Keywords
from diffdepth_jax.program import default_model

_TASK = "depth-estimation"
_OPTIONS = (*Keywords.__annotations__, "focal_length", "fov")


class Depth(TypedDict):
    """The depth of an image.

    Keys:
      predicted_depth: metres at the image's size; `transformers` gives a tensor of PyTorch here.
      depth: a grey picture of it, 8 bits, from the nearest in black to the farthest in white.
    """

    predicted_depth: Float32[np.ndarray, "height width"]
    depth: Image.Image


class DepthPipeline:
    """Turns images into dictionaries, see `Depth`.

    Attributes:
      estimator: predicts the depth.
    """

    def __init__(self, estimator: DepthEstimator, **options: Any) -> None:
        """Takes a model; `options` are keywords for each of its calls."""
        self.estimator, self._options = estimator, options

    def __repr__(self) -> str:
        return f"DepthPipeline({self.estimator!r})"

    @overload
    def __call__(self, inputs: ImageLike, **options: Any) -> Depth: ...

    @overload
    def __call__(self, inputs: list[Any] | tuple[Any, ...], **options: Any) -> list[Depth]: ...

    @overload
    def __call__(self, inputs: Iterator[Any], **options: Any) -> Iterator[Depth]: ...

    def __call__(
        self, inputs: ImageLike | list[Any] | tuple[Any, ...] | Iterator[Any], **options: Any
    ) -> Depth | list[Depth] | Iterator[Depth]:
        """Predicts the depth of an image, or of each image of a list or an iterator.

        Args:
          inputs: a path, a PIL image or an array; a list of them gives a list; an iterator gives an
            iterator, which holds few images at a time.
          options: keywords of `DepthEstimator`.

        Raises:
          UserError: what `DepthEstimator` raises.
        """
        options = self._options | options
        if isinstance(inputs, Iterator):
            return map(_depth, self.estimator.iterate(inputs, **options))
        if isinstance(inputs, list | tuple):
            predictions = self.estimator(inputs, **options)
            return [_depth(prediction) for prediction in predictions]
        return _depth(self.estimator(inputs, **options))


def pipeline(
    task: str = _TASK, model: FilePath | DepthEstimator | None = None, **options: Any
) -> DepthPipeline:
    """Returns what `transformers.pipeline` returns for depth, with a model of this library.

    Args:
      task: "depth-estimation".
      model: a name or a path, see `DepthEstimator.from_pretrained`, or an estimator; by default
        the model that ships.
      options: keywords of `DepthEstimator` for all calls, such as `batch_size`.

    Raises:
      UserError: the task is another one, there is no such model, or no such option: the device is
        none, for example.
    """
    for name in options:
        if name not in _OPTIONS:
            raise UserError(
                f"{name} is no option of this pipeline: it takes {', '.join(_OPTIONS)}; JAX "
                "chooses the device, see JAX_PLATFORMS"
            )
    if task != _TASK:
        raise UserError(f"task {task!r}: must be {_TASK!r}")
    if not isinstance(model, DepthEstimator):
        model = DepthEstimator.from_pretrained(model or default_model.DEFAULT)
    return DepthPipeline(model, **options)


def _depth(prediction: DepthPrediction) -> Depth:
    depth = prediction.depth
    nearest, farthest = depth.min(), depth.max()
    grey = 255 * (depth - nearest) / max(farthest - nearest, np.finfo(np.float32).tiny)
    return {"predicted_depth": depth, "depth": Image.fromarray(grey.astype(np.uint8))}
