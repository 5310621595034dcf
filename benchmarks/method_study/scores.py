"""Predictions of one trained model at several numbers of sampler steps, and their scores."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from benchmarks.method_study import uncertainty
from benchmarks.method_study.results import Scores
from benchmarks.method_study.scenes import Scenes
from benchmarks.method_study.variants import MEMBERS, SAMPLER_STEPS
from diffdepth_jax.arrays import Variables
from diffdepth_jax.configuration.groups import Configuration, Sampler
from diffdepth_jax.evaluation import edges, metrics
from diffdepth_jax.evaluation.protocols import create_protocol
from diffdepth_jax.media import preprocessing
from diffdepth_jax.method import diffusion, refinement
from diffdepth_jax.method.noise import normal_per_image
from diffdepth_jax.models.assembly import DiffusionDepth

BATCH = 20
Metres = Float[np.ndarray, "images height width"]


def steps_to_score(config: Configuration) -> tuple[int, ...]:
    """A feed-forward head, one step from zeros without the denoising loss, has one step only."""
    if config.sampler.num_steps == 1 and not config.loss.weights.ddim:
        return (1,)
    return tuple(sorted({*SAMPLER_STEPS, config.sampler.num_steps}))


def create_predict(
    model: DiffusionDepth, schedule: diffusion.NoiseSchedule, sampler: Sampler, steps: Iterable[int]
) -> Callable:
    """A jitted (variables, image [B, H, W, 3], keys [B]) -> {steps: metres [B, H, W, 1]}.

    One program for all: they share the image encoder, most of what there is to compile.
    """
    fields = {name: value for name, value in vars(sampler).items() if name != "num_steps"}

    @jax.jit
    def predict(variables, image, keys):
        noise = normal_per_image(keys, model.latent_shape(*image.shape[1:3]))
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


def predictions(
    predict: Callable, variables: Variables, scenes: Scenes, key: jax.Array
) -> dict[int, Metres]:
    """{steps: metres [N, H, W]}; an image's noise is that of the program's own evaluation."""
    parts = []
    for first in range(0, len(scenes), BATCH):
        indices = np.minimum(np.arange(first, first + BATCH), len(scenes) - 1)
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(indices)
        image = preprocessing.normalize_image(scenes.image[indices])
        parts.append(jax.device_get(predict(variables, image, keys)))
    join = lambda *arrays: np.concatenate(arrays)[: len(scenes), ..., 0]  # noqa: E731
    return jax.tree.map(join, *parts)


def score(prediction: Metres, scenes: Scenes, config: Configuration) -> Scores:
    """Means over images of the program's metrics of metres [N, H, W], those at edges among them.

    Images without edges do not count in the latter. Nothing is aligned.
    """
    protocol = create_protocol("full", config.frame.min_depth, config.frame.max_depth)
    mask = metrics.evaluation_mask(scenes.depth, scenes.depth > 0, *protocol.truth)
    prediction = metrics.clamp_prediction(prediction[..., None], *protocol.clamp)
    values = metrics.depth_metrics(prediction, scenes.depth, mask)
    means = {name: float(np.mean(values[name])) for name in metrics.NAMES}
    return means | {
        "boundary_f1": float(np.nanmean(edges.boundary_f1(prediction, scenes.depth, mask))),
        "edge_abs_rel": float(np.nanmean(edges.edge_abs_rel(prediction, scenes.depth, mask))),
    }


def score_all(
    predict: Callable, variables: Variables, scenes: Scenes, config: Configuration
) -> tuple[dict[str, Scores], dict[int, Metres]]:
    """({steps: scores}, {steps: metres [N, H, W]}) on one set."""
    found = predictions(predict, variables, scenes, jax.random.key(config.seed))
    return {str(count): score(found[count], scenes, config) for count in found}, found


def score_ensemble(
    predict: Callable, variables: Variables, scenes: Scenes, config: Configuration
) -> dict[str, Any]:
    """Row 7: the spread of MEMBERS samples, at the model's own number of steps."""
    steps = config.sampler.num_steps
    keys = [jax.random.fold_in(jax.random.key(config.seed), 1000 + k) for k in range(MEMBERS)]
    members = np.stack([predictions(predict, variables, scenes, key)[steps] for key in keys])
    limits = config.frame.min_depth, config.frame.max_depth
    mask = np.asarray(metrics.evaluation_mask(scenes.depth, scenes.depth > 0, *limits))
    members = np.asarray(metrics.clamp_prediction(members, *limits))
    return uncertainty.assess(members, scenes.depth[..., 0], mask[..., 0])
