"""Optimizers and learning rates of the field's recipes, frozen parameters, rates by layer."""

import re
from collections.abc import Sequence
from typing import Any

import jax
import optax
from jaxtyping import PyTree

from diffdepth_jax.errors import UserError

# The learning rate by step


def create_schedule(
    *,
    schedule: str,
    learning_rate: float,
    warmup_steps: int,
    num_steps: int,
    end_fraction: float,
    power: float,
    starts: Sequence[int],
    factors: Sequence[float],
) -> optax.Schedule:
    """A linear warm-up from 0 to the peak, then the schedule of this name.

    Args:
      schedule: "cosine" and "polynomial" fall from the end of the warm-up to `num_steps`. "steps"
        multiplies the peak by a factor from each start on. "constant" stays at the peak.
      learning_rate: the peak.
      warmup_steps: 0: no warm-up.
      num_steps: of the run.
      end_fraction: the fraction of the peak at which cosine and polynomial end.
      power: of the polynomial; 1 is linear.
      starts: for "steps", the steps at which a factor begins to count, rising.
      factors: for "steps", one for each start; each multiplies the peak, not the rate before it.
    """
    rest = num_steps - warmup_steps
    end = end_fraction * learning_rate
    pieces = {
        "cosine": lambda: [optax.cosine_decay_schedule(learning_rate, rest, end_fraction)],
        "polynomial": lambda: [optax.polynomial_schedule(learning_rate, end, power, rest)],
        "steps": lambda: [optax.constant_schedule(learning_rate * f) for f in (1, *factors)],
        "constant": lambda: [optax.constant_schedule(learning_rate)],
    }[schedule]()
    boundaries = list(starts) if schedule == "steps" else []
    if warmup_steps:
        pieces = [optax.linear_schedule(0.0, learning_rate, warmup_steps), *pieces]
        boundaries = [warmup_steps, *boundaries]
    return optax.join_schedules(pieces, boundaries)


# Which parameters


def decayed(params: PyTree) -> PyTree:
    """True for kernels: norms, biases and position-bias tables are not decayed."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def frozen(params: PyTree, pattern: str) -> PyTree:
    """True for parameters whose whole path, such as backbone/patch_embed/kernel, matches.

    Raises:
      UserError: the pattern matches no parameter, or all of them.
    """
    expression = re.compile(pattern)

    def matches(path, _):
        return bool(expression.fullmatch(jax.tree_util.keystr(path, simple=True, separator="/")))

    found = jax.tree_util.tree_map_with_path(matches, params)
    if not any(jax.tree.leaves(found)):
        raise UserError(
            f"optimizer.freeze {pattern!r}: matches no parameter; it has to match whole paths as "
            "in parameters.txt of a run, for instance 'backbone/.*'"
        )
    if all(jax.tree.leaves(found)):
        raise UserError(f"optimizer.freeze {pattern!r}: must be less than all parameters")
    return found


def stop_frozen(params: PyTree, pattern: str) -> PyTree:
    """The same values, without gradient where the path matches; "" matches none.

    The backward pass then leaves out the part that only frozen parameters need.
    """
    if not pattern:
        return params
    return jax.tree.map(
        lambda leaf, stop: jax.lax.stop_gradient(leaf) if stop else leaf,
        params,
        frozen(params, pattern),
    )


# What makes tokens of an image, ahead of all blocks.
_EMBEDDING = (
    "patch_embed",
    "patch_embed_norm",
    "position",
    "class_token",
    "register_tokens",
    "position_table",
)


def rate_factors(params: PyTree, *, backbone_multiplier: float, layer_decay: float) -> PyTree:
    """The factor of each parameter's learning rate.

    Outside the backbone it is 1. In the backbone it is `backbone_multiplier`, times `layer_decay`
    for each layer between the parameter and the outputs. Layers are counted as in SimMIM's recipes
    for Swin: the patch embedding is one, and so is each block; the last block of a stage includes
    the downsampling after it. The norms of the outputs come after all layers. In a DINOv2, tokens
    and position table belong to the patch embedding.
    """
    exponents = _exponents(params["backbone"]) if layer_decay != 1 else {}

    def factor(path, _):
        if path[0].key != "backbone":
            return 1.0
        return backbone_multiplier * layer_decay ** exponents.get(path[1].key, 0)

    return jax.tree_util.tree_map_with_path(factor, params)


def _exponents(backbone: dict[str, Any]) -> dict[str, int]:
    """{part of a Swin or DINOv2: number of layers from the part to the outputs}."""
    found = [re.fullmatch(r"(?:stage(\d+)_)?block(\d+)", name) for name in backbone]
    blocks = sorted((int(match[1] or 0), int(match[2]), match[0]) for match in found if match)
    if not blocks or "patch_embed" not in backbone:  # ResNet's blocks have the same names
        raise UserError(
            "optimizer.layer_decay: for Swin and DINOv2 backbones only; set it to 1 for others"
        )
    exponents = dict.fromkeys(_EMBEDDING, len(blocks) + 1)
    for left, (stage, _, name) in zip(range(len(blocks), 0, -1), blocks, strict=True):
        exponents[name] = exponents[f"downsample{stage + 1}"] = left
    return exponents


# The update


def create_optimizer(
    *,
    rate: optax.Schedule,
    name: str,
    weight_decay: float,
    b1: float,
    b2: float,
    eps: float,
    momentum: float,
    clip_norm: float,
    backbone_multiplier: float,
    layer_decay: float,
    freeze: str,
) -> optax.GradientTransformation:
    """Global-norm clipping, the optimizer, then the rates; nothing for frozen parameters.

    Args:
      rate: the learning rate by step.
      name: "adamw", "adam" or "sgd", each as PyTorch's.
      weight_decay: of kernels. In adamw it is decoupled; adam and sgd add it to the clipped
        gradient.
      b1, b2, eps: of adamw and adam.
      momentum: of sgd.
      clip_norm: bound on the norm of the gradient of all trained parameters; 0: no bound.
      backbone_multiplier, layer_decay: see `rate_factors`.
      freeze: see `frozen`; "": no parameter is frozen. The optimizer keeps no state for frozen
        parameters.
    """
    decay = optax.add_decayed_weights(weight_decay, mask=decayed)
    adam = optax.scale_by_adam(b1=b1, b2=b2, eps=eps)
    updates = {
        "adamw": (adam, decay),
        "adam": (decay, adam),
        "sgd": (decay, optax.trace(momentum)),
    }[name]
    trained = optax.chain(
        *([optax.clip_by_global_norm(clip_norm)] if clip_norm else []),
        *updates,
        optax.scale_by_learning_rate(rate),
        _scale_by_factors(backbone_multiplier=backbone_multiplier, layer_decay=layer_decay),
    )
    return _all_but_frozen(trained, freeze) if freeze else trained


def _all_but_frozen(
    trained: optax.GradientTransformation, pattern: str
) -> optax.GradientTransformation:
    def labels(params):
        return jax.tree.map(lambda stop: "frozen" if stop else "trained", frozen(params, pattern))

    return optax.partition({"trained": trained, "frozen": optax.set_to_zero()}, labels)


def _scale_by_factors(**fields: float) -> optax.GradientTransformation:
    """Updates times `rate_factors`."""

    def init(params):
        rate_factors(params, **fields)  # refuses a backbone without layers before it is compiled
        return optax.EmptyState()

    def update(updates, state, params=None):
        factors = rate_factors(updates, **fields)
        return jax.tree.map(lambda update, factor: update * factor, updates, factors), state

    return optax.GradientTransformation(init, update)
