"""DiffusionDepth (Duan, Guo, Zhu, ECCV 2024, arXiv 2303.05021): the assembly of its parts."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from diffdepth_jax.arrays import (
    Array,
    Condition,
    Depth,
    Details,
    Features,
    Image,
    Latent,
    Mask,
    Timestep,
)
from diffdepth_jax.configuration.groups import Model
from diffdepth_jax.errors import UserError
from diffdepth_jax.models import depth_anything
from diffdepth_jax.models.backbone_choice import DTYPES, create_backbone
from diffdepth_jax.models.backbones import dinov2, dinov3
from diffdepth_jax.models.codec import Decoded, DepthCodec
from diffdepth_jax.models.denoiser import ConditionedHead, Denoiser, Regressor
from diffdepth_jax.models.detail import DetailPath, beside
from diffdepth_jax.models.necks.dpt import DPT, STRIDES, Reassemble
from diffdepth_jax.models.necks.fpn import FPN
from diffdepth_jax.models.necks.hahi import HAHI
from diffdepth_jax.models.released import ReleasedCodec, ReleasedDenoiser

BackboneMaps = Sequence[Features] | None  # None: the backbone has to run
# Pixels of a patch's side, by the name of the backbone.
_PATCHES = {
    **dict.fromkeys(dinov2.VARIANTS, dinov2.DINOv2.patch),
    **dict.fromkeys(dinov3.VARIANTS, dinov3.DINOv3.patch),
}


class DepthNetwork(nn.Module):
    """What both kinds of model share: an image becomes a condition, and a latent becomes depth.

    Attributes:
      backbone: image [B, H, W, 3] -> tuple of feature maps, finest first.
      neck: tuple of feature maps -> pyramid, finest first.
      codec: depth <-> latent.
      reassemble: (feature maps, height, width) -> feature maps, ahead of the neck, for a backbone
        whose maps all have one size.
      detail: image -> its details, if the model sees any: the decoder those at stride 1, the
        condition those at stride 2, and the neck those that have the sizes of the backbone's maps.
      sharpen: scales at which predicted depth gets sharp edges, see `method.sharpening`.

    `train` switches on stochastic depth and, where a part has batch norms, the statistics of the
    batch. Apply the model with mutable=["batch_stats"] then.
    """

    backbone: nn.Module
    neck: nn.Module
    codec: nn.Module
    reassemble: nn.Module | None = None
    detail: nn.Module | None = None
    sharpen: int = 0

    def latent_shape(self, height: Any, width: Any) -> tuple[Any, Any, int]:
        """(h, w, d) of the latent for an image of this size; needs no parameters.

        Sizes may be symbols, under `jax.export`.
        """
        if height < 1 or width < 1:
            raise ValueError(f"image {height} x {width}: height and width must be positive")
        return self.codec.latent_shape(height, width)

    def backbone_maps(self, image: Image, train: bool = False) -> tuple[Features, ...]:
        """Normalised image [B, H, W, 3] -> the backbone's maps, finest first."""
        self.latent_shape(*image.shape[1:3])  # refuses empty images by name
        return self.backbone(image, train)

    def pyramid(
        self, image: Image, maps: BackboneMaps, train: bool, details: Details | None = None
    ) -> Sequence[Features]:
        """Normalised image and the backbone's maps of it, if known -> the neck's, finest first."""
        maps = self.backbone_maps(image, train) if maps is None else maps
        maps = self.refined_maps(maps, image, train)
        if details is not None:
            maps = beside(maps, details)
        return self.neck(maps, train)

    def refined_maps(
        self, maps: Sequence[Features], image: Image, train: bool
    ) -> Sequence[Features]:
        """The backbone's maps of an image -> the maps that the neck takes, finest first."""
        return maps if self.reassemble is None else self.reassemble(maps, *image.shape[1:3])

    def image_details(self, image: Image) -> Details | None:
        """Normalised image [B, H, W, 3] -> its details; None if the model sees none."""
        return None if self.detail is None else self.detail(image)

    def project(self, *inputs: Any) -> Condition:
        """(pyramid, image, details) -> condition; each kind of model has its own."""
        raise NotImplementedError

    def encode_image(
        self,
        image: Image,
        train: bool = False,
        maps: BackboneMaps = None,
        details: Details | None = None,
    ) -> Condition:
        """Normalised image [B, H, W, 3] -> condition [B, h, w, C] at the latent's size.

        The backbone does not run if its maps of the image are given, nor the path of the details.
        """
        details = self.image_details(image) if details is None else details
        pyramid = self.pyramid(image, maps, train, details)
        return self.project(pyramid, image, details)

    def decode(
        self, latent: Latent, train: bool = False, details: Details | None = None
    ) -> Decoded:
        """Latent [B, h, w, d] and `image_details` -> log of metres and so on, [B, 2 h, 2 w, 1]."""
        return self.codec.decode(latent, train, details)

    def decode_depth(
        self, latent: Latent, details: Details | None = None
    ) -> Float[Array, "batch _ _ 1"]:
        """Latent [B, h, w, d] and `image_details` -> metres, float32 [B, 2 h, 2 w, 1]."""
        return jnp.exp(self.decode(latent, details=details).log_depth)


class DiffusionDepth(DepthNetwork, kw_only=True):
    """Image encoder, depth codec and denoiser; `method.refinement` joins them by the sampler.

    Attributes:
      denoiser: (latent, timestep, condition, *prepared) -> prediction. Its `project` turns the
        pyramid into a condition, its `prepare` makes the arguments `prepared`.
      hahi: feature maps -> feature maps of the same shapes, ahead of the neck; only released
        checkpoints have it.
    """

    denoiser: nn.Module
    hahi: nn.Module | None = None

    def refined_maps(
        self, maps: Sequence[Features], image: Image, train: bool
    ) -> Sequence[Features]:
        """The backbone's maps of an image -> the maps that the neck takes, finest first."""
        maps = super().refined_maps(maps, image, train)
        return maps if self.hahi is None else self.hahi(maps, train)

    def project(self, *inputs: Any) -> Condition:
        """(pyramid, image, details) -> condition."""
        return self.denoiser.project(*inputs)

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

    def __call__(self, image: Image, depth: Depth, mask: Mask) -> Float[Array, "batch _ _ 1"]:
        """Uses every parameter once, for `init` and for counting."""
        details = self.image_details(image)
        condition = self.encode_image(image, details=details)
        latent, _ = self.encode_depth(depth, mask)
        timestep = jnp.zeros(image.shape[0], jnp.int32)
        return self.decode_depth(self.denoise(latent, timestep, condition), details)


class FeedForwardDepth(DepthNetwork, kw_only=True):
    """The baseline without diffusion: the same backbone, neck and decoder, and a head of one pass.

    Attributes:
      head: condition -> latent. Its `project` turns the pyramid into a condition.
    """

    head: nn.Module

    def project(self, *inputs: Any) -> Condition:
        """(pyramid, image, details) -> condition."""
        return self.head.project(*inputs)

    def predict_latent(self, condition: Condition) -> Latent:
        """Condition [B, h, w, C] -> latent [B, h, w, d]."""
        return self.head(condition)

    def __call__(self, image: Image, depth: Depth, mask: Mask) -> Float[Array, "batch _ _ 1"]:
        """Uses every parameter once, for `init` and for counting."""
        details = self.image_details(image)
        condition = self.encode_image(image, details=details)
        return self.decode_depth(self.predict_latent(condition), details)


def with_rematerialised_backbone(model: DepthNetwork) -> DepthNetwork:
    """The same model and parameters; the backward pass recomputes the backbone block by block."""
    return model.clone(backbone=model.backbone.clone(remat=True))


def create_model(fields: Model) -> DepthNetwork:
    """The model that a configuration's `model` group describes.

    Raises:
      UserError: see `create_backbone`.
    """
    dtype = DTYPES[fields.dtype]
    parts: dict[str, Any] = {
        "backbone": create_backbone(fields),
        "neck": _neck(fields, dtype),
        "codec": _codec(fields),
        "reassemble": _reassemble(fields, dtype),
        "detail": DetailPath(fields.detail_features, dtype) if fields.detail_features else None,
        "sharpen": fields.sharpen,
    }
    if fields.kind == "feed_forward":
        return FeedForwardDepth(**parts, head=_regressor(fields, dtype))
    hahi = HAHI(dtype=dtype) if fields.neck == "released_hahi" else None
    return DiffusionDepth(**parts, denoiser=_denoiser(fields, dtype), hahi=hahi)


def _neck(fields: Model, dtype: DTypeLike) -> nn.Module:
    if fields.neck == "depth_anything":
        return depth_anything.Fusion(depth_anything.widths_of(fields.backbone).fused, dtype)
    if fields.neck == "dpt":
        return DPT(fields.neck_features, dtype)
    return FPN(fields.neck_features, fields.neck != "fpn", dtype)


def _reassemble(fields: Model, dtype: DTypeLike) -> nn.Module | None:
    """Only the maps of a DINO, which all have one size, have to become a pyramid."""
    if fields.backbone not in _PATCHES:
        return None
    layers = fields.backbone_layers
    if layers and len(layers) != len(STRIDES):
        raise UserError(f"model.backbone_layers {layers}: must be {len(STRIDES)} for the neck")
    if fields.neck == "depth_anything":
        widths = depth_anything.widths_of(fields.backbone)
        return depth_anything.Pyramid(widths.pyramid, widths.fused, dtype)
    return Reassemble(fields.neck_features, _PATCHES[fields.backbone], dtype)


def _codec(fields: Model) -> nn.Module:
    if fields.codec == "depth_anything":
        channels = depth_anything.widths_of(fields.backbone).fused // 2
        patch, dtype = _PATCHES[fields.backbone], DTYPES[fields.dtype]
        return depth_anything.DepthAnythingCodec(channels, patch, fields.max_depth, dtype)
    if fields.codec == "released":
        return ReleasedCodec(fields.latent_channels)
    return DepthCodec(
        fields.latent_channels,
        fields.decoder_width,
        fields.encoder_kernel,
        fields.laplace_scale,
        fields.validity,
    )


def _regressor(fields: Model, dtype: DTypeLike) -> nn.Module:
    if fields.neck == "depth_anything":
        return depth_anything.Head(depth_anything.widths_of(fields.backbone).fused, dtype)
    return _head(Regressor, fields, dtype)


def _denoiser(fields: Model, dtype: DTypeLike) -> nn.Module:
    if fields.denoiser != "attention":
        fuse = fields.denoiser == "released"
        return ReleasedDenoiser(fields.latent_channels, fields.neck_features, fuse, dtype)
    return _head(Denoiser, fields, dtype)


def _head(kind: type[ConditionedHead], fields: Model, dtype: DTypeLike) -> ConditionedHead:
    return kind(
        fields.latent_channels,
        fields.denoiser_features,
        fields.denoiser_blocks,
        fields.denoiser_heads,
        fields.condition_levels,
        fields.self_attention,
        dtype,
        fields.detail_features > 0,
    )
