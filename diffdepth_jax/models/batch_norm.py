"""Batch normalisation as PyTorch computes it, for the released architectures."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffdepth_jax.distributed import collectives


class BatchNorm(nn.Module):
    """Normalises [..., C] over all axes but the last.

    Flax's own keeps a biased running variance and takes the variance as a difference of means. Here
    the running variance is unbiased and the batch's is the mean of squared deviations, both in
    float32, so that a converted model trains on as it would have in PyTorch. Over several devices
    the statistics are the whole batch's.

    Attributes:
      momentum: weight of the new batch in the running statistics (PyTorch's meaning).
      epsilon: added to the variance.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x, train: bool):
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

    def _update(self, mean, var, batch_mean, batch_var, count):
        unbiased = batch_var * (count / max(count - 1, 1))
        # Not +=, which would change the caller's numpy arrays in place.
        mean.value = mean.value + self.momentum * (batch_mean - mean.value)
        var.value = var.value + self.momentum * (unbiased - var.value)


def _moments(x):
    axes = tuple(range(x.ndim - 1))
    mean = collectives.mean(x.mean(axes))
    return mean, collectives.mean(((x - mean) ** 2).mean(axes))
