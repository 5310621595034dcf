"""Rules, as in `rules`, for DINOv3: a table for each naming.

Keys have no bias. The authors' files have one, and a mask that makes it 0. `state_dicts` joins the
biases of queries and values as `qv_bias` where a file has them apart.
"""

from diffdepth_jax.torch_import.rules import Rule
from diffdepth_jax.torch_import.rules_vit import CLASSIFIERS, Names, vit_rules

_BIAS = r"params/block\1/attn/query_value_bias"
_AUTHORS = Names(
    class_token="cls_token",
    registers="storage_tokens",
    patch=r"patch_embed\.proj",
    block=r"blocks\.(?:\d+\.)?(\d+)",
    qkv=r"attn\.qkv",
    proj=r"attn\.proj",
    scale=r"ls([12])\.gamma",
    norm="norm",
)
_HUGGING_FACE = Names(
    class_token=r"embeddings\.cls_token",
    registers=r"embeddings\.register_tokens",
    patch=r"embeddings\.patch_embeddings",
    block=r"layer\.(\d+)",
    qkv=r"attention\.qkv",
    proj=r"attention\.o_proj",
    scale=r"layer_scale([12])\.lambda1",
    norm="norm",
)
_TIMM = _AUTHORS._replace(registers="reg_token", scale=r"gamma_([12])")

DINOV3_OFFICIAL: list[Rule] = [
    *vit_rules(_AUTHORS),
    (rf"{_AUTHORS.block}\.attn\.qkv\.bias", _BIAS, "query_value"),
    # Our model computes the periods; another norm of class tokens is for training alone.
    (rf"{_AUTHORS.block}\.attn\.qkv\.bias_mask|rope_embed\.periods", "", "ignore"),
    (r"local_cls_norm\.(?:weight|bias)", "", "left_out"),
    CLASSIFIERS,
]
DINOV3_HUGGING_FACE: list[Rule] = [
    *vit_rules(_HUGGING_FACE),
    (rf"{_HUGGING_FACE.block}\.attention\.qv_bias", _BIAS, "same"),
    CLASSIFIERS,
]
DINOV3_TIMM: list[Rule] = [
    *vit_rules(_TIMM),
    (rf"{_TIMM.block}\.attn\.qv_bias", _BIAS, "same"),
    CLASSIFIERS,
]
