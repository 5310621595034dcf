"""Converts PyTorch state dicts to our variables.

The tensors' names tell the kind of the file. Every tensor must find its leaf, and every leaf its
tensor; anything else is an error.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from diffdepth_jax.arrays import Variables
from diffdepth_jax.errors import UserError
from diffdepth_jax.torch_import.kinds import Kind, Tensors
from diffdepth_jax.torch_import.position_tables import fits_another_window, resize_table
from diffdepth_jax.torch_import.reader import StoredTensor
from diffdepth_jax.torch_import.rules import TRANSFORMS, Rule
from diffdepth_jax.torch_import.state_dicts import read_state_dict

Leaves = Mapping[str, Any]  # shapes and types of a model's variables, by path


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
    messages = [*kind.notes, *_left_out(tensors, kind), *messages]
    named = {problem.rpartition(" ")[2] for problem in problems}
    for path in sorted(leaves.keys() - filled.keys()):
        if re.fullmatch(kind.lacking, path):
            start = int(path.endswith("/scale"))
            filled[path] = np.full(leaves[path].shape, start, np.float32)
            messages.append(f"{path} is not in the file and starts at {start}")
        elif path not in named:
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
    if transform in ("ignore", "left_out"):
        return None
    if transform == "alias":
        _check_repeats(tensor, target, tensors)
        return None
    if target not in leaves:
        raise ValueError(f"the model has no {target}")
    value, shape = _transformed(tensor, target, transform), leaves[target].shape
    message = None
    if target.endswith("/relative_position_bias_table") and fits_another_window(value, shape):
        message = f"{target} resized from {value.shape} to {shape}"
        value = resize_table(value, shape)
    if value.shape != shape:
        raise ValueError(f"has shape {tensor.shape}, giving {value.shape} for {shape} of {target}")
    return _Leaf(target, np.ascontiguousarray(value), message)


def _left_out(tensors: Tensors, kind: Kind) -> list[str]:
    """Returns a message that lists the tensors of other parts, such as a classifier, if any."""
    patterns = [pattern for pattern, _, transform in kind.rules if transform == "left_out"]
    names = [name for name in tensors if any(re.fullmatch(p, name) for p in patterns)]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    listed = ", ".join(names[:4]) + more
    return [f"left out, because the backbone does not use them: {listed}"] if names else []


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
    except (ValueError, IndexError, TypeError) as error:
        raise ValueError(f"has shape {tensor.shape}, which does not fit {target}") from error


def _rule(name: str, rules: Iterable[Rule]) -> tuple[str, str]:
    """Returns (target, transform) of the first rule that matches a tensor's name."""
    for pattern, target, transform in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(target), transform
    raise ValueError("is no tensor of this kind of model")


def load_backbone(
    path: str | os.PathLike[str], abstract: Variables, position_interpolation: str
) -> tuple[dict[str, Any], list[str]]:
    """Reads a backbone's variables from a file of a backbone, or of a whole released model.

    Args:
      path: the file.
      abstract: the shapes and types of the whole model's variables.
      position_interpolation: the configuration's; the file's code must have the same, if any.

    Returns and raises as `convert`.
    """
    tensors, kind = read_state_dict(path)
    wanted = kind.position_interpolation
    if wanted not in (None, position_interpolation):
        raise UserError(
            f"{path} ({kind.name}) does not interpolate positions by {position_interpolation}: "
            f"set model.position_interpolation={wanted}"
        )
    if kind.backbone is not None:
        tensors = {k: v for k, v in tensors.items() if re.fullmatch(kind.backbone, k)}
    return convert(tensors, kind, only_backbone(abstract))


def only_backbone(variables: Variables) -> dict[str, Any]:
    """Returns the backbone's part of a model's variables."""
    return {
        collection: {"backbone": tree["backbone"]}
        for collection, tree in variables.items()
        if "backbone" in tree
    }
