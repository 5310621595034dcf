"""Rules, as in `rules`, for DINOv2: a table for each naming."""

from collections.abc import Sequence

from diffdepth_jax.torch_import.rules import Rule, affine, bias, kernel


def _dinov2(
    tokens: Sequence[str],
    patch: str,
    block: str,
    layers: Sequence[str],
    norm: str,
    positions: str = "tokens",
) -> list[Rule]:
    """The rules of a whole DINOv2; the arguments are its parts' names in the file.

    `tokens` are (class token, registers, positions), `layers` those of a block: (qkv, proj, the
    factors of the layer scales). `positions` is the transform of the position table.
    """
    class_token, registers, table = tokens
    qkv, proj, scale = layers
    ours = r"block\1"
    dense = ((qkv, "attn/qkv"), (proj, "attn/proj"), (r"mlp\.fc1", "fc1"), (r"mlp\.fc2", "fc2"))
    return [
        (class_token, "params/class_token", "tokens"),
        (registers, "params/register_tokens", "tokens"),
        (table, "params/position_table", positions),
        kernel(patch, "patch_embed", "conv"),
        bias(patch, "patch_embed"),
        *affine(rf"{block}\.(norm[12])", rf"{ours}/\2"),
        *(kernel(rf"{block}\.{theirs}", f"{ours}/{name}", "dense") for theirs, name in dense),
        *(bias(rf"{block}\.{theirs}", f"{ours}/{name}") for theirs, name in dense),
        (rf"{block}\.{scale}", rf"params/{ours}/scale\2/gamma", "same"),
        *affine(norm, "norm"),
        # Of a training with masked patches, and of classifiers.
        (r"(?:embeddings\.)?mask_token|(?:head|classifier|\w+_head)\..+", "", "left_out"),
    ]


# These patterns match the names in files and in models of transformers 5 in memory. `state_dicts`
# joins `qkv` from three matrices.
DINOV2_HUGGING_FACE = _dinov2(
    (
        r"embeddings\.cls_token",
        r"embeddings\.register_tokens",
        r"embeddings\.position_embeddings",
    ),
    r"embeddings\.patch_embeddings\.projection",
    r"encoder\.layer\.(\d+)",
    (r"attention\.qkv", r"attention\.(?:output\.dense|o_proj)", r"layer_scale([12])\.lambda1"),
    "layernorm",
)


def _after_authors(registers: str, positions: str) -> list[Rule]:
    """Blocks may lie in chunks, blocks.CHUNK.BLOCK; they are counted over all chunks."""
    return _dinov2(
        ("cls_token", registers, "pos_embed"),
        r"patch_embed\.proj",
        r"blocks\.(?:\d+\.)?(\d+)",
        (r"attn\.qkv", r"attn\.proj", r"ls([12])\.gamma"),
        "norm",
        positions,
    )


DINOV2_OFFICIAL = _after_authors("register_tokens", "tokens")
# With registers, timm's class token has its position added, and the table has no row for it.
DINOV2_TIMM_REGISTERS = _after_authors("reg_token", "patch_positions")
