"""The HAHI neck of the released checkpoints, with both of its attentions switched off."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from diffdepth_jax.arrays import FeatureMap, Features
from diffdepth_jax.models.batch_norm import BatchNorm


class _ConvBatchNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    features: int
    kernel_size: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Features, train: bool) -> Features:
        kernel = (self.kernel_size, self.kernel_size)
        x = nn.Conv(self.features, kernel, use_bias=False, dtype=self.dtype, name="conv")(x)
        return jax.nn.relu(BatchNorm(name="norm")(x, train))


class HAHI(nn.Module):
    """Hierarchical aggregation and heterogeneous interaction (Li et al. 2022, arXiv 2203.14211).

    The released DiffusionDepth builds it without the attentions. What remains concatenates each
    map with a projection of the map and fuses both. Sizes and channels stay.

    Attributes:
      embedding: channels of the projections.
      dtype: compute dtype.
    """

    embedding: int = 512
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Sequence[Features], train: bool = False) -> tuple[Features, ...]:
        """Maps [B, h_i, w_i, C_i], finest first, to maps of the same shapes."""
        return tuple(self._level(level, x, train) for level, x in enumerate(features))

    def _level(self, level: int, x: FeatureMap, train: bool) -> FeatureMap:
        channels = x.shape[-1]
        x = _ConvBatchNorm(channels, 1, self.dtype, name=f"lateral{level}")(x, train)
        projection = _ConvBatchNorm(self.embedding, 1, self.dtype, name=f"projection{level}")
        # The projection comes first at level 0, which in HAHI is of a CNN, not of a transformer.
        pair = (projection(x, train), x) if level == 0 else (x, projection(x, train))
        fusion = _ConvBatchNorm(channels, 3, self.dtype, name=f"fusion{level}")
        return fusion(jnp.concatenate(pair, axis=-1), train)
