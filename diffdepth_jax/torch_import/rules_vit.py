"""Rules, as in `rules`, for what DINOv2 and DINOv3 share: tokens, patches, blocks and the norm."""

from typing import NamedTuple

from diffdepth_jax.torch_import.rules import Rule, affine, bias, kernel

_OURS = r"block\1"
# Of an MLP or of a SwiGLU, whose gate and value `state_dicts` joins where they are two matrices.
_FIRST = r"mlp\.(?:fc1|w12|weights_in|up_proj)"
_SECOND = r"mlp\.(?:fc2|w3|weights_out|down_proj)"


class Names(NamedTuple):
    """Patterns of the names of a ViT's parts in a file; `block` has a group, the block's number.

    `scale` has one too, 1 or 2; `qkv` is joined from three matrices where a file has these.
    """

    class_token: str
    registers: str
    patch: str
    block: str
    qkv: str
    proj: str
    scale: str
    norm: str


def vit_rules(names: Names) -> list[Rule]:
    """The rules of all parts but positions and the bias of `qkv`."""
    block = names.block
    dense = ((names.proj, "attn/proj"), (_FIRST, "fc1"), (_SECOND, "fc2"))
    return [
        (names.class_token, "params/class_token", "tokens"),
        (names.registers, "params/register_tokens", "tokens"),
        kernel(names.patch, "patch_embed", "conv"),
        bias(names.patch, "patch_embed"),
        *affine(rf"{block}\.(norm[12])", rf"{_OURS}/\2"),
        kernel(rf"{block}\.{names.qkv}", f"{_OURS}/attn/qkv", "dense"),
        *(kernel(rf"{block}\.{theirs}", f"{_OURS}/{ours}", "dense") for theirs, ours in dense),
        *(bias(rf"{block}\.{theirs}", f"{_OURS}/{ours}") for theirs, ours in dense),
        (rf"{block}\.{names.scale}", rf"params/{_OURS}/scale\2/gamma", "same"),
        *affine(names.norm, "norm"),
        (r"(?:embeddings\.)?mask_token", "", "left_out"),  # of a training with masked patches
    ]


CLASSIFIERS: Rule = (r"(?:head|classifier|\w+_head)\..+", "", "left_out")
