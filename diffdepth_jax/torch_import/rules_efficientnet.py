"""Rules, as in `rules`, for EfficientNet-Lite.

The names are those of the packages efficientnet-pytorch and efficientnet-lite-pytorch.
"""

from diffdepth_jax.torch_import.rules import Rule, batch_norm, kernel

_BLOCK, _OUR_BLOCK = r"_blocks\.(\d+)", r"block\1"

EFFICIENTNET_LITE: list[Rule] = [
    kernel("_conv_stem", "stem", "conv"),
    *batch_norm("_bn0", "stem_norm"),
    kernel(rf"{_BLOCK}\._expand_conv", f"{_OUR_BLOCK}/expand", "pointwise"),
    *batch_norm(rf"{_BLOCK}\._bn0", f"{_OUR_BLOCK}/expand_norm"),
    kernel(rf"{_BLOCK}\._depthwise_conv", f"{_OUR_BLOCK}/depthwise", "conv"),
    *batch_norm(rf"{_BLOCK}\._bn1", f"{_OUR_BLOCK}/depthwise_norm"),
    kernel(rf"{_BLOCK}\._project_conv", f"{_OUR_BLOCK}/project", "pointwise"),
    *batch_norm(rf"{_BLOCK}\._bn2", f"{_OUR_BLOCK}/project_norm"),
    (r"(?:_conv_head|_bn1|_fc)\..+", "", "left_out"),
]
