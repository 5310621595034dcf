"""Feature pyramid network (Lin et al., CVPR 2017, arXiv 1612.03144)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffdepth_jax.models.layers import ConvTranspose2x


class FPN(nn.Module):
    """Aggregates the backbone's maps from coarse to fine, so that each holds global context.

    The transposed 2x2 convolutions and the absence of an activation after the sum are the released
    code's; the layer norms (there: batch norms) are ours, so that no statistics have to be kept.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features):
        """Tuple of [B, h_i, w_i, C_i], finest first -> tuple of [B, h_i, w_i, features]."""
        pyramid = [self._lateral(len(features) - 1)(features[-1])]
        for level in reversed(range(len(features) - 1)):
            height, width = features[level].shape[1:3]
            coarser = self._upsample(level, pyramid[0])[:, :height, :width]
            pyramid.insert(0, self._lateral(level)(features[level]) + coarser)
        return tuple(pyramid)

    def _lateral(self, level):
        return nn.Sequential(
            [
                nn.Conv(
                    self.features, (3, 3), use_bias=False, dtype=self.dtype, name=f"lateral{level}"
                ),
                nn.LayerNorm(dtype=self.dtype, name=f"lateral{level}_norm"),
                jax.nn.gelu,
            ]
        )

    def _upsample(self, level, x):
        x = ConvTranspose2x(
            self.features, kernel_size=2, use_bias=False, dtype=self.dtype, name=f"up{level}"
        )(x)
        return jax.nn.gelu(nn.LayerNorm(dtype=self.dtype, name=f"up{level}_norm")(x))
