"""Scores predictions against ground truth: the same path for models and for baselines."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics as clu_metrics

from diffdepth_jax import diffusion, inference, metrics, sharding
from diffdepth_jax.errors import UserError

Scores = clu_metrics.Collection.create(
    **{name: clu_metrics.Average.from_output(name) for name in metrics.NAMES}
)


def create_predict_step(model, schedule, sampler, mesh):
    """A jitted (variables, image [B, H, W, 3], keys [B]) -> metres [B, H, W, 1].

    Images and keys may be numpy; the batch is split over the mesh and must divide over it.
    """

    @functools.partial(
        jax.jit, in_shardings=(sharding.replicated(mesh), *[sharding.split(mesh)] * 2)
    )
    def predict_step(variables, image, keys):
        noise = diffusion.normal_per_image(keys, model.latent_shape(*image.shape[1:3]))
        return inference.predict_depth(
            model, variables, image, noise, schedule=schedule, keys=keys, **sampler
        )

    return predict_step


def model_predictor(predict_step, variables, key, batch_size):
    """(samples, index of the first) -> metres, for `evaluate_batches`.

    Noise is keyed by a sample's index, not by its place in a batch. A short batch is filled up, so
    that one shape is compiled.
    """

    def predict(samples, first):
        rows = np.minimum(np.arange(batch_size), len(samples) - 1)
        image = np.stack([sample["image"] for sample in samples])[rows]
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(first + rows)
        return np.asarray(predict_step(variables, image, keys))[: len(samples)]

    return predict


def resize_depth(depth, size):
    """Metres [H, W, 1] -> [*size, 1], bilinear; the same size unchanged."""
    if depth.shape[:2] == tuple(size):
        return depth
    return jax.image.resize(depth, (*size, depth.shape[-1]), "bilinear", antialias=False)


@functools.partial(jax.jit, static_argnames=("content", "min_depth", "max_depth", "crop"))
def _score(prediction, depth, mask, *, content, min_depth, max_depth, crop):
    """One image: resized to the ground truth's size, clamped, masked, scored; in this order."""
    prediction = resize_depth(prediction[: content[0], : content[1]], depth.shape[:2])
    prediction = metrics.clamp_prediction(prediction, min_depth, max_depth)
    mask = metrics.evaluation_mask(depth, mask, min_depth, max_depth, crop)
    values = metrics.depth_metrics(prediction[None], depth[None], mask[None])
    return prediction, {name: value[0] for name, value in values.items()}


def evaluate_batches(predict, batches, *, min_depth, max_depth, crop, on_image=None):
    """Means over images of the nine per-image metrics.

    Args:
      predict: (list of samples, index of the first) -> metres [B, h, w, 1] at the size of
        sample["image"].
      batches: lists of `input_pipeline.evaluation_sample`s.
      min_depth, max_depth, crop: the protocol, see `metrics`.
      on_image: called with (index, sample, prediction [H, W, 1], values) for each image.

    Returns:
      {name: float} for metrics.NAMES, and "images", the number of images with valid pixels.

    Raises:
      UserError: no image has a valid pixel.
    """
    scores, index, images = Scores.empty(), 0, 0
    for samples in batches:
        for sample, prediction in zip(samples, predict(samples, index), strict=True):
            prediction, values = _score(
                prediction, sample["depth"], sample["mask"],
                content=tuple(sample["content"].tolist()),
                min_depth=min_depth, max_depth=max_depth, crop=crop,
            )  # fmt: skip
            if values["valid"] > 0:
                scores = scores.merge(Scores.single_from_model_output(**values))
                images += 1
            if on_image is not None:
                on_image(index, sample, np.asarray(prediction), values)
            index += 1
    if not images:
        raise UserError(
            f"no evaluation image has ground truth between {min_depth} and {max_depth} m inside "
            f"the crop {crop!r}: check the depth scale, inference.min_depth and max_depth"
        )
    return {name: float(value) for name, value in scores.compute().items()} | {"images": images}


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
        return np.full((len(samples), *samples[0]["image"].shape[:2], 1), constant, np.float32)

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
        return np.broadcast_to(mean_map, (len(samples), *mean_map.shape))

    return predict


def format_table(rows):
    """Text table of {row name: {metric: value}}."""
    width = max(map(len, rows)) + 2
    lines = [" " * width + "".join(f"{name:>10}" for name in (*metrics.NAMES, "images"))]
    for row, values in rows.items():
        cells = "".join(f"{values[name]:>10.4f}" for name in metrics.NAMES)
        lines.append(f"{row:<{width}}{cells}{values['images']:>10d}")
    return "\n".join(lines)


def mean_of(results, name="abs_rel"):
    """The score that picks the best checkpoint: the mean of a metric over the evaluation sets."""
    return float(jnp.mean(jnp.array([values[name] for values in results.values()])))
