"""What a file holds that is none of `kinds.KINDS`, in words for an error."""

import re

from diffdepth_jax.torch_import.kinds import Tensors

# Networks that have the names of a known kind, and these beside them.
_LOOKALIKES = (
    (
        r".*_blocks\.\d+\._se_reduce\..+",
        "an EfficientNet with squeeze-and-excitation; EfficientNet-Lite0 is read",
    ),
)
# (pattern of a tensor's name that such networks have, what they are); the first match counts.
_NETWORKS = (
    (
        r".*attn\.(?:logit_scale|cpb_mlp\..+|meta_mlp\..+)"
        r"|.*attention\.(?:.+\.)?(?:logit_scale|continuous_position_bias_mlp\..+)",
        "a Swin Transformer V2, which compares cosines and computes its position bias; V1 is read",
    ),
    (r".*\.spatial_mlp\..+", "a Swin-MLP, which has no attention"),
    (r".*\.mlp\._moe_layer\..+", "a Swin with a mixture of experts"),
    (r".*\.modulation\.focal_layers\..+", "a FocalNet"),
    (r".*\.attn_grid\..+", "a MaxViT"),
    (r".*\.blocks\.0\.0\.cpe1\..+|.*main\.\d+\.spatial_block\..+", "a DaViT"),
    (
        r"(?:encoder\.|downsample_layers\.|.*\.)?(?:stages\.\d+\.(?:blocks\.|layers\.)?\d+\."
        r"(?:dwconv|conv_dw)\..+|features\.\d+\.\d+\.layer_scale)",
        "a ConvNeXt or a network like it",
    ),
    (
        r"(?:.*\.)?(?:block\d+\.\d+\.attn\.(?:q|kv|sr)\..+|stages\.\d+\.blocks\.\d+\.attn\.sr\..+"
        r"|encoder\.block\.\d+\.\d+\.attention\..+)",
        "a Pyramid Vision Transformer (PVT, SegFormer)",
    ),
    (
        r"(?:.*\.)?(?:blocks\.\d+\.attn\.relative_position_bias_table"
        r"|encoder\.layer\.\d+\.lambda_1)",
        "a BEiT",
    ),
    (
        r"(?:.*\.)?(?:blocks\.\d+\.attn\.qkv\..+|layers?\.\d+\.attention\.(?:attention\.query"
        r"|q_proj)\..+|encoder_layer_\d+\.self_attention\..+|resblocks\.\d+\.attn\..+"
        r"|layers\.\d+\.self_attn\.q_proj\..+)",
        "a Vision Transformer (ViT) without layer scales; DINOv2 is read",
    ),
    (
        r"(?:.*\.)?(?:blocks\.\d+\.\d+\.(?:conv_pw|conv_dw)\..+|_blocks\.\d+\._depthwise_conv\..+)",
        "an EfficientNet or MobileNet",
    ),
    (
        r"(?:.*\.)?(?:layer1\.0\.conv1\..+|stages\.\d+\.layers\.\d+\.layer\.\d+\.convolution\..+)",
        "a ResNet of another code; the ResNets here are those of the released checkpoints",
    ),
    (r"(?:.*\.)?denseblock1\..+", "a DenseNet"),
    (r"mhca_stages\..+", "an MPViT alone; it is read as a part of a released checkpoint"),
)


def is_of_videos(tensors: Tensors) -> bool:
    """Whether a kernel has three directions. A Video Swin has the names of a Swin."""
    return any(len(tensor.shape) == 5 for tensor in tensors.values())


def is_lookalike(tensors: Tensors) -> bool:
    """Whether another network has the names of a known kind."""
    return is_of_videos(tensors) or any(
        re.fullmatch(pattern, name) for pattern, _ in _LOOKALIKES for name in tensors
    )


def described(tensors: Tensors) -> str:
    """Returns what network the tensors are of; if unknown, the name of one of them."""
    if is_of_videos(tensors):
        return "a network of videos, such as a Video Swin"
    for pattern, description in _LOOKALIKES + _NETWORKS:
        if any(re.fullmatch(pattern, name) for name in tensors):
            return description
    return f"a network of an unknown kind (its first tensor is {min(tensors)})"
