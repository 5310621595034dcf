"""Rules, as in `rules`, for DINOv2: a table for each naming."""

from diffdepth_jax.torch_import.rules import Rule, bias
from diffdepth_jax.torch_import.rules_vit import CLASSIFIERS, Names, vit_rules


def _dinov2(names: Names, table: str, positions: str = "tokens") -> list[Rule]:
    """`table` is the name of the position table, and `positions` its transform."""
    return [
        *vit_rules(names),
        bias(rf"{names.block}\.{names.qkv}", r"block\1/attn/qkv"),
        (table, "params/position_table", positions),
    ]


# These patterns match the names in files and in models of transformers 5 in memory. `state_dicts`
# joins `qkv` from three matrices. Of Depth Anything, which has a head of its own.
DINOV2_HUGGING_FACE_ENCODER = _dinov2(
    Names(
        class_token=r"embeddings\.cls_token",
        registers=r"embeddings\.register_tokens",
        patch=r"embeddings\.patch_embeddings\.projection",
        block=r"encoder\.layer\.(\d+)",
        qkv=r"attention\.qkv",
        proj=r"attention\.(?:output\.dense|o_proj)",
        scale=r"layer_scale([12])\.lambda1",
        norm="layernorm",
    ),
    r"embeddings\.position_embeddings",
)
DINOV2_HUGGING_FACE = [*DINOV2_HUGGING_FACE_ENCODER, CLASSIFIERS]


def _after_authors(registers: str, positions: str) -> list[Rule]:
    """Blocks may lie in chunks, blocks.CHUNK.BLOCK; they are counted over all chunks."""
    names = Names(
        class_token="cls_token",
        registers=registers,
        patch=r"patch_embed\.proj",
        block=r"blocks\.(?:\d+\.)?(\d+)",
        qkv=r"attn\.qkv",
        proj=r"attn\.proj",
        scale=r"ls([12])\.gamma",
        norm="norm",
    )
    return [*_dinov2(names, "pos_embed", positions), CLASSIFIERS]


DINOV2_OFFICIAL = _after_authors("register_tokens", "tokens")
# With registers, timm's class token has its position added, and the table has no row for it.
DINOV2_TIMM_REGISTERS = _after_authors("reg_token", "patch_positions")
