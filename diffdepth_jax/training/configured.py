"""From the groups of a configuration to the losses, the optimizer and the compiled step."""

import functools
from collections.abc import Callable
from typing import Any

import optax

from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.distributed import sharding
from diffdepth_jax.method.diffusion import NoiseSchedule
from diffdepth_jax.method.noise import settings_for
from diffdepth_jax.method.objective import Objective
from diffdepth_jax.method.pixel_objective import Regression
from diffdepth_jax.models.assembly import (
    DepthNetwork,
    DiffusionDepth,
    FeedForwardDepth,
    with_rematerialised_backbone,
)
from diffdepth_jax.training.optimizer import create_optimizer, create_schedule
from diffdepth_jax.training.state import TrainState
from diffdepth_jax.training.step import train_step


def configured_objective(
    config: Configuration, model: DepthNetwork, schedule: NoiseSchedule
) -> Objective | Regression:
    """The losses that a configuration asks for; terms of weight 0 are only logged."""
    fields = dict(vars(config.loss))
    until, weights = fields.pop("l1_l2_until"), vars(fields.pop("weights"))
    pixel: dict[str, Any] = {
        "silog_lambda": fields.pop("silog_lambda"),
        "clamp_depth": fields.pop("clamp_depth"),
        "weights": {name: weight for name, weight in sorted(weights.items()) if weight},
        "l1_l2_steps": int(until * config.train.num_steps),
    }
    if isinstance(model, FeedForwardDepth):
        return Regression(model=model, **pixel)
    assert isinstance(model, DiffusionDepth)
    # Samples learn to be as far apart as the truth may be, however they are predicted.
    sampler = settings_for(2, vars(config.sampler)) | {"temperature": 1.0}
    return Objective(model=model, schedule=schedule, sampler=sampler, **pixel, **fields)


def configured_optimizer(
    config: Configuration,
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """The learning rate by step, and the optimizer."""
    fields = dict(vars(config.optimizer))
    del fields["boundaries"]
    names = ("schedule", "learning_rate", "warmup_steps", "end_fraction", "power", "factors")
    steps = config.train.num_steps
    rate = create_schedule(
        num_steps=steps,
        starts=config.optimizer.starts(steps),
        **{name: fields.pop(name) for name in names},
    )
    return rate, create_optimizer(rate=rate, **fields)


def create_step(
    config: Configuration,
    model: DepthNetwork,
    schedule: NoiseSchedule,
    optimizer: optax.GradientTransformation,
    layout: sharding.Layout,
    state: TrainState,
) -> Callable:
    """train_step with its fixed arguments filled in, compiled; a call reuses its state's memory."""
    if config.train.remat_backbone:
        model = with_rematerialised_backbone(model)
    step = functools.partial(
        train_step,
        objective=configured_objective(config, model, schedule),
        optimizer=optimizer,
        freeze=config.optimizer.freeze,
        ema_decay=config.train.ema_decay,
        accumulate=config.train.accumulate,
        layout=layout,
    )
    return layout.compile(step, state)
