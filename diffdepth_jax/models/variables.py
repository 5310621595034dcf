"""A model's variables: random ones, their shapes, and a comparison of shapes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Key, PyTree

from diffdepth_jax.arrays import Variables


def init_variables(
    model: nn.Module, key: Key[jax.Array, ""], height: int = 32, width: int = 32
) -> Variables:
    """Draws random float32 variables; their shapes do not depend on the size of the image."""
    image = jnp.zeros((1, height, width, 3))
    depth = jnp.ones((1, height, width, 1))
    return jax.jit(model.init)(key, image, depth, depth > 0)


def abstract_variables(model: nn.Module) -> Variables:
    """Returns the shapes and types of `init_variables` without computing anything."""
    return jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))


def abstract_backbone(backbone: nn.Module) -> Variables:
    """Returns the shapes and types of a backbone's variables, nested as in those of a model."""
    image = jnp.zeros((1, 32, 32, 3))
    variables = jax.eval_shape(lambda: backbone.init(jax.random.key(0), image))
    return {collection: {"backbone": tree} for collection, tree in variables.items()}


def leaf_difference(found: PyTree, expected: PyTree) -> str | None:
    """Says in which leaves two trees differ, by name, shape or type; None if they do not differ."""
    theirs, ours = _forms(found), _forms(expected)
    differing = sorted(path for path in ours | theirs if ours.get(path) != theirs.get(path))
    if not differing:
        return None
    path = differing[0]
    return (
        f"{len(differing)} leaves differ; {path}: saved {theirs.get(path, 'not')}, "
        f"the model has {ours.get(path, 'none')}"
    )


def _forms(tree: PyTree) -> dict[str, str]:
    """Shapes; and types, where they are none of floats."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): _form(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _form(leaf: Any) -> str:
    is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
    return str(tuple(leaf.shape)) if is_float else f"{tuple(leaf.shape)} {leaf.dtype}"
