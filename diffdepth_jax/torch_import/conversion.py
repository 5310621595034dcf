"""PyTorch state dicts to our variables: recognised by their names, strict in both directions."""

import math
import re
from typing import NamedTuple

import jax
import numpy as np
from flax import traverse_util

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
    within,
)


class Kind(NamedTuple):
    """A kind of file. `marker`: a tensor that only it has; `lacking`: leaves that it lacks.

    Those leaves start at what leaves the features as they were: scales at 1, the rest at 0.
    """

    name: str
    marker: str
    rules: list
    lacking: str

    @property
    def backbone_only(self):
        return not self.name.startswith("released")


def _released(name, marker, rules):
    rules = within(r"depth_backbone\.", "backbone", rules) + within(r"depth_head\.", "", HEAD_RULES)
    return Kind(f"released DiffusionDepth with {name}", rf"depth_backbone\.{marker}", rules, r"^$")


def _swin(name, marker, rules):
    rules = within("", "backbone", rules)
    lacking = r"params/backbone/(?:norm[0-3]|position)/.*"
    return Kind(f"Swin, {name} naming", marker, rules, lacking)


KINDS = (
    _released("Swin", r"stages\.0\.blocks\.0\..*", SWIN_MM),
    _released("ResNet", r"layers\.0\.0\..*", rules_backbones.RESNET_RULES),
    _released("MPViT", r"mhca_stages\..*", rules_backbones.MPVIT_RULES),
    _swin("mmseg", r"stages\.0\.blocks\.0\..*", SWIN_MM),
    _swin("Hugging Face", r"encoder\.layers\.0\.blocks\.0\..*", SWIN_HUGGING_FACE),
    # Since timm 0.9 `downsample` sits in the stage that it leads to.
    _swin("timm (from 0.9)", r"layers\.3\.downsample\..*", SWIN_TIMM),
    _swin("official", r"layers\.0\.blocks\.0\..*", SWIN_OFFICIAL),
)
_WRAPPERS = re.compile(r"^(?:module|backbone|swin|model)\.")  # models around the one meant
_STATE_DICTS = ("net", "model", "state_dict")


def read_state_dict(path):
    """{name: StoredTensor} of the file's model, wrappers' prefixes stripped, and its Kind."""
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


def _unwrapped(tensors):
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


def _join_query_key_value(tensors):
    """Hugging Face keeps three matrices where all others have one."""
    joined = dict(tensors)
    for name in tensors:
        match = _QUERY.fullmatch(name)
        names = [match[1] + part + match[3] for part in _PARTS[match[2]]] if match else [None]
        if all(part in tensors for part in names):  # what is incomplete fails by its own name
            parts = [joined.pop(part) for part in names]
            if len({part.shape for part in parts}) > 1:
                raise UserError(f"{', '.join(names)} differ in shape: use a whole file")
            joined[f"{match[1]}qkv{match[3]}"] = _concatenated(parts)
    return joined


def _concatenated(parts):
    shape = (len(parts) * parts[0].shape[0], *parts[0].shape[1:])

    def read():
        return np.concatenate([part.numpy() for part in parts])

    return StoredTensor(shape, parts[0].dtype, read)


def convert(tensors, kind, abstract):
    """Variables of a model, every tensor used and every leaf filled once.

    Args:
      tensors: {name: StoredTensor}, see `read_state_dict`.
      kind: what they are.
      abstract: nested shapes and types of the variables.

    Returns:
      Nested float32 numpy arrays, and messages on what was not simply copied.

    Raises:
      UserError: listing everything that does not fit.
    """
    leaves = traverse_util.flatten_dict(abstract, sep="/")
    filled, problems, messages = {}, [], []
    for name, tensor in tensors.items():
        try:
            path, value, message = _place(name, tensor, tensors, kind, leaves)
            if path in filled:
                raise ValueError(f"{path} is filled already")
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        messages += [message] * bool(message)
        if path:
            filled[path] = value
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


def _place(name, tensor, tensors, kind, leaves):
    """(path of the leaf or None, its value, message or None); ValueError says what is wrong."""
    target, transform = _rule(name, kind.rules)
    if transform == "ignore":
        return None, None, None
    if transform == "alias":
        if target not in tensors:
            raise ValueError(f"repeats {target}, which the file lacks")
        if not np.array_equal(tensor.numpy(), tensors[target].numpy(), equal_nan=True):
            raise ValueError(f"should repeat {target}, and differs")
        return None, None, None
    if target not in leaves:
        raise ValueError(f"the model has no {target}")
    value, shape = tensor.numpy().astype(np.float32), leaves[target].shape
    if not np.isfinite(value).all():
        raise ValueError(f"has values that are not finite, for {target}")
    try:
        value = TRANSFORMS[transform](value)
    except ValueError as error:
        raise ValueError(f"has shape {tensor.shape}, which does not fit {target}") from error
    message = None
    if target.endswith("/relative_position_bias_table") and _is_square_table(value, shape):
        message = f"{target} resized from {value.shape} to {shape}"
        value = _resize_table(value, shape)
    if value.shape != shape:
        raise ValueError(f"has shape {tensor.shape}, giving {value.shape} for {shape} of {target}")
    return target, np.ascontiguousarray(value), message


def _rule(name, rules):
    for pattern, target, transform in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(target), transform
    raise ValueError("is no tensor of this kind of model")


def _is_square_table(value, shape):
    """Whether it is a position-bias table, [(2 w - 1)^2, heads], of another window."""
    rows = len(value)
    return value.shape[1:] == shape[1:] and rows != shape[0] and math.isqrt(rows) ** 2 == rows


def _resize_table(value, shape):
    """[(2 w - 1)^2, heads] for another window w, interpolated bicubically as Swin's authors do."""
    old, new = math.isqrt(len(value)), math.isqrt(shape[0])
    table = value.reshape(old, old, -1)
    return np.asarray(jax.image.resize(table, (new, new, shape[1]), "cubic")).reshape(shape)


def load_backbone(path, abstract):
    """A backbone's variables {collection: {...}} from a PyTorch file, and messages.

    `abstract` are the shapes of the whole model's. Of a released checkpoint the backbone is taken.
    """
    tensors, kind = read_state_dict(path)
    if not kind.backbone_only:
        tensors = {k: v for k, v in tensors.items() if k.startswith("depth_backbone.")}
    return convert(tensors, kind, only_backbone(abstract))


def only_backbone(variables):
    return {
        collection: {"backbone": tree["backbone"]}
        for collection, tree in variables.items()
        if "backbone" in tree
    }
