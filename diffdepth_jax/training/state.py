"""The state that training carries from step to step."""

import math

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jaxtyping import Int, PyTree

from diffdepth_jax.arrays import Variables
from diffdepth_jax.models.variables import draw_variables


def _zero() -> Int[jax.Array, ""]:
    return jnp.zeros((), jnp.int32)


class TrainState(struct.PyTreeNode):
    """The state that `train_step` maps to the next one.

    Attributes:
      step: int32, the number of batches seen.
      variables: {"params": ...}, with batch statistics if the model has any.
      opt_state: the optimizer's.
      average: the parameters' average, see `update_average`; None if no average is kept.
      skipped: int32, the number of steps that changed nothing because they were not finite.
    """

    step: Int[jax.Array, ""]
    variables: Variables
    opt_state: optax.OptState
    average: PyTree | None = None
    skipped: Int[jax.Array, ""] = struct.field(default_factory=_zero)

    @property
    def evaluated(self) -> Variables:
        """The variables to evaluate and keep: averaged parameters, current batch statistics."""
        if self.average is None:
            return self.variables
        return {**self.variables, "params": self.average}

    def started_from(self, variables: Variables) -> "TrainState":
        """This state, before its first step, with other variables."""
        average = None if self.average is None else jax.tree.map(jnp.copy, variables["params"])
        return self.replace(variables=variables, average=average)


def update_average(
    average: PyTree | None, params: PyTree, decay: float, step: Int[jax.Array, ""] | int
) -> PyTree | None:
    """The exponential moving average after update number `step`, 1 for the first.

    The average is bias-corrected: the parameters after update i have the weight decay^(step - i),
    divided by the sum of these weights. So the random parameters of the start have no part in it.
    None stays None.
    """
    if average is None:
        return None
    weight = jnp.minimum((decay - 1) / jnp.expm1(step * math.log(decay)), 1.0)
    return jax.tree.map(lambda old, new: old + weight * (new - old), average, params)


def create_train_state(
    model: nn.Module, optimizer: optax.GradientTransformation, key: jax.Array, ema_decay: float
) -> TrainState:
    """The state before the first step; with an `ema_decay` of 0 no average is kept.

    Call it inside `jax.jit`: it runs the network once.
    """
    variables = draw_variables(model, key)
    opt_state = optimizer.init(variables["params"])
    # A copy: the step donates the memory of its state, each buffer once.
    average = jax.tree.map(jnp.copy, variables["params"]) if ema_decay else None
    return TrainState(_zero(), variables, opt_state, average)
