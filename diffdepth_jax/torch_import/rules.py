r"""Rules that map the tensors of PyTorch files to our variables: a table for each naming.

A rule is (pattern, target, transform). The pattern must match a tensor's whole name. The leaf that
the tensor fills is `match.expand(target)`, as `collection/module/.../name`. A transform is a key of
TRANSFORMS, or one of these:

- "alias": the tensor repeats another one of the file; the target is the other one's name.
- "ignore": the tensor follows from the sizes, or is never used.
- "left_out": the tensor belongs to another part, which the backbone does not use.
"""

from collections.abc import Callable, Iterable

import numpy as np

Rule = tuple[str, str, str]  # (pattern, target, transform)


def _unfold_order(tensor: np.ndarray, axis: int) -> np.ndarray:
    """Reorders the inputs of patch merging from (c, dy, dx), mmcv's order, to (dx, dy, c)."""
    tensor = np.moveaxis(tensor, axis, 0)
    shape = tensor.shape
    tensor = tensor.reshape(-1, 2, 2, *shape[1:]).swapaxes(0, 2)  # [dx, dy, c, ...]
    return np.moveaxis(tensor.reshape(shape), 0, axis)


def _without_class(tensor: np.ndarray) -> np.ndarray:
    """Adds a row of zeros, the class token's, ahead of the patches': [1, N, C] -> [1 + N, C]."""
    return np.pad(np.squeeze(tensor, 0), ((1, 0), (0, 0)))


def _without_key(tensor: np.ndarray) -> np.ndarray:
    """Leaves the middle third out: the biases of query, key and value, [3 C] -> [2 C]."""
    query, _, value = np.split(tensor, 3)
    return np.concatenate([query, value])


TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda x: x,
    "dense": lambda x: x.transpose(1, 0),  # [O, I] -> [I, O]
    "conv": lambda x: x.transpose(2, 3, 1, 0),  # [O, I, H, W] -> [H, W, I, O]
    "pointwise": lambda x: np.squeeze(x, (2, 3)).transpose(1, 0),  # [O, I, 1, 1] -> [I, O]
    "transposed": lambda x: x.transpose(2, 3, 0, 1),  # [I, O, H, W] -> [H, W, I, O]
    "merging_norm": lambda x: _unfold_order(x, 0),
    "merging_dense": lambda x: _unfold_order(x, 1).transpose(1, 0),
    "tokens": lambda x: np.squeeze(x, 0),  # [1, N, C] -> [N, C]
    "patch_positions": _without_class,
    "query_value": _without_key,
}


def kernel(pattern: str, path: str, transform: str) -> Rule:
    """The rule for the weight of a convolution or dense layer."""
    return (rf"{pattern}\.weight", f"params/{path}/kernel", transform)


def bias(pattern: str, path: str) -> Rule:
    """The rule for the bias of a convolution or dense layer."""
    return (rf"{pattern}\.bias", f"params/{path}/bias", "same")


def affine(pattern: str, path: str, transform: str = "same") -> list[Rule]:
    """The rules for scale and bias of a layer norm or group norm."""
    return [
        (rf"{pattern}\.weight", f"params/{path}/scale", transform),
        (rf"{pattern}\.bias", f"params/{path}/bias", transform),
    ]


def batch_norm(pattern: str, path: str) -> list[Rule]:
    """The rules for scale, bias and running statistics of a batch norm."""
    return [
        *affine(pattern, path),
        (rf"{pattern}\.running_mean", f"batch_stats/{path}/mean", "same"),
        (rf"{pattern}\.running_var", f"batch_stats/{path}/var", "same"),
        (rf"{pattern}\.num_batches_tracked", "", "ignore"),
    ]


def within(prefix: str, module: str, rules: Iterable[Rule]) -> list[Rule]:
    r"""The same rules for tensors whose names start with a prefix, with leaves inside `module`.

    `prefix` is a regular expression without groups, such as r"depth_head\."; `module` may be "".
    """

    def moved(target: str) -> str:
        collection, *path = target.split("/")
        return "/".join([collection, *filter(None, [module]), *path]) if path else target

    return [
        (
            f"{prefix}(?:{pattern})",
            prefix.replace("\\", "") + target if transform == "alias" else moved(target),
            transform,
        )
        for pattern, target, transform in rules
    ]


def swin_block(block: str, names: Iterable[str], ours: str = r"stage\1_block\2") -> list[Rule]:
    """The rules of a block; `names` are (norm1, attention, qkv, proj, norm2, fc1, fc2)."""
    norm1, attention, qkv, proj, norm2, fc1, fc2 = names
    dense = ((f"{attention}{qkv}", "attn/qkv"), (proj, "attn/proj"), (fc1, "fc1"), (fc2, "fc2"))
    return [
        *affine(rf"{block}\.{norm1}", f"{ours}/norm1"),
        *affine(rf"{block}\.{norm2}", f"{ours}/norm2"),
        (
            rf"{block}\.{attention}relative_position_bias_table",
            f"params/{ours}/attn/relative_position_bias_table",
            "same",
        ),
        *(kernel(rf"{block}\.{theirs}", f"{ours}/{name}", "dense") for theirs, name in dense),
        *(bias(rf"{block}\.{theirs}", f"{ours}/{name}") for theirs, name in dense),
        # Our model computes both from the sizes.
        (rf"{block}\.{attention}relative_position_index", "", "ignore"),
        (rf"{block}\.attn_mask", "", "ignore"),
    ]


def _merging(stages: str, first: int, order: tuple[str, str] = ("same", "dense")) -> list[Rule]:
    """The rules of the patch mergings `stages`.S.downsample; S = `first` leads to our stage 1.

    `order` are the transforms of the norm and of the dense layer.
    """
    return [
        rule
        for stage in range(3)
        for theirs, ours in [(rf"{stages}\.{stage + first}\.downsample", f"downsample{stage + 1}")]
        for rule in (
            *affine(rf"{theirs}\.norm", f"{ours}/norm", order[0]),
            kernel(rf"{theirs}\.reduction", f"{ours}/reduction", order[1]),
        )
    ]


# What a file may hold beside the backbone: a classifier and its norm, heads of mmseg, mmdet and
# DINO; of masked-image models (SimMIM, Hugging Face) the decoder and the mask token; of MoBY the
# momentum encoder and what compares the two.
OTHER_PARTS: list[Rule] = [
    (r"(?:norm|layernorm|classifier)\.(?:weight|bias)|head\..+", "", "left_out"),
    (r"(?:neck|\w+_head|decoder)\..+|(?:embeddings\.)?mask_token", "", "left_out"),
    (r"(?:encoder_k|(?:projector|predictor)(?:_k)?)\..+|queue\w*", "", "left_out"),
]


def _swin(
    stages: str,
    patch: str,
    embedding_norm: str,
    block_names: Iterable[str],
    merging: list[Rule],
    *others: Rule,
) -> list[Rule]:
    """The rules of a whole Swin; the arguments are its parts' names in the file."""
    return [
        kernel(patch, "patch_embed", "conv"),
        bias(patch, "patch_embed"),
        *affine(embedding_norm, "patch_embed_norm"),
        *swin_block(rf"{stages}\.(\d+)\.blocks\.(\d+)", block_names),
        *merging,
        *affine(r"norm([0-3])", r"norm\1"),
        *OTHER_PARTS,
        *others,
    ]


_OFFICIAL_BLOCK = ("norm1", r"attn\.", "qkv", r"attn\.proj", "norm2", r"mlp\.fc1", r"mlp\.fc2")


def _official(first_merging: int) -> list[Rule]:
    return _swin(
        "layers",
        r"patch_embed\.proj",
        r"patch_embed\.norm",
        _OFFICIAL_BLOCK,
        _merging("layers", first_merging),
    )


SWIN_OFFICIAL, SWIN_TIMM = _official(0), _official(1)
SWIN_MM = _swin(
    "stages",
    r"patch_embed\.projection",
    r"patch_embed\.norm",
    (
        "norm1",
        r"attn\.w_msa\.",
        "qkv",
        r"attn\.w_msa\.proj",
        "norm2",
        r"ffn\.layers\.0\.0",
        r"ffn\.layers\.1",
    ),
    _merging("stages", 0, order=("merging_norm", "merging_dense")),
)
# These patterns match the names in files and in models of transformers 5 in memory. `conversion`
# joins `qkv` from three matrices.
SWIN_HUGGING_FACE = _swin(
    r"encoder\.layers",
    r"embeddings\.patch_embeddings\.projection",
    r"embeddings\.norm",
    (
        "layernorm_before",
        r"attention\.(?:self\.|relative_position_bias\.)?",
        "qkv",
        r"attention\.(?:output\.dense|o_proj)",
        "layernorm_after",
        r"(?:intermediate\.dense|mlp\.fc1)",
        r"(?:output\.dense|mlp\.fc2)",
    ),
    _merging(r"encoder\.layers", 0),
    *(
        rule
        for stage in range(4)
        for rule in affine(rf"hidden_states_norms\.stage{stage + 1}", f"norm{stage}")
    ),
)


def _conv_batch_norm(pattern: str, path: str) -> list[Rule]:
    return [
        kernel(rf"{pattern}\.conv", f"{path}/conv", "conv"),
        *batch_norm(rf"{pattern}\.bn", f"{path}/norm"),
    ]


HAHI_RULES: list[Rule] = [
    *_conv_batch_norm(r"lateral_convs\.(\d)", r"lateral\1"),
    *_conv_batch_norm(r"conv_proj\.0", "projection0"),
    *_conv_batch_norm(r"conv_fusion\.0", "fusion0"),
    *(
        rule
        for level in range(3)
        for name in ("proj", "fusion")
        for rule in _conv_batch_norm(
            rf"trans_{name}\.{level}", f"{name.replace('proj', 'projection')}{level + 1}"
        )
    ),
    # These tensors belong to HAHI's attentions, which DiffusionDepth switches off.
    (r"level_embed|reference_points\.\w+|(?:multi_att|self_attn)\.\w+\.\w+", "", "ignore"),
]
FPN_RULES: list[Rule] = [
    kernel(r"conv_lateral\.(\d)\.0", r"lateral\1", "conv"),
    *batch_norm(r"conv_lateral\.(\d)\.1", r"lateral\1_norm"),
    kernel(r"conv_up\.(\d)\.0", r"up\1", "transposed"),
    *batch_norm(r"conv_up\.(\d)\.1", r"up\1_norm"),
    (r"convup_fp\..+", "", "ignore"),  # the original model never calls these layers
]


def _embedding(pattern: str, path: str) -> list[Rule]:
    """The rules of a Sequential with convolutions at 0 and 3 and group norms at 1 and 4."""
    return [
        rule
        for index in range(2)
        for rule in (
            kernel(rf"{pattern}\.{3 * index}", f"{path}/conv{index}", "conv"),
            bias(rf"{pattern}\.{3 * index}", f"{path}/conv{index}"),
            *affine(rf"{pattern}\.{3 * index + 1}", f"{path}/norm{index}"),
        )
    ]


DENOISER_RULES: list[Rule] = [
    *_embedding("noise_embedding", "noise_embedding"),
    *_embedding("pred", "prediction"),
    (r"time_embedding\.weight", "params/time_embedding/embedding", "same"),
    *(
        rule
        for index, name in enumerate("AB")
        for rule in (
            kernel(rf"upsample_fuse\.conv{name}\.conv", f"fusion_{index}", "conv"),
            bias(rf"upsample_fuse\.conv{name}\.conv", f"fusion_{index}"),
        )
    ),
]
CODEC_RULES: list[Rule] = [
    kernel(r"conv_transform\.([01])\.0", r"encoder/conv\1", "conv"),
    *batch_norm(r"conv_transform\.([01])\.1", r"encoder/norm\1"),
    kernel(r"conv_inv_transform\.0", "decoder/up", "transposed"),
    bias(r"conv_inv_transform\.0", "decoder/up"),
    *batch_norm(r"conv_inv_transform\.1", "decoder/norm"),
    kernel(r"conv_inv_transform\.3\.0", "decoder/head", "conv"),
    bias(r"conv_inv_transform\.3\.0", "decoder/head"),
]
HEAD_RULES: list[Rule] = [
    *within(r"depth_transform\.", "codec", CODEC_RULES),
    *within(r"model\.", "denoiser", DENOISER_RULES),
    *within(r"hahineck\.", "hahi", HAHI_RULES),
    *within("", "neck", FPN_RULES),
]
