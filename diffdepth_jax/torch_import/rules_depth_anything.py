"""Rules, as in `rules`, for Depth Anything V2: a table for each naming."""

from collections.abc import Callable, Iterator

from diffdepth_jax.torch_import.rules import Rule, bias, kernel, within
from diffdepth_jax.torch_import.rules_dinov2 import DINOV2_HUGGING_FACE_ENCODER, DINOV2_OFFICIAL

_LEVELS = range(4)  # finest first
_SAME_SIZE = 2  # the level whose map keeps its size


def _layer(pattern: str, path: str, transform: str) -> list[Rule]:
    return [kernel(pattern, path, transform), bias(pattern, path)]


def _pyramid(names: Callable[[int], tuple[str, str, str]]) -> Iterator[Rule]:
    """`names` are of a level's (projection, change of size, convolution without bias)."""
    for level in _LEVELS:
        project, resize, lateral = names(level)
        yield from _layer(project, f"reassemble/project{level}", "pointwise")
        yield kernel(lateral, f"reassemble/lateral{level}", "conv")
        if level != _SAME_SIZE:
            transform = "transposed" if level < _SAME_SIZE else "conv"
            yield from _layer(resize, f"reassemble/resize{level}", transform)


def _fusion(block: Callable[[int], str], names: tuple[str, str, str, str]) -> Iterator[Rule]:
    """`names` are of a block's (projection, unit that joins, unit that follows, convolution)."""
    project, join, fuse, conv = names
    for level in _LEVELS:
        yield from _layer(rf"{block(level)}\.{project}", f"neck/project{level}", "pointwise")
        yield from _layer(rf"{block(level)}\.{fuse}\.{conv}", rf"neck/fuse{level}/conv\1", "conv")
    for level in _LEVELS[:-1]:
        yield from _layer(rf"{block(level)}\.{join}\.{conv}", rf"neck/join{level}/conv\1", "conv")
    # The coarsest map has none to join, and the authors' code never calls this unit.
    yield (rf"{block(_LEVELS[-1])}\.{join}\.{conv}\.(?:weight|bias)", "", "ignore")


def _head(first: str, second: str, last: str) -> list[Rule]:
    return [
        *_layer(first, "head/conv", "conv"),
        *_layer(second, "codec/conv", "conv"),
        *_layer(last, "codec/head", "pointwise"),
    ]


DEPTH_ANYTHING_OFFICIAL: list[Rule] = [
    *within(r"pretrained\.", "backbone", DINOV2_OFFICIAL),
    *within(
        r"depth_head\.",
        "",
        [
            *_pyramid(
                lambda level: (
                    rf"projects\.{level}",
                    rf"resize_layers\.{level}",
                    rf"scratch\.layer{level + 1}_rn",
                )
            ),
            *_fusion(
                lambda level: rf"scratch\.refinenet{level + 1}",
                ("out_conv", "resConfUnit1", "resConfUnit2", r"conv([12])"),
            ),
            *_head(*(rf"scratch\.output_conv{name}" for name in ("1", r"2\.0", r"2\.2"))),
        ],
    ),
]
_STAGE = r"neck\.reassemble_stage\.layers"
# `state_dicts` has taken the prefix of the backbone away.
DEPTH_ANYTHING_HUGGING_FACE: list[Rule] = [
    *within("", "backbone", DINOV2_HUGGING_FACE_ENCODER),
    *_pyramid(
        lambda level: (
            rf"{_STAGE}\.{level}\.projection",
            rf"{_STAGE}\.{level}\.resize",
            rf"neck\.convs\.{level}",
        )
    ),
    *_fusion(
        lambda level: rf"neck\.fusion_stage\.layers\.{_LEVELS[-1] - level}",
        ("projection", "residual_layer1", "residual_layer2", r"convolution([12])"),
    ),
    *_head(r"head\.conv1", r"head\.conv2", r"head\.conv3"),
]
