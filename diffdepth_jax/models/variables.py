"""A model's variables: random ones, their shapes, and a comparison of shapes."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Key, PyTree

from diffdepth_jax.arrays import Variables
from diffdepth_jax.program import compiler_options


def draw_variables(model: nn.Module, key: Key[jax.Array, ""]) -> Variables:
    """Draws random float32 variables. Call it inside `jax.jit`: it runs the network once."""
    image = jnp.zeros((1, 32, 32, 3))  # of any size: it changes no shape of a variable
    depth = jnp.ones((1, 32, 32, 1))
    return model.init(key, image, depth, depth > 0)


def init_variables(model: nn.Module, key: Key[jax.Array, ""]) -> Variables:
    """Draws random float32 variables."""
    draw = functools.partial(draw_variables, model)
    return jax.jit(draw, compiler_options=compiler_options.of_what_runs_once())(key)


def abstract_variables(model: nn.Module) -> Variables:
    """Returns the shapes and types of `init_variables` without computing anything."""
    return jax.eval_shape(lambda: draw_variables(model, jax.random.key(0)))


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
