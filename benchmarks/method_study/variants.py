"""What the study trains: rows of a table, each a set of overrides of its default, see `budget`."""

import dataclasses
import os
from typing import Any

from benchmarks import earlier_recipe
from diffdepth_jax.configs import default, synthetic
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.groups import Configuration

Overrides = dict[str, Any]  # {dotted name of a field: value}

# Held-out scenes are those of another seed than in the README's table, which they do not touch.
SCENE_SEED = 11
SAMPLER_STEPS = (1, 2, 3, 5, 10, 20)
MEMBERS = 8  # of the ensemble whose spread is compared with the error


@dataclasses.dataclass(frozen=True)
class Size:
    """A budget: image size, scenes, and what each training sees; `overrides` goes to each."""

    height: int
    width: int
    num_train: int
    num_eval: int  # of each kind
    batch_size: int
    num_steps: int
    pretraining_steps: int  # of the backbone, see `pretraining`
    overrides: Overrides = dataclasses.field(default_factory=dict)
    ema_decay: float = 0.99

    @property
    def images_seen(self) -> int:
        return self.batch_size * self.num_steps

    @property
    def pretraining(self) -> "Size":
        """The budget of the backbone that all trainings of this size start from."""
        return dataclasses.replace(
            self,
            num_train=2 * self.num_train,
            num_eval=max(1, self.num_eval // 4),
            batch_size=2 * self.batch_size,
            num_steps=self.pretraining_steps,
            ema_decay=0.0,
        )


SIZES = {
    "cpu": Size(48, 64, 2000, 100, 4, 1600, 2500),
    "gpu": Size(
        96,
        128,
        20_000,
        400,
        16,
        10_000,
        20_000,
        {"model.backbone": "swin_tiny", "model.window_size": 7},
    ),
}

# How the sampler is trained, from the plain way to the default, a thing at a time.
RANDOM = {"loss.weights.ddim": 1.0}
EVERY_STEP = RANDOM | {"loss.random_timesteps": False}
PLAIN = EVERY_STEP | {"loss.pixel_losses_on_every_step": False}
DIRECT = PLAIN | {"sampler.num_steps": 1, "sampler.start": "zeros", "loss.weights.ddim": 0.0}
NO_CODEC_LOSS = {"loss.weights.latent": 0.0, "loss.weights.reconstruction": 0.0}
# Diffusion as usual: the denoiser learns from encoded ground truth, the sampler from nothing.
TRUTH_ONLY = {"loss.target": "ground_truth", "loss.weights.silog": 0.0, "loss.weights.latent": 0.0}
PAPER = EVERY_STEP | {
    "diffusion.schedule": "linear",
    "diffusion.prediction_type": "epsilon",
    "sampler.num_steps": 20,
    "sampler.spacing": "leading",
    "sampler.clip": 0.0,
    "loss.weights.l1": 1.0,
    "loss.weights.l2": 1.0,
    "loss.weights.reconstruction": 0.1,
}
RELEASED = PLAIN | {
    "model.codec": "released",
    "model.denoiser": "released",
    "diffusion.schedule": "linear",
    "diffusion.prediction_type": "epsilon",
    "sampler.num_steps": 20,
    "sampler.spacing": "leading",
    "sampler.clip": 0.0,
    "loss.target": "self_attached",
    "loss.clamp_depth": 88.0,
    "loss.l1_l2_until": 1.0,
    "loss.weights.ddim": 0.25,  # a mean, divided by the batch size once more
    "loss.weights.silog": 0.0,
    "loss.weights.l1": 1.0,
    "loss.weights.l2": 1.0,
    "loss.weights.latent": 0.0,
    "loss.weights.reconstruction": 0.0,
}


def _sparsities():
    """Row 2; self-diffusion at 100 % is the default."""
    targets = {
        "self": {},
        "truth": {"loss.target": "ground_truth"},
        "none": {"loss.weights.ddim": 0.0},
        "truth_only": TRUTH_ONLY,
    }
    for percent in (100, 20, 4, 1):
        for target, overrides in targets.items():
            if (target, percent) != ("self", 100):
                name = f"{target}_{percent}"
                yield name, {**overrides, "augmentation.valid_pixel_fraction": percent / 100}


def _trained(prediction, steps):
    """{name: overrides} of a prediction type and a number of steps in training."""
    name = f"{prediction.removesuffix('_prediction')}_steps_{steps}"
    return {name: {"sampler.num_steps": steps, "diffusion.prediction_type": prediction}}


# {row: {name: overrides}}; in this order they are run. A name belongs to one row, tables may cite
# others. The default: sample prediction, 2 steps in training at random timesteps, pixel losses on
# both, a denoising loss of weight 10.
ROWS = {
    "1 baselines": {
        "default": {},
        "direct": DIRECT,
        "direct_pixel_only": DIRECT | NO_CODEC_LOSS,
    },
    "6 released recipe": {
        "released": RELEASED,
        "paper": PAPER,
    },
    "2 target of diffusion": dict(_sparsities()),
    "3 sampler": {
        **_trained("sample", 1),
        **_trained("sample", 5),
        **_trained("sample", 20),
        **_trained("epsilon", 2),
        **_trained("v_prediction", 2),
        "leading": {"sampler.spacing": "leading"},
        "zeros": {"sampler.start": "zeros"},
    },
    "3 how the sampler is trained": {
        "plain": PLAIN,
        "every_step": EVERY_STEP,
        "random": RANDOM,
        "plain_steps_1": PLAIN | {"sampler.num_steps": 1},
        "plain_steps_5": PLAIN | {"sampler.num_steps": 5},
        "every_step_steps_5": EVERY_STEP | {"sampler.num_steps": 5},
        "random_steps_3": RANDOM | {"sampler.num_steps": 3},
        "random_zeros": RANDOM | {"sampler.start": "zeros"},
        "last_step": {"loss.pixel_losses_on_every_step": False},
    },
    "3 prediction type and training steps": {
        **_trained("epsilon", 5),
        **_trained("v_prediction", 5),
        **_trained("epsilon", 1),
        **_trained("v_prediction", 1),
        **_trained("epsilon", 20),
        **_trained("v_prediction", 20),
        "steps_5_zeros": {"sampler.num_steps": 5, "sampler.start": "zeros"},
        "linear": {"diffusion.schedule": "linear"},
        "no_clip": {"sampler.clip": 0.0},
    },
    "4 losses": {
        "literal_pixel": {"loss.weights.silog": 0.0, "loss.weights.pixel_as_printed": 1.0},
        "silog_85": {"loss.silog_lambda": 0.85},
        "l1_l2_phase": {"loss.weights.l1": 0.1, "loss.weights.l2": 0.01},
        "no_latent": {"loss.weights.latent": 0.0},
        "no_reconstruction": {"loss.weights.reconstruction": 0.0},
        "pixel_only": {"loss.weights.ddim": 0.0, **NO_CODEC_LOSS},
        "attached": {"loss.target": "self_attached"},
        "gradient_1_of_5": {"sampler.num_steps": 5, "loss.gradient_steps": 1},
        "gradient_2_of_5": {"sampler.num_steps": 5, "loss.gradient_steps": 2},
    },
    "5 codec and block": {
        "encoder_3x3": {"model.encoder_kernel": 3},
        "encoder_3x3_4": {"model.encoder_kernel": 3, "augmentation.valid_pixel_fraction": 0.04},
        "latent_4": {"model.latent_channels": 4},
        "latent_64": {"model.latent_channels": 64},
        "no_attention": {"model.self_attention": False},
        "finest_level": {"model.condition_levels": 1},
        "released_denoiser": {"model.denoiser": "released"},
    },
}
VARIANTS = {name: overrides for row in ROWS.values() for name, overrides in row.items()}
UNCERTAINTY = ("default", "sample_steps_5", "plain", "plain_steps_5")  # row 7: trained anyway


def budget(size: Size) -> Overrides:
    """The overrides of configs/synthetic.py that all trainings of a size have in common."""
    shape, loss = (size.height, size.width), default.get_config().loss
    return {
        **earlier_recipe.FIELDS,
        "data.synthetic.height": size.height,
        "data.synthetic.width": size.width,
        "data.synthetic.num_train": size.num_train,
        "data.synthetic.num_eval": size.num_eval,
        "frame.size": shape,
        "augmentation.crop_size": shape,
        "frame.focal_length": synthetic.get_config().frame.focal_length * size.width / 96,
        "train.batch_size": size.batch_size,
        "train.num_steps": size.num_steps,
        "train.ema_decay": size.ema_decay,
        "train.log_every": min(100, size.num_steps),
        "train.evaluate_every": size.num_steps,
        "train.checkpoint_every": size.num_steps,
        "evaluation.num_panels": 1,
        "optimizer.warmup_steps": size.num_steps // 15,
        "evaluation.baselines": False,
        # Of recipes that start from a trained backbone, as the study does.
        "loss.pixel_losses_on_every_step": loss.pixel_losses_on_every_step,
        "loss.random_timesteps": loss.random_timesteps,
        "loss.weights.ddim": loss.weights.ddim,
        **size.overrides,
    }


def create_config(
    overrides: Overrides, seed: int, size: Size, backbone: str | os.PathLike = ""
) -> Configuration:
    """The configuration of one training; `backbone`: the model directory whose it starts from."""
    config = synthetic.get_config()
    config.update_from_flattened_dict({**budget(size), **overrides})
    if backbone:
        config.model.backbone_weights = str(backbone)
        # Trained on, a street now and then becomes a room: seeds then differ more than variants.
        config.optimizer.freeze = "backbone/.*"
    config.seed = seed
    return groups.read(config)


def complete(overrides: Overrides, size: Size, *, pretrained: bool) -> dict[str, Any]:
    """Every field but the seed and a path: two trainings with the same are seeds of one variant."""
    config = create_config(overrides, 0, size, "pretrained" if pretrained else "")
    fields = dataclasses.asdict(config)
    del fields["seed"]
    return fields
