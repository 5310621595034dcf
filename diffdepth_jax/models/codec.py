"""The depth codec: metres [B, H, W, 1] to a latent [B, ceil(H/2), ceil(W/2), d] and back."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from diffdepth_jax.arrays import (
    Depth,
    Details,
    FeatureMap,
    Features,
    Latent,
    LatentMask,
    LogDepth,
    Mask,
    Size,
)
from diffdepth_jax.models.convolutions import Conv, ConvTranspose2x

# The smallest sigmoid that the decoder divides by (paper: eta = 1e-6): depth <= 1e6 - 1 metres.
ETA = 1e-6
MAX_LOG_DEPTH = math.log(1 / ETA - 1)
# Where a new decoder's log of the Laplace scale starts, and how far it can go to either side: the
# scale stays between 0.0013 and 30.
START_LOG_SCALE, LOG_SCALE_RANGE = math.log(0.2), 5.0


def pool_valid(x: FeatureMap, mask: Mask) -> tuple[Latent, LatentMask]:
    """Averages the valid pixels of each 2x2 cell.

    Args:
      x: [B, H, W, C]; finite values have no influence where the mask is False.
      mask: bool [B, H, W, 1], True at valid pixels.

    Returns:
      The means [B, ceil(H/2), ceil(W/2), C], zero in cells without a valid pixel, and a mask of
      the cells that have a valid pixel.
    """
    x = jnp.where(mask, x, 0)
    pad = ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0))
    x, weight = jnp.pad(x, pad), jnp.pad(mask.astype(x.dtype), pad)
    batch, height, width, _ = x.shape

    def sums(y: Features) -> Features:
        return y.reshape(batch, height // 2, 2, width // 2, 2, -1).sum((2, 4))

    count = sums(weight)
    return sums(x) / jnp.maximum(count, 1), count > 0


def fill_invalid(latent: Latent, mask: LatentMask) -> Latent:
    """Fills cells without ground truth with the mean of the nearest coarser cell that has some.

    The decoder's kernels see neighbouring cells. In a refined latent every cell holds depth. If
    only 4 % of the pixels are valid, an encoded latent has lone cells among zeros. Without filling,
    the reconstruction loss would train the decoder on inputs that it never meets in prediction.
    """
    height, width = latent.shape[1:3]
    if height == 1 and width == 1:
        return latent
    coarse = fill_invalid(*pool_valid(latent, mask))
    coarse = coarse.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]
    return jnp.where(mask, latent, coarse)


class DepthEncoder(nn.Module):
    """Encodes sparse ground truth: a bottleneck of 1x1 convolutions, then a masked 2x2 mean.

    The 1x1 kernels and the d channels follow the paper. With 1x1 kernels a pixel without ground
    truth influences nothing. With 3x3 kernels, which exist for comparison, its neighbours see it as
    one metre.

    Two things are ours. The encoder reads the log of depth, because the decoder writes it. And tanh
    bounds the latent to (-1, 1), as in the released encoder, so that unit Gaussian noise suits it.

    Attributes:
      latent_channels: d.
      kernel: side of the kernels ahead of the mean.
    """

    latent_channels: int
    kernel: int = 1

    @nn.compact
    def __call__(self, depth: Depth, mask: Mask) -> tuple[Latent, LatentMask]:
        """Returns the latent, zero in cells without ground truth, and the mask of its cells."""
        conv = functools.partial(nn.Conv, self.latent_channels, (self.kernel, self.kernel))
        log_depth = jnp.log(jnp.clip(jnp.where(mask, depth, 1.0), ETA, 1 / ETA))
        x = jax.nn.gelu(conv(name="expand")(log_depth))
        x = x + jax.nn.gelu(conv(name="bottleneck")(x))
        x, cell_mask = pool_valid(x, mask)
        # A wide initialisation spreads the depths of a scene over the range of tanh.
        spread = nn.initializers.variance_scaling(4.0, "fan_in", "truncated_normal")
        x = nn.Conv(self.latent_channels, (1, 1), kernel_init=spread, name="project")(x)
        x = jnp.tanh(x)
        return jnp.where(cell_mask, x, 0), cell_mask


def log_depth_of(z: LogDepth) -> LogDepth:
    """Returns the log of depth = 1 / clamp(sigmoid(z), ETA) - 1, the paper's last decoder step.

    Without the clamp depth is 1 / sigmoid(z) - 1 = exp(-z), and its log is -z. The clamp limits the
    log to MAX_LOG_DEPTH. The log of a rounded depth would be -inf for z of 17 and more.
    """
    return jnp.minimum(-z, MAX_LOG_DEPTH)


def log_scale_of(z: LogDepth) -> LogDepth:
    """Returns the log of a Laplace scale, bounded smoothly, so that a gradient leads back."""
    return START_LOG_SCALE + LOG_SCALE_RANGE * jnp.tanh(z / LOG_SCALE_RANGE)


# The fields are Any, because jax.tree.map also builds this class with leaves that are no arrays.
@struct.dataclass
class Decoded:
    """What a decoder says of each pixel, float32 [B, H, W, 1]; None: it has no such output.

    Attributes:
      log_depth: natural log of metres.
      log_scale: log of the scale b of a Laplace distribution of log depth, whose centre is
        `log_depth` (Kendall and Gal 2017, arXiv 1703.04977).
      validity: logit of the probability that the pixel has a depth at all.
      inverse_depth: of a relative model, up to an unknown scale and shift, 0 or more: the model
        knows no metres, and `log_depth` stands for -log of this alone.
    """

    log_depth: Any
    log_scale: Any = None
    validity: Any = None
    inverse_depth: Any = None


def padded_to(x: Features, shape: tuple[Size, ...]) -> Features:
    """Repeats the edges of a map so that it has a frame of two pixels, and even sides inside it."""
    rows, columns = shape[1] - x.shape[1] - 2, shape[2] - x.shape[2] - 2
    return jnp.pad(x, ((0, 0), (2, rows), (2, columns), (0, 0)), "edge")


class DepthDecoder(nn.Module):
    """Latent to log depth: 1x1 conv, 3x3 transposed conv, 3x3 conv (paper); float32 throughout.

    Details of the image, if there are any, join ahead of the last of them by one more 3x3 conv.
    Each further output has a 3x3 conv of its own beside the last one, and starts as a constant.

    Attributes:
      width: channels at the latent's size; half as many at full size.
      laplace_scale, validity: whether it has these outputs, see `Decoded`.
    """

    width: int
    laplace_scale: bool = False
    validity: bool = False

    @nn.compact
    def __call__(self, latent: Latent, details: Details | None = None) -> Decoded:
        expand = Conv(self.width, 1, jnp.float32, name="expand")
        x = jax.nn.gelu(expand(latent.astype(jnp.float32)))
        # Padding with zeros would draw a frame around the depth map.
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
        x = jax.nn.gelu(ConvTranspose2x(self.width // 2, kernel_size=3, name="up")(x))
        if details is not None:
            fine = padded_to(details[0].astype(jnp.float32), x.shape)
            join = Conv(self.width // 2, 3, jnp.float32, name="join")
            x = jax.nn.gelu(join(jnp.concatenate([x, fine], axis=-1)))

        def output(name: str, **kwargs: Any) -> LogDepth:
            return Conv(1, 3, jnp.float32, name=name, **kwargs)(x)[:, 2:-2, 2:-2]

        zeros = {"kernel_init": nn.initializers.zeros}
        return Decoded(
            log_depth_of(output("head")),
            log_scale_of(output("scale_head", **zeros)) if self.laplace_scale else None,
            output("validity_head", **zeros) if self.validity else None,
        )


class DepthCodec(nn.Module):
    """Encoder and decoder of the latent depth space.

    Attributes:
      latent_channels: d, 16 in the paper.
      decoder_width: `width` of the decoder.
      encoder_kernel: `kernel` of the encoder.
      laplace_scale, validity: outputs of the decoder.
    """

    latent_channels: int = 16
    decoder_width: int = 32
    encoder_kernel: int = 1
    laplace_scale: bool = False
    validity: bool = False

    def setup(self) -> None:
        self.encoder = DepthEncoder(self.latent_channels, self.encoder_kernel)
        self.decoder = DepthDecoder(self.decoder_width, self.laplace_scale, self.validity)

    def latent_shape(self, height: Size, width: Size) -> tuple[Size, Size, int]:
        """Returns (h, w, d) of the latent of a depth map; h and w are halves, rounded up."""
        return (-(-height // 2), -(-width // 2), self.latent_channels)

    def encode(self, depth: Depth, mask: Mask, train: bool = False) -> tuple[Latent, LatentMask]:
        """Encodes metres; see `DepthEncoder`. `train` changes nothing."""
        return self.encoder(depth, mask)

    def decode(
        self, latent: Latent, train: bool = False, details: Details | None = None
    ) -> Decoded:
        """Decodes to maps [B, 2 h, 2 w, 1]. `train` changes nothing."""
        return self.decoder(latent, details)
