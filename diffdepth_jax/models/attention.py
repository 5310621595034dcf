"""Attention in the form that is fast on every backend."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffdepth_jax.arrays import Array

QUERIES = 64  # of a block on CPU, at least
_WEIGHTS = 2**19  # of a block, about: 2 MB, which stay in the cache
_BLOCKS = 32  # at most: each is compiled

_Heads = Float[Array, "batch tokens heads channels"]


def dot_product_attention(query: _Heads, key: _Heads, value: _Heads) -> _Heads:
    """`jax.nn.dot_product_attention`; on CPU one block of queries after another.

    There XLA writes the weights to memory, and a second time, transposed, which is faster where
    they are few: prediction of ViT-S takes .77 of the time at 518x518, .93 at 252x336. A symbolic
    size, under `jax.export`, cannot be cut into blocks.
    """
    if not all(isinstance(size, int) for size in query.shape):
        return jax.nn.dot_product_attention(query, key, value)
    return jax.lax.platform_dependent(
        query, key, value, cpu=_by_blocks, default=jax.nn.dot_product_attention
    )


@jax.custom_vjp
def _by_blocks(query: _Heads, key: _Heads, value: _Heads) -> _Heads:
    """The same function, because the softmax of each query is its own.

    Gradients are those of one call: by blocks they take 5 % longer, and twice as long to compile.
    """
    tokens = query.shape[1]
    size = max(QUERIES, _WEIGHTS // math.prod(key.shape[:3]), -(-tokens // _BLOCKS))
    blocks = [query[:, start : start + size] for start in range(0, tokens, size)]
    return jnp.concatenate([jax.nn.dot_product_attention(x, key, value) for x in blocks], axis=1)


_by_blocks.defvjp(
    lambda *arrays: jax.vjp(jax.nn.dot_product_attention, *arrays),
    lambda backward, cotangent: backward(cotangent),
)
