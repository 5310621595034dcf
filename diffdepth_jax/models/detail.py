"""The image itself beside the backbone, so that edges of depth fall on edges of the image."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from diffdepth_jax.arrays import Details, Features, Image
from diffdepth_jax.models.layers import LayerNorm

_WIDTHS = (1, 2, 4, 4, 4)  # times the channels at stride 2, at strides 2 to 32


class DetailPath(nn.Module):
    """Light convolutions of the image at strides 2 to 32, like the first half of a U-Net.

    Decoder and condition see stride 2, and the neck the maps that have the sizes of the backbone's.
    At stride 2 the four pixels of a cell are channels. So no pixel is lost, at a fourth of the time
    that convolutions at full size would take.

    Attributes:
      features: channels at stride 2, and 2, 4, 4, 4 times as many at the strides 4 to 32.
      dtype: compute dtype.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Image) -> Details:
        """Normalised image [B, H, W, 3] -> maps [B, ceil(H / s), ceil(W / s), c] at each stride."""
        conv = functools.partial(nn.Conv, kernel_size=(3, 3), dtype=self.dtype)
        x, maps = _cells(image).astype(self.dtype), []
        for level, width in enumerate(_WIDTHS):
            strides = (2, 2) if level else (1, 1)
            x = conv(width * self.features, strides=strides, name=f"in{level}")(x)
            x = self._activate(x, f"in{level}_norm")
            y = conv(width * self.features, name=f"conv{level}")(x)
            x = x + self._activate(y, f"conv{level}_norm")
            maps.append(x)
        return tuple(maps)

    def _activate(self, x: Features, name: str) -> Features:
        return jax.nn.gelu(LayerNorm(dtype=self.dtype, name=name)(x))


def _cells(image: Image) -> Features:
    """The pixels of each 2x2 cell as channels, [B, ceil(H / 2), ceil(W / 2), 12]."""
    batch, height, width, channels = image.shape
    image = jnp.pad(image, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
    x = image.reshape(batch, -(-height // 2), 2, -(-width // 2), 2, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(*x.shape[:2], x.shape[3], 4 * channels)
