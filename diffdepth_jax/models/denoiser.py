"""The monocular conditioned denoising block."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffdepth_jax.models.convolutions import LoopSafeConv
from diffdepth_jax.models.layers import Dense, LayerNorm, resize_bilinear


def timestep_embedding(timestep, features):
    """Sinusoids of the timestep [B] -> [B, features] (Vaswani et al. 2017; Ho et al. 2020)."""
    half = features // 2
    frequencies = jnp.exp(-math.log(10_000) * jnp.arange(half) / half)
    angles = timestep.astype(jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def pool_cells(x, cell):
    """Means over square cells: [B, H, W, C] -> [B, ceil(H/cell), ceil(W/cell), C].

    Cells at the border average what they have. As a reshape: XLA's CPU backend is slow in the
    gradient of a pooling window.
    """

    def sums(y):
        batch, height, width, channels = y.shape
        y = jnp.pad(y, ((0, 0), (0, -height % cell), (0, -width % cell), (0, 0)))
        y = y.reshape(batch, -(-height // cell), cell, -(-width // cell), cell, channels)
        return y.sum((2, 4))

    return sums(x) / sums(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


class PooledAttention(nn.Module):
    """Self-attention over the map averaged in square cells, added back to every pixel of a cell.

    At the latent's size global attention would cost (H W / 4)^2; averaged over 8x8 cells the tokens
    have stride 16 of the image, enough for the layout that light convolutions cannot see.
    """

    num_heads: int
    cell: int = 8
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        batch, height, width, channels = x.shape
        pooled = pool_cells(x, self.cell)
        tokens = LayerNorm(dtype=self.dtype, name="norm")(pooled).reshape(batch, -1, channels)
        tokens = nn.MultiHeadDotProductAttention(
            self.num_heads, dtype=self.dtype, force_fp32_for_softmax=True, name="attention"
        )(tokens)
        rows, columns = pooled.shape[1:3]
        y = resize_bilinear(tokens.reshape(pooled.shape), rows * self.cell, columns * self.cell)
        return x + y[:, :height, :width]


class ResidualBlock(nn.Module):
    """x + conv1x1(gelu(conv3x3(norm(x)))), the norm modulated by the time embedding."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, time):
        scale = Dense(self.features, dtype=self.dtype, name="time")(time)
        # In float32, as its gradient is a sum over the map.
        scale = scale.astype(jnp.float32)[:, None, None]
        y = LayerNorm(dtype=jnp.float32, name="norm")(x) * (1 + scale)
        y = LoopSafeConv(self.features, 3, self.dtype, name="conv")(y)
        return x + Dense(self.features, dtype=self.dtype, name="mix")(jax.nn.gelu(y))


class Denoiser(nn.Module):
    """Predicts the denoising step from noisy latent, timestep and condition.

    From the paper: the condition is projected and upsampled to the latent's size, fused with the
    noisy latent and a time embedding, and passes light convolutional layers and self-attention.
    Ours: layer norms, sinusoidal time embedding, attention over pooled cells, a signed output (the
    released head ends in ReLU, so that it can never predict negative noise), and `project` as a
    method of its own, since nothing in it depends on the step.

    Attributes:
      latent_channels: d, the channels of latent and output.
      features: width inside.
      num_blocks: residual blocks; self-attention stands after the first.
      num_heads: of the self-attention.
      condition_levels: 1 lets the block see the finest map of the pyramid only, n the n finest.
      self_attention: whether it is there at all.
      dtype: compute dtype.
    """

    latent_channels: int
    features: int = 64
    num_blocks: int = 2
    num_heads: int = 4
    condition_levels: int = 4
    self_attention: bool = True
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        dense = functools.partial(Dense, self.features, dtype=self.dtype)
        self.level_projections = [dense() for _ in range(self.condition_levels)]
        self.condition_norm = LayerNorm(dtype=self.dtype)
        self.condition_conv = nn.Conv(self.features, (3, 3), dtype=self.dtype)
        self.stem = nn.Conv(self.features, (3, 3), (2, 2), dtype=self.dtype)
        self.time_in, self.time_out = dense(), dense()
        # Starting noise is all noise: it enters faintly at first, so that the condition leads.
        self.latent_in = LoopSafeConv(
            self.features, 3, self.dtype, kernel_init=nn.initializers.normal(0.01)
        )
        self.blocks = [ResidualBlock(self.features, self.dtype) for _ in range(self.num_blocks)]
        if self.self_attention:
            self.attention = PooledAttention(self.num_heads, dtype=self.dtype)
        self.out_norm = LayerNorm(dtype=self.dtype)
        # The prediction starts at zero: with random large noise the sampler would amplify it.
        self.out = LoopSafeConv(
            self.latent_channels, 3, jnp.float32, kernel_init=nn.initializers.normal(1e-3)
        )

    def project(self, pyramid, image):
        """Pyramid of [B, h_i, w_i, C], finest first -> float32 condition [B, H/2, W/2, features].

        The pyramid ends at stride 4; a convolution of the image adds edges at the latent's stride.
        """
        stem = self.stem(image.astype(self.dtype))
        height, width = stem.shape[1:3]
        finest = pyramid[0].shape[1:3]
        maps = zip(self.level_projections, pyramid, strict=False)  # the coarsest may stay unseen
        x = sum(resize_bilinear(projection(level), *finest) for projection, level in maps)
        x = resize_bilinear(self.condition_norm(x), 2 * finest[0], 2 * finest[1])
        x = x[:, :height, :width]
        condition = self.condition_conv(jax.nn.gelu(x + stem))
        return condition.astype(jnp.float32)  # its gradient is a sum over the sampler's steps

    def prepare(self):
        """What all steps share and no image changes: nothing."""
        return ()

    def __call__(self, latent, timestep, condition):
        """latent [B, h, w, d], timestep [B], condition [B, h, w, features] -> float32 as latent."""
        time = timestep_embedding(timestep, self.features)
        time = self.time_out(jax.nn.silu(self.time_in(time)))
        x = condition + time.astype(jnp.float32)[:, None, None] + self.latent_in(latent)
        x = x.astype(self.dtype)
        for index, block in enumerate(self.blocks):
            x = block(x, time)
            if index == 0 and self.self_attention:
                x = self.attention(x)
        return self.out(jax.nn.gelu(self.out_norm(x)))
