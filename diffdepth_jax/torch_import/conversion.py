"""Converts PyTorch state dicts to our variables.

The tensors' names tell the kind of the file. Every tensor must find its leaf, and every leaf its
tensor; anything else is an error.
"""

import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from diffdepth_jax.arrays import Variables
from diffdepth_jax.errors import UserError
from diffdepth_jax.torch_import import rules_backbones
from diffdepth_jax.torch_import.reader import StoredTensor, read_torch_file
from diffdepth_jax.torch_import.rules import (
    HEAD_RULES,
    SWIN_HUGGING_FACE,
    SWIN_MM,
    SWIN_OFFICIAL,
    SWIN_TIMM,
    TRANSFORMS,
    Rule,
    within,
)

Tensors = Mapping[str, StoredTensor]  # a state dict: tensors by name
Leaves = Mapping[str, Any]  # shapes and types of a model's variables, by path


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
      name: for messages.
      marker: pattern of a tensor's name that only this kind has.
      rules: see `rules`.
      lacking: pattern of the leaves that the file lacks. They start so that they leave the features
        unchanged: scales at 1, the rest at 0.
    """

    name: str
    marker: str
    rules: list[Rule]
    lacking: str

    @property
    def backbone_only(self) -> bool:
        """Whether the file holds a backbone and not a whole model."""
        return not self.name.startswith("released")


def _released(name: str, marker: str, rules: Iterable[Rule]) -> Kind:
    rules = within(r"depth_backbone\.", "backbone", rules) + within(r"depth_head\.", "", HEAD_RULES)
    return Kind(f"released DiffusionDepth with {name}", rf"depth_backbone\.{marker}", rules, r"^$")


def _swin(name: str, marker: str, rules: Iterable[Rule]) -> Kind:
    rules = within("", "backbone", rules)
    lacking = r"params/backbone/(?:norm[0-3]|position)/.*"
    return Kind(f"Swin, {name} naming", marker, rules, lacking)


KINDS = (
    _released("Swin", r"stages\.0\.blocks\.0\..*", SWIN_MM),
    _released("ResNet", r"layers\.0\.0\..*", rules_backbones.RESNET_RULES),
    _released("MPViT", r"mhca_stages\..*", rules_backbones.MPVIT_RULES),
    _swin("mmseg", r"stages\.0\.blocks\.0\..*", SWIN_MM),
    _swin("Hugging Face", r"encoder\.layers\.0\.blocks\.0\..*", SWIN_HUGGING_FACE),
    # Since timm 0.9 `downsample` belongs to the stage that follows it, so that stage 3 has one.
    _swin("timm (from 0.9)", r"layers\.3\.downsample\..*", SWIN_TIMM),
    _swin("official", r"layers\.0\.blocks\.0\..*", SWIN_OFFICIAL),
)
# Names begin so where another model wraps the wanted one.
_WRAPPERS = re.compile(r"^(?:module|backbone|swin|model)\.")
_STATE_DICTS = ("net", "model", "state_dict")


def read_state_dict(path: str | os.PathLike[str]) -> tuple[Tensors, Kind]:
    """Reads a file's state dict and recognises its kind; prefixes of wrapping models are removed.

    Raises:
      UserError: the file holds no state dict, or one of no known kind.
    """
    data = read_torch_file(path)
    for name in _STATE_DICTS:
        if isinstance(data, dict) and isinstance(data.get(name), dict):
            data = data[name]
    tensors = data if isinstance(data, dict) else {}
    tensors = {name: x for name, x in tensors.items() if isinstance(x, StoredTensor)}
    if not tensors:
        raise UserError(f"{path} holds no state dict: give a file with named tensors")
    tensors = _unwrapped(tensors)
    for kind in KINDS:
        if any(re.fullmatch(kind.marker, name) for name in tensors):
            return _join_query_key_value(tensors), kind
    raise UserError(
        f"{path} is no DiffusionDepth checkpoint and no Swin of a known naming (its first tensor "
        f"is {min(tensors)}): known are {'; '.join(kind.name for kind in KINDS)}"
    )


def _unwrapped(tensors: Tensors) -> Tensors:
    while any(_WRAPPERS.match(name) for name in tensors):
        shorter = {_WRAPPERS.sub("", name): x for name, x in tensors.items()}
        if len(shorter) < len(tensors):
            raise UserError("two tensors of the file differ only in the prefix of a wrapping model")
        tensors = shorter
    return tensors


_QUERY = re.compile(r"(.+\.attention\.)(self\.query|q_proj)(\.\w+)")
_PARTS = {
    "self.query": ("self.query", "self.key", "self.value"),
    "q_proj": ("q_proj", "k_proj", "v_proj"),
}


def _join_query_key_value(tensors: Tensors) -> Tensors:
    """Joins query, key and value, three matrices in Hugging Face's files and one in all others.

    An incomplete three stays as it is, so that `convert` reports the tensors by their names.
    """
    joined = dict(tensors)
    for match in filter(None, map(_QUERY.fullmatch, tensors)):
        block, query, parameter = match.groups()
        names = [block + part + parameter for part in _PARTS[query]]
        if all(name in tensors for name in names):
            parts = [joined.pop(name) for name in names]
            if len({part.shape for part in parts}) > 1:
                raise UserError(f"{', '.join(names)} differ in shape: use a whole file")
            joined[f"{block}qkv{parameter}"] = _concatenated(parts)
    return joined


def _concatenated(parts: list[StoredTensor]) -> StoredTensor:
    shape = (len(parts) * parts[0].shape[0], *parts[0].shape[1:])

    def read() -> np.ndarray:
        return np.concatenate([part.numpy() for part in parts])

    return StoredTensor(shape, parts[0].dtype, read)


def convert(tensors: Tensors, kind: Kind, abstract: Variables) -> tuple[dict[str, Any], list[str]]:
    """Converts tensors to the variables of a model; uses every tensor, fills every leaf once.

    Args:
      tensors: see `read_state_dict`.
      kind: the kind of the tensors' file.
      abstract: the variables' shapes and types, nested.

    Returns:
      The variables as nested float32 numpy arrays, and a message for each leaf that is not a copy.

    Raises:
      UserError: something does not fit; the message lists every such place.
    """
    leaves = traverse_util.flatten_dict(abstract, sep="/")
    filled, messages, problems = _fill(tensors, kind, leaves)
    for path in sorted(leaves.keys() - filled.keys()):
        if re.fullmatch(kind.lacking, path):
            start = int(path.endswith("/scale"))
            filled[path] = np.full(leaves[path].shape, start, np.float32)
            messages.append(f"{path} is not in the file and starts at {start}")
        elif not any(problem.endswith(f" {path}") for problem in problems):
            problems.append(f"nothing in the file fills {path}")
    if problems:
        raise UserError(
            f"the file ({kind.name}) and the configuration's model do not fit in "
            f"{len(problems)} places, use the matching configuration or a whole file:\n  "
            + "\n  ".join(problems)
        )
    return traverse_util.unflatten_dict(filled, sep="/"), messages


def _fill(
    tensors: Tensors, kind: Kind, leaves: Leaves
) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Returns (values by path of the leaf, messages, problems)."""
    filled: dict[str, np.ndarray] = {}
    messages: list[str] = []
    problems: list[str] = []
    for name, tensor in tensors.items():
        try:
            leaf = _leaf(name, tensor, tensors, kind, leaves)
            if leaf and leaf.path in filled:
                raise ValueError(f"{leaf.path} is filled already")
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        if leaf:
            filled[leaf.path] = leaf.value
            if leaf.message:
                messages.append(leaf.message)
    return filled, messages, problems


class _Leaf(NamedTuple):
    path: str
    value: np.ndarray
    message: str | None


def _leaf(
    name: str, tensor: StoredTensor, tensors: Tensors, kind: Kind, leaves: Leaves
) -> _Leaf | None:
    """Returns the leaf that the tensor fills; None if the tensor is of no use.

    Raises:
      ValueError: the tensor does not fit; the text says why.
    """
    target, transform = _rule(name, kind.rules)
    if transform == "ignore":
        return None
    if transform == "alias":
        _check_repeats(tensor, target, tensors)
        return None
    if target not in leaves:
        raise ValueError(f"the model has no {target}")
    value, shape = _transformed(tensor, target, transform), leaves[target].shape
    message = None
    if target.endswith("/relative_position_bias_table") and _is_square_table(value, shape):
        message = f"{target} resized from {value.shape} to {shape}"
        value = _resize_table(value, shape)
    if value.shape != shape:
        raise ValueError(f"has shape {tensor.shape}, giving {value.shape} for {shape} of {target}")
    return _Leaf(target, np.ascontiguousarray(value), message)


def _check_repeats(tensor: StoredTensor, other: str, tensors: Tensors) -> None:
    """Raises a ValueError unless the tensor equals the file's tensor named `other`."""
    if other not in tensors:
        raise ValueError(f"repeats {other}, which the file lacks")
    if not np.array_equal(tensor.numpy(), tensors[other].numpy(), equal_nan=True):
        raise ValueError(f"should repeat {other}, and differs")


def _transformed(tensor: StoredTensor, target: str, transform: str) -> np.ndarray:
    """Returns the tensor's finite float32 values in the layout of the leaf."""
    value = tensor.numpy().astype(np.float32)
    if not np.isfinite(value).all():
        raise ValueError(f"has values that are not finite, for {target}")
    try:
        return TRANSFORMS[transform](value)
    except ValueError as error:
        raise ValueError(f"has shape {tensor.shape}, which does not fit {target}") from error


def _rule(name: str, rules: Iterable[Rule]) -> tuple[str, str]:
    """Returns (target, transform) of the first rule that matches a tensor's name."""
    for pattern, target, transform in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(target), transform
    raise ValueError("is no tensor of this kind of model")


def _is_square_table(value: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether this is a position-bias table [(2 w - 1)^2, heads] of another window than `shape`."""
    rows = len(value)
    return value.shape[1:] == shape[1:] and rows != shape[0] and math.isqrt(rows) ** 2 == rows


def _resize_table(value: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes a table [(2 w - 1)^2, heads] to another window w, bicubically as Swin's authors."""
    old, new = math.isqrt(len(value)), math.isqrt(shape[0])
    table = value.reshape(old, old, -1)
    return np.asarray(jax.image.resize(table, (new, new, shape[1]), "cubic")).reshape(shape)


def load_backbone(
    path: str | os.PathLike[str], abstract: Variables
) -> tuple[dict[str, Any], list[str]]:
    """Reads a backbone's variables from a file of a backbone, or of a whole released model.

    `abstract` are the shapes and types of the whole model's variables. Returns and raises as
    `convert`.
    """
    tensors, kind = read_state_dict(path)
    if not kind.backbone_only:
        tensors = {k: v for k, v in tensors.items() if k.startswith("depth_backbone.")}
    return convert(tensors, kind, only_backbone(abstract))


def only_backbone(variables: Variables) -> dict[str, Any]:
    """Returns the backbone's part of a model's variables."""
    return {
        collection: {"backbone": tree["backbone"]}
        for collection, tree in variables.items()
        if "backbone" in tree
    }
