"""What the study trains: rows, each a set of overrides of one recipe, and where it starts from."""

import dataclasses
from typing import Any

from benchmarks import earlier_recipe
from diffdepth_jax.configs import synthetic
from diffdepth_jax.configs.feed_forward import feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.groups import Configuration

Overrides = dict[str, Any]  # {dotted name of a field: value}

SCENE_SEED = 11  # of training and held-out scenes, which are not those of the README
CALIBRATION_SEED = 12  # of the scenes that calibrations are fitted to
NUM_STEPS = 3200  # of each row, those of its start counted: 12,800 images
SHARED_STEPS = 2400  # of the feed-forward model that most rows start from
MEMBERS = 16
SAMPLER_STEPS = (1, 2, 5, 20)


@dataclasses.dataclass(frozen=True)
class Row:
    """One model of the study.

    Attributes:
      kind: of model: "feed_forward", "diffusion" or "unet".
      overrides: of the recipe, see `create_config`.
      start: the row whose weights it starts from, if any.
      num_steps: updates of its own.
    """

    kind: str
    overrides: Overrides = dataclasses.field(default_factory=dict)
    start: str = ""
    num_steps: int = NUM_STEPS


BEFORE = earlier_recipe.FIELDS
# Feed-forward, and what all that starts from it has in common.
SHARP = BEFORE | {
    "model.detail_features": 28,
    "model.neck": "dpt",
    "model.neck_features": 48,
    "sampler.num_steps": 1,
    "sampler.clip": 0.0,
    "loss.weights.ddim": 0.0,
    "loss.weights.silog": 0.0,
    "loss.weights.crps": 1.0,  # of one depth: the absolute error of log depth
    "loss.weights.gradient_matching": 0.5,
    "loss.weights.latent": 0.0,
    "loss.weights.reconstruction": 0.0,
}
LATE = {"optimizer.learning_rate": 5e-4, "optimizer.warmup_steps": 50}
SAMPLES = (
    SHARP
    | LATE
    | {
        "sampler.global_noise": 0.5,
        "loss.samples": 2,
        "loss.own_noise": True,
        "loss.weights.ddim": 1.0,
        "loss.weights.crps_pooled": 1.0,
    }
)
THIN = {"augmentation.valid_pixel_fraction": 0.04}


def _late(kind: str, overrides: Overrides, start: str = "shared") -> Row:
    return Row(kind, overrides, start, NUM_STEPS - SHARED_STEPS)


ROWS = {
    "before": Row("diffusion", BEFORE),
    "unet": Row("unet", SHARP),
    # Detail and losses, feed-forward.
    "no_detail": Row("feed_forward", SHARP | {"model.detail_features": 0}),
    "detail": Row("feed_forward", SHARP),
    "no_gradient_loss": Row("feed_forward", SHARP | {"loss.weights.gradient_matching": 0.0}),
    "silog": Row("feed_forward", SHARP | {"loss.weights.silog": 1.0, "loss.weights.crps": 0.0}),
    "samples_from_nothing": Row(
        "diffusion", SAMPLES | {"optimizer.learning_rate": 1e-3, "optimizer.warmup_steps": 160}
    ),
    # From one feed-forward model on.
    "shared": Row("feed_forward", SHARP, num_steps=SHARED_STEPS),
    "feed_forward": _late("feed_forward", SHARP | LATE | {"loss.weights.crps_pooled": 1.0}),
    "laplace": _late(
        "feed_forward",
        SHARP
        | LATE
        | {"model.laplace_scale": True, "loss.weights.laplace": 1.0, "loss.weights.crps": 0.0},
    ),
    "samples": _late("diffusion", SAMPLES),
}


def create_config(row: Row, seed: int, start_directory: str = "") -> Configuration:
    """The configuration of one training."""
    config = synthetic.get_config()
    config.update_from_flattened_dict(row.overrides)
    if row.kind != "diffusion":
        feed_forward(config)
    config.seed = seed
    config.evaluation.baselines = False
    config.train.num_steps = config.train.evaluate_every = row.num_steps
    config.train.initial_weights = start_directory
    return groups.read(config)
