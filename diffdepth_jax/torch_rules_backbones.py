r"""Where the tensors of the released ResNet and MPViT checkpoints go in our modules.

A rule is (pattern, target, transform). The pattern must match a tensor's whole name, less the
backbone's prefix, which is `depth_backbone.` in all released variants (res18, res50, res101,
mpvit_small). `match.expand(target)` is

* for "same", "dense" ([O, I] -> [I, O]), "conv" (OIHW -> HWIO) and "depthwise" (C1HW -> HW1C, in
  numpy the same transposition as "conv"): the leaf, as `collection/module/.../name`;
* for "alias": the name (less the prefix) of the tensor that this one repeats. Layers of an MPViT
  encoder share their position encodings, and PyTorch lists them under each layer's name too;
* for "ignore": empty.

Every name matches exactly one rule; every leaf is the target of exactly one name.
"""


def _batch_norm(pattern, path):
    return [
        (rf"{pattern}\.weight", f"params/{path}/scale", "same"),
        (rf"{pattern}\.bias", f"params/{path}/bias", "same"),
        (rf"{pattern}\.running_mean", f"batch_stats/{path}/mean", "same"),
        (rf"{pattern}\.running_var", f"batch_stats/{path}/var", "same"),
        (rf"{pattern}\.num_batches_tracked", "", "ignore"),
    ]


def _kernel(pattern, path, transform):
    return (rf"{pattern}\.weight", f"params/{path}/kernel", transform)


def _bias(pattern, path):
    return (rf"{pattern}\.bias", f"params/{path}/bias", "same")


_BLOCK, _OUR_BLOCK = r"layers\.(\d+)\.(\d+)", r"stage\1_block\2"

RESNET_RULES = [
    _kernel(rf"{_BLOCK}\.(conv[12]|downsample)", rf"{_OUR_BLOCK}/\3", "conv"),
    _bias(rf"{_BLOCK}\.downsample", rf"{_OUR_BLOCK}/downsample"),
    *_batch_norm(rf"{_BLOCK}\.(bn[12])", rf"{_OUR_BLOCK}/\3"),
]

_PATCH = r"patch_embed_stages\.(\d+)\.patch_embeds\.(\d+)\.patch_conv"
_OUR_PATCH = r"stage\1/patch_embed\2"
_STAGE, _OUR_STAGE = r"mhca_stages\.(\d+)", r"stage\1"
_ENCODER, _OUR_ENCODER = rf"{_STAGE}\.mhca_blks\.(\d+)", rf"{_OUR_STAGE}/encoder\2"
_LAYER, _OUR_LAYER = rf"{_ENCODER}\.MHCA_layers\.(\d+)", rf"{_OUR_ENCODER}/layer\3"

MPVIT_RULES = [
    _kernel(r"stem\.(\d+)\.conv", r"stem\1/conv", "conv"),
    *_batch_norm(r"stem\.(\d+)\.bn", r"stem\1/bn"),
    _kernel(rf"{_PATCH}\.dwconv", rf"{_OUR_PATCH}/dwconv", "depthwise"),
    _kernel(rf"{_PATCH}\.pwconv", rf"{_OUR_PATCH}/pwconv", "conv"),
    *_batch_norm(rf"{_PATCH}\.bn", rf"{_OUR_PATCH}/bn"),
    _kernel(rf"{_STAGE}\.InvRes\.(conv[12])\.conv", rf"{_OUR_STAGE}/inv_res/\2/conv", "conv"),
    *_batch_norm(rf"{_STAGE}\.InvRes\.(conv[12])\.bn", rf"{_OUR_STAGE}/inv_res/\2/bn"),
    _kernel(rf"{_STAGE}\.InvRes\.dwconv", rf"{_OUR_STAGE}/inv_res/dwconv", "depthwise"),
    *_batch_norm(rf"{_STAGE}\.InvRes\.norm", rf"{_OUR_STAGE}/inv_res/norm"),
    _kernel(rf"{_STAGE}\.aggregate\.conv", rf"{_OUR_STAGE}/aggregate/conv", "conv"),
    *_batch_norm(rf"{_STAGE}\.aggregate\.bn", rf"{_OUR_STAGE}/aggregate/bn"),
    _kernel(rf"{_ENCODER}\.cpe\.proj", rf"{_OUR_ENCODER}/cpe", "depthwise"),
    _bias(rf"{_ENCODER}\.cpe\.proj", rf"{_OUR_ENCODER}/cpe"),
    _kernel(rf"{_ENCODER}\.crpe\.conv_list\.(\d+)", rf"{_OUR_ENCODER}/crpe/conv\3", "depthwise"),
    _bias(rf"{_ENCODER}\.crpe\.conv_list\.(\d+)", rf"{_OUR_ENCODER}/crpe/conv\3"),
    (
        rf"({_ENCODER})\.MHCA_layers\.\d+(?:\.factoratt_crpe)?\.(cpe|crpe)\.(.+)",
        r"\1.\4.\5",
        "alias",
    ),
    _kernel(rf"{_LAYER}\.factoratt_crpe\.(qkv|proj)", rf"{_OUR_LAYER}/attn/\4", "dense"),
    _bias(rf"{_LAYER}\.factoratt_crpe\.(qkv|proj)", rf"{_OUR_LAYER}/attn/\4"),
    _kernel(rf"{_LAYER}\.mlp\.(fc[12])", rf"{_OUR_LAYER}/\4", "dense"),
    _bias(rf"{_LAYER}\.mlp\.(fc[12])", rf"{_OUR_LAYER}/\4"),
    (rf"{_LAYER}\.(norm[12])\.weight", rf"params/{_OUR_LAYER}/\4/scale", "same"),
    _bias(rf"{_LAYER}\.(norm[12])", rf"{_OUR_LAYER}/\4"),
]
