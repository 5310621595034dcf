"""The monocular conditioned denoising block."""

import functools
import math
import operator
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from diffdepth_jax.arrays import (
    Array,
    Condition,
    Details,
    FeatureMap,
    Features,
    Image,
    Latent,
    Timestep,
)
from diffdepth_jax.models.convolutions import Conv
from diffdepth_jax.models.layers import Dense, LayerNorm, resize_bilinear


def timestep_embedding(timestep: Timestep, features: int) -> Float[Array, "batch features"]:
    """Embeds timesteps [B] as sinusoids [B, features] (Vaswani et al. 2017; Ho et al. 2020)."""
    half = features // 2
    frequencies = jnp.exp(-math.log(10_000) * jnp.arange(half) / half)
    angles = timestep.astype(jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def pool_cells(
    x: Float[Array, "batch _ _ channels"], cell: int
) -> Float[Array, "batch _ _ channels"]:
    """Averages square cells: [B, H, W, C] -> [B, ceil(H/cell), ceil(W/cell), C].

    A cell at the border averages only the pixels that lie inside the map. The cells are made by
    reshaping, because the gradient of a pooling window is slow in XLA's CPU backend.
    """

    def sums(y: Features) -> Features:
        batch, height, width, channels = y.shape
        y = jnp.pad(y, ((0, 0), (0, -height % cell), (0, -width % cell), (0, 0)))
        y = y.reshape(batch, -(-height // cell), cell, -(-width // cell), cell, channels)
        return y.sum((2, 4))

    return sums(x) / sums(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


class PooledAttention(nn.Module):
    """Self-attention between square cells: averages cells, attends, upsamples and adds to the map.

    Attention between the pixels of a latent would cost (H W / 4)^2 for an image of H x W. With
    cells of 8x8 the tokens have stride 16 in the image. That is fine enough for the layout of the
    scene, which light convolutions cannot see.

    Attributes:
      num_heads: attention heads; they divide the channels.
      cell: side of a cell.
      dtype: compute dtype; the softmax is in float32.
    """

    num_heads: int
    cell: int = 8
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
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
    """x + conv1x1(gelu(conv3x3(norm(x)))), where a time embedding may scale the norm's output.

    Attributes:
      features: channels of x.
      dtype: compute dtype.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch rows columns features"],
        time: Float[Array, "batch _"] | None = None,
    ) -> Float[Array, "batch rows columns features"]:
        y = LayerNorm(dtype=jnp.float32, name="norm")(x)
        if time is not None:
            scale = Dense(self.features, dtype=self.dtype, name="time")(time)
            # In float32, because its gradient is a sum over the map.
            y = y * (1 + scale.astype(jnp.float32)[:, None, None])
        y = Conv(self.features, 3, self.dtype, name="conv")(y)
        return x + Dense(self.features, dtype=self.dtype, name="mix")(jax.nn.gelu(y))


class ConditionedHead(nn.Module):
    """What `Denoiser` and `Regressor` share: from the pyramid to a condition, and on to a latent.

    The condition is projected and upsampled to the latent's size, as in the paper. Light
    convolutions and self-attention follow. Ours are the layer norms, attention over pooled cells,
    and a signed output. (The head of the released code ends in ReLU, so it can never predict
    negative noise.)

    Attributes:
      latent_channels: d, the channels of the output.
      features: channels inside.
      num_blocks: residual blocks; the self-attention follows the first of them.
      num_heads: heads of the self-attention.
      condition_levels: how many maps of the pyramid the condition sees, from the finest on.
      self_attention: False leaves the self-attention out.
      dtype: compute dtype.
      detailed: `project` sees details of the image instead of the image.
    """

    latent_channels: int
    features: int = 64
    num_blocks: int = 2
    num_heads: int = 4
    condition_levels: int = 4
    self_attention: bool = True
    dtype: DTypeLike = jnp.float32
    detailed: bool = False

    def setup(self) -> None:
        dense = functools.partial(Dense, self.features, dtype=self.dtype)
        self.level_projections = [dense() for _ in range(self.condition_levels)]
        self.condition_norm = LayerNorm(dtype=self.dtype)
        self.condition_conv = Conv(self.features, 3, self.dtype)
        self.stem = (
            Conv(self.features, 3, self.dtype)
            if self.detailed
            else nn.Conv(self.features, (3, 3), (2, 2), dtype=self.dtype)
        )
        self.blocks = [ResidualBlock(self.features, self.dtype) for _ in range(self.num_blocks)]
        if self.self_attention:
            self.attention = PooledAttention(self.num_heads, dtype=self.dtype)
        self.out_norm = LayerNorm(dtype=self.dtype)
        # Small initial weights: the sampler would amplify large random predictions.
        self.out = Conv(
            self.latent_channels, 3, jnp.float32, kernel_init=nn.initializers.normal(1e-3)
        )

    def project(
        self, pyramid: Sequence[Features], image: Image, details: Details | None = None
    ) -> Condition:
        """Fuses pyramid and image into the condition, float32 [B, H/2, W/2, features].

        The pyramid has maps [B, h_i, w_i, C], finest first. Its finest map has stride 4, or stride
        2, the stride of the latent. A convolution of the image [B, H, W, 3] adds edges at stride 2;
        if there are details, one of their map at stride 2 does.
        """
        seen = image if details is None else details[1]
        stem = self.stem(seen.astype(self.dtype))
        height, width = stem.shape[1:3]
        finest = pyramid[0].shape[1:3]
        maps = zip(self.level_projections, pyramid, strict=False)  # may leave out coarse maps
        levels = [resize_bilinear(projection(level), *finest) for projection, level in maps]
        x = functools.reduce(operator.add, levels)
        x = self.condition_norm(x)
        if finest != (height, width):
            x = resize_bilinear(x, 2 * finest[0], 2 * finest[1])[:, :height, :width]
        condition = self.condition_conv(jax.nn.gelu(x + stem))
        return condition.astype(jnp.float32)  # float32: its gradient is a sum over steps

    def latent_of(self, x: Condition, time: Float[Array, "batch _"] | None = None) -> Latent:
        """Features [B, h, w, features] -> [B, h, w, d], float32; `time` scales the blocks."""
        x = x.astype(self.dtype)
        for index, block in enumerate(self.blocks):
            x = block(x, time)
            if index == 0 and self.self_attention:
                x = self.attention(x)
        return self.out(jax.nn.gelu(self.out_norm(x)))


class Regressor(ConditionedHead):
    """Predicts the latent from the condition in one pass, for the model without diffusion."""

    def __call__(self, condition: Condition) -> Latent:
        """Condition [B, h, w, features] -> latent [B, h, w, d], float32."""
        return self.latent_of(condition)


class Denoiser(ConditionedHead):
    """Predicts the denoising step from a noisy latent, its timestep and the condition.

    The noisy latent and a time embedding, sinusoidal as in Ho et al. 2020, join the condition.
    `project` is a method apart from the call, because it does not depend on the step.
    """

    def setup(self) -> None:
        super().setup()
        dense = functools.partial(Dense, self.features, dtype=self.dtype)
        self.time_in, self.time_out = dense(), dense()
        # The sampler starts from pure noise. With small initial weights the condition leads.
        self.latent_in = Conv(
            self.features, 3, self.dtype, kernel_init=nn.initializers.normal(0.01)
        )

    def prepare(self) -> tuple[()]:
        """Returns what depends on the parameters only, so that all steps share it: nothing."""
        return ()

    def __call__(self, latent: Latent, timestep: Timestep, condition: Condition) -> Latent:
        """Predicts [B, h, w, d], float32, for a latent of that shape.

        The timestep is [B], the condition [B, h, w, features].
        """
        time = timestep_embedding(timestep, self.features)
        time = self.time_out(jax.nn.silu(self.time_in(time)))
        x = condition + time.astype(jnp.float32)[:, None, None] + self.latent_in(latent)
        return self.latent_of(x, time)
