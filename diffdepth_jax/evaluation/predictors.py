"""Predictors to score: a model's predictions, and two baselines."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from diffdepth_jax.arrays import ImageKeys, Variables
from diffdepth_jax.datasets.canonical import METRES, NAMELESS, CanonicalCamera
from diffdepth_jax.datasets.samples import EvaluationSample, Sample, Source
from diffdepth_jax.distributed import sharding
from diffdepth_jax.evaluation import uncertainty
from diffdepth_jax.evaluation.scoring import Predictor
from diffdepth_jax.method import diffusion, refinement
from diffdepth_jax.method.noise import antithetic, normal_per_image, settings_for
from diffdepth_jax.models import laplace
from diffdepth_jax.models.assembly import DepthNetwork
from diffdepth_jax.program import compiler_options


def create_predict_step(
    model: DepthNetwork,
    schedule: diffusion.NoiseSchedule,
    sampler: Mapping[str, Any],
    mesh: jax.sharding.Mesh,
) -> Callable:
    """A jitted (variables, image [B, H, W, 3], keys [B M], members M) -> depth as it was learned.

    Depth is [B M, H, W, 1]. An image is encoded once; its members follow each other, see
    `antithetic`.

    A model with a Laplace scale also gives each pixel's standard deviation: [B M, H, W, 2].

    Images and keys may be numpy. The batch is split over the mesh, so its size must be a multiple
    of the number of devices.
    """

    @functools.partial(
        jax.jit,
        in_shardings=(sharding.replicated(mesh), *[sharding.split(mesh)] * 2),
        static_argnums=3,
        compiler_options=compiler_options.of_predictions(),
    )
    def predict_step(variables, image, keys, members=1):
        noise = normal_per_image(keys, model.latent_shape(*image.shape[1:3]))
        noise = antithetic(noise, members)
        settings = {"schedule": schedule, "keys": keys, **settings_for(members, sampler)}
        decoded = refinement.predict(model, variables, image, noise, **settings)
        depth = jnp.exp(decoded.log_depth)
        if decoded.log_scale is None:
            return depth
        deviation = laplace.deviation(depth, jnp.exp(decoded.log_scale))
        return jnp.concatenate([depth, deviation], axis=-1)

    return predict_step


def model_predictor(
    predict_step: Callable,
    variables: Variables,
    key: jax.Array,
    batch_size: int,
    *,
    flip_average: bool = False,
    ensemble: int = 1,
    members: bool = False,
    camera: CanonicalCamera = METRES,
) -> Predictor:
    """The predictor of a model.

    The noise of a sample depends on its index, not on its place in a batch. A short batch is filled
    up, so that one shape is compiled.

    Args:
      predict_step: see `create_predict_step`.
      variables: of the model.
      key: the root of all noise.
      batch_size: samples in a batch; all views of these samples are computed as one batch.
      flip_average: the mean of two predictions, one of them made from the mirrored image and
        mirrored back.
      ensemble: starting noises for each image. The median of the members is taken: it has the least
        expected absolute error, and one stray member does not move it.
      members: whether predictions have all the maps of `scoring.Prediction`.
      camera: the model predicts in its units.
    """
    flips = (False, True) if flip_average else (False,)
    combine = _with_spread if members else _median

    def predict(samples, first):
        rows = np.minimum(np.arange(batch_size), len(samples) - 1)
        views = [[_view(sample, flip) for flip in flips] for sample in samples]
        image = np.stack([view for row in rows for view in views[row]])
        keys = _view_keys(key, first + rows, ensemble * len(flips))
        depth = np.asarray(predict_step(variables, image, keys, ensemble))
        depth = depth.reshape(batch_size, len(flips), ensemble, *depth.shape[1:])
        return [
            _metres_per_unit(camera, sample) * combine(views, sample["content"])
            for views, sample in zip(depth, samples, strict=False)
        ]

    return predict


def _metres_per_unit(camera: CanonicalCamera, sample: EvaluationSample) -> np.float32:
    own, name = sample.get("focal_length", 0.0), sample.get("name", NAMELESS)
    return np.float32(camera.metres_per_unit(own, name))


def _view(sample: EvaluationSample, flip: bool) -> Float[np.ndarray, "height width 3"]:
    """The sample's image; with `flip` its content is mirrored, and padded again."""
    image = sample["image"]
    if not flip:
        return image
    height, width = sample["content"]
    padding = ((0, image.shape[0] - height), (0, image.shape[1] - width), (0, 0))
    return np.pad(image[:height, :width][:, ::-1], padding, mode="edge")


def _view_keys(key: jax.Array, indices: Int[np.ndarray, " samples"], views: int) -> ImageKeys:
    """Keys [samples * views]; the first view of a sample has the same key for any `views`."""

    def of_sample(index):
        first = jax.random.fold_in(key, index)
        return jnp.stack([first, *(jax.random.fold_in(first, view) for view in range(1, views))])

    return jax.vmap(of_sample)(indices).reshape(-1)


def _members(
    views: Float[np.ndarray, "flips ensemble _ _ maps"], content: Int[np.ndarray, " 2"]
) -> Float[np.ndarray, "ensemble height width maps"]:
    """The content's maps by each member: the mean over flips."""
    views = views[:, :, : content[0], : content[1]]
    if len(views) == 2:
        views = np.stack([views[0], views[1, :, :, ::-1]])
    return views.mean(axis=0)


def _median(views, content):
    """The content's depth, [H, W, 1]."""
    return np.median(_members(views, content)[..., :1], axis=0)


def _with_spread(views, content):
    """The content's maps, [H, W, 3 + S], see `scoring.Prediction`."""
    maps = _members(views, content)
    members, deviations = maps[..., :1], maps[..., 1:]
    between = uncertainty.spread_of(members)
    within = laplace.mean_deviation(deviations) if deviations.size else np.zeros_like(between)
    several = members if len(members) > 1 else ()
    joined = [np.median(members, axis=0), laplace.joined(between, within), within, *several]
    return np.concatenate(joined, axis=-1, dtype=np.float32)


def constant_predictor(source: Source, prepare: Callable[[Sample], Sample]) -> Predictor:
    """Predicts the constant that minimises the mean of |g - c| / g over the source's valid pixels.

    That constant is the median of the depths g, each weighted by 1 / g, here up to 1e-5 of itself:
    a histogram of log depth needs as little memory for many images as for one.
    """
    first, width = np.log(1e-4), 1e-5  # of 0.1 mm to 100 km
    weights = np.zeros(round(np.log(1e9) / width) + 1)
    for index in range(len(source)):
        sample = prepare(source[index])
        depth = sample["depth"][sample["mask"]].astype(np.float64)
        bins = np.rint((np.log(depth) - first) / width).astype(int)
        np.add.at(weights, bins.clip(0, len(weights) - 1), 1 / depth)
    weights = np.cumsum(weights)
    constant = np.exp(first + width * np.searchsorted(weights, weights[-1] / 2))

    def predict(samples, first):
        return [np.full((*sample["content"], 1), constant, np.float32) for sample in samples]

    return predict


def mean_map_predictor(source: Source, prepare: Callable[[Sample], Sample]) -> Predictor:
    """Predicts each pixel's mean depth over the source; the overall mean where none is valid."""
    total, count = np.zeros(()), np.zeros((), int)
    for index in range(len(source)):
        sample = prepare(source[index])
        total = total + np.where(sample["mask"], sample["depth"], 0).astype(np.float64)
        count = count + sample["mask"]
    overall = total.sum() / count.sum()
    mean_map = np.where(count > 0, total / np.maximum(count, 1), overall).astype(np.float32)

    def predict(samples, first):
        return [mean_map[: s["content"][0], : s["content"][1]] for s in samples]

    return predict
