"""The backbones by their names, each made of the fields that it has a use for."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from diffdepth_jax.configuration.model import Model
from diffdepth_jax.errors import UserError, did_you_mean
from diffdepth_jax.models.backbones import dinov2, dinov3, efficientnet, mpvit, resnet, swin

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def create_backbone(fields: Model) -> nn.Module:
    """The backbone that a configuration's `model` group describes.

    Each kind takes the fields that it has a use for.

    Raises:
      UserError: it has an unknown name, or cannot do what a field asks for.
    """
    name = fields.backbone
    if name not in _BACKBONES:
        raise UserError(
            f"model.backbone {name!r}: must be one of {', '.join(_BACKBONES)}"
            f"{did_you_mean(name, _BACKBONES)}"
        )
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
        dtype=DTYPES[fields.dtype],
    )


def _dinov2(fields: Model) -> nn.Module:
    return dinov2.create(
        fields.backbone,
        layers=fields.backbone_layers,
        position_interpolation=fields.position_interpolation,
        drop_path_rate=fields.drop_path_rate,
        dtype=DTYPES[fields.dtype],
    )


def _dinov3(fields: Model) -> nn.Module:
    return dinov3.create(
        fields.backbone,
        layers=fields.backbone_layers,
        drop_path_rate=fields.drop_path_rate,
        dtype=DTYPES[fields.dtype],
    )


def _efficientnet(fields: Model) -> nn.Module:
    return efficientnet.EfficientNetLite(
        **efficientnet.VARIANTS[fields.backbone],
        drop_path_rate=fields.drop_path_rate,
        frozen_statistics=fields.freeze_statistics,
        dtype=DTYPES[fields.dtype],
    )


def _resnet(fields: Model) -> nn.Module:
    return resnet.ResNet(**resnet.VARIANTS[fields.backbone], dtype=DTYPES[fields.dtype])


def _mpvit(fields: Model) -> nn.Module:
    variant, rate = mpvit.VARIANTS[fields.backbone], fields.drop_path_rate
    return mpvit.MPViT(**variant, drop_path_rate=rate, dtype=DTYPES[fields.dtype])


_BACKBONES: dict[str, Callable[[Model], nn.Module]] = {
    **dict.fromkeys(swin.VARIANTS, _swin),
    **dict.fromkeys(dinov2.VARIANTS, _dinov2),
    **dict.fromkeys(dinov3.VARIANTS, _dinov3),
    **dict.fromkeys(efficientnet.VARIANTS, _efficientnet),
    **dict.fromkeys(resnet.VARIANTS, _resnet),
    **dict.fromkeys(mpvit.VARIANTS, _mpvit),
}
