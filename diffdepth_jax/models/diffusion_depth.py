"""DiffusionDepth (Duan, Guo, Zhu, ECCV 2024, arXiv 2303.05021): the assembly of its parts."""

import flax.linen as nn
import jax.numpy as jnp

from diffdepth_jax.errors import UserError, require_positive
from diffdepth_jax.models import mpvit, resnet, swin
from diffdepth_jax.models.denoiser import Denoiser
from diffdepth_jax.models.depth_codec import DepthCodec
from diffdepth_jax.models.fpn import FPN
from diffdepth_jax.models.hahi import HAHI
from diffdepth_jax.models.released import ReleasedCodec, ReleasedDenoiser


class DiffusionDepth(nn.Module):
    """Image encoder, depth codec and denoiser; the sampler that joins them is in `inference`.

    Attributes:
      backbone: image [B, H, W, 3] -> tuple of feature maps, finest first.
      neck: tuple of feature maps -> pyramid, finest first.
      codec: depth <-> latent.
      denoiser: (latent, timestep, condition) -> prediction; `project`s the pyramid to a condition.
      hahi: feature maps -> feature maps of the same shapes, ahead of the neck; only released
        checkpoints have it.

    `train` switches stochastic depth on and, where a part has batch norms, the batch's statistics:
    apply with mutable=["batch_stats"] then.
    """

    backbone: nn.Module
    neck: nn.Module
    codec: nn.Module
    denoiser: nn.Module
    hahi: nn.Module | None = None

    def latent_shape(self, height, width):
        """(h, w, d) of the latent for an image of this size; needs no parameters."""
        if height < 1 or width < 1:
            raise ValueError(f"image {height} x {width}: height and width must be positive")
        return self.codec.latent_shape(height, width)

    def encode_image(self, image, train: bool = False):
        """Normalised image [B, H, W, 3] -> condition [B, h, w, C] at the latent's size."""
        self.latent_shape(*image.shape[1:3])  # refuses empty images by name
        features = self.backbone(image, train)
        if self.hahi is not None:
            features = self.hahi(features, train)
        return self.denoiser.project(self.neck(features, train), image)

    def encode_depth(self, depth, mask, train: bool = False):
        """Metres [B, H, W, 1] and bool mask -> latent [B, h, w, d], 0 in invalid cells; its mask.

        What the depth holds where the mask is False, nan included, has no influence.
        """
        return self.codec.encode(depth, mask, train)

    def denoise(self, latent, timestep, condition):
        """Noisy latent [B, h, w, d], timestep [B], condition -> prediction [B, h, w, d]."""
        return self.denoiser(latent, timestep, condition)

    def decode_log_depth(self, latent, train: bool = False):
        """Latent [B, h, w, d] -> natural log of metres, float32 [B, 2 h, 2 w, 1]."""
        return self.codec.decode(latent, train)

    def decode_depth(self, latent):
        """Latent [B, h, w, d] -> metres, float32 [B, 2 h, 2 w, 1]."""
        return jnp.exp(self.decode_log_depth(latent))

    def __call__(self, image, depth, mask):
        """Touches every parameter once: for `init` and for counting."""
        condition = self.encode_image(image)
        latent, _ = self.encode_depth(depth, mask)
        timestep = jnp.zeros(image.shape[0], jnp.int32)
        return self.decode_depth(self.denoise(latent, timestep, condition))


def _one_of(field, value, choices):
    if value not in choices:
        raise UserError(f"model.{field} {value!r}: must be one of {', '.join(choices)}")
    return choices[value]


def create_backbone(name, *, window_size, position_embedding, drop_path_rate, dtype):
    """One of the VARIANTS of `swin`, `resnet` and `mpvit`; a ResNet has use for dtype only."""
    if name in resnet.VARIANTS:
        return resnet.ResNet(**resnet.VARIANTS[name], dtype=dtype)
    if name in mpvit.VARIANTS:
        return mpvit.MPViT(**mpvit.VARIANTS[name], drop_path_rate=drop_path_rate, dtype=dtype)
    return swin.SwinTransformer(
        **_one_of("backbone", name, swin.VARIANTS | resnet.VARIANTS | mpvit.VARIANTS),
        window_size=window_size,
        position_embedding=position_embedding,
        drop_path_rate=drop_path_rate,
        dtype=dtype,
    )


def create_model(
    *,
    backbone: str,
    backbone_weights: str,
    window_size: int,
    position_embedding: bool,
    drop_path_rate: float,
    neck: str,
    neck_features: int,
    codec: str,
    latent_channels: int,
    decoder_width: int,
    denoiser: str,
    denoiser_features: int,
    denoiser_blocks: int,
    denoiser_heads: int,
    condition_levels: int,
    self_attention: bool,
    dtype: str,
) -> DiffusionDepth:
    """The model of a configuration's `model` group; see configs/default.py for each field.

    `backbone_weights` is no part of the model: it is what `train` starts the backbone from.
    """
    require_positive(
        "model", window_size=window_size, neck_features=neck_features,
        latent_channels=latent_channels, decoder_width=decoder_width,
        denoiser_features=denoiser_features, denoiser_heads=denoiser_heads,
    )  # fmt: skip
    if denoiser_features % denoiser_heads:
        raise UserError(
            f"model.denoiser_heads {denoiser_heads}: must divide denoiser_features "
            f"{denoiser_features}"
        )
    dtype = _one_of("dtype", dtype, {"float32": jnp.float32, "bfloat16": jnp.bfloat16})
    if not 1 <= condition_levels <= 4:
        raise UserError(f"model.condition_levels {condition_levels}: must be 1 to 4")
    denoisers = {
        "attention": lambda: Denoiser(
            latent_channels, denoiser_features, denoiser_blocks, denoiser_heads,
            condition_levels, self_attention, dtype,
        ),
        "released": lambda: ReleasedDenoiser(latent_channels, neck_features, dtype=dtype),
        "released_plain": lambda: ReleasedDenoiser(
            latent_channels, neck_features, fuse=False, dtype=dtype
        ),
    }  # fmt: skip
    codecs = {
        "bounded": lambda: DepthCodec(latent_channels, decoder_width),
        "released": lambda: ReleasedCodec(latent_channels),
    }
    batch_norm = _one_of("neck", neck, {"fpn": False, "released": True, "released_hahi": True})
    return DiffusionDepth(
        backbone=create_backbone(
            backbone,
            window_size=window_size,
            position_embedding=position_embedding,
            drop_path_rate=drop_path_rate,
            dtype=dtype,
        ),
        hahi=HAHI(dtype=dtype) if neck == "released_hahi" else None,
        neck=FPN(neck_features, batch_norm, dtype),
        codec=_one_of("codec", codec, codecs)(),
        denoiser=_one_of("denoiser", denoiser, denoisers)(),
    )
