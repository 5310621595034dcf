r"""Rules, as in `rules`, for the ResNet and MPViT backbones of the released checkpoints.

Patterns match the part of a name that follows the backbone's prefix.
"""

from diffdepth_jax.torch_import.rules import Rule, affine, batch_norm, bias, kernel

_BLOCK, _OUR_BLOCK = r"layers\.(\d+)\.(\d+)", r"stage\1_block\2"

RESNET_RULES: list[Rule] = [
    kernel(rf"{_BLOCK}\.(conv[12]|downsample)", rf"{_OUR_BLOCK}/\3", "conv"),
    bias(rf"{_BLOCK}\.downsample", rf"{_OUR_BLOCK}/downsample"),
    *batch_norm(rf"{_BLOCK}\.(bn[12])", rf"{_OUR_BLOCK}/\3"),
]

_PATCH = r"patch_embed_stages\.(\d+)\.patch_embeds\.(\d+)\.patch_conv"
_OUR_PATCH = r"stage\1/patch_embed\2"
_STAGE, _OUR_STAGE = r"mhca_stages\.(\d+)", r"stage\1"
_ENCODER, _OUR_ENCODER = rf"{_STAGE}\.mhca_blks\.(\d+)", rf"{_OUR_STAGE}/encoder\2"
_LAYER, _OUR_LAYER = rf"{_ENCODER}\.MHCA_layers\.(\d+)", rf"{_OUR_ENCODER}/layer\3"

MPVIT_RULES: list[Rule] = [
    kernel(r"stem\.(\d+)\.conv", r"stem\1/conv", "conv"),
    *batch_norm(r"stem\.(\d+)\.bn", r"stem\1/bn"),
    kernel(rf"{_PATCH}\.dwconv", rf"{_OUR_PATCH}/dwconv", "conv"),
    kernel(rf"{_PATCH}\.pwconv", rf"{_OUR_PATCH}/pwconv", "conv"),
    *batch_norm(rf"{_PATCH}\.bn", rf"{_OUR_PATCH}/bn"),
    kernel(rf"{_STAGE}\.InvRes\.(conv[12])\.conv", rf"{_OUR_STAGE}/inv_res/\2/conv", "conv"),
    *batch_norm(rf"{_STAGE}\.InvRes\.(conv[12])\.bn", rf"{_OUR_STAGE}/inv_res/\2/bn"),
    kernel(rf"{_STAGE}\.InvRes\.dwconv", rf"{_OUR_STAGE}/inv_res/dwconv", "conv"),
    *batch_norm(rf"{_STAGE}\.InvRes\.norm", rf"{_OUR_STAGE}/inv_res/norm"),
    kernel(rf"{_STAGE}\.aggregate\.conv", rf"{_OUR_STAGE}/aggregate/conv", "conv"),
    *batch_norm(rf"{_STAGE}\.aggregate\.bn", rf"{_OUR_STAGE}/aggregate/bn"),
    kernel(rf"{_ENCODER}\.cpe\.proj", rf"{_OUR_ENCODER}/cpe", "conv"),
    bias(rf"{_ENCODER}\.cpe\.proj", rf"{_OUR_ENCODER}/cpe"),
    kernel(rf"{_ENCODER}\.crpe\.conv_list\.(\d+)", rf"{_OUR_ENCODER}/crpe/conv\3", "conv"),
    bias(rf"{_ENCODER}\.crpe\.conv_list\.(\d+)", rf"{_OUR_ENCODER}/crpe/conv\3"),
    # Every layer of an encoder stores the encoder's shared cpe and crpe again.
    (
        rf"({_ENCODER})\.MHCA_layers\.\d+(?:\.factoratt_crpe)?\.(cpe|crpe)\.(.+)",
        r"\1.\4.\5",
        "alias",
    ),
    kernel(rf"{_LAYER}\.factoratt_crpe\.(qkv|proj)", rf"{_OUR_LAYER}/attn/\4", "dense"),
    bias(rf"{_LAYER}\.factoratt_crpe\.(qkv|proj)", rf"{_OUR_LAYER}/attn/\4"),
    kernel(rf"{_LAYER}\.mlp\.(fc[12])", rf"{_OUR_LAYER}/\4", "dense"),
    bias(rf"{_LAYER}\.mlp\.(fc[12])", rf"{_OUR_LAYER}/\4"),
    *affine(rf"{_LAYER}\.(norm[12])", rf"{_OUR_LAYER}/\4"),
]
