"""DiffusionDepth (Duan, Guo, Zhu, ECCV 2024, arXiv 2303.05021): the assembly of its parts."""

import dataclasses
import math

import flax.linen as nn
import jax.numpy as jnp

from diffdepth_jax.errors import UserError, require_positive, require_within
from diffdepth_jax.models.backbones import mpvit, resnet, swin
from diffdepth_jax.models.codec import DepthCodec
from diffdepth_jax.models.denoiser import Denoiser
from diffdepth_jax.models.necks.fpn import FPN
from diffdepth_jax.models.necks.hahi import HAHI
from diffdepth_jax.models.released import ReleasedCodec, ReleasedDenoiser


class DiffusionDepth(nn.Module):
    """Image encoder, depth codec and denoiser; the sampler that joins them is in `inference`.

    Attributes:
      backbone: image [B, H, W, 3] -> tuple of feature maps, finest first.
      neck: tuple of feature maps -> pyramid, finest first.
      codec: depth <-> latent.
      denoiser: (latent, timestep, condition, *prepared) -> prediction; `project`s the pyramid to a
        condition, `prepare`s what it may be given besides.
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

    def prepare_denoiser(self):
        """What many calls of `denoise` with the same parameters share: their last arguments."""
        return self.denoiser.prepare()

    def denoise(self, latent, timestep, condition, *prepared):
        """Noisy latent [B, h, w, d], timestep [B], condition -> prediction [B, h, w, d]."""
        return self.denoiser(latent, timestep, condition, *prepared)

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


@dataclasses.dataclass(frozen=True)
class ModelFields:
    """A configuration's `model` group; configs/default.py says what each field means.

    `backbone_weights` is no part of the model: it is what `train` starts the backbone from.
    """

    backbone: str
    backbone_weights: str
    window_size: int
    position_embedding: bool
    drop_path_rate: float
    neck: str
    neck_features: int
    codec: str
    latent_channels: int
    encoder_kernel: int
    decoder_width: int
    denoiser: str
    denoiser_features: int
    denoiser_blocks: int
    denoiser_heads: int
    condition_levels: int
    self_attention: bool
    dtype: str

    def __post_init__(self):
        sizes = (
            "window_size",
            "neck_features",
            "latent_channels",
            "denoiser_features",
            "denoiser_blocks",
            "denoiser_heads",
        )
        require_positive("model", **{name: getattr(self, name) for name in sizes})
        require_within("model", 2, math.inf, decoder_width=self.decoder_width)
        require_within("model", 0, 0.99, drop_path_rate=self.drop_path_rate)
        if not 1 <= self.condition_levels <= 4:
            raise UserError(f"model.condition_levels {self.condition_levels}: must be 1 to 4")
        if self.denoiser_features % self.denoiser_heads:
            raise UserError(
                f"model.denoiser_heads {self.denoiser_heads}: must divide denoiser_features "
                f"{self.denoiser_features}"
            )

    def choose(self, field, choices):
        """The choice that a field names."""
        value = getattr(self, field)
        if value not in choices:
            raise UserError(f"model.{field} {value!r}: must be one of {', '.join(choices)}")
        return choices[value]


def with_rematerialised_backbone(model) -> DiffusionDepth:
    """The same model and parameters; the backward pass recomputes the backbone block by block."""
    return model.clone(backbone=model.backbone.clone(remat=True))


def _backbone(fields, dtype):
    """A ResNet has use for the dtype only, an MPViT for stochastic depth too."""
    name = fields.backbone
    variant = fields.choose("backbone", swin.VARIANTS | resnet.VARIANTS | mpvit.VARIANTS)
    if name in resnet.VARIANTS:
        return resnet.ResNet(**variant, dtype=dtype)
    if name in mpvit.VARIANTS:
        return mpvit.MPViT(**variant, drop_path_rate=fields.drop_path_rate, dtype=dtype)
    return swin.SwinTransformer(
        **variant,
        window_size=fields.window_size,
        position_embedding=fields.position_embedding,
        drop_path_rate=fields.drop_path_rate,
        dtype=dtype,
    )


def _codec(fields):
    if fields.choose("codec", {"bounded": False, "released": True}):
        return ReleasedCodec(fields.latent_channels)
    fields.choose("encoder_kernel", {1: "1x1", 3: "3x3"})
    return DepthCodec(fields.latent_channels, fields.decoder_width, fields.encoder_kernel)


def _denoiser(fields, dtype):
    kinds = {"attention": None, "released": True, "released_plain": False}
    fuse = fields.choose("denoiser", kinds)
    if fuse is not None:
        if fields.neck_features % 4 or fields.latent_channels % 4:
            raise UserError(
                f"model.neck_features {fields.neck_features} and latent_channels "
                f"{fields.latent_channels}: must be multiples of 4 for the released denoiser"
            )
        return ReleasedDenoiser(fields.latent_channels, fields.neck_features, fuse, dtype)
    return Denoiser(
        fields.latent_channels,
        fields.denoiser_features,
        fields.denoiser_blocks,
        fields.denoiser_heads,
        fields.condition_levels,
        fields.self_attention,
        dtype,
    )


def create_model(**fields) -> DiffusionDepth:
    """The model of `ModelFields`; TypeError if one is missing or unknown."""
    fields = ModelFields(**fields)
    dtype = fields.choose("dtype", {"float32": jnp.float32, "bfloat16": jnp.bfloat16})
    batch_norm = fields.choose("neck", {"fpn": False, "released": True, "released_hahi": True})
    return DiffusionDepth(
        backbone=_backbone(fields, dtype),
        hahi=HAHI(dtype=dtype) if fields.neck == "released_hahi" else None,
        neck=FPN(fields.neck_features, batch_norm, dtype),
        codec=_codec(fields),
        denoiser=_denoiser(fields, dtype),
    )
