"""A run that trains in seconds: a configuration for it, and a look at what it left."""

import json
import pathlib

import orbax.checkpoint as ocp

from configs import synthetic
from diffdepth_jax.models import swin

SIZE = (32, 48)
NANO = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4)}
swin.VARIANTS.setdefault("swin_nano", NANO)


def config(**train):
    """8 scenes for training, 3 of each kind for evaluation; keywords replace `train` fields."""
    config = synthetic.get_config()
    config.model.update(
        backbone="swin_nano", window_size=3, neck_features=8, latent_channels=4, decoder_width=8,
        denoiser_features=8, denoiser_blocks=1, denoiser_heads=2,
    )  # fmt: skip
    config.data.update(num_train=8, num_eval=3, height=SIZE[0], width=SIZE[1])
    config.inference.size = config.augmentation.crop_size = SIZE
    config.train.update(
        batch_size=4, num_steps=6, log_every=3, evaluate_every=3, checkpoint_every=3, num_panels=2
    )
    config.train.update(train)
    config.optimizer.warmup_steps = 2
    config.evaluation.batch_size = 2
    return config.lock()


def read_metrics(workdir):
    """The lines of metrics.jsonl; NaN, which is not JSON, is an error."""

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    lines = (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def read_state(workdir, step):
    """The training state saved at a step, as nested dicts of arrays."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(pathlib.Path(workdir).absolute() / f"checkpoints/{step}/state")
