"""Finds the state dict in a file, and gives its tensors the names that `kinds` knows."""

import itertools
import os
import re
from typing import Any

import numpy as np

from diffdepth_jax.errors import UserError
from diffdepth_jax.torch_import.foreign_networks import described, is_lookalike
from diffdepth_jax.torch_import.kinds import KINDS, Kind, Tensors, recognise
from diffdepth_jax.torch_import.reader import StoredTensor, read_torch_file

# Where files keep their weights. If a file has several of these, the first one counts.
_ENTRIES = (
    "net",
    "model",
    "state_dict",
    "model_state_dict",
    "module",
    "teacher",
    "model_ema",
    "state_dict_ema",
    "ema",
)
_DEPTH = 4  # dicts inside dicts that are searched; a damaged file may hold one inside itself
_LONGEST_NAME = 500  # of a tensor; rules search a name in time that grows with its square
# Names begin so where another model wraps the wanted one.
_WRAPPERS = re.compile(
    r"^(?:(?:module|backbone|swin|dinov2|dinov2_with_registers|model|net|teacher|student|ema"
    r"|ema_model)\.)+"
)
# torch.compile, FSDP and activation checkpoints wrap modules anywhere in a model.
_ANYWHERE = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)


def read_state_dict(path: str | os.PathLike[str]) -> tuple[Tensors, Kind]:
    """Reads a file's state dict and recognises its kind; prefixes of wrapping models are removed.

    Raises:
      UserError: the file holds no state dict, or one of no known kind.
    """
    tensors, notes = _weights(read_torch_file(path), path)
    tensors = _unwrapped(tensors, path)
    kind = None if is_lookalike(tensors) else recognise(tensors)
    if kind is None:
        raise UserError(
            f"{path} holds {described(tensors)}: give one of these instead: "
            + "; ".join(kind.name for kind in KINDS)
        )
    return join_tensors(tensors), kind._replace(notes=notes)


def _weights(data: Any, path: str | os.PathLike[str]) -> tuple[Tensors, tuple[str, ...]]:
    """Returns the tensors of the innermost dict of weights, and messages about dicts beside it."""
    notes = []
    for _ in range(_DEPTH):
        entries = _entries(data)
        if not entries:
            break
        known = [name for name in _ENTRIES if name in entries]
        if not known and len(entries) > 1:
            names = ", ".join(map(str, entries[:9]))
            raise UserError(
                f"{path} holds several state dicts ({names}): save the wanted one alone"
            )
        chosen = (known or entries)[0]
        if others := [name for name in entries if name != chosen]:
            names = ", ".join(map(str, others[:9]))
            notes.append(f"the weights are those of {chosen}; left out: {names}")
        data = data[chosen]
    named = data.items() if isinstance(data, dict) else ()
    tensors = {name: x for name, x in named if isinstance(x, StoredTensor)}
    if not tensors:
        names = ", ".join(map(str, itertools.islice(data, 9))) if named else ""
        found = f" (its entries are {names})" if names else ""
        raise UserError(f"{path} holds no state dict{found[:300]}: give a file with named tensors")
    for name in tensors:
        if not isinstance(name, str) or len(name) > _LONGEST_NAME:
            raise UserError(
                f"{path} names a tensor {str(name)[:99]!r}: give a model's state_dict()"
            )
    return tensors, tuple(notes)


def _entries(data: Any) -> list[Any]:
    """Returns the keys of a dict's entries that are dicts with weights in them."""
    known: dict[tuple[int, int], bool] = {}
    items = data.items() if isinstance(data, dict) else ()
    return [name for name, entry in items if _holds_weights(entry, _DEPTH - 1, known)]


def _holds_weights(data: Any, depth: int, known: dict[tuple[int, int], bool]) -> bool:
    """Whether data are a state dict, or hold one. Optimizers do not name their tensors.

    `known` are the results by (identity, depth): dicts may hold one dict again and again.
    """
    if not isinstance(data, dict):
        return False
    key = (id(data), depth)
    if key not in known:
        inner = data.values() if depth else ()
        known[key] = any(_holds_weights(each, depth - 1, known) for each in inner) or any(
            isinstance(name, str) and "." in name and isinstance(entry, StoredTensor)
            for name, entry in data.items()
        )
    return known[key]


def _unwrapped(tensors: Tensors, path: str | os.PathLike[str]) -> Tensors:
    """Returns the tensors under the names that they have in a model that nothing wraps."""
    tensors = _renamed(tensors, _ANYWHERE, "", path)
    tensors = _renamed(tensors, _WRAPPERS, "", path)
    if any(name.startswith("encoder.patch_embed.") for name in tensors):  # masked-image models
        tensors = _renamed(tensors, re.compile(r"^encoder\."), "", path)
    # timm's features_only=True joins the names of the outer modules by "_".
    return _renamed(tensors, re.compile(r"^layers_(?=\d+\.)"), "layers.", path)


def _renamed(
    tensors: Tensors, pattern: re.Pattern[str], replacement: str, path: str | os.PathLike[str]
) -> Tensors:
    renamed = {pattern.sub(replacement, name): x for name, x in tensors.items()}
    if len(renamed) < len(tensors):
        raise UserError(
            f"two tensors of {path} differ only in the prefix of a wrapping model: save the "
            "wanted model's state_dict() alone"
        )
    return renamed


# Tensors that are one in other files: (pattern of the first one's name, names of all, the joint
# name), the last two by `Match.expand`.
_JOINED = (
    *(
        (
            rf"(.+\.attention\.){re.escape(query)}\.(weight|bias)",
            [rf"\1{name}.\2" for name in (query, key, value)],
            r"\1qkv.\2",
        )
        for query, key, value in (
            ("self.query", "self.key", "self.value"),
            ("attention.query", "attention.key", "attention.value"),
            ("q_proj", "k_proj", "v_proj"),
        )
    ),
    # Of DINOv3, whose keys have no bias.
    (r"(.+\.attention\.)q_proj\.bias", [r"\1q_proj.bias", r"\1v_proj.bias"], r"\1qv_bias"),
    (r"(.+\.attn\.)q_bias", [r"\1q_bias", r"\1v_bias"], r"\1qv_bias"),
    # Of SwiGLU, the gate and the value.
    *(
        (rf"(.+\.mlp\.){gate}\.(weight|bias)", [rf"\1{gate}.\2", rf"\1{value}.\2"], r"\1w12.\2")
        for gate, value in (("gate_proj", "up_proj"), ("w1", "w2"), ("fc1_g", "fc1_x"))
    ),
)


def join_tensors(tensors: Tensors) -> Tensors:
    """Joins what is several tensors here and one in other files.

    Incomplete ones stay as they are, so that `convert` reports the tensors by their names.
    """
    joined = dict(tensors)
    for name in tensors:
        for pattern, names, target in _JOINED:
            match = re.fullmatch(pattern, name)
            wanted = [match.expand(each) for each in names] if match else []
            if match and all(each in joined for each in wanted):
                parts = [joined.pop(each) for each in wanted]
                if len({part.shape for part in parts}) > 1 or not parts[0].shape:
                    raise UserError(
                        f"{', '.join(wanted)} differ in shape or have none: use a whole file"
                    )
                joined[match.expand(target)] = _concatenated(parts)
    return joined


def _concatenated(parts: list[StoredTensor]) -> StoredTensor:
    shape = (len(parts) * parts[0].shape[0], *parts[0].shape[1:])

    def read() -> np.ndarray:
        return np.concatenate([part.numpy() for part in parts])

    return StoredTensor(shape, parts[0].dtype, read)
