"""Reductions over the batch that are right under `jit` and under `jax.pmap`.

Under `jit` a program sees the whole batch, so that its sum over the batch is complete. Under
`jax.pmap` each device sees its part of the batch, so that the sums of all parts must be added up.
"""

from typing import TypeVar

import jax
from jaxtyping import Key

AXIS = "batch"

Tree = TypeVar("Tree")  # a pytree of arrays


def num_shards() -> int:
    """Returns the number of parts into which the batch is cut; 1 outside of a map over AXIS."""
    try:
        return jax.lax.axis_size(AXIS)
    except NameError:  # no such axis
        return 1


def total(tree: Tree) -> Tree:
    """Sums each leaf over the parts of the batch."""
    return jax.lax.psum(tree, AXIS) if num_shards() > 1 else tree


def mean(x: jax.Array) -> jax.Array:
    """Averages over the parts of the batch, which are equally large."""
    return jax.lax.pmean(x, AXIS) if num_shards() > 1 else x


def own_part(x: jax.Array) -> jax.Array:
    """Takes this part's rows of an array that all parts hold, [B, ...] -> [B / parts, ...]."""
    if num_shards() == 1:
        return x
    size = len(x) // num_shards()
    return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(AXIS) * size, size)


def own_key(key: Key[jax.Array, ""]) -> Key[jax.Array, ""]:
    """Returns a random key that differs between the parts of the batch."""
    return key if num_shards() == 1 else jax.random.fold_in(key, jax.lax.axis_index(AXIS))
