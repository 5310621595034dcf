"""Feature pyramid network (Lin et al., CVPR 2017, arXiv 1612.03144)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffdepth_jax.models.batch_norm import BatchNorm
from diffdepth_jax.models.convolutions import ConvTranspose2x
from diffdepth_jax.models.layers import LayerNorm


def shrink_by_pooling(x, height, width):
    """Averages neighbours along an axis of [B, H, W, C] that is one longer than asked for.

    A map of odd size comes back from the next coarser one longer by a row or column; this is
    adaptive average pooling to the size that it had, as in the released code.
    """
    for axis, size in ((1, height), (2, width)):
        if x.shape[axis] == size + 1:
            first = jax.lax.slice_in_dim(x, 0, size, axis=axis)
            x = (first + jax.lax.slice_in_dim(x, 1, size + 1, axis=axis)) / 2
    return x


class FPN(nn.Module):
    """Aggregates the backbone's maps from coarse to fine, so that each holds global context.

    The transposed 2x2 convolutions and the absence of an activation after the sum are the released
    code's; the layer norms and GELUs are ours, so that no statistics have to be kept.

    Attributes:
      features: channels of every map of the pyramid.
      batch_norm: batch norm and ReLU in their place, as in the released code.
      dtype: compute dtype.
    """

    features: int
    batch_norm: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features, train: bool = False):
        """Tuple of [B, h_i, w_i, C_i], finest first -> tuple of [B, h_i, w_i, features]."""
        pyramid = [self._lateral(len(features) - 1, features[-1], train)]
        for level in reversed(range(len(features) - 1)):
            coarser = self._upsample(level, pyramid[0], train)
            coarser = shrink_by_pooling(coarser, *features[level].shape[1:3])
            pyramid.insert(0, self._lateral(level, features[level], train) + coarser)
        return tuple(pyramid)

    def _lateral(self, level, x, train):
        name = f"lateral{level}"
        x = nn.Conv(self.features, (3, 3), use_bias=False, dtype=self.dtype, name=name)(x)
        return self._activate(x, f"{name}_norm", train)

    def _upsample(self, level, x, train):
        name = f"up{level}"
        x = ConvTranspose2x(
            self.features, kernel_size=2, use_bias=False, dtype=self.dtype, name=name
        )(x)
        return self._activate(x, f"{name}_norm", train)

    def _activate(self, x, name, train):
        if self.batch_norm:
            return jax.nn.relu(BatchNorm(name=name)(x, train))
        return jax.nn.gelu(LayerNorm(dtype=self.dtype, name=name)(x))
