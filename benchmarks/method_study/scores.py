"""Predictions of one trained model at several numbers of sampler steps, and their scores."""

import functools

import jax
import numpy as np

from benchmarks.method_study import edges, uncertainty
from benchmarks.method_study.variants import MEMBERS, SAMPLER_STEPS
from diffdepth_jax.evaluation import metrics
from diffdepth_jax.evaluation.protocols import create_protocol
from diffdepth_jax.media import preprocessing
from diffdepth_jax.method import diffusion, refinement

BATCH = 20


def steps_to_score(config):
    """A feed-forward head, one step from zeros without the denoising loss, has one step only."""
    if config.sampler.num_steps == 1 and not config.loss.weights.ddim:
        return (1,)
    return tuple(sorted({*SAMPLER_STEPS, config.sampler.num_steps}))


def create_predict(model, schedule, sampler, steps):
    """A jitted (variables, image [B, H, W, 3], keys [B]) -> {steps: metres [B, H, W, 1]}.

    One program for all: they share the image encoder, most of what there is to compile.
    """
    fields = {name: value for name, value in sampler.items() if name != "num_steps"}

    @jax.jit
    def predict(variables, image, keys):
        noise = diffusion.normal_per_image(keys, model.latent_shape(*image.shape[1:3]))
        return {
            count: refinement.predict_depth(
                model,
                variables,
                image,
                noise,
                schedule=schedule,
                keys=keys,
                num_steps=count,
                **fields,
            )
            for count in steps
        }

    return predict


def predictions(predict, variables, scenes, key):
    """{steps: metres [N, H, W]}; an image's noise is that of the program's own evaluation."""
    parts = []
    for first in range(0, len(scenes), BATCH):
        indices = np.minimum(np.arange(first, first + BATCH), len(scenes) - 1)
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(indices)
        image = preprocessing.normalize_image(scenes.image[indices])
        parts.append(jax.device_get(predict(variables, image, keys)))
    join = lambda *arrays: np.concatenate(arrays)[: len(scenes), ..., 0]  # noqa: E731
    return jax.tree.map(join, *parts)


def _truth(scenes, limits):
    """Depth and mask [N, H, W] as the program's evaluation takes them."""
    mask = np.asarray(metrics.evaluation_mask(scenes.depth, scenes.depth > 0, *limits))
    return scenes.depth[..., 0], mask[..., 0]


def score(prediction, scenes, config):
    """Means over images of the program's metrics and of the edge metrics of metres [N, H, W]."""
    inference_fields = config.inference
    protocol = create_protocol("full", inference_fields.min_depth, inference_fields.max_depth)
    depth, mask = _truth(scenes, protocol.truth)
    prediction = np.asarray(metrics.clamp_prediction(prediction, *protocol.clamp))
    values = metrics.depth_metrics(prediction[..., None], scenes.depth, mask[..., None])
    means = {name: float(np.mean(values[name])) for name in metrics.NAMES}
    return means | {
        "boundary_f1": float(np.nanmean(edges.boundary_f1(prediction, depth, mask))),
        "edge_abs_rel": float(np.nanmean(edges.edge_abs_rel(prediction, depth, mask))),
    }


def score_all(predict, variables, scenes, config):
    """({steps: scores}, {steps: metres [N, H, W]}) on one set."""
    found = predictions(predict, variables, scenes, jax.random.key(config.seed))
    return {str(count): score(found[count], scenes, config) for count in found}, found


def score_ensemble(predict, variables, scenes, config):
    """Row 7: the spread of MEMBERS samples, at the model's own number of steps."""
    steps = config.sampler.num_steps
    keys = [jax.random.fold_in(jax.random.key(config.seed), 1000 + k) for k in range(MEMBERS)]
    members = np.stack([predictions(predict, variables, scenes, key)[steps] for key in keys])
    limits = config.inference.min_depth, config.inference.max_depth
    depth, mask = _truth(scenes, limits)
    members = np.asarray(metrics.clamp_prediction(members, *limits))
    return uncertainty.assess(members, depth, mask)
