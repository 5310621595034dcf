"""Reductions over devices that mean the same wherever a step is compiled.

Under `jit` a program sees the whole batch, and a sum over it is the sum. Under `jax.pmap` each
device sees its part, and the sum has to be completed over the mapped axis. Code that reduces
through these functions is right in both.
"""

import jax

AXIS = "batch"


def num_shards() -> int:
    """The number of parts that the batch is in: 1 outside of a map over AXIS."""
    try:
        return jax.lax.axis_size(AXIS)
    except NameError:  # no such axis
        return 1


def total(tree):
    """Sums each leaf over the parts of the batch."""
    return jax.lax.psum(tree, AXIS) if num_shards() > 1 else tree


def mean(x):
    """The mean over the parts of the batch, which are equally large."""
    return jax.lax.pmean(x, AXIS) if num_shards() > 1 else x


def own_part(x):
    """This part's rows of an array that is the same everywhere, [B, ...] -> [B / parts, ...]."""
    if num_shards() == 1:
        return x
    size = len(x) // num_shards()
    return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(AXIS) * size, size)


def own_key(key):
    """A key that differs between the parts of the batch."""
    return key if num_shards() == 1 else jax.random.fold_in(key, jax.lax.axis_index(AXIS))
