"""DINOv3 (Siméoni et al., 2025, arXiv 2508.10104), a Vision Transformer with patches of 16x16.

Its positions are rotations of queries and keys, so that it has no table and takes any size.
"""

import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from diffdepth_jax.arrays import Features
from diffdepth_jax.models.backbones.vit import (
    Rotation,
    Tokens,
    VisionTransformer,
    check_layers,
    truncated_normal,
)

ROPE_BASE = 100.0  # the slowest rotation has a period of about this many half images
_SMALL = {"features": 384, "depth": 12, "num_heads": 6, "layers": (3, 6, 9, 12)}
_BASE = {"features": 768, "depth": 12, "num_heads": 12, "layers": (3, 6, 9, 12)}
_LARGE = {"features": 1024, "depth": 24, "num_heads": 16, "layers": (5, 12, 18, 24)}
_NANO = {"features": 16, "depth": 4, "num_heads": 2, "layers": (1, 2, 3, 4)}
# The published sizes, all with 4 registers; `layers` as of the DINOv2 of that depth in Depth
# Anything. The nanos are for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "dinov3_nano": _NANO,
    "dinov3_nano_plus": {**_NANO, "gated": 24},
    "dinov3_small": _SMALL,
    "dinov3_small_plus": {**_SMALL, "gated": 1536},
    "dinov3_base": _BASE,
    "dinov3_large": _LARGE,
}


def rotation_of(rows: Any, columns: Any, head_channels: int) -> Rotation:
    """Cosine and sine for the patches of a grid, row by row: [rows columns, head_channels].

    A quarter of the channels has angles of the row, the next quarter of the column, and the second
    half the same again. Angles are 2 pi times the centre of the patch, from -1 to 1 within the
    image, over periods from 1 to ROPE_BASE. Sizes may be symbols, under `jax.export`.
    """
    quarter = head_channels // 4
    frequencies = np.float32(1) / np.float32(ROPE_BASE) ** (np.arange(quarter) / quarter)
    frequencies = frequencies.astype(np.float32)

    def angles(size: Any) -> Any:
        centres = 2 * ((jnp.arange(size, dtype=jnp.float32) + 0.5) / size) - 1
        return 2 * math.pi * centres[:, None] * frequencies

    shape = (rows, columns, quarter)
    of_row = jnp.broadcast_to(angles(rows)[:, None], shape)
    of_column = jnp.broadcast_to(angles(columns)[None], shape)
    both = jnp.concatenate([of_row, of_column] * 2, axis=-1).reshape(-1, head_channels)
    return jnp.cos(both), jnp.sin(both)


class DINOv3(VisionTransformer):
    """See `VisionTransformer`; keys have no bias, and class token and registers no rotation."""

    num_registers: int = 4

    patch: ClassVar[int] = 16
    epsilon: ClassVar[float] = 1e-5
    key_bias: ClassVar[bool] = False

    def _tokens(self, patches: Features) -> Tokens:
        token = self.param("class_token", truncated_normal, (1, self.features))
        return self._joined(jnp.concatenate([token, self._register_tokens()]), patches)

    def _rotation(self, patches: Features) -> Rotation:
        _, rows, columns, _ = patches.shape
        channels = self.features // self.num_heads
        cosine, sine = rotation_of(rows, columns, channels)
        still = (1 + self.num_registers, channels)  # an angle of 0
        return (
            jnp.concatenate([jnp.ones(still), cosine]),
            jnp.concatenate([jnp.zeros(still), sine]),
        )


def create(
    name: str, *, layers: tuple[int, ...], drop_path_rate: float, dtype: DTypeLike
) -> DINOv3:
    """The variant of this name.

    Args:
      name: a name in VARIANTS.
      layers: see `VisionTransformer`; () stands for those of the variant.
      drop_path_rate, dtype: likewise.

    Raises:
      UserError: the variant has no such layers.
    """
    chosen, depth = layers or VARIANTS[name]["layers"], VARIANTS[name]["depth"]
    check_layers(name, chosen, depth)
    module = DINOv3(**VARIANTS[name], drop_path_rate=drop_path_rate, dtype=dtype)
    return module.clone(layers=chosen)
