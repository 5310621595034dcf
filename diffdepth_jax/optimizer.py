"""AdamW with warm-up and cosine decay, clipping, and a lower rate for the backbone."""

import jax
import optax

from diffdepth_jax.errors import UserError


def create_schedule(*, learning_rate, warmup_steps, num_steps):
    """Linear warm-up from 0, then cosine decay to 1 % of the peak at `num_steps`."""
    if not 0 <= warmup_steps < num_steps:
        raise UserError(
            f"optimizer.warmup_steps {warmup_steps}: must be below train.num_steps {num_steps}"
        )
    return optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, warmup_steps, num_steps, 0.01 * learning_rate
    )


def decayed(params):
    """True for kernels: norms, biases and position-bias tables are not decayed."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def in_backbone(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key == "backbone", params)


def create_optimizer(*, schedule, weight_decay, b2, clip_norm, backbone_multiplier):
    """Global-norm clipping, Adam, decoupled weight decay, then the rates."""
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.scale_by_adam(b2=b2),
        optax.add_decayed_weights(weight_decay, mask=decayed),
        optax.scale_by_learning_rate(schedule),
        optax.masked(optax.scale(backbone_multiplier), in_backbone),
    )
