"""Scores predictions against ground truth: the same path for models, baselines and files.

A predictor is a function (samples, index of the first) -> one float32 [h, w, 1] of metres for each
sample, at any resolution, of what the model sees of the frame; or None where it has none. Samples
are those of `input_pipeline.evaluation_batches`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import metrics
from diffdepth_jax.media.preprocessing import input_box


def resize_depth(depth, size):
    """Metres [H, W, 1] -> [*size, 1], bilinear; the same size unchanged."""
    if depth.shape[:2] == tuple(size):
        return depth
    return jax.image.resize(depth, (*size, depth.shape[-1]), "bilinear", antialias=False)


@functools.partial(jax.jit, static_argnames=("size", "input_crop"))
def to_frame(prediction, *, size, input_crop):
    """Metres [h, w, 1] of the input crop -> [*size, 1] of the frame, in its place.

    Beyond the input crop the nearest value stands; KITTI's cropped protocols score nothing there.
    """
    top, bottom, left, right = input_box(*size, input_crop)
    inside = resize_depth(prediction, (bottom - top, right - left))
    padding = ((top, size[0] - bottom), (left, size[1] - right), (0, 0))
    return jnp.pad(inside, padding, mode="edge")


def sample_name(sample, index):
    """What its source calls a sample, otherwise its index."""
    return sample.get("name", f"{index:010d}")


def predict_frames(predict, batches, input_crop="none", first=0):
    """Yields (index, sample, metres [H, W, 1] at the size of the sample's ground truth).

    Samples that the predictor has nothing for are left out. `first`: index of the first sample.
    """
    index = first
    for samples in batches:
        for sample, depth in zip(samples, predict(samples, index), strict=True):
            if depth is not None:
                size = sample["depth"].shape[:2]
                yield index, sample, to_frame(depth, size=size, input_crop=input_crop)
            index += 1


@dataclasses.dataclass(frozen=True)
class ScoredImage:
    """One image's prediction, metres [H, W, 1] clamped, and {metric: float} with "valid" pixels."""

    index: int
    sample: dict
    prediction: np.ndarray
    values: dict

    @property
    def name(self):
        return sample_name(self.sample, self.index)


@functools.partial(jax.jit, static_argnames="protocol")
def _score(prediction, depth, mask, *, protocol):
    prediction = metrics.clamp_prediction(prediction, *protocol.clamp)
    mask = metrics.evaluation_mask(depth, mask, *protocol.truth)
    mask &= protocol.crop.mask(*depth.shape[:2])
    values = metrics.depth_metrics(prediction[None], depth[None], mask[None])
    return prediction, {name: value[0] for name, value in values.items()}


def score_images(predict, batches, *, protocol, input_crop="none", first=0):
    """Yields a ScoredImage for each frame that the predictor predicts, see `predict_frames`."""
    for index, sample, depth in predict_frames(predict, batches, input_crop, first):
        scored = _score(depth, sample["depth"], sample["mask"], protocol=protocol)
        depth, values = jax.device_get(scored)
        values = {name: value.item() for name, value in values.items()}
        yield ScoredImage(index, sample, depth, values)


def mean_over_images(values, protocol):
    """Means of per-image values over the images with valid pixels.

    Returns:
      {name: float} for metrics.ALL_NAMES, and "images", the number of images that count.

    Raises:
      UserError: no image has a valid pixel.
    """
    values = [of_image for of_image in values if of_image["valid"] > 0]
    if not values:
        raise UserError(
            "no evaluation image has ground truth between {} and {} m inside the crop: check the "
            "depth scale, inference.min_depth and max_depth".format(*protocol.truth)
        )
    means = {
        name: float(np.mean([of_image[name] for of_image in values])) for name in metrics.ALL_NAMES
    }
    return means | {"images": len(values)}


def mean_of(results, name="abs_rel"):
    """The score that picks the best checkpoint: the mean of a metric over the evaluation sets."""
    return float(jnp.mean(jnp.array([values[name] for values in results.values()])))
