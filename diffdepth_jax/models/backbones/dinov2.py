"""DINOv2 (Oquab et al., 2023, arXiv 2304.07193), a Vision Transformer with patches of 14x14.

Registers are those of Darcet et al. (ICLR 2024, arXiv 2309.16588).
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from diffdepth_jax.arrays import Array, Features, Size
from diffdepth_jax.models.backbones.vit import (
    Tokens,
    VisionTransformer,
    check_layers,
    truncated_normal,
)

TABLE_SIDE = 37  # patches of a side of the images that the position tables were trained for
# What `model.position_interpolation` may be, see `interpolate_table`.
INTERPOLATIONS = ("size", "size_antialiased", "scale_offset")

_SMALL = {"features": 384, "depth": 12, "num_heads": 6, "layers": (3, 6, 9, 12)}
_BASE = {"features": 768, "depth": 12, "num_heads": 12, "layers": (3, 6, 9, 12)}
_LARGE = {"features": 1024, "depth": 24, "num_heads": 16, "layers": (5, 12, 18, 24)}
_GIANT = {
    "features": 1536,
    "depth": 40,
    "num_heads": 24,
    "layers": (10, 20, 30, 40),
    "gated": 4096,
}
# The published sizes; `layers` are those of Depth Anything. dinov2_nano is for tests.
VARIANTS: dict[str, dict[str, Any]] = {
    "dinov2_nano": {"features": 16, "depth": 4, "num_heads": 2, "layers": (1, 2, 3, 4)},
    "dinov2_small": _SMALL,
    "dinov2_base": _BASE,
    "dinov2_large": _LARGE,
    "dinov2_giant": _GIANT,
    "dinov2_small_registers": {**_SMALL, "num_registers": 4},
    "dinov2_base_registers": {**_BASE, "num_registers": 4},
    "dinov2_large_registers": {**_LARGE, "num_registers": 4},
    "dinov2_giant_registers": {**_GIANT, "num_registers": 4},
}

_Table = Float[Array, "side side channels"]


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


class DINOv2(VisionTransformer):
    """See `VisionTransformer`. Of the tokens, registers alone have no position.

    Attributes:
      position_interpolation: how the position table is resized, see `interpolate_table`.
      table_side: patches of a side of the position table.
    """

    position_interpolation: str = "size"
    table_side: int = TABLE_SIDE

    patch: ClassVar[int] = 14

    def _tokens(self, patches: Features) -> Tokens:
        _, rows, columns, channels = patches.shape
        side = self.table_side
        token = self.param("class_token", truncated_normal, (1, channels))
        table = self.param("position_table", truncated_normal, (1 + side**2, channels))
        grid = table[1:].reshape(side, side, channels)
        grid = interpolate_table(grid, rows, columns, self.position_interpolation)
        first = jnp.concatenate([token + table[:1], self._register_tokens()])
        return self._joined(first, patches + grid.astype(self.dtype))


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
    check_layers(name, chosen, depth)
    module = DINOv2(
        **VARIANTS[name],
        position_interpolation=position_interpolation,
        drop_path_rate=drop_path_rate,
        dtype=dtype,
    )
    return module.clone(layers=chosen)
