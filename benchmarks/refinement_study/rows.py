"""What the study trains: rows, each a set of overrides of one recipe, and where it starts from."""

import dataclasses
from typing import Any

from benchmarks import earlier_recipe
from benchmarks.refinement_study.grounds import Ground, Scenes
from diffdepth_jax.configs.feed_forward import feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.groups import Configuration

Overrides = dict[str, Any]  # {dotted name of a field: value}

SCENES = Scenes()
MEMBERS = 16
SAMPLER_STEPS = (1, 2, 5, 20)


@dataclasses.dataclass(frozen=True)
class Row:
    """One model of the study.

    Attributes:
      kind: of model: "feed_forward", "diffusion" or "unet".
      overrides: of the recipe, see `create_config`.
      start: the row whose weights it starts from, if any.
    """

    kind: str
    overrides: Overrides = dataclasses.field(default_factory=dict)
    start: str = ""

    def num_steps(self, ground: Ground) -> int:
        """Updates of its own."""
        return ground.late_steps if self.start else ground.num_steps


SAMPLES = {
    "sampler.global_noise": 0.8,
    "loss.samples": 2,
    "loss.own_noise": True,
    "optimizer.freeze": "(?!denoiser/).*",
}
# What samples were before: neck and decoder learned, too, and noise was one vector.
UNFROZEN = SAMPLES | {
    "sampler.global_noise": 1.0,
    "sampler.temperature": 0.55,
    "optimizer.freeze": "(backbone|detail)/.*",
}
LATE = {"optimizer.learning_rate": 5e-4, "optimizer.warmup_steps": 50}
LAPLACE = {"model.laplace_scale": True, "loss.weights.laplace": 1.0, "loss.weights.crps": 0.0}


def _late(kind: str, **overrides: Any) -> Row:
    """A row that goes on from the feed-forward model."""
    return Row(kind, LATE | overrides, "feed_forward")


# Without overrides a row is the recipe of its ground, or that without diffusion.
ROWS = {
    "before": Row("diffusion", earlier_recipe.FIELDS),
    "unet": Row("unet", earlier_recipe.FROM_NOTHING),
    "synthetic": Row("diffusion"),
    "feed_forward": Row("feed_forward"),
    "no_detail": Row("feed_forward", {"model.detail_features": 0}),
    "no_gradient_loss": Row("feed_forward", {"loss.weights.gradient_matching": 0.0}),
    "silog": Row("feed_forward", {"loss.weights.silog": 1.0, "loss.weights.crps": 0.0}),
    "late_feed_forward": _late("feed_forward"),
    "late_laplace": _late("feed_forward", **LAPLACE),
    "late_samples": _late("diffusion", **SAMPLES),
    "late_unfrozen": _late("diffusion", **UNFROZEN),
    "late_local_noise": _late("diffusion", **SAMPLES | {"sampler.global_noise": 0.5}),
    "late_pixel_crps": _late("diffusion", **SAMPLES, **{"loss.weights.crps_pooled": 0.0}),
    "late_one_sample": _late("diffusion", **SAMPLES | {"loss.samples": 1}),
    "late_4_samples": _late("diffusion", **SAMPLES | {"loss.samples": 4}),
}


def create_config(
    row: Row, seed: int, start_directory: str = "", ground: Ground = SCENES
) -> Configuration:
    """The configuration of one training."""
    config = ground.recipe()
    if row.overrides.get("sampler.global_noise"):  # the rows that draw samples
        config.sampler.temperature = ground.temperature
    config.update_from_flattened_dict(row.overrides)
    if row.kind != "diffusion":
        feed_forward(config)
    config.seed = seed
    config.evaluation.baselines = False
    config.train.num_steps = config.train.evaluate_every = row.num_steps(ground)
    config.train.initial_weights = start_directory
    return groups.read(config)
