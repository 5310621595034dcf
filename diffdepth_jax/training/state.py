"""What a training step carries on."""

import math

import jax
import jax.numpy as jnp
import optax
from flax import struct

from diffdepth_jax.errors import UserError
from diffdepth_jax.models.variables import init_variables


@struct.dataclass
class TrainState:
    """What `train_step` maps to its successor.

    Attributes:
      step: int32, of the batches seen.
      variables: {"params": ...}, with batch statistics if the model has any.
      opt_state: of the optimizer.
      average: of the parameters, see `update_average`; None: not kept.
      skipped: int32, those of the steps that changed nothing because they were not finite.
    """

    step: jnp.ndarray
    variables: dict
    opt_state: optax.OptState
    average: dict | None = None
    skipped: jnp.ndarray = struct.field(default_factory=lambda: jnp.zeros((), jnp.int32))

    @property
    def evaluated(self):
        """The variables to evaluate and keep: averaged parameters, current batch statistics."""
        if self.average is None:
            return self.variables
        return {**self.variables, "params": self.average}

    def started_from(self, variables):
        """This state, before its first step, with other variables."""
        average = None if self.average is None else jax.tree.map(jnp.copy, variables["params"])
        return self.replace(variables=variables, average=average)


def update_average(average, params, decay, step):
    """The exponential moving average after update number `step`, 1 for the first.

    Bias-corrected: parameters after update i have weight decay^(step - i), divided by the sum of
    these weights, so that the random parameters of the start have no part in it. None stays None.
    """
    if average is None:
        return None
    weight = jnp.minimum((decay - 1) / jnp.expm1(step * math.log(decay)), 1.0)
    return jax.tree.map(lambda old, new: old + weight * (new - old), average, params)


def create_train_state(model, optimizer, key, ema_decay):
    if not 0 <= ema_decay < 1:
        raise UserError(f"train.ema_decay {ema_decay}: must be 0 or more, and below 1")
    variables = init_variables(model, key)
    opt_state = optimizer.init(variables["params"])
    # A copy: the step gives its state's memory away, each buffer once.
    average = jax.tree.map(jnp.copy, variables["params"]) if ema_decay else None
    return TrainState(jnp.zeros((), jnp.int32), variables, opt_state, average)
