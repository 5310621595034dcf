"""DINOv2 (Oquab et al., 2023, arXiv 2304.07193), a Vision Transformer with patches of 14x14.

Registers are those of Darcet et al. (ICLR 2024, arXiv 2309.16588).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from diffdepth_jax.arrays import Array, Features, Image, Size
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

PATCH = 14  # pixels of a patch's side
TABLE_SIDE = 37  # patches of a side of the images that the position tables were trained for
# What `model.position_interpolation` may be, see `interpolate_table`.
INTERPOLATIONS = ("size", "size_antialiased", "scale_offset")

_SMALL = {"features": 384, "depth": 12, "num_heads": 6, "layers": (3, 6, 9, 12)}
_BASE = {"features": 768, "depth": 12, "num_heads": 12, "layers": (3, 6, 9, 12)}
_LARGE = {"features": 1024, "depth": 24, "num_heads": 16, "layers": (5, 12, 18, 24)}
# The published sizes; `layers` are those of Depth Anything. dinov2_nano is for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "dinov2_nano": {"features": 16, "depth": 4, "num_heads": 2, "layers": (1, 2, 3, 4)},
    "dinov2_small": _SMALL,
    "dinov2_base": _BASE,
    "dinov2_large": _LARGE,
    "dinov2_small_registers": {**_SMALL, "num_registers": 4},
    "dinov2_base_registers": {**_BASE, "num_registers": 4},
    "dinov2_large_registers": {**_LARGE, "num_registers": 4},
}

_Tokens = Float[Array, "batch tokens channels"]
_Table = Float[Array, "side side channels"]
_truncated_normal = nn.initializers.truncated_normal(0.02)


def interpolate_table(
    table: _Table, rows: Size, columns: Size, rule: str
) -> Float[Array, "_ _ channels"]:
    """Resizes a table of positions [S, S, C] to [rows, columns, C], bicubically.

    A table of the wanted size stays as it is. Published codes differ otherwise. `rule` is:

    - "size": as F.interpolate(size=...) of PyTorch (Dinov2Model of Hugging Face);
    - "size_antialiased": the same with antialias=True (models with registers, and timm);
    - "scale_offset": as F.interpolate(scale_factor=...), for a map that is 0.1 patches larger (the
      authors' models without registers).
    """
    side = table.shape[0]
    # Symbolic sizes, under `jax.export`, are compared when the function runs.
    sizes = jnp.stack([jnp.asarray(rows), jnp.asarray(columns)]).astype(jnp.float32)
    offset = 0.1 if rule == "scale_offset" else 0.0
    scales = jnp.where((sizes == side).all(), 1, (sizes + offset) / side)
    antialias = rule == "size_antialiased"
    # PyTorch's kernels: a = -0.5 with antialiasing, otherwise -0.75 and edges repeated outside.
    kernel = "cubic" if antialias else "cubic-pytorch"
    shape = (rows, columns, table.shape[-1])
    return jax.image.scale_and_translate(
        table, shape, (0, 1), scales, jnp.zeros(2), kernel, antialias=antialias
    )


class PatchEmbedding(nn.Module):
    """Linear map of each patch: [B, 14 h, 14 w, 3] -> [B, h, w, features]."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """A product of matrices: its kernel's gradient is fast on every backend."""
        batch, height, width, channels = x.shape
        rows, columns = height // PATCH, width // PATCH
        shape = (PATCH, PATCH, channels, self.features)
        kernel = self.param("kernel", _truncated_normal, shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:]).astype(self.dtype)
        x = x.reshape(batch, rows, PATCH, columns, PATCH, channels).transpose(0, 1, 3, 2, 4, 5)
        flat = x.reshape(batch, rows, columns, PATCH * PATCH * channels)
        return flat_dot_general(flat, kernel.reshape(-1, self.features)) + bias


class Attention(nn.Module):
    """Multi-head self-attention of all tokens; the softmax is in float32.

    Attributes:
      num_heads: attention heads; they divide the channels.
      dtype: compute dtype.
    """

    num_heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: _Tokens) -> _Tokens:
        batch, tokens, channels = x.shape
        qkv = Dense(3 * channels, dtype=self.dtype, name="qkv")(x)
        qkv = qkv.reshape(batch, tokens, 3, self.num_heads, channels // self.num_heads)
        y = dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        return Dense(channels, dtype=self.dtype, name="proj")(y.reshape(x.shape))


class LayerScale(nn.Module):
    """Multiplies each channel by a learned factor, which starts at 1e-5 as the authors have it."""

    @nn.compact
    def __call__(self, x: _Tokens) -> _Tokens:
        gamma = self.param("gamma", nn.initializers.constant(1e-5), x.shape[-1:])
        return x * gamma.astype(x.dtype)


class Block(nn.Module):
    """Attention and an MLP, each with pre-norm, layer scale, residual and stochastic depth.

    Attributes:
      num_heads, dtype: see `Attention`.
      drop_path_rate: of the stochastic depth.
    """

    num_heads: int
    drop_path_rate: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: _Tokens, train: bool = False) -> _Tokens:
        """[B, T, C] -> [B, T, C]."""
        channels = x.shape[-1]
        drop_path = DropPath(self.drop_path_rate, axes=(1, 2))
        y = LayerNorm(dtype=self.dtype, name="norm1")(x)
        y = LayerScale(name="scale1")(Attention(self.num_heads, self.dtype, name="attn")(y))
        x = x + drop_path(y, deterministic=not train)
        y = LayerNorm(dtype=self.dtype, name="norm2")(x)
        y = Dense(4 * channels, dtype=self.dtype, name="fc1")(y)
        y = gelu(y)
        y = LayerScale(name="scale2")(Dense(channels, dtype=self.dtype, name="fc2")(y))
        return x + drop_path(y, deterministic=not train)


class DINOv2(nn.Module):
    """Image to feature maps of several layers, all at stride 14.

    Attributes:
      features: channels of the tokens and of every map.
      depth: blocks.
      num_heads: attention heads in each block.
      layers: the blocks whose outputs are the maps, counted from 1, rising.
      num_registers: tokens beside the patches and the class token; published: 0 and 4.
      position_interpolation: how the position table is resized, see `interpolate_table`.
      drop_path_rate: stochastic depth of the last block; rises linearly from 0 at the first.
      normed: whether the last layer norm is applied to every map; otherwise to none.
      table_side: patches of a side of the position table.
      dtype: compute dtype; parameters are float32.
      remat: recompute each block in the backward pass instead of storing its activations.
    """

    features: int
    depth: int
    num_heads: int
    layers: tuple[int, ...]
    num_registers: int = 0
    position_interpolation: str = "size"
    drop_path_rate: float = 0.0
    normed: bool = True
    table_side: int = TABLE_SIDE
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, image: Image, train: bool = False) -> tuple[Features, ...]:
        """Maps a normalised image [B, H, W, 3] of any size to maps [B, ceil(H/14), ceil(W/14), C].

        The image is padded with its mean, zero, at right and bottom. Earlier layers come first.
        """
        padded = pad_to_multiple(image.astype(self.dtype), PATCH)
        patches = PatchEmbedding(self.features, self.dtype, name="patch_embed")(padded)
        x, maps = self._tokens(patches), []
        rates = np.linspace(0, self.drop_path_rate, self.depth).tolist()
        norm = LayerNorm(dtype=self.dtype, name="norm")
        for block, rate in enumerate(rates):
            make_block = rematerialised(Block, self.remat)
            x = make_block(self.num_heads, rate, self.dtype, name=f"block{block}")(x, train)
            if block + 1 in self.layers:
                of_patches = x[:, 1 + self.num_registers :]
                maps.append(
                    (norm(of_patches) if self.normed else of_patches).reshape(patches.shape)
                )
        return tuple(maps)

    def _tokens(self, patches: Features) -> _Tokens:
        """Joins the class token, the registers and the patches, [B, 1 + R + h w, C].

        The class token and the patches have positions, the registers have none.
        """
        batch, rows, columns, channels = patches.shape
        side = self.table_side
        token = self.param("class_token", _truncated_normal, (1, channels))
        table = self.param("position_table", _truncated_normal, (1 + side**2, channels))
        grid = table[1:].reshape(side, side, channels)
        grid = interpolate_table(grid, rows, columns, self.position_interpolation)
        tokens = [token + table[:1]]
        if self.num_registers:
            shape = (self.num_registers, channels)
            tokens.append(self.param("register_tokens", _truncated_normal, shape))
        first = jnp.concatenate(tokens).astype(self.dtype)
        first = jnp.broadcast_to(first, (batch, *first.shape))
        patches = (patches + grid.astype(self.dtype)).reshape(batch, rows * columns, channels)
        return jnp.concatenate([first, patches], axis=1)


def create(
    name: str,
    *,
    layers: tuple[int, ...],
    position_interpolation: str,
    drop_path_rate: float,
    dtype: DTypeLike,
) -> DINOv2:
    """The variant of this name.

    Args:
      name: a name in VARIANTS.
      layers: see `DINOv2`; () stands for those of the variant.
      position_interpolation, drop_path_rate, dtype: see `DINOv2`.

    Raises:
      UserError: the variant has no such layers.
    """
    chosen, depth = layers or VARIANTS[name]["layers"], VARIANTS[name]["depth"]
    if list(chosen) != sorted({layer for layer in chosen if 1 <= layer <= depth}):
        raise UserError(f"model.backbone_layers {chosen}: must rise within 1 to {depth} for {name}")
    module = DINOv2(
        **VARIANTS[name],
        position_interpolation=position_interpolation,
        drop_path_rate=drop_path_rate,
        dtype=dtype,
    )
    return module.clone(layers=chosen)
