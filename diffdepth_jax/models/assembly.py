"""DiffusionDepth (Duan, Guo, Zhu, ECCV 2024, arXiv 2303.05021): the assembly of its parts."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from diffdepth_jax.arrays import Array, Condition, Depth, Image, Latent, Mask, Timestep
from diffdepth_jax.configuration.groups import Model
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.backbones import dinov2, efficientnet, mpvit, resnet, swin
from diffdepth_jax.models.codec import DepthCodec
from diffdepth_jax.models.denoiser import Denoiser
from diffdepth_jax.models.necks.fpn import FPN
from diffdepth_jax.models.necks.hahi import HAHI
from diffdepth_jax.models.released import ReleasedCodec, ReleasedDenoiser

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class DiffusionDepth(nn.Module):
    """Image encoder, depth codec and denoiser; `method.refinement` joins them by the sampler.

    Attributes:
      backbone: image [B, H, W, 3] -> tuple of feature maps, finest first.
      neck: tuple of feature maps -> pyramid, finest first.
      codec: depth <-> latent.
      denoiser: (latent, timestep, condition, *prepared) -> prediction. Its `project` turns the
        pyramid into a condition, its `prepare` makes the arguments `prepared`.
      hahi: feature maps -> feature maps of the same shapes, ahead of the neck; only released
        checkpoints have it.

    `train` switches on stochastic depth and, where a part has batch norms, the statistics of the
    batch. Apply the model with mutable=["batch_stats"] then.
    """

    backbone: nn.Module
    neck: nn.Module
    codec: nn.Module
    denoiser: nn.Module
    hahi: nn.Module | None = None

    def latent_shape(self, height: Any, width: Any) -> tuple[Any, Any, int]:
        """(h, w, d) of the latent for an image of this size; needs no parameters.

        Sizes may be symbols, under `jax.export`.
        """
        if height < 1 or width < 1:
            raise ValueError(f"image {height} x {width}: height and width must be positive")
        return self.codec.latent_shape(height, width)

    def encode_image(self, image: Image, train: bool = False) -> Condition:
        """Normalised image [B, H, W, 3] -> condition [B, h, w, C] at the latent's size."""
        self.latent_shape(*image.shape[1:3])  # refuses empty images by name
        features = self.backbone(image, train)
        if self.hahi is not None:
            features = self.hahi(features, train)
        return self.denoiser.project(self.neck(features, train), image)

    def encode_depth(
        self, depth: Depth, mask: Mask, train: bool = False
    ) -> tuple[Latent, Bool[Array, "batch rows columns 1"]]:
        """Metres [B, H, W, 1] and their mask -> latent [B, h, w, d] and the mask of its cells.

        The latent is 0 in invalid cells. Depth where the mask is False, nan included, has no
        influence.
        """
        return self.codec.encode(depth, mask, train)

    def prepare_denoiser(self) -> tuple[Any, ...]:
        """The last arguments of `denoise`, which all calls with the same parameters share."""
        return self.denoiser.prepare()

    def denoise(
        self, latent: Latent, timestep: Timestep, condition: Condition, *prepared: Any
    ) -> Latent:
        """Noisy latent [B, h, w, d], timestep [B], condition -> prediction [B, h, w, d]."""
        return self.denoiser(latent, timestep, condition, *prepared)

    def decode_log_depth(self, latent: Latent, train: bool = False) -> Float[Array, "batch _ _ 1"]:
        """Latent [B, h, w, d] -> natural log of metres, float32 [B, 2 h, 2 w, 1]."""
        return self.codec.decode(latent, train)

    def decode_depth(self, latent: Latent) -> Float[Array, "batch _ _ 1"]:
        """Latent [B, h, w, d] -> metres, float32 [B, 2 h, 2 w, 1]."""
        return jnp.exp(self.decode_log_depth(latent))

    def __call__(self, image: Image, depth: Depth, mask: Mask) -> Float[Array, "batch _ _ 1"]:
        """Uses every parameter once, for `init` and for counting."""
        condition = self.encode_image(image)
        latent, _ = self.encode_depth(depth, mask)
        timestep = jnp.zeros(image.shape[0], jnp.int32)
        return self.decode_depth(self.denoise(latent, timestep, condition))


def with_rematerialised_backbone(model: DiffusionDepth) -> DiffusionDepth:
    """The same model and parameters; the backward pass recomputes the backbone block by block."""
    return model.clone(backbone=model.backbone.clone(remat=True))


def create_model(fields: Model) -> DiffusionDepth:
    """The model that a configuration's `model` group describes.

    Raises:
      UserError: see `create_backbone`; or the neck cannot join the backbone's maps.
    """
    dtype, backbone = _DTYPES[fields.dtype], create_backbone(fields)
    _check_neck(fields)
    return DiffusionDepth(
        backbone=backbone,
        hahi=HAHI(dtype=dtype) if fields.neck == "released_hahi" else None,
        neck=FPN(fields.neck_features, fields.neck != "fpn", dtype),
        codec=_codec(fields),
        denoiser=_denoiser(fields, dtype),
    )


def create_backbone(fields: Model) -> nn.Module:
    """The backbone of the model that a configuration's `model` group describes.

    Each kind takes the fields that it has a use for.

    Raises:
      UserError: it has an unknown name, or cannot do what a field asks for.
    """
    name = fields.backbone
    if name not in _BACKBONES:
        raise UserError(f"model.backbone {name!r}: must be one of {', '.join(_BACKBONES)}")
    if fields.freeze_statistics and name not in efficientnet.VARIANTS:
        raise UserError(
            f"model.freeze_statistics: for EfficientNets only; set it to False for {name}"
        )
    return _BACKBONES[name](fields)


def _swin(fields: Model) -> nn.Module:
    return swin.SwinTransformer(
        **swin.VARIANTS[fields.backbone],
        window_size=fields.window_size,
        window_shift=fields.window_shift,
        position_embedding=fields.position_embedding,
        drop_path_rate=fields.drop_path_rate,
        dtype=_DTYPES[fields.dtype],
    )


def _dinov2(fields: Model) -> nn.Module:
    return dinov2.create(
        fields.backbone,
        layers=fields.backbone_layers,
        position_interpolation=fields.position_interpolation,
        drop_path_rate=fields.drop_path_rate,
        dtype=_DTYPES[fields.dtype],
    )


def _efficientnet(fields: Model) -> nn.Module:
    return efficientnet.EfficientNetLite(
        **efficientnet.VARIANTS[fields.backbone],
        drop_path_rate=fields.drop_path_rate,
        frozen_statistics=fields.freeze_statistics,
        dtype=_DTYPES[fields.dtype],
    )


def _resnet(fields: Model) -> nn.Module:
    return resnet.ResNet(**resnet.VARIANTS[fields.backbone], dtype=_DTYPES[fields.dtype])


def _mpvit(fields: Model) -> nn.Module:
    variant, rate = mpvit.VARIANTS[fields.backbone], fields.drop_path_rate
    return mpvit.MPViT(**variant, drop_path_rate=rate, dtype=_DTYPES[fields.dtype])


_BACKBONES: dict[str, Callable[[Model], nn.Module]] = {
    **dict.fromkeys(swin.VARIANTS, _swin),
    **dict.fromkeys(dinov2.VARIANTS, _dinov2),
    **dict.fromkeys(efficientnet.VARIANTS, _efficientnet),
    **dict.fromkeys(resnet.VARIANTS, _resnet),
    **dict.fromkeys(mpvit.VARIANTS, _mpvit),
}


def _check_neck(fields: Model) -> None:
    """Raises a UserError if the neck cannot join the backbone's maps."""
    if fields.backbone in dinov2.VARIANTS:
        raise UserError(
            f"model.neck {fields.neck}: joins maps that halve in size, and all maps of "
            f"{fields.backbone} have one size: choose another backbone"
        )


def _codec(fields: Model) -> nn.Module:
    if fields.codec == "released":
        return ReleasedCodec(fields.latent_channels)
    return DepthCodec(fields.latent_channels, fields.decoder_width, fields.encoder_kernel)


def _denoiser(fields: Model, dtype: DTypeLike) -> nn.Module:
    if fields.denoiser != "attention":
        fuse = fields.denoiser == "released"
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
