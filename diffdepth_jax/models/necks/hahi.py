"""The HAHI neck of the released checkpoints, with both of its attentions switched off."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffdepth_jax.models.batch_norm import BatchNorm


class _ConvBatchNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    features: int
    kernel_size: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, train):
        kernel = (self.kernel_size, self.kernel_size)
        x = nn.Conv(self.features, kernel, use_bias=False, dtype=self.dtype, name="conv")(x)
        return jax.nn.relu(BatchNorm(name="norm")(x, train))


class HAHI(nn.Module):
    """Hierarchical aggregation and heterogeneous interaction (Li et al. 2022, arXiv 2203.14211).

    The released DiffusionDepth builds it without its attentions: each level is widened by a
    projection of itself and fused again. Sizes and channels stay.

    Attributes:
      embedding: channels of the projections.
      dtype: compute dtype.
    """

    embedding: int = 512
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features, train: bool = False):
        """Tuple of [B, h_i, w_i, C_i], finest first -> the same shapes."""
        return tuple(self._level(level, x, train) for level, x in enumerate(features))

    def _level(self, level, x, train):
        channels = x.shape[-1]
        x = _ConvBatchNorm(channels, 1, self.dtype, name=f"lateral{level}")(x, train)
        projection = _ConvBatchNorm(self.embedding, 1, self.dtype, name=f"projection{level}")
        # The finest level is joined in the other order: there the CNN branch meets the transformer.
        pair = (projection(x, train), x) if level == 0 else (x, projection(x, train))
        fusion = _ConvBatchNorm(channels, 3, self.dtype, name=f"fusion{level}")
        return fusion(jnp.concatenate(pair, axis=-1), train)
