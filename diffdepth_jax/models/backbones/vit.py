"""What DINOv2 and DINOv3 share: a Vision Transformer (Dosovitskiy et al., ICLR 2021) and its parts.

Registers are those of Darcet et al. (ICLR 2024, arXiv 2309.16588), layer scale that of Touvron et
al. (ICCV 2021, arXiv 2103.17239), SwiGLU that of Shazeer (2020, arXiv 2002.05202).
"""

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from diffdepth_jax.arrays import Array, Features, Image
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.attention import dot_product_attention
from diffdepth_jax.models.backbones.swin import pad_to_multiple
from diffdepth_jax.models.layers import (
    Dense,
    DropPath,
    LayerNorm,
    flat_dot_general,
    gelu,
    rematerialised,
)

Tokens = Float[Array, "batch tokens channels"]
# Cosine and sine of the angle by which each token's query and key are turned.
Rotation = tuple[Float[Array, "tokens head_channels"], Float[Array, "tokens head_channels"]]
truncated_normal = nn.initializers.truncated_normal(0.02)


class PatchEmbedding(nn.Module):
    """Linear map of each patch: [B, side h, side w, 3] -> [B, h, w, features]."""

    features: int
    side: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """A product of matrices: its kernel's gradient is fast on every backend."""
        batch, height, width, channels = x.shape
        side, rows, columns = self.side, height // self.side, width // self.side
        shape = (side, side, channels, self.features)
        kernel = self.param("kernel", truncated_normal, shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:]).astype(self.dtype)
        x = x.reshape(batch, rows, side, columns, side, channels).transpose(0, 1, 3, 2, 4, 5)
        flat = x.reshape(batch, rows, columns, side * side * channels)
        return flat_dot_general(flat, kernel.reshape(-1, self.features)) + bias


def rotated(
    x: Float[Array, "batch tokens heads head_channels"], rotation: Rotation
) -> Float[Array, "batch tokens heads head_channels"]:
    """Turns channels (i, i + half) by their token's angle (RoFormer, arXiv 2104.09864)."""
    cosine, sine = (each.astype(x.dtype)[:, None] for each in rotation)
    first, second = jnp.split(x, 2, axis=-1)
    return x * cosine + jnp.concatenate([-second, first], axis=-1) * sine


class Attention(nn.Module):
    """Multi-head self-attention of all tokens; the softmax is in float32.

    Attributes:
      num_heads: attention heads; they divide the channels.
      dtype: compute dtype.
      key_bias: whether keys have a bias, beside queries and values.
    """

    num_heads: int
    dtype: DTypeLike = jnp.float32
    key_bias: bool = True

    @nn.compact
    def __call__(self, x: Tokens, rotation: Rotation | None = None) -> Tokens:
        batch, tokens, channels = x.shape
        qkv = self._query_key_value(x)
        qkv = qkv.reshape(batch, tokens, 3, self.num_heads, channels // self.num_heads)
        query, key, value = (qkv[:, :, part] for part in range(3))
        if rotation is not None:
            query, key = rotated(query, rotation), rotated(key, rotation)
        y = dot_product_attention(query, key, value)
        return Dense(channels, dtype=self.dtype, name="proj")(y.reshape(x.shape))

    def _query_key_value(self, x: Tokens) -> Float[Array, "batch tokens 3*channels"]:
        channels = x.shape[-1]
        dense = Dense(3 * channels, use_bias=self.key_bias, dtype=self.dtype, name="qkv")
        if self.key_bias:
            return dense(x)
        bias = self.param("query_value_bias", nn.initializers.zeros, (2 * channels,))
        query, value = jnp.split(bias.astype(self.dtype), 2)
        return dense(x) + jnp.concatenate([query, jnp.zeros_like(query), value])


class LayerScale(nn.Module):
    """Multiplies each channel by a learned factor, which starts at 1e-5 as the authors have it."""

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        gamma = self.param("gamma", nn.initializers.constant(1e-5), x.shape[-1:])
        return x * gamma.astype(x.dtype)


class Block(nn.Module):
    """Attention and an MLP, each with pre-norm, layer scale, residual and stochastic depth.

    Attributes:
      num_heads, dtype, key_bias: see `Attention`.
      drop_path_rate: of the stochastic depth.
      gated: hidden units of a SwiGLU in the MLP's place; 0: an MLP with GELU, 4 times as wide.
      epsilon: of the norms.
    """

    num_heads: int
    drop_path_rate: float
    dtype: DTypeLike = jnp.float32
    gated: int = 0
    epsilon: float = 1e-6
    key_bias: bool = True

    @nn.compact
    def __call__(self, x: Tokens, train: bool = False, rotation: Rotation | None = None) -> Tokens:
        """[B, T, C] -> [B, T, C]."""
        drop_path = DropPath(self.drop_path_rate, axes=(1, 2))
        attention = Attention(self.num_heads, self.dtype, self.key_bias, name="attn")
        y = LayerNorm(self.epsilon, dtype=self.dtype, name="norm1")(x)
        y = LayerScale(name="scale1")(attention(y, rotation))
        x = x + drop_path(y, deterministic=not train)
        y = LayerNorm(self.epsilon, dtype=self.dtype, name="norm2")(x)
        y = LayerScale(name="scale2")(self._mlp(y))
        return x + drop_path(y, deterministic=not train)

    def _mlp(self, x: Tokens) -> Tokens:
        channels = x.shape[-1]
        hidden = 2 * self.gated or 4 * channels
        y = Dense(hidden, dtype=self.dtype, name="fc1")(x)
        if self.gated:
            gate, value = jnp.split(y, 2, axis=-1)
            y = jax.nn.silu(gate) * value
        else:
            y = gelu(y)
        return Dense(channels, dtype=self.dtype, name="fc2")(y)


class VisionTransformer(nn.Module):
    """Image to feature maps of several layers, all at the stride of a patch.

    Attributes:
      features: channels of the tokens and of every map.
      depth: blocks.
      num_heads: attention heads in each block.
      layers: the blocks whose outputs are the maps, counted from 1, rising.
      num_registers: tokens beside the patches and the class token.
      gated: see `Block`.
      drop_path_rate: stochastic depth of the last block; rises linearly from 0 at the first.
      normed: whether the last layer norm is applied to every map; otherwise to none.
      dtype: compute dtype; parameters are float32.
      remat: recompute each block in the backward pass instead of storing its activations.
    """

    features: int
    depth: int
    num_heads: int
    layers: tuple[int, ...]
    num_registers: int = 0
    gated: int = 0
    drop_path_rate: float = 0.0
    normed: bool = True
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    patch: ClassVar[int]  # pixels of a patch's side
    epsilon: ClassVar[float] = 1e-6
    key_bias: ClassVar[bool] = True

    @nn.compact
    def __call__(self, image: Image, train: bool = False) -> tuple[Features, ...]:
        """Maps a normalised image [B, H, W, 3] of any size to [B, ceil(H/patch), ceil(W/patch), C].

        The image is padded with its mean, zero, at right and bottom. Earlier layers come first.
        """
        padded = pad_to_multiple(image.astype(self.dtype), self.patch)
        patches = PatchEmbedding(self.features, self.patch, self.dtype, name="patch_embed")(padded)
        x, rotation, maps = self._tokens(patches), self._rotation(patches), []
        norm = LayerNorm(self.epsilon, dtype=self.dtype, name="norm")
        for block, make_block in enumerate(self._blocks()):
            x = make_block(name=f"block{block}")(x, train, rotation)
            if block + 1 in self.layers:
                of_patches = x[:, 1 + self.num_registers :]
                maps.append(
                    (norm(of_patches) if self.normed else of_patches).reshape(patches.shape)
                )
        return tuple(maps)

    def _blocks(self) -> list[functools.partial[Block]]:
        rates = np.linspace(0, self.drop_path_rate, self.depth).tolist()
        fields = {"gated": self.gated, "epsilon": self.epsilon, "key_bias": self.key_bias}
        make = rematerialised(Block, self.remat)
        return [
            functools.partial(make, self.num_heads, rate, self.dtype, **fields) for rate in rates
        ]

    def _tokens(self, patches: Features) -> Tokens:
        """Joins the class token, the registers and the patches, [B, 1 + R + h w, C]."""
        raise NotImplementedError

    def _rotation(self, patches: Features) -> Rotation | None:
        """The rotation of each token's query and key; None: its place is in the token itself."""
        return None

    def _joined(self, first: Float[Array, "first channels"], patches: Features) -> Tokens:
        """Tokens that all images share, ahead of each image's patches."""
        batch, rows, columns, channels = patches.shape
        first = jnp.broadcast_to(first.astype(self.dtype), (batch, *first.shape))
        flat = patches.reshape(batch, rows * columns, channels)
        return jnp.concatenate([first, flat], axis=1)

    def _register_tokens(self) -> Float[Array, "registers channels"]:
        shape = (self.num_registers, self.features)
        if not self.num_registers:
            return jnp.zeros(shape)
        return self.param("register_tokens", truncated_normal, shape)


def check_layers(name: str, layers: tuple[int, ...], depth: int) -> None:
    """Raises a UserError unless a ViT of this depth has the layers, rising."""
    if list(layers) != sorted({layer for layer in layers if 1 <= layer <= depth}):
        raise UserError(f"model.backbone_layers {layers}: must rise within 1 to {depth} for {name}")
