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

from diffdepth_jax.datasets import transforms
from diffdepth_jax.distributed import sharding
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import metrics
from diffdepth_jax.method import diffusion, refinement


def create_predict_step(model, schedule, sampler, mesh):
    """A jitted (variables, image [B, H, W, 3], keys [B]) -> metres [B, H, W, 1].

    Images and keys may be numpy; the batch is split over the mesh and must divide over it.
    """

    @functools.partial(
        jax.jit, in_shardings=(sharding.replicated(mesh), *[sharding.split(mesh)] * 2)
    )
    def predict_step(variables, image, keys):
        noise = diffusion.normal_per_image(keys, model.latent_shape(*image.shape[1:3]))
        return refinement.predict_depth(
            model, variables, image, noise, schedule=schedule, keys=keys, **sampler
        )

    return predict_step


def model_predictor(predict_step, variables, key, batch_size, *, flip_average=False, ensemble=1):
    """The predictor of a model.

    Noise is keyed by a sample's index, not by its place in a batch. A short batch is filled up, so
    that one shape is compiled.

    Args:
      predict_step: see `create_predict_step`.
      variables: of the model.
      key: root of all noise.
      batch_size: samples in a batch; all their views are computed as one batch.
      flip_average: each prediction is the mean with that of the mirrored image, mirrored back.
      ensemble: starting noises for each image. Their median is taken: it has the least expected
        absolute error, and one stray sample does not move it.
    """
    flips = (False, True) if flip_average else (False,)

    def predict(samples, first):
        rows = np.minimum(np.arange(batch_size), len(samples) - 1)
        views = [[_view(sample, flip) for flip in flips] * ensemble for sample in samples]
        image = np.stack([view for row in rows for view in views[row]])
        keys = _view_keys(key, first + rows, ensemble * len(flips))
        depth = np.asarray(predict_step(variables, image, keys))
        depth = depth.reshape(batch_size, ensemble, len(flips), *depth.shape[1:])
        return [
            _combine(views, sample["content"])
            for views, sample in zip(depth, samples, strict=False)
        ]

    return predict


def _view(sample, flip):
    """The sample's image [H, W, 3]; if asked, its content mirrored and padded as before."""
    image = sample["image"]
    if not flip:
        return image
    height, width = sample["content"]
    padding = ((0, image.shape[0] - height), (0, image.shape[1] - width), (0, 0))
    return np.pad(image[:height, :width][:, ::-1], padding, mode="edge")


def _view_keys(key, indices, views):
    """Keys [len(indices) * views]; the first view's is the sample's own, whatever follows it."""

    def of_sample(index):
        own = jax.random.fold_in(key, index)
        return jnp.stack([own, *(jax.random.fold_in(own, view) for view in range(1, views))])

    return jax.vmap(of_sample)(indices).reshape(-1)


def _combine(views, content):
    """Metres [ensemble, flips, H, W, 1] -> [h, w, 1] of the content: mean of flips, then median."""
    views = views[:, :, : content[0], : content[1]]
    if views.shape[1] == 2:
        views = np.stack([views[:, 0], views[:, 1, :, ::-1]], axis=1)
    return np.median(views.mean(axis=1), axis=0)


def resize_depth(depth, size):
    """Metres [H, W, 1] -> [*size, 1], bilinear; the same size unchanged."""
    if depth.shape[:2] == tuple(size):
        return depth
    return jax.image.resize(depth, (*size, depth.shape[-1]), "bilinear", antialias=False)


def input_box(height, width, input_crop):
    """(top, bottom, left, right) of what a model sees of a frame, see inference.input_crop."""
    if input_crop == "none":
        return 0, height, 0, width
    top, left = transforms.kb_offset(height, width)
    return top, top + transforms.KB_SIZE[0], left, left + transforms.KB_SIZE[1]


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


def constant_predictor(source, prepare):
    """The constant that minimises the mean of |g - c| / g over the source's valid pixels.

    That is the median of the depths weighted by 1 / depth.
    """
    depths = []
    for index in range(len(source)):
        sample = prepare(source[index])
        depths.append(sample["depth"][sample["mask"]])
    depths = np.sort(np.concatenate(depths))
    weights = np.cumsum(1 / depths.astype(np.float64))
    constant = depths[np.searchsorted(weights, weights[-1] / 2)]

    def predict(samples, first):
        return [np.full((*sample["content"], 1), constant, np.float32) for sample in samples]

    return predict


def mean_map_predictor(source, prepare):
    """Each pixel's mean depth over the source; the overall mean where no sample is valid."""
    total, count = 0.0, 0
    for index in range(len(source)):
        sample = prepare(source[index])
        total = total + np.where(sample["mask"], sample["depth"], 0).astype(np.float64)
        count = count + sample["mask"]
    overall = total.sum() / count.sum()
    mean_map = np.where(count > 0, total / np.maximum(count, 1), overall).astype(np.float32)

    def predict(samples, first):
        return [mean_map[: s["content"][0], : s["content"][1]] for s in samples]

    return predict


def format_table(rows, names=metrics.NAMES):
    """Text table of {row name: {metric: value}}."""
    width = max(map(len, rows)) + 2
    widths = [max(10, len(name) + 2) for name in (*names, "images")]
    header = [f"{name:>{w}}" for name, w in zip((*names, "images"), widths, strict=True)]
    lines = [" " * width + "".join(header)]
    for row, values in rows.items():
        cells = [f"{values[name]:>{w}.4f}" for name, w in zip(names, widths, strict=False)]
        lines.append(f"{row:<{width}}{''.join(cells)}{values['images']:>{widths[-1]}d}")
    return "\n".join(lines)


def mean_of(results, name="abs_rel"):
    """The score that picks the best checkpoint: the mean of a metric over the evaluation sets."""
    return float(jnp.mean(jnp.array([values[name] for values in results.values()])))
