"""Rules, as in `rules`, for the Swin of torchvision, which numbers blocks and mergings in turn."""

from diffdepth_jax.torch_import.rules import OTHER_PARTS, Rule, affine, bias, kernel, swin_block

_BLOCK = ("norm1", r"attn\.", "qkv", r"attn\.proj", "norm2", r"mlp\.0", r"mlp\.3")

SWIN_TORCHVISION: list[Rule] = [
    kernel(r"features\.0\.0", "patch_embed", "conv"),
    bias(r"features\.0\.0", "patch_embed"),
    *affine(r"features\.0\.2", "patch_embed_norm"),
    *(
        rule
        for stage in range(4)
        for rule in swin_block(
            rf"features\.{2 * stage + 1}\.(\d+)", _BLOCK, rf"stage{stage}_block\1"
        )
    ),
    *(
        rule
        for stage in range(1, 4)
        for rule in (
            *affine(rf"features\.{2 * stage}\.norm", f"downsample{stage}/norm"),
            kernel(rf"features\.{2 * stage}\.reduction", f"downsample{stage}/reduction", "dense"),
        )
    ),
    *OTHER_PARTS,
]
