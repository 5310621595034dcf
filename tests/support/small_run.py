"""A run that trains in seconds: a configuration for it, and a look at what it left."""

import contextlib
import functools
import json
import operator
import pathlib

import jax
import pytest

from diffdepth_jax.checkpoints import saved_steps
from diffdepth_jax.configs import mixture, synthetic
from diffdepth_jax.configuration import groups
from diffdepth_jax.training import loop

SIZE = (32, 48)
# 8 scenes for training, 3 of each kind for evaluation; checkpoints at steps 3 and 6.
OVERRIDES = {
    "model.backbone": "swin_nano",
    "model.backbone_weights": "",
    "optimizer.freeze": "",
    "model.window_size": 3,
    "model.neck_features": 8,
    "model.latent_channels": 4,
    "model.decoder_width": 8,
    "model.denoiser_features": 8,
    "model.denoiser_blocks": 1,
    "model.denoiser_heads": 2,
    # As configs/default.py has it, and most recipes; several samples have tests of their own.
    "model.detail_features": 0,
    "model.sharpen": 0,
    "sampler.num_steps": 2,
    "sampler.clip": 1.0,
    "sampler.global_noise": 0.0,
    "loss.pixel_losses_on_every_step": True,
    "loss.random_timesteps": True,
    "loss.samples": 1,
    "loss.own_noise": False,
    "loss.weights.silog": 1.0,
    "loss.weights.gradient_matching": 0.0,
    "loss.weights.crps": 0.0,
    "loss.weights.crps_pooled": 0.0,
    "loss.weights.latent": 1.0,
    "loss.weights.reconstruction": 1.0,
    "data.synthetic.num_train": 8,
    "data.synthetic.num_eval": 3,
    "data.synthetic.height": SIZE[0],
    "data.synthetic.width": SIZE[1],
    "frame.size": SIZE,
    "augmentation.crop_size": SIZE,
    "train.batch_size": 4,
    "train.num_steps": 6,
    "train.log_every": 3,
    "train.evaluate_every": 3,
    "train.checkpoint_every": 3,
    "evaluation.num_panels": 2,
    "optimizer.warmup_steps": 2,
    "evaluation.batch_size": 2,
}
# The same for configs/mixture.py.
MIXTURE = OVERRIDES | {
    name.replace("data.", f"data.mixture.{part}."): value
    for name, value in OVERRIDES.items()
    if name.startswith("data.")
    for part in ("rooms", "streets")
}


def fields(**overrides):
    """configs/synthetic.py with OVERRIDES, as a ConfigDict.

    Keywords replace fields: GROUP__FIELD, or a field of the `train` group.
    """
    return _replaced(synthetic.get_config(), OVERRIDES, overrides)


def mixture_fields(**overrides):
    """configs/mixture.py with MIXTURE; keywords as in `fields`."""
    return _replaced(mixture.get_config(), MIXTURE, overrides)


def _replaced(fields, small, overrides):
    fields.update_from_flattened_dict(small)
    for name, value in overrides.items():
        *groups, field = name.split("__") if "__" in name else ("train", name)
        group = functools.reduce(operator.getitem, groups, fields)
        if isinstance(value, dict):
            group[field].update(value)
        else:
            group[field] = value
    return fields


def config(**overrides):
    """The configuration of `fields`."""
    return groups.read(fields(**overrides))


def command_line_flags(**overrides):
    """The same as flags of the command line, `overrides` by dotted name added or replacing."""
    return [f"--config.{name}={value}" for name, value in {**OVERRIDES, **overrides}.items()]


def read_metrics(workdir):
    """The lines of metrics.jsonl; NaN, which is not JSON, is an error."""

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    lines = (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def read_state(workdir, step):
    """The training state saved at a step, as nested dicts of arrays."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def here(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)

    folder = pathlib.Path(workdir) / f"checkpoints/{step}/state"
    return saved_steps.read_step(folder, lambda saved: jax.tree.map(here, saved))


class _PowerCut(Exception):
    pass


@contextlib.contextmanager
def power_cut_after(steps, monkeypatch):
    """A training run within ends, as nobody foresaw, after this many steps."""
    create_step = loop.create_step

    def create(*args):
        step_fn, calls = create_step(*args), iter(range(steps))

        def step(*args):
            if next(calls, None) is None:
                raise _PowerCut
            return step_fn(*args)

        return step

    with monkeypatch.context() as patch, pytest.raises(_PowerCut):
        patch.setattr(loop, "create_step", create)
        yield
