"""Optimizers and learning rates of the field's recipes, frozen parameters, rates by layer."""

import math
import re

import jax
import optax

from diffdepth_jax.errors import UserError

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "polynomial", "steps", "constant")


def _require(valid, name, value, rule):
    if not valid:
        raise UserError(f"optimizer.{name} {value!r}: must be {rule}")


# The learning rate by step


def create_schedule(
    *, schedule, learning_rate, warmup_steps, num_steps, end_fraction, power, boundaries, factors
):
    """Linear warm-up from 0 to the peak, then what `schedule` names.

    Args:
      schedule: "cosine" and "polynomial" fall from the end of the warm-up to `num_steps`, "steps"
        has the peak times a factor from each boundary on, "constant" stays at the peak.
      learning_rate: the peak.
      warmup_steps: 0: none.
      num_steps: of the run.
      end_fraction: of the peak, where cosine and polynomial end.
      power: of the polynomial; 1: linear.
      boundaries: of steps, in fractions of the run if below 1, otherwise in steps.
      factors: of steps, one for each boundary; of the peak, not of the rate before.
    """
    _require(0 < learning_rate < math.inf, "learning_rate", learning_rate, "positive")
    below = f"0 or more, and below train.num_steps {num_steps}"
    _require(0 <= warmup_steps < num_steps, "warmup_steps", warmup_steps, below)
    _require(0 <= end_fraction <= 1, "end_fraction", end_fraction, "between 0 and 1")
    _require(0 < power < math.inf, "power", power, "positive")
    _require(schedule in SCHEDULES, "schedule", schedule, f"one of {', '.join(SCHEDULES)}")
    rest, starts = num_steps - warmup_steps, []
    if schedule == "cosine":
        pieces = [optax.cosine_decay_schedule(learning_rate, rest, end_fraction)]
    elif schedule == "polynomial":
        end = end_fraction * learning_rate
        pieces = [optax.polynomial_schedule(learning_rate, end, power, rest)]
    elif schedule == "steps":
        starts = _starts(boundaries, factors, warmup_steps, num_steps)
        pieces = [optax.constant_schedule(learning_rate * factor) for factor in (1, *factors)]
    else:
        pieces = [optax.constant_schedule(learning_rate)]
    if warmup_steps:
        pieces = [optax.linear_schedule(0.0, learning_rate, warmup_steps), *pieces]
        starts = [warmup_steps, *starts]
    return optax.join_schedules(pieces, starts)


def _starts(boundaries, factors, warmup_steps, num_steps):
    """The boundaries as steps of the run; equal ones, of a very short run, skip a piece."""
    for name, values in (("boundaries", boundaries), ("factors", factors)):
        numbers = all(isinstance(x, int | float) and 0 < x < math.inf for x in values)
        _require(numbers, name, tuple(values), "positive numbers")
    rule = f"as many as the {len(boundaries)} boundaries"
    _require(len(factors) == len(boundaries), "factors", tuple(factors), rule)
    starts = [round(x * num_steps) if x < 1 else x for x in boundaries]
    _require(
        sorted([warmup_steps, *starts]) == [warmup_steps, *starts]
        and all(x == int(x) for x in starts),
        "boundaries",
        tuple(boundaries),
        f"steps, or fractions of the {num_steps} steps, that rise from the warm-up's end, "
        f"{warmup_steps}",
    )
    return [int(x) for x in starts]


# Which parameters


def decayed(params):
    """True for kernels: norms, biases and position-bias tables are not decayed."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def frozen(params, pattern):
    """True for parameters whose whole path, such as backbone/patch_embed/kernel, matches."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"optimizer.freeze {pattern!r}: no regular expression ({error})") from None

    def matches(path, _):
        return bool(expression.fullmatch(jax.tree_util.keystr(path, simple=True, separator="/")))

    found = jax.tree_util.tree_map_with_path(matches, params)
    if not any(jax.tree.leaves(found)):
        raise UserError(
            f"optimizer.freeze {pattern!r}: matches no parameter; it has to match whole paths as "
            "in parameters.txt of a run, for instance 'backbone/.*'"
        )
    _require(not all(jax.tree.leaves(found)), "freeze", pattern, "less than all parameters")
    return found


def stop_frozen(params, pattern):
    """The same values, without gradient where the path matches; "" matches none.

    What only frozen parameters need of the backward pass is then not computed.
    """
    if not pattern:
        return params
    return jax.tree.map(
        lambda leaf, stop: jax.lax.stop_gradient(leaf) if stop else leaf,
        params,
        frozen(params, pattern),
    )


def rate_factors(params, *, backbone_multiplier, layer_decay):
    """What the learning rate of each parameter is multiplied by.

    In the backbone `backbone_multiplier`, times `layer_decay` for each layer from there to the
    outputs. Layers are those of SimMIM's recipes for Swin: the patch embedding, each block, the
    last of a stage with the downsampling after it; the norms of the outputs come after all.
    """
    exponents = _exponents(params["backbone"]) if layer_decay != 1 else {}

    def factor(path, _):
        if path[0].key != "backbone":
            return 1.0
        return backbone_multiplier * layer_decay ** exponents.get(path[1].key, 0)

    return jax.tree_util.tree_map_with_path(factor, params)


def _exponents(backbone):
    """{name: layers from there to the outputs} of the parts of a Swin."""
    found = [re.fullmatch(r"stage(\d+)_block(\d+)", name) for name in backbone]
    blocks = sorted((int(match[1]), int(match[2])) for match in found if match)
    if not blocks or "patch_embed" not in backbone:  # ResNet's blocks have the same names
        raise UserError("optimizer.layer_decay: for Swin backbones only; set it to 1 for others")
    names = ("patch_embed", "patch_embed_norm", "position")
    exponents = dict.fromkeys(names, len(blocks) + 1)
    for left, (stage, block) in zip(range(len(blocks), 0, -1), blocks, strict=True):
        exponents[f"stage{stage}_block{block}"] = exponents[f"downsample{stage + 1}"] = left
    return exponents


# The update


def create_optimizer(
    *,
    rate,
    name,
    weight_decay,
    b1,
    b2,
    eps,
    momentum,
    clip_norm,
    backbone_multiplier,
    layer_decay,
    freeze,
):
    """Global-norm clipping, the optimizer, then the rates; nothing for frozen parameters.

    Args:
      rate: the learning rate by step.
      name: "adamw", "adam" or "sgd", each as PyTorch's.
      weight_decay: of kernels. adamw: decoupled; adam and sgd: added to the clipped gradient.
      b1, b2, eps: of adamw and adam.
      momentum: of sgd.
      clip_norm: bound on the norm of the gradient of all parameters that are trained; 0: none.
      backbone_multiplier, layer_decay: see `rate_factors`.
      freeze: see `frozen`; "": none. Frozen parameters have no state here.
    """
    _require(name in OPTIMIZERS, "name", name, f"one of {', '.join(OPTIMIZERS)}")
    for field, value in {"b1": b1, "b2": b2, "momentum": momentum}.items():
        _require(0 <= value < 1, field, value, "0 or more, and below 1")
    _require(0 < eps < math.inf, "eps", eps, "positive")
    for field, value in {
        "weight_decay": weight_decay,
        "clip_norm": clip_norm,
        "backbone_multiplier": backbone_multiplier,
    }.items():
        _require(0 <= value < math.inf, field, value, "0 or more")
    _require(0 < layer_decay <= 1, "layer_decay", layer_decay, "above 0, and at most 1")
    decay = optax.add_decayed_weights(weight_decay, mask=decayed)
    adam = optax.scale_by_adam(b1=b1, b2=b2, eps=eps)
    trained = optax.chain(
        *([optax.clip_by_global_norm(clip_norm)] if clip_norm else []),
        *{
            "adamw": (adam, decay),
            "adam": (decay, adam),
            "sgd": (decay, optax.trace(momentum)),
        }[name],
        optax.scale_by_learning_rate(rate),
        _scale_by_factors(backbone_multiplier=backbone_multiplier, layer_decay=layer_decay),
    )
    if not freeze:
        return trained
    return optax.partition(
        {"trained": trained, "frozen": optax.set_to_zero()},
        lambda params: jax.tree.map(
            lambda stop: "frozen" if stop else "trained", frozen(params, freeze)
        ),
    )


def _scale_by_factors(**fields):
    """Updates times `rate_factors`."""

    def init(params):
        rate_factors(params, **fields)  # refuses a backbone without layers before it is compiled
        return optax.EmptyState()

    def update(updates, state, params=None):
        factors = rate_factors(updates, **fields)
        return jax.tree.map(lambda update, factor: update * factor, updates, factors), state

    return optax.GradientTransformation(init, update)
