"""Swin Transformer (Liu et al., ICCV 2021, arXiv 2103.14030) as a multi-scale backbone."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from diffdepth_jax.arrays import Array, FeatureMap, Features, Image, Size
from diffdepth_jax.models import layers
from diffdepth_jax.models.backbones.swin_windows import (
    merge_windows,
    partition_windows,
    relative_position_index,
    shift_mask,
    window_shifts,
)
from diffdepth_jax.models.layers import Dense, DropPath, rematerialised

# The sizes of the Swin paper. swin_micro is ours, for training on CPUs; swin_nano, for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "swin_nano": {"embed_dim": 24, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8)},
    "swin_micro": {"embed_dim": 48, "depths": (2, 2, 2, 2), "num_heads": (2, 4, 8, 16)},
    "swin_tiny": {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    "swin_small": {"embed_dim": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24)},
    "swin_base": {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
    "swin_large": {"embed_dim": 192, "depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48)},
}

LayerNorm = functools.partial(layers.LayerNorm, epsilon=1e-5)
_truncated_normal = nn.initializers.truncated_normal(0.02)


def pad_to_multiple(
    x: Float[Array, "batch _ _ channels"],
    multiple: int,
    value: float | Float[Array, "1 channels"] = 0.0,
) -> Float[Array, "batch _ _ channels"]:
    """Pads [B, H, W, C] with `value` at right and bottom until H and W are multiples."""
    height, width = x.shape[1:3]
    pads = (0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)
    inside = jnp.pad(jnp.ones((1, height, width, 1), bool), pads)
    return jnp.where(inside, jnp.pad(x, pads), jnp.asarray(value, x.dtype))


class WindowAttention(nn.Module):
    """Multi-head self-attention within (shifted) windows, with a learned relative position bias.

    Attributes:
      num_heads: attention heads; they divide the channels.
      window_size: side of a window.
      shift: pixels by which the windows are shifted, in both directions.
      dtype: compute dtype; the softmax is in float32.
      window_shift: on which maps they are shifted, see `window_shifts`.
    """

    num_heads: int
    window_size: int
    shift: int = 0
    dtype: DTypeLike = jnp.float32
    window_shift: str = "always"

    @nn.compact
    def __call__(self, x: FeatureMap) -> FeatureMap:
        """[B, H, W, C] -> [B, H, W, C], any H and W.

        A map that the windows do not divide is padded with zeros, which are not masked, as in the
        Swin of mmseg and of the released code. The query, key and value of a zero vector are the
        biases of their projection. Therefore padding follows this projection. Cropping precedes the
        output projection.
        """
        height, width, channels = x.shape[1:]
        qkv = Dense(3 * channels, dtype=self.dtype, name="qkv")
        of_zero = qkv(jnp.zeros((1, channels), self.dtype))
        y = pad_to_multiple(qkv(x), self.window_size, of_zero)
        padded_size = (y.shape[1], y.shape[2])
        shifts = window_shifts(height, width, self.window_size, self.shift, self.window_shift)
        y = jnp.roll(y, (-shifts[0], -shifts[1]), (1, 2))
        y = self._attend(partition_windows(y, self.window_size), padded_size, shifts)
        y = merge_windows(y, self.window_size, *padded_size)
        y = jnp.roll(y, shifts, (1, 2))[:, :height, :width]
        return Dense(channels, dtype=self.dtype, name="proj")(y)

    def _attend(
        self,
        qkv: Float[Array, "batch windows tokens _"],
        padded_size: tuple[Size, Size],
        shifts: tuple[Size, Size],
    ) -> Float[Array, "batch windows tokens _"]:
        """[B, nW, T, 3 C] -> [B, nW, T, C]."""
        batch, windows, tokens, _ = qkv.shape
        q, k, v = jnp.moveaxis(qkv.reshape(batch, windows, tokens, 3, self.num_heads, -1), 3, 0)
        logits = jnp.einsum("bwqhd,bwkhd->bwhqk", q * q.shape[-1] ** -0.5, k)
        logits = logits.astype(jnp.float32) + self._position_bias()
        if self.shift:
            logits += shift_mask(*padded_size, self.window_size, shifts)[:, None]
        weights = jax.nn.softmax(logits).astype(self.dtype)
        return jnp.einsum("bwhqk,bwkhd->bwqhd", weights, v).reshape(batch, windows, tokens, -1)

    def _position_bias(self) -> Float[Array, "heads tokens tokens"]:
        rows = (2 * self.window_size - 1) ** 2
        table = self.param(
            "relative_position_bias_table", _truncated_normal, (rows, self.num_heads), jnp.float32
        )
        return table[relative_position_index(self.window_size)].transpose(2, 0, 1)


class SwinBlock(nn.Module):
    """(Shifted) window attention and an MLP, each with pre-norm, residual and stochastic depth.

    Attributes:
      num_heads, window_size, shift, dtype, window_shift: see `WindowAttention`.
      drop_path_rate: of the stochastic depth.
    """

    num_heads: int
    window_size: int
    shift: int
    drop_path_rate: float
    dtype: DTypeLike = jnp.float32
    window_shift: str = "always"

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool = False) -> FeatureMap:
        """[B, H, W, C] -> [B, H, W, C], any H and W."""
        channels = x.shape[-1]
        drop_path = DropPath(self.drop_path_rate)
        attention = WindowAttention(
            self.num_heads,
            self.window_size,
            self.shift,
            self.dtype,
            self.window_shift,
            name="attn",
        )
        y = attention(LayerNorm(dtype=self.dtype, name="norm1")(x))
        x = x + drop_path(y, deterministic=not train)
        y = LayerNorm(dtype=self.dtype, name="norm2")(x)
        y = Dense(4 * channels, dtype=self.dtype, name="fc1")(y)
        y = layers.gelu(y)
        y = Dense(channels, dtype=self.dtype, name="fc2")(y)
        return x + drop_path(y, deterministic=not train)


class PatchMerging(nn.Module):
    """Halves the map and doubles the channels: [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), 2 C].

    The 4 C inputs are ordered (dx, dy, c), as in the official weights.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch _ _ channels"]
    ) -> Float[Array, "batch _ _ 2*channels"]:
        x = pad_to_multiple(x, 2)
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
        x = x.transpose(0, 1, 3, 4, 2, 5).reshape(batch, height // 2, width // 2, 4 * channels)
        x = LayerNorm(dtype=self.dtype, name="norm")(x)
        return Dense(2 * channels, use_bias=False, dtype=self.dtype, name="reduction")(x)


def coordinate_features(height: Size, width: Size) -> Float[Array, "height width 14"]:
    """Returns y and x of the patch centres in [-1, 1], and sinusoids of them, [h, w, 14].

    From -1 to 1 the sinusoids make one, two and four half-turns.
    """
    y = (jnp.arange(height) + 0.5) / height * 2 - 1
    x = (jnp.arange(width) + 0.5) / width * 2 - 1
    grid = jnp.stack(jnp.meshgrid(y, x, indexing="ij"), axis=-1)
    waves = [wave(math.pi * k * grid) for k in (0.5, 1, 2) for wave in (jnp.sin, jnp.cos)]
    return jnp.concatenate([grid, *waves], axis=-1)


class SwinTransformer(nn.Module):
    """Image to four feature maps at strides 4, 8, 16 and 32, each normalised by a LayerNorm.

    Attributes:
      embed_dim: channels of the first stage; each further stage doubles them.
      depths: blocks in each stage; odd blocks shift their windows by half.
      num_heads: attention heads in each block of each stage.
      window_size: side of the attention window; 7 and 12 are published.
      position_embedding: add a linear map of a patch's coordinates to its embedding. Attention with
        relative positions cannot tell the rows of an image apart, but the row where an object
        meets the floor gives its depth. (The `ape` of the official code is a table for one size.)
      drop_path_rate: stochastic depth of the last block; rises linearly from 0 at the first.
      window_shift: on which maps odd blocks shift their windows, see `window_shifts`.
      dtype: compute dtype; parameters are float32.
      remat: recompute each block in the backward pass instead of storing its activations.
    """

    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: int = 7
    position_embedding: bool = False
    drop_path_rate: float = 0.1
    window_shift: str = "always"
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, image: Image, train: bool = False) -> tuple[Features, ...]:
        """Maps a normalised image [B, H, W, 3] of any size to feature maps, finest first."""
        x = nn.Conv(self.embed_dim, (4, 4), (4, 4), dtype=self.dtype, name="patch_embed")(
            pad_to_multiple(image.astype(self.dtype), 4)
        )
        x = LayerNorm(dtype=self.dtype, name="patch_embed_norm")(x)
        if self.position_embedding:
            coordinates = coordinate_features(*x.shape[1:3]).astype(self.dtype)
            x += Dense(self.embed_dim, dtype=self.dtype, name="position")(coordinates)
        drop_path_rates = iter(np.linspace(0, self.drop_path_rate, sum(self.depths)).tolist())
        features = []
        for stage, depth in enumerate(self.depths):
            if stage > 0:
                x = PatchMerging(self.dtype, name=f"downsample{stage}")(x)
            for block in range(depth):
                x = rematerialised(SwinBlock, self.remat)(
                    num_heads=self.num_heads[stage],
                    window_size=self.window_size,
                    shift=self.window_size // 2 if block % 2 else 0,
                    drop_path_rate=next(drop_path_rates),
                    dtype=self.dtype,
                    window_shift=self.window_shift,
                    name=f"stage{stage}_block{block}",
                )(x, train)
            features.append(LayerNorm(dtype=self.dtype, name=f"norm{stage}")(x))
        return tuple(features)
