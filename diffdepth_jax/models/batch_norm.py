"""Batch normalisation as PyTorch computes it, for the released architectures."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffdepth_jax.arrays import Array
from diffdepth_jax.distributed import collectives

_Input = Float[Array, "... channels"]
_Statistic = Float[Array, " channels"]


class BatchNorm(nn.Module):
    """Normalises [..., C] over all axes but the last.

    It differs from `nn.BatchNorm` so that a converted model trains on as it would in PyTorch. The
    running variance is unbiased, and the variance of a batch is the mean of squared deviations.
    (Flax keeps a biased running variance and computes it as a difference of means.) Both are
    computed in float32. If several devices share a batch, the statistics are of the whole batch.

    Attributes:
      momentum: weight of the new batch in the running statistics (PyTorch's meaning).
      epsilon: added to the variance.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: _Input, train: bool) -> _Input:
        """Uses the statistics of x if `train`, otherwise the running statistics."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            moments = _moments(x.astype(jnp.float32))
            if self.is_mutable_collection("batch_stats") and not self.is_initializing():
                count = x.size // x.shape[-1] * collectives.num_shards()
                self._update(mean, var, *moments, count)
        else:
            moments = mean.value, var.value
        y = (x.astype(jnp.float32) - moments[0]) * jax.lax.rsqrt(moments[1] + self.epsilon)
        return (y * scale + bias).astype(x.dtype)

    def _update(
        self,
        mean: nn.Variable,
        var: nn.Variable,
        batch_mean: _Statistic,
        batch_var: _Statistic,
        count: int,
    ) -> None:
        unbiased = batch_var * (count / max(count - 1, 1))
        # Not +=, which would change the caller's numpy arrays in place.
        mean.value = mean.value + self.momentum * (batch_mean - mean.value)
        var.value = var.value + self.momentum * (unbiased - var.value)


def _moments(x: _Input) -> tuple[_Statistic, _Statistic]:
    """Mean and biased variance of the whole batch."""
    axes = tuple(range(x.ndim - 1))
    mean = collectives.mean(x.mean(axes))
    return mean, collectives.mean(((x - mean) ** 2).mean(axes))
