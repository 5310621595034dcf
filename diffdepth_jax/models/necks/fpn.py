"""Feature pyramid network (Lin et al., CVPR 2017, arXiv 1612.03144)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from diffdepth_jax.arrays import Array, Features, Size
from diffdepth_jax.models.batch_norm import BatchNorm
from diffdepth_jax.models.convolutions import Conv, ConvTranspose2x
from diffdepth_jax.models.layers import LayerNorm


def shrink_by_pooling(
    x: Float[Array, "batch _ _ channels"], height: Size, width: Size
) -> Float[Array, "batch _ _ channels"]:
    """Averages neighbours along each axis of [B, H, W, C] that is one longer than asked for.

    Upsampling by two gives even sizes. If the finer map has an odd size, the upsampled map has a
    row or column too many. The released code pools it adaptively, which averages neighbours.
    """
    for axis, size in ((1, height), (2, width)):
        if x.shape[axis] == size + 1:
            first = jax.lax.slice_in_dim(x, 0, size, axis=axis)
            x = (first + jax.lax.slice_in_dim(x, 1, size + 1, axis=axis)) / 2
    return x


class FPN(nn.Module):
    """Aggregates the backbone's maps from coarse to fine, so that each holds global context.

    As in the released code, transposed 2x2 convolutions upsample and no activation follows the sum.
    The layer norms and GELUs are ours; unlike batch norms, layer norms keep no statistics.

    Attributes:
      features: channels of every map of the pyramid.
      batch_norm: use batch norm and ReLU instead, as in the released code.
      dtype: compute dtype.
    """

    features: int
    batch_norm: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Sequence[Features], train: bool = False) -> tuple[Features, ...]:
        """Maps [B, h_i, w_i, C_i], finest first, to a pyramid of [B, h_i, w_i, features]."""
        pyramid = [self._lateral(len(features) - 1, features[-1], train)]
        for level in reversed(range(len(features) - 1)):
            coarser = self._upsample(level, pyramid[0], train)
            coarser = shrink_by_pooling(coarser, *features[level].shape[1:3])
            pyramid.insert(0, self._lateral(level, features[level], train) + coarser)
        return tuple(pyramid)

    def _lateral(self, level: int, x: Features, train: bool) -> Features:
        name = f"lateral{level}"
        x = Conv(self.features, 3, self.dtype, name, use_bias=False)(x)
        return self._activate(x, f"{name}_norm", train)

    def _upsample(self, level: int, x: Features, train: bool) -> Features:
        name = f"up{level}"
        x = ConvTranspose2x(
            self.features, kernel_size=2, use_bias=False, dtype=self.dtype, name=name
        )(x)
        return self._activate(x, f"{name}_norm", train)

    def _activate(self, x: Features, name: str, train: bool) -> Features:
        if self.batch_norm:
            return jax.nn.relu(BatchNorm(name=name)(x, train))
        return jax.nn.gelu(LayerNorm(dtype=self.dtype, name=name)(x))
