"""The image itself beside the backbone, so that edges of depth fall on edges of the image."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from diffdepth_jax.arrays import Details, Features, Image
from diffdepth_jax.models.convolutions import Conv
from diffdepth_jax.models.layers import LayerNorm

_WIDTHS = (2, 4, 8, 8, 8)  # times the channels at full size, at strides 2 to 32


class DetailPath(nn.Module):
    """Light convolutions of the image at strides 1 to 32, like the first half of a U-Net.

    The decoder sees stride 1, the condition stride 2, and the neck the maps that have the sizes of
    the backbone's: convolutions learn in a short training what a Swin from nothing does not.

    Attributes:
      features: channels at full size, and 2, 4, 8, 8, 8 times as many at the strides 2 to 32.
      dtype: compute dtype.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Image) -> Details:
        """Normalised image [B, H, W, 3] -> maps [B, ceil(H / s), ceil(W / s), c] at each stride."""
        conv = functools.partial(Conv, kernel_size=3, dtype=self.dtype)
        # At full size a second convolution and a norm would take as long as all other maps.
        x = jax.nn.gelu(conv(self.features, name="full")(image.astype(self.dtype)))
        maps = [x]
        for level, width in enumerate(_WIDTHS):
            down = nn.Conv(
                width * self.features, (3, 3), (2, 2), dtype=self.dtype, name=f"down{level}"
            )
            x = down(x)
            x = self._activate(x, f"down{level}_norm")
            if level:
                y = conv(width * self.features, name=f"conv{level}")(x)
                x = x + self._activate(y, f"conv{level}_norm")
            maps.append(x)
        return tuple(maps)

    def _activate(self, x: Features, name: str) -> Features:
        return jax.nn.gelu(LayerNorm(dtype=self.dtype, name=name)(x))


def beside(maps: Sequence[Features], details: Details) -> Sequence[Features]:
    """A backbone's maps, each joined with the details of its stride; the finest has 2 or 4."""
    first = 1 if maps[0].shape[1:3] == details[1].shape[1:3] else 2
    pairs = zip(maps, details[first:], strict=False)  # a backbone may end at a finer stride
    return [jnp.concatenate(pair, axis=-1) for pair in pairs]
