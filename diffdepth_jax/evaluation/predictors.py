"""What is scored: a model's predictions, and two baselines."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from diffdepth_jax.distributed import sharding
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
